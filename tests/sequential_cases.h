/*
 * sequential_cases.h: what the tests of sequential recommenders share, for a backend of any device: the goldens of
 * goldens/make_sequential_recommenders.py, and a small data set in order of time with fits on it.
 */
#ifndef IDREC_TESTS_SEQUENTIAL_CASES_H
#define IDREC_TESTS_SEQUENTIAL_CASES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "core/store.h"
#include "models/recommenders/sequence_data.h"
#include "models/recommenders/sequence_training.h"
#include "tests/fit_failure.h"

static struct recommender_settings sequential_settings(const char *model, const char *loss)
{
    struct recommender_settings settings = {.width = 8,
                                            .layers = 2,
                                            .heads = 2,
                                            .length = 9,
                                            .sequences = 5,
                                            .learning_rate = 0.01,
                                            .initial_deviation = 0.1,
                                            .batch = 1,
                                            .epochs = 6,
                                            .patience = 6,
                                            .evaluate_every = 2,
                                            .negatives = 6,
                                            .calibration = 0.75,
                                            .mask_share = 0.3,
                                            .synthetic_position = "prepended",
                                            .view = "any",
                                            .view_share = 0.5,
                                            .contrast_weight = 0.3,
                                            .temperature = 2.0};
    snprintf(settings.model, sizeof settings.model, "%s", model);
    snprintf(settings.loss, sizeof settings.loss, "%s", loss);
    return settings;
}

/* A training outside of a fit, with the recommender that it is of. */
struct sequential_training {
    struct recommender *recommender;
    struct sequence_training *training;
};

static struct sequential_training open_sequential(struct backend *backend,
                                                  const struct recommender_settings *settings,
                                                  const struct training_set *data, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct sequential_training opened;
    void *training;
    require(recommender_create(&opened.recommender, backend, settings, data->positives->rows,
                               data->positives->columns, &error),
            &error);
    require(opened.recommender->model->training_open(&training, opened.recommender, data, seed, &error),
            &error);
    opened.training = training;
    return opened;
}

static void close_sequential(struct sequential_training opened)
{
    sequence_training_close(opened.training);
    recommender_free(opened.recommender);
}

/* ---- goldens ------------------------------------------------------------------------------------------- */

enum { SEQUENTIAL_STEPS = 20, SEQUENTIAL_BATCH = 5 };

struct sequential_golden {
    struct store *store;
    struct csr history, positives, excluded, synthetic;
    float *weights;
};

static void *sequential_array(struct store *store, const char *group, const char *name, enum dtype dtype,
                              bool matrix)
{
    struct error error = ERROR_INITIALIZER;
    int64_t rows, columns = matrix;
    void *data;
    char path[96];
    snprintf(path, sizeof path, "/%s%s", group, name);
    require(store_read(store, path, dtype, &rows, &columns, &data, &error), &error);
    return data;
}

static void open_golden(struct sequential_golden *golden, bool targets)
{
    struct error error = ERROR_INITIALIZER;
    const char *positives = targets ? "/positives_with_targets" : "/positives";
    char weights[64];
    snprintf(weights, sizeof weights, "%s_weights", positives + 1);
    require(
        store_open(&golden->store, IDREC_SOURCE_DIR "/tests/goldens/sequential_recommenders.h5", &error) &&
            store_read_csr(golden->store, "/history", &golden->history, &error) &&
            store_read_csr(golden->store, positives, &golden->positives, &error) &&
            store_read_csr(golden->store, "/synthetic", &golden->synthetic, &error) &&
            store_read_csr(golden->store, "/excluded", &golden->excluded, &error),
        &error);
    golden->weights = sequential_array(golden->store, weights, "", DTYPE_F32, false);
}

static void close_golden(struct sequential_golden *golden)
{
    store_close(golden->store);
    csr_free(&golden->history);
    csr_free(&golden->positives);
    csr_free(&golden->excluded);
    csr_free(&golden->synthetic);
    free(golden->weights);
}

