/* The validation of prompts whose items are several tokens: the loss is that of the answers, against the model's logits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "models/language/trainer.h"
#include "tests/prompt_layouts.h"

enum { USERS = 20, ITEMS = 40, TRAIN_ITEMS = 8, LENGTH = 40, TOKENS = 100, EPOCHS = 6 };

/* User u's items are of the half of the catalogue that u % 2 tells; every fifth user has nothing held out. */
struct world {
    int64_t train_starts[USERS + 1], truth_starts[USERS + 1];
    int32_t train_items[USERS * TRAIN_ITEMS], sorted_items[USERS * TRAIN_ITEMS], truth_items[USERS * ITEMS];
    struct csr train, sorted, truth;
};

static int compare_items(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void make_world(struct world *world)
{
    world->train_starts[0] = world->truth_starts[0] = 0;
    for (int user = 0; user < USERS; user++) {
        struct random_stream stream = random_stream_open(5, RANDOM_TEST, 0, (uint64_t)user);
        const int train = user % 7 == 6 ? 0 : TRAIN_ITEMS, held_out = user % 5 == 4 ? 0 : 1 + user % 12;
        int64_t *const begin = &world->train_starts[user], *const truth = &world->truth_starts[user];
        int32_t items[ITEMS / 2];
        for (int32_t i = 0; i < ITEMS / 2; i++)
            items[i] = i + (user % 2) * (ITEMS / 2);
        random_shuffle(&stream, items, ITEMS / 2);
        memcpy(world->train_items + *begin, items, (size_t)train * sizeof *items);
        memcpy(world->sorted_items + *begin, items, (size_t)train * sizeof *items);
        qsort(world->sorted_items + *begin, (size_t)train, sizeof *items, compare_items);
        memcpy(world->truth_items + *truth, items + TRAIN_ITEMS, (size_t)held_out * sizeof *items);
        qsort(world->truth_items + *truth, (size_t)held_out, sizeof *items, compare_items);
        begin[1] = begin[0] + train;
        truth[1] = truth[0] + held_out;
    }
    world->train = (struct csr){USERS, ITEMS, world->train_starts, world->train_items};
    world->sorted = (struct csr){USERS, ITEMS, world->train_starts, world->sorted_items};
    world->truth = (struct csr){USERS, ITEMS, world->truth_starts, world->truth_items};
}

static struct transformer *make_model(struct backend *backend, enum train_mode mode)
{
    const struct transformer_settings settings = {.vocabulary = WORDS,
                                                  .width = 16,
                                                  .layers = 2,
                                                  .query_heads = 2,
                                                  .key_heads = 2,
                                                  .head_width = 8,
                                                  .hidden = 32,
                                                  .norm_epsilon = 1e-5F,
                                                  .rope_theta = 10000,
                                                  .positions = true};
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(transformer_create(&model, backend, &settings, NULL, mode, TOKENS, 8, 11, &error), &error);
    int64_t count;
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t p = 0; p < count; p++) { /* large enough for distributions that are far from uniform */
        struct random_stream stream = random_stream_open(5, RANDOM_TEST, 1, (uint64_t)p);
        real *values = parameters[p].value.data;
        for (int64_t i = 0; parameters[p].decayed && i < tensor_count(&parameters[p].value); i++)
            values[i] = (real)(0.2 * random_normal(&stream));
    }
    transformer_values_changed(model);
    return model;
}

static struct validator validator_of(const struct world *world)
{
    return (struct validator){
        .prompt = {.layout = layout_of_words(ITEMS, USERS), .shuffle = true, .length_maximum = LENGTH},
        .train = &world->train,
        .train_sorted = &world->sorted,
        .truth = &world->truth,
        .batch_tokens = TOKENS,
        .batch_sequences = 3,
        .k = 10,
        .seed = 9};
}

/* The mean loss of one user's answer, from the logits of every position. */
static double answer_loss(struct transformer *model, const struct validator *validator, int32_t user,
                          int64_t *answers)
{
    struct error error = ERROR_INITIALIZER;
    const struct csr *train = validator->train, *truth = validator->truth;
    int32_t tokens[LENGTH], position[LENGTH];
    float logits[LENGTH * WORDS];
    const struct prompt_question question = prompt_question(
        tokens, &validator->prompt, user, train->indices + train->starts[user], csr_row_length(train, user),
        truth->indices + truth->starts[user], csr_row_length(truth, user), validator->seed, 0);
    for (int32_t i = 0; i < LENGTH; i++)
        position[i] = i;
    const int32_t starts[2] = {0, (int32_t)question.length};
    const struct batch batch = {
        .tokens = question.length, .sequences = 1, .token = tokens, .position = position, .starts = starts};
    require(transformer_logits(model, &batch, position, question.length, logits, &error), &error);
    double loss = 0;
    for (int64_t i = question.answer; i + 1 < question.length; i++) {
        double sum = 0;
        for (int word = 0; word < WORDS; word++)
            sum += exp((double)logits[i * WORDS + word]);
        loss += log(sum) - (double)logits[i * WORDS + tokens[i + 1]];
    }
    *answers = question.answers;
    return loss / (double)question.answers;
}

