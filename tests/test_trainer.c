/* The training loop: it learns, and a run that was killed or interrupted ends with the same bits. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "models/language/checkpoint.h"
#include "models/language/trainer.h"
#include "tests/prompt_layouts.h"

enum { USERS = 60, ITEMS = 40, TRAIN_ITEMS = 9, HELD_OUT = 2, EPOCHS = 12 };

/* Users of even number like the first half of the items, the others the second half. */
struct world {
    int64_t train_starts[USERS + 1], truth_starts[USERS + 1];
    int32_t train_items[USERS * TRAIN_ITEMS], sorted_items[USERS * TRAIN_ITEMS],
        truth_items[USERS * HELD_OUT];
    struct csr train, truth, sorted;
};

static int compare_items(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void make_world(struct world *world)
{
    for (int user = 0; user < USERS; user++) {
        struct random_stream stream = random_stream_open(5, RANDOM_TEST, 0, (uint64_t)user);
        int32_t items[ITEMS / 2];
        for (int i = 0; i < ITEMS / 2; i++)
            items[i] = i + (user % 2) * (ITEMS / 2);
        random_shuffle(&stream, items, ITEMS / 2);
        memcpy(world->train_items + user * TRAIN_ITEMS, items, TRAIN_ITEMS * sizeof *items);
        memcpy(world->sorted_items + user * TRAIN_ITEMS, items, TRAIN_ITEMS * sizeof *items);
        qsort(world->sorted_items + user * TRAIN_ITEMS, TRAIN_ITEMS, sizeof *items, compare_items);
        memcpy(world->truth_items + user * HELD_OUT, items + TRAIN_ITEMS, HELD_OUT * sizeof *items);
        qsort(world->truth_items + user * HELD_OUT, HELD_OUT, sizeof *items, compare_items);
    }
    for (int user = 0; user <= USERS; user++) {
        world->train_starts[user] = user * TRAIN_ITEMS;
        world->truth_starts[user] = user * HELD_OUT;
    }
    world->train = (struct csr){USERS, ITEMS, world->train_starts, world->train_items};
    world->sorted = (struct csr){USERS, ITEMS, world->train_starts, world->sorted_items};
    world->truth = (struct csr){USERS, ITEMS, world->truth_starts, world->truth_items};
}

static const struct vocabulary vocabulary = {.items = ITEMS, .users = USERS};

/* Its layout is made by main(). */
static struct packing_settings packing = {
    .prompt = {.shuffle = true, .length_maximum = 16},
    .random_cuts = 1,
    .batch_tokens = 96,
    .seed = 3,
};

static struct trainer_settings training(const char *state_folder)
{
    return (struct trainer_settings){
        .stage = "test",
        .epochs = EPOCHS,
        .accumulation = 2,
        .schedule = {SCHEDULE_COSINE, 0.02, 0.1, 0.0},
        .weight_decay = 0.01,
        .beta1 = 0.9,
        .beta2 = 0.99,
        .epsilon = 1e-8,
        .clip_norm = 1,
        .dropout = 0.1,
        .average = 0.9,
        .validate_every = 1,
        .checkpoint_seconds = 0,
        .state_folder = state_folder,
        .fingerprint = 12345,
        .seed = 3,
    };
}

static bool create_model(struct transformer **model, struct backend *backend, struct error *error)
{
    const struct transformer_settings settings = {
        .vocabulary = vocabulary_size(&vocabulary),
        .width = 16,
        .layers = 1,
        .query_heads = 2,
        .key_heads = 2,
        .head_width = 8,
        .hidden = 32,
        .classes = vocabulary_classes(&vocabulary),
        .norm_epsilon = 1e-5F,
        .rope_theta = 10000,
        .tied = true,
    };
    return transformer_create(model, backend, &settings, NULL, TRAIN_ALL, packing.batch_tokens, 32, 11,
                              error);
}

/* Trains, and writes the weights and the result to `path`. Returns the exit status of a program that does
 * so. */
static int train_and_write(const struct trainer_settings *settings, const char *path,
                           struct trainer_result *result)
{
    struct world world;
    struct error error = ERROR_INITIALIZER;
    struct transformer *model = NULL;
    struct packer *packer = NULL;
    struct backend *backend = backend_open("cpu", 1, &error);

    make_world(&world);
    const struct validator validator = {.prompt = packing.prompt,
                                        .train = &world.train,
                                        .train_sorted = &world.sorted,
                                        .truth = &world.truth,
                                        .batch_tokens = packing.batch_tokens,
                                        .batch_sequences = 32,
                                        .k = 10};
    bool fine = backend && create_model(&model, backend, &error) &&
                packer_create(&packer, &packing, &world.train, NULL, &error) &&
                trainer_run(result, model, packer, &validator, settings, NULL, &error);
    if (fine) {
        char *folder = path_format("%s.model", path);
        fine =
            checkpoint_save_base(model, folder, &error) && file_write(path, result, sizeof *result, &error);
        free(folder);
    }
    error_print(&error, stderr);
    packer_free(packer);
    transformer_free(model);
    backend_close(backend);
    return fine ? 0 : (int)error.kind;
}

static pid_t start(const struct trainer_settings *settings, const char *path, bool interrupted)
{
    const pid_t child = fork();
    if (child == 0) {
        struct trainer_result result;
        interrupt_install();
        if (interrupted)
            raise(SIGINT);
        _exit(train_and_write(settings, path, &result));
    }
    return child;
}

static int wait_for(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_same_file(const char *a, const char *b)
{
    char hash_a[33], hash_b[33];
    struct error error = ERROR_INITIALIZER;
    assert_true(file_hash(a, hash_a, &error));
    assert_true(file_hash(b, hash_b, &error));
    assert_string_equal(hash_a, hash_b);
}

struct folder {
    char path[64], state[80], straight[80], resumed[80], straight_model[128], resumed_model[128];
};

static int make_folder(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    strcpy(folder->path, "/tmp/idrec-trainer-XXXXXX");
    if (!mkdtemp(folder->path))
        return -1;
    snprintf(folder->state, sizeof folder->state, "%s/state", folder->path);
    snprintf(folder->straight, sizeof folder->straight, "%s/straight", folder->path);
    snprintf(folder->resumed, sizeof folder->resumed, "%s/resumed", folder->path);
    snprintf(folder->straight_model, sizeof folder->straight_model, "%s.model/model.safetensors",
             folder->straight);
    snprintf(folder->resumed_model, sizeof folder->resumed_model, "%s.model/model.safetensors",
             folder->resumed);
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *folder = *state;
    struct error error = ERROR_INITIALIZER;
    path_remove(folder->path, &error);
    free(folder);
    return 0;
}

/* In a child of its own: OpenMP's threads do not survive fork(). Only the epochs' ends are saved. */
static void train_straight(const struct folder *folder, struct trainer_settings settings)
{
    char *state = path_format("%s/straight_state", folder->path);
    settings.state_folder = state;
    settings.checkpoint_seconds = 3600;
    const int status = wait_for(start(&settings, folder->straight, false));
    free(state);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* 0: there is no such file. */
static ino_t inode_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

/* Until the state on disk has been replaced `count` times. */
static void wait_for_states(const char *done, int count)
{
    ino_t last = inode_of(done);
    for (int i = 0; i < 5000 && count > 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        const ino_t now = inode_of(done);
        if (now != 0 && now != last) {
            last = now;
            count--;
        }
    }
}

static void killed_and_resumed_ends_with_the_same_bits(void **state)
{
    const struct folder *folder = *state;
    struct trainer_settings settings = training(folder->state);
    char *done = path_format("%s/DONE", folder->state);
    int kills = 0, status = 0;

    settings.epochs = 2 * EPOCHS; /* many more states than kills */
    train_straight(folder, settings);
    for (int attempt = 0; attempt < 4; attempt++) {
        const pid_t child = start(&settings, folder->resumed, false);
        wait_for_states(done, 1 + 4 * attempt);
        nanosleep(&(struct timespec){.tv_nsec = 1000000 + 1700000 * attempt}, NULL);
        kill(child, SIGKILL);
        status = wait_for(child);
        kills += WIFSIGNALED(status);
    }
    free(done);
    status = wait_for(start(&settings, folder->resumed, false));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_in_range(kills, 1, 4);
    assert_same_file(folder->straight_model, folder->resumed_model);
    assert_same_file(folder->straight, folder->resumed);
}

static void interrupted_and_resumed_ends_with_the_same_bits(void **state)
{
    const struct folder *folder = *state;
    const struct trainer_settings settings = training(folder->state);

    train_straight(folder, settings);
    int status = wait_for(start(&settings, folder->resumed, true));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == ERROR_INTERRUPTED);
    assert_true(checkpoint_complete(folder->state));
    status = wait_for(start(&settings, folder->resumed, false));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_same_file(folder->straight_model, folder->resumed_model);
    assert_same_file(folder->straight, folder->resumed);
}

/* Items of the train part take no part in the validation loss, however high their scores. */
static void validation_ignores_the_scores_of_train_items(void **state)
{
    (void)state;
    enum { SHOWN = 0, HELD = 1, HIGH = 2000 };
    struct error error = ERROR_INITIALIZER;
    struct transformer *model = NULL;
    struct backend *backend = backend_open("cpu", 1, &error);
    int64_t starts[USERS + 1] = {0}, count;
    int32_t shown[] = {SHOWN}, held[] = {HELD};
    for (int user = 1; user <= USERS; user++)
        starts[user] = 1;
    const struct csr train = {USERS, ITEMS, starts, shown}, truth = {USERS, ITEMS, starts, held};
    const struct validator validator = {.prompt = packing.prompt,
                                        .train = &train,
                                        .train_sorted = &train,
                                        .truth = &truth,
                                        .batch_tokens = packing.batch_tokens,
                                        .batch_sequences = 32,
                                        .k = 10};
    assert_true(backend && create_model(&model, backend, &error));
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t p = 0; p < count; p++)
        if (parameters[p].decayed)
            tensor_zero(backend, &parameters[p].value);
    /* Without weights but these a context's state is a row of ones, and so the shown item's logit HIGH. */
    real *embedding = transformer_weights_of(model)->embedding.data;
    const int64_t width = transformer_settings_of(model)->width;
    for (int64_t column = 0; column < width; column++) {
        embedding[TOKEN_SEPARATOR * width + column] = 1;
        embedding[vocabulary_item_token(SHOWN) * width + column] = (real)HIGH / (real)width;
    }
    struct validation result;
    assert_true(validate(&result, &validator, model, &error));
    assert_true(fabs(result.loss - log(ITEMS - 1)) < 1e-6);
    assert_int_equal(result.users, 1);
    transformer_free(model);
    backend_close(backend);
}

/* It starts anew, with the bits of a training that found no state. */
static void another_configuration_does_not_continue(void **state)
{
    const struct folder *folder = *state;
    struct trainer_settings settings = training(folder->state);
    wait_for(start(&settings, folder->resumed, true));
    assert_true(checkpoint_complete(folder->state));
    settings.fingerprint = 54321;
    settings.epochs = 2;
    train_straight(folder, settings);
    const int status = wait_for(start(&settings, folder->resumed, false));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_same_file(folder->straight_model, folder->resumed_model);
    assert_same_file(folder->straight, folder->resumed);
}

static void an_epoch_without_sequences_is_refused(void **state)
{
    const struct folder *folder = *state;
    const struct trainer_settings settings = training(folder->state);
    struct packing_settings empty = packing;
    struct error error = ERROR_INITIALIZER;
    struct transformer *model = NULL;
    struct packer *packer = NULL;
    struct trainer_result result;
    struct world world;
    struct backend *backend = backend_open("cpu", 1, &error);

    make_world(&world);
    empty.random_cuts = 0;
    assert_true(backend && create_model(&model, backend, &error) &&
                packer_create(&packer, &empty, &world.train, NULL, &error));
    assert_false(trainer_run(&result, model, packer, NULL, &settings, NULL, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_non_null(strstr(error.message, "prompts.random_cuts"));
    packer_free(packer);
    transformer_free(model);
    backend_close(backend);
}

static void it_learns_the_blocks(void **state)
{
    const struct folder *folder = *state;
    struct trainer_settings settings = training(folder->state);
    struct trainer_result result;
    settings.checkpoint_seconds = 3600;
    settings.epochs = 40;
    assert_int_equal(train_and_write(&settings, folder->straight, &result), 0);
    /* A user's block has 20 items of which 9 are known: log 11 is the best possible, log 31 is chance. */
    assert_true(result.best.loss > log(11) - 0.05 && result.best.loss < log(11) + 0.25);
    assert_in_range(result.best_epoch, 1, 40);
    assert_int_equal(result.best.users, USERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_and_resumed_ends_with_the_same_bits, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(interrupted_and_resumed_ends_with_the_same_bits, make_folder,
                                        remove_folder),
        cmocka_unit_test(validation_ignores_the_scores_of_train_items),
        cmocka_unit_test_setup_teardown(another_configuration_does_not_continue, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_epoch_without_sequences_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(it_learns_the_blocks, make_folder, remove_folder),
    };
    packing.prompt.layout = layout_of_ids(vocabulary, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