/* What chance decided in the golden, row by row. */
struct drawn_rows {
    const int32_t *rows;
    int64_t next;
};

static void draw_from_golden(struct sequence_loss *loss, struct tensor *candidates,
                             const struct sequence_batch *batch, int64_t first, uint64_t step)
{
    (void)step;
    struct drawn_rows *drawn = loss->draw_context;
    const int64_t count = candidates->shape[0], negatives = loss->columns - 1;
    int32_t *host = malloc(tensor_bytes(candidates)), *targets = malloc(tensor_bytes(&batch->targets));
    tensor_download(loss->backend, targets, &batch->targets);
    for (int64_t row = 0; row < count; row++) {
        host[row * loss->columns] = targets[first + row];
        memcpy(host + row * loss->columns + 1, drawn->rows + (drawn->next + row) * negatives,
               (size_t)negatives * sizeof *host);
    }
    drawn->next += count;
    tensor_upload(loss->backend, candidates, host);
    free(targets);
    free(host);
}

static void write_masked(struct sequence_training *training, int32_t user, struct drawn_rows *drawn)
{
    struct user_items read = training_items(training, user);
    const bool behind = training_targets(training, user).count > 0;
    const int32_t *masked = drawn->rows + drawn->next++ * training->settings.length;
    int32_t entries[64];
    if (behind && read.count == training->settings.length)
        read = (struct user_items){read.items + 1, read.weights + 1, read.count - 1};
    for (int64_t place = 0; place < read.count; place++) {
        entries[place] = masked[place] ? (int32_t)training->items : read.items[place];
        if (masked[place])
            epoch_prediction(&training->epoch, epoch_next_row(&training->epoch) + place, read.items[place],
                             user, read.weights[place]);
    }
    if (behind) {
        entries[read.count] = (int32_t)training->items;
        training_write_targets(training, epoch_next_row(&training->epoch) + read.count, user);
    }
    epoch_sequence(&training->epoch, entries, read.count + behind);
}

static int64_t write_drawn_view(struct sequence_training *training, struct drawn_rows *drawn)
{
    const int32_t *entries = drawn->rows + drawn->next++ * training->settings.length;
    int64_t count = 0;
    while (count < training->settings.length && entries[count] >= 0)
        count++;
    return epoch_sequence(&training->epoch, entries, count) + count - 1;
}

static struct sequence_batch write_golden_batch(struct sequence_training *training, const int32_t *users,
                                                struct drawn_rows *drawn)
{
    epoch_begin(&training->epoch);
    if (training->kind == &sasrec_kind) {
        training->kind->write_batch(training, users, SEQUENTIAL_BATCH, 1);
    } else {
        for (int place = 0; place < SEQUENTIAL_BATCH; place++)
            if (training->kind == &bert4rec_kind)
                write_masked(training, users[place], drawn);
            else
                training_write_next_items(training, users[place]);
        for (int place = 0; training->kind == &cl4srec_kind && place < SEQUENTIAL_BATCH; place++) {
            const int64_t first = write_drawn_view(training, drawn);
            epoch_contrast(&training->epoch, first, write_drawn_view(training, drawn));
        }
        epoch_end_batch(&training->epoch);
    }
    epoch_upload(&training->epoch);
    return epoch_batch(&training->epoch, 0);
}

static double mean_of_losses(struct backend *backend, const struct tensor *losses)
{
    real values[512];
    double sum = 0.0;
    tensor_download(backend, values, losses);
    for (int64_t place = 0; place < tensor_count(losses); place++)
        sum += (double)values[place];
    return sum / (double)tensor_count(losses);
}

static void compare_loss(const char *name, int step, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-5 * expected))
        fail_msg("%s, step %d: loss %.9f, golden %.9f", name, step + 1, found, expected);
}

/* Values one behind the other, and the parameters of a table on the host. */
struct compared {
    const char *name;
    float *values;
    int64_t next;
};