static void the_loss_is_that_of_the_answers(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    make_world(&world);
    struct validator validator = validator_of(&world);
    struct backend *backend = open_backend(1);
    for (int mode = TRAIN_NOTHING; mode <= TRAIN_ALL; mode++) {
        struct transformer *model = make_model(backend, (enum train_mode)mode);
        struct validation found;
        double sum = 0, first = 0;
        int64_t users = 0, whole = 0, answers;
        for (int32_t user = 0; user < USERS; user++) {
            if (csr_row_length(&world.truth, user) == 0)
                continue;
            const double loss = answer_loss(model, &validator, user, &answers);
            first = users == 0 ? loss : first;
            sum += loss;
            whole += answers == csr_row_length(&world.truth, user);
            users++;
        }
        assert_true(whole > 0 && whole < users); /* some answers are too long */
        validator.users_maximum = 0;
        require(validate(&found, &validator, model, &error), &error);
        assert_int_equal(found.users, users);
        assert_true(fabs(found.loss - sum / (double)users) < 1e-5);
        assert_true(found.ndcg < 0 && found.recall < 0);
        validator.users_maximum = 1;
        require(validate(&found, &validator, model, &error), &error);
        assert_int_equal(found.users, 1);
        assert_true(fabs(found.loss - first) < 1e-5);
        transformer_free(model);
    }
    backend_close(backend);
}

/* ---- measuring a loss --------------------------------------------------------------------------------- */

static struct packing_settings packing_of(const struct validator *validator)
{
    return (struct packing_settings){.prompt = validator->prompt,
                                     .objective = OBJECTIVE_NEXT,
                                     .answer_only = true,
                                     .random_cuts = 2,
                                     .batch_tokens = TOKENS,
                                     .batch_sequences = 8,
                                     .seed = 3};
}

static void measuring_is_training_without_gradients(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    make_world(&world);
    const struct validator validator = validator_of(&world);
    const struct packing_settings settings = packing_of(&validator);
    struct backend *backend = open_backend(1);
    struct transformer *model = make_model(backend, TRAIN_ALL);
    struct packer *packer;
    struct batch batch;
    double trained = 0, measured = 0;
    int64_t count;
    require(packer_create(&packer, &settings, &world.train, NULL, &error), &error);
    packer_begin_epoch(packer, 0);
    require(packer_batch(packer, 0, 1, &batch, &error), &error);
    require(transformer_loss(model, &batch, &measured, &error), &error);
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t p = 0; p < count; p++)
        for (int64_t i = 0; i < tensor_count(&parameters[p].gradient); i++)
            assert_true(fabs((double)((const float *)parameters[p].gradient.data)[i]) <= 0);
    require(transformer_accumulate(model, &batch, 0, 1, 1, &trained, &error), &error);
    assert_true(trained > 0 && fabs(trained - measured) < 1e-6 * trained);
    require(transformer_accumulate(model, &batch, 0, 1, 1, NULL, &error), &error);
    assert_false(transformer_loss(model, &batch, &measured, &error));
    assert_non_null(strstr(error.message, "under way"));
    packer_free(packer);
    transformer_free(model);
    backend_close(backend);
}

/* ---- the trainer -------------------------------------------------------------------------------------- */

static struct trainer_settings training(const char *state_folder)
{
    return (struct trainer_settings){.stage = "test",
                                     .epochs = EPOCHS,
                                     .accumulation = 1,
                                     .schedule = {SCHEDULE_COSINE, 0.01, 0.1, 0.0},
                                     .beta1 = 0.9,
                                     .beta2 = 0.99,
                                     .epsilon = 1e-8,
                                     .clip_norm = 1,
                                     .validate_every = 1,
                                     .validate_first = true,
                                     .checkpoint_seconds = 3600,
                                     .state_folder = state_folder,
                                     .seed = 3};
}

static void it_learns_by_its_loss_alone(void **state)
{
    (void)state;
    char folder[] = "/tmp/idrec-validation-XXXXXX";
    struct error error = ERROR_INITIALIZER;
    struct world world;
    make_world(&world);
    const struct validator validator = validator_of(&world);
    const struct packing_settings packing = packing_of(&validator);
    struct trainer_settings settings = training(mkdtemp(folder));
    struct backend *backend = open_backend(1);
    struct transformer *model = make_model(backend, TRAIN_ALL);
    struct packer *packer;
    struct trainer_result result;
    struct validation before, after;
    require(packer_create(&packer, &packing, &world.train, NULL, &error), &error);
    require(validate(&before, &validator, model, &error), &error);
    settings.select_ndcg = true;
    assert_false(trainer_run(&result, model, packer, &validator, &settings, NULL, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_non_null(strstr(error.message, "test.select is ndcg"));
    error = ERROR_INITIALIZER;
    settings.select_ndcg = false;
    require(trainer_run(&result, model, packer, &validator, &settings, NULL, &error), &error);
    require(validate(&after, &validator, model, &error), &error);
    assert_true(result.best_epoch > 0 && after.loss < 0.8 * before.loss);
    assert_true(fabs(after.loss - result.best.loss) < 1e-6 && result.best.ndcg < 0);
    /* The state on disk is of a finished training, which goes on to the same end. */
    require(trainer_run(&result, model, packer, &validator, &settings, NULL, &error), &error);
    assert_true(fabs(after.loss - result.best.loss) < 1e-6 && result.best.ndcg < 0);
    assert_int_equal(result.epochs, EPOCHS);
    require(path_remove(folder, &error), &error);
    packer_free(packer);
    transformer_free(model);
    backend_close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_that_of_the_answers),
        cmocka_unit_test(measuring_is_training_without_gradients),
        cmocka_unit_test(it_learns_by_its_loss_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