static bool put_parameter(void *context, const struct named_parameter *parameter)
{
    struct compared *given = context;
    real *own = parameter->tensor.data;
    for (int64_t place = 0; place < tensor_count(&parameter->tensor); place++)
        own[place] = (real)given->values[given->next++];
    return true;
}

/* A key's bias adds the same to all scores of a query: its gradient is rounding, which Adam makes into steps. */
static bool compare_parameter(void *context, const struct named_parameter *parameter)
{
    struct compared *golden = context;
    const real *found = parameter->tensor.data;
    const bool idle = strstr(parameter->name, "key/bias") != NULL;
    for (int64_t place = 0; place < tensor_count(&parameter->tensor); place++) {
        const double expected = (double)golden->values[golden->next++];
        const double size = fabs(expected) > 0.1 ? fabs(expected) : 0.1;
        if (!idle && !(fabs((double)found[place] - expected) <= 1e-4 * size))
            fail_msg("%s: %s[%lld] is %.7f, golden %.7f", golden->name, parameter->name, (long long)place,
                     (double)found[place], expected);
    }
    return true;
}

static void put_initial(struct sequence_training *training, struct store *store)
{
    struct compared initial = {
        .values = sequential_array(store, training->settings.model, "_initial", DTYPE_F32, false)};
    real *host = calloc(1, tensor_bytes(&training->table));
    const struct tensor table =
        tensor_2d(host, DTYPE_REAL, DEVICE_CPU, training->table.shape[0], training->table.shape[1]);
    encoder_parameters_visit(&training->model->shape, &table, put_parameter, &initial);
    tensor_upload(training->backend, &training->table, host);
    free(host);
    free(initial.values);
}

static void compare_final(struct sequence_training *training, struct store *store, const char *name)
{
    struct compared final = {.name = name,
                             .values = sequential_array(store, name, "/final", DTYPE_F32, false)};
    real *host = malloc(tensor_bytes(&training->table));
    const struct tensor table =
        tensor_2d(host, DTYPE_REAL, DEVICE_CPU, training->table.shape[0], training->table.shape[1]);
    tensor_download(training->backend, host, &training->table);
    encoder_parameters_visit(&training->model->shape, &table, compare_parameter, &final);
    free(host);
    free(final.values);
}

static void run_golden(struct sequence_training *training, struct store *store, const char *name)
{
    struct error error = ERROR_INITIALIZER;
    const bool contrasts = training->kind == &cl4srec_kind;
    int32_t *users = sequential_array(store, name, "/users", DTYPE_I32, true);
    double *losses = sequential_array(store, name, "/losses", DTYPE_F64, true);
    const bool draws = training->loss.kind != LOSS_CROSS_ENTROPY || training->kind != &sasrec_kind;
    int32_t *rows = draws ? sequential_array(store, name, "/drawn", DTYPE_I32, true) : NULL;
    struct drawn_rows drawn = {.rows = rows};
    training->loss.draw = draw_from_golden;
    training->loss.draw_context = &drawn;
    put_initial(training, store);
    for (int step = 0; step < SEQUENTIAL_STEPS; step++) {
        struct sequence_batch batch = write_golden_batch(training, users + step * SEQUENTIAL_BATCH, &drawn);
        training->kind->step(training, &batch);
        require(backend_synchronize(training->backend, &error), &error);
        compare_loss(name, step, mean_of_losses(training->backend, &batch.losses),
                     losses[step * (1 + contrasts)]);
        if (contrasts)
            compare_loss(name, step, mean_of_losses(training->backend, &batch.contrast_losses),
                         losses[2 * step + 1]);
    }
    compare_final(training, store, name);
    free(users);
    free(losses);
    free(rows);
}

static const char *const sequential_goldens[][3] = {
    /* case, model, loss */
    {"cross_entropy", "sasrec", "cross_entropy"},
    {"binary", "sasrec", "binary"},
    {"binary_many", "sasrec", "binary"},
    {"gbce", "sasrec", "gbce"},
    {"sampled_softmax", "sasrec", "sampled_softmax"},
    {"bert4rec", "bert4rec", ""},
    {"cl4srec_crop", "cl4srec", "cross_entropy"},
    {"cl4srec_mask", "cl4srec", "cross_entropy"},
    {"cl4srec_reorder", "cl4srec", "cross_entropy"},
    {"targets_cross_entropy", "sasrec", "cross_entropy"},
    {"targets_sampled_softmax", "sasrec", "sampled_softmax"},
    {"targets_bert4rec", "bert4rec", ""},
    {"targets_cl4srec_mask", "cl4srec", "cross_entropy"},
};
enum { SEQUENTIAL_GOLDENS = sizeof sequential_goldens / sizeof *sequential_goldens };

static void check_sequential_golden(struct backend *backend, int number)
{
    const char *const *golden_case = sequential_goldens[number];
    const bool targets = strncmp(golden_case[0], "targets_", 8) == 0;
    struct sequential_golden golden;
    open_golden(&golden, targets);
    struct recommender_settings settings = sequential_settings(golden_case[1], golden_case[2]);
    if (strcmp(golden_case[0], "binary") == 0)
        settings.negatives = 1;
    if (strcmp(golden_case[0] + (targets ? 8 : 0), "cross_entropy") == 0)
        settings.regularization = 0.01;
    if (targets)
        snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "targets");
    const struct training_set data = {.positives = &golden.positives,
                                      .weights = golden.weights,
                                      .excluded = &golden.excluded,
                                      .history = &golden.history,
                                      .synthetic = targets ? &golden.synthetic : NULL};
    const struct sequential_training opened = open_sequential(backend, &settings, &data, 1);
    run_golden(opened.training, golden.store, golden_case[0]);
    close_sequential(opened);
    close_golden(&golden);
}

/* ---- a data set in order of time ---------------------------------------------------------------------- */

enum { CHAIN_USERS = 70, CHAIN_ITEMS = 40, CHAIN_LONGEST = 14 };

/* A user's items follow each other around a circle; the next one is held out. Every third user has synthetic rows. User 0
 * has one interaction, user 1 none but a held-out one. */
struct chains {
    struct csr history, positives, truth, synthetic;
    float *weights; /* real rows 1, synthetic ones 0.5 */
};

static void allocate_rows(struct csr *rows, int64_t longest)
{
    *rows = (struct csr){.rows = CHAIN_USERS,
                         .columns = CHAIN_ITEMS,
                         .starts = calloc(CHAIN_USERS + 1, sizeof *rows->starts),
                         .indices = malloc((size_t)(CHAIN_USERS * longest) * sizeof *rows->indices)};
}

static void add_row(struct csr *rows, int64_t user, int64_t first, int64_t count, int64_t stride)
{
    int64_t filled = rows->starts[user];
    for (int64_t place = 0; place < count; place++)
        rows->indices[filled++] = (int32_t)((first + stride * place) % CHAIN_ITEMS);
    rows->starts[user + 1] = filled;
}

static void make_chains(struct chains *chains)
{
    struct error error = ERROR_INITIALIZER;
    struct csr ascending, extra;
    allocate_rows(&chains->history, CHAIN_LONGEST);
    allocate_rows(&chains->truth, 1);
    allocate_rows(&chains->synthetic, 3);
    for (int64_t user = 0; user < CHAIN_USERS; user++) {
        struct random_stream stream = random_stream_open(5, RANDOM_TEST, 0, (uint64_t)user);
        const int64_t first = random_below(&stream, CHAIN_ITEMS);
        const int64_t count = user == 0 ? 1 : user == 1 ? 0 : 3 + random_below(&stream, CHAIN_LONGEST - 2);
        add_row(&chains->history, user, first, count, 1);
        add_row(&chains->truth, user, first + count, 1, 1);
        add_row(&chains->synthetic, user, first + count + 2, user % 3 == 2 ? 3 : 0, 4);
    }
    require(csr_sorted(&ascending, &chains->history, &error) &&
                csr_sorted(&extra, &chains->synthetic, &error) &&
                csr_union(&chains->positives, &ascending, &extra, &error),
            &error);
    chains->weights = malloc((size_t)csr_count(&chains->positives) * sizeof *chains->weights);
    for (int64_t user = 0; user < CHAIN_USERS; user++)
        for (int64_t place = chains->positives.starts[user]; place < chains->positives.starts[user + 1];
             place++)
            chains->weights[place] =
                csr_contains_sorted(&ascending, user, chains->positives.indices[place]) ? 1.0f : 0.5f;
    csr_free(&ascending);
    csr_free(&extra);
}

static void free_chains(struct chains *chains)
{
    csr_free(&chains->history);
    csr_free(&chains->positives);
    csr_free(&chains->truth);
    csr_free(&chains->synthetic);
    free(chains->weights);
}

static struct training_set chain_set(const struct chains *chains)
{
    return (struct training_set){.positives = &chains->positives,
                                 .weights = chains->weights,
                                 .history = &chains->history,
                                 .synthetic = &chains->synthetic};
}

/* Every model and loss. */
static const char *const sequential_models[][2] = {
    {"sasrec", "cross_entropy"},   {"sasrec", "binary"}, {"sasrec", "gbce"},
    {"sasrec", "sampled_softmax"}, {"bert4rec", ""},     {"cl4srec", "cross_entropy"},
    {"cl4srec", "binary"}};
enum { SEQUENTIAL_MODELS = sizeof sequential_models / sizeof *sequential_models };

static struct recommender *fit_chains(const struct recommender_settings *settings,
                                      const struct chains *chains, struct backend *backend,
                                      const char *checkpoint, struct fit_report *report)
{
    struct error error = ERROR_INITIALIZER;
    struct recommender *recommender;
    const struct training_set data = chain_set(chains);
    const struct fit_watch watch = {
        .truth = &chains->truth, .mask = &chains->positives, .metric = METRIC_NDCG, .k = 5};
    require(
        recommender_fit(&recommender, backend, settings, &data, &watch, 7, checkpoint, NULL, report, &error),
        &error);
    return recommender;
}

/* The scores of `count` users, asked for `together` at a time in tensors of `rows` rows; [count, items], malloc'ed. */
static real *sequential_scores(struct recommender *recommender, struct backend *backend, int64_t count,
                               int64_t together, int64_t rows)
{
    struct error error = ERROR_INITIALIZER;
    const struct scorer scorer = recommender_scorer(recommender);
    real *scores = malloc((size_t)(count * scorer.items) * sizeof *scores);
    const size_t bytes = (size_t)(rows * scorer.items) * sizeof *scores;
    struct tensor block =
        tensor_2d(backend_allocate(backend, bytes), DTYPE_REAL, backend->device, rows, scorer.items);
    int32_t users[CHAIN_USERS];
    for (int64_t first = 0; first < count; first += together) {
        const int64_t asked = first + together <= count ? together : count - first;
        for (int64_t place = 0; place < asked; place++)
            users[place] = (int32_t)(first + place);
        require(scorer.score(scorer.context, users, asked, &block, &error), &error);
        const struct tensor used = tensor_rows(&block, 0, asked);
        tensor_download(backend, scores + first * scorer.items, &used);
    }
    backend_release(backend, block.data, bytes);
    return scores;
}

static real *chain_scores(struct recommender *recommender, struct backend *backend)
{
    return sequential_scores(recommender, backend, CHAIN_USERS, CHAIN_USERS, 128);
}
enum { CHAIN_SCORE_BYTES = CHAIN_USERS * CHAIN_ITEMS * sizeof(real) };

#endif
