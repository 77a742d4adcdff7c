/*
 * recommender_cases.h: what the tests of recommenders share, for a backend of any device: a small random data set, fits
 * on it, the goldens of BPR-MF and LightGCN (goldens/make_recommenders.py), and checkpoints as a killed fit leaves them.
 */
#ifndef IDREC_TESTS_RECOMMENDER_CASES_H
#define IDREC_TESTS_RECOMMENDER_CASES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/store.h"
#include "models/recommenders/fit_checkpoint.h"
#include "models/recommenders/steps.h"
#include "tests/fit_failure.h"

static const char *const golden_path = IDREC_SOURCE_DIR "/tests/goldens/recommenders.h5";

/* A random data set of which the last item of each user is held out. */
struct fixture {
    struct csr positives, truth, excluded;
    float *weights;
};

static void make_rows(struct csr *rows, int64_t users, int64_t items, uint64_t step, int64_t shortest,
                      int64_t longest)
{
    *rows = (struct csr){.rows = users,
                         .columns = items,
                         .starts = calloc((size_t)users + 1, sizeof *rows->starts),
                         .indices = malloc((size_t)(users * items) * sizeof *rows->indices)};
    for (int64_t user = 0; user < users; user++) {
        struct random_stream stream = random_stream_open(11, RANDOM_TEST, step, (uint64_t)user);
        int64_t left = shortest + random_below(&stream, (uint32_t)(longest - shortest + 1)),
                filled = rows->starts[user];
        /* Users prefer items of their own residue class, so that there is something to learn. */
        for (int32_t item = 0; item < items && left > 0; item++)
            if (random_below(&stream, item % 4 == user % 4 ? 2 : 12) == 0) {
                rows->indices[filled++] = item;
                left--;
            }
        if (filled == rows->starts[user])
            rows->indices[filled++] = (int32_t)(user % items);
        rows->starts[user + 1] = filled;
    }
}

static void make_fixture(struct fixture *fixture)
{
    enum { USERS = 90, ITEMS = 120 };
    make_rows(&fixture->positives, USERS, ITEMS, 0, 6, 20);
    fixture->truth = (struct csr){.rows = USERS,
                                  .columns = ITEMS,
                                  .starts = malloc((USERS + 1) * sizeof(int64_t)),
                                  .indices = malloc(USERS * sizeof(int32_t))};
    struct csr *positives = &fixture->positives;
    int64_t kept = 0, first = 0;
    for (int64_t user = 0; user < USERS; user++) {
        const int64_t end = positives->starts[user + 1];
        fixture->truth.starts[user] = user;
        fixture->truth.indices[user] = positives->indices[end - 1];
        positives->starts[user] = kept;
        for (int64_t index = first; index < end - 1 || index == first; index++)
            positives->indices[kept++] = positives->indices[index];
        first = end;
    }
    positives->starts[USERS] = kept;
    fixture->truth.starts[USERS] = USERS;
    make_rows(&fixture->excluded, USERS, ITEMS, 1, 3, 9);
    fixture->weights = malloc((size_t)kept * sizeof *fixture->weights);
    for (int64_t index = 0; index < kept; index++)
        fixture->weights[index] = 0.25f * (float)(1 + index % 4);
}

static void free_fixture(struct fixture *fixture)
{
    csr_free(&fixture->positives);
    csr_free(&fixture->truth);
    csr_free(&fixture->excluded);
    free(fixture->weights);
}

static struct training_set training_set_of(const struct fixture *fixture)
{
    return (struct training_set){
        .positives = &fixture->positives, .weights = fixture->weights, .excluded = &fixture->excluded};
}

static struct recommender_settings settings_of(const char *model, const char *optimizer)
{
    struct recommender_settings settings = {.width = 16,
                                            .layers = 2,
                                            .learning_rate = 0.01,
                                            .regularization = 1e-3,
                                            .initial_deviation = 0.1,
                                            .batch = 64,
                                            .epochs = 12,
                                            .patience = 6,
                                            .evaluate_every = 2,
                                            .neighbors = 10,
                                            .shrinkage = 1.5,
                                            .similarity = "cosine",
                                            .view = "edge_drop",
                                            .view_share = 0.2,
                                            .contrast_weight = 0.5,
                                            .temperature = 0.2,
                                            .noise = 0.1,
                                            .contrast_layer = 1,
                                            .item_share = 1.5,
                                            .prototype_weight = 0.3,
                                            .clusters = 7,
                                            .warm_up = 2};
    snprintf(settings.model, sizeof settings.model, "%s", model);
    snprintf(settings.optimizer, sizeof settings.optimizer, "%s", optimizer);
    if (strcmp(optimizer, "sgd") == 0)
        settings.learning_rate = 0.1;
    return settings;
}

/* The scores of all users, [users, items]; malloc'ed. */
static inline real *all_scores(struct recommender *recommender, struct backend *backend, int64_t users)
{
    struct error error = ERROR_INITIALIZER;
    const struct scorer scorer = recommender_scorer(recommender);
    real *scores = malloc((size_t)(users * scorer.items) * sizeof *scores);
    int32_t *everyone = malloc((size_t)users * sizeof *everyone);
    for (int32_t user = 0; user < users; user++)
        everyone[user] = user;
    const size_t bytes = (size_t)(users * scorer.items) * sizeof *scores;
    struct tensor block =
        tensor_2d(backend_allocate(backend, bytes), DTYPE_REAL, backend->device, users, scorer.items);
    require(scorer.score(scorer.context, everyone, users, &block, &error), &error);
    tensor_download(backend, scores, &block);
    backend_release(backend, block.data, bytes);
    free(everyone);
    return scores;
}

static inline struct recommender *fit(const struct recommender_settings *settings,
                                      const struct fixture *fixture, struct backend *backend,
                                      const char *checkpoint, struct fit_report *report)
{
    struct error error = ERROR_INITIALIZER;
    struct recommender *recommender;
    const struct training_set data = training_set_of(fixture);
    const struct fit_watch watch = {
        .truth = &fixture->truth, .mask = &fixture->positives, .metric = METRIC_NDCG, .k = 10};
    require(
        recommender_fit(&recommender, backend, settings, &data, &watch, 7, checkpoint, NULL, report, &error),
        &error);
    return recommender;
}

static inline real *fitted_scores(const struct recommender_settings *settings, const struct fixture *fixture,
                                  struct backend *backend, const char *checkpoint)
{
    struct fit_report report;
    struct recommender *recommender = fit(settings, fixture, backend, checkpoint, &report);
    real *scores = all_scores(recommender, backend, fixture->positives.rows);
    recommender_free(recommender);
    return scores;
}

/* A training outside of a fit, with the recommender that it is of. */
struct open_training {
    struct recommender *recommender;
    void *training;
};

static struct open_training start_training(struct backend *backend,
                                           const struct recommender_settings *settings,
                                           const struct training_set *data, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct open_training opened;
    require(recommender_create(&opened.recommender, backend, settings, data->positives->rows,
                               data->positives->columns, &error),
            &error);
    require(
        opened.recommender->model->training_open(&opened.training, opened.recommender, data, seed, &error),
        &error);
    return opened;
}

static void end_training(struct open_training opened)
{
    opened.recommender->model->training_close(opened.training);
    recommender_free(opened.recommender);
}

/* ---- goldens ------------------------------------------------------------------------------------------- */

enum { GOLDEN_BATCH = 32, GOLDEN_STEPS = 50, GOLDEN_WIDTH = 16 };

static void *golden_array(struct store *golden, const char *name, enum dtype dtype, bool matrix)
{
    struct error error = ERROR_INITIALIZER;
    int64_t rows, columns = matrix;
    void *data;
    require(store_read(golden, name, dtype, &rows, &columns, &data, &error), &error);
    return data;
}

/* Lays the golden's triples out as triple_sampler_epoch() does. */
static void load_golden_triples(struct embedding_training *training, struct store *golden)
{
    int32_t *users = golden_array(golden, "/triples/users", DTYPE_I32, true);
    int32_t *positives = golden_array(golden, "/triples/positives", DTYPE_I32, true);
    int32_t *negatives = golden_array(golden, "/triples/negatives", DTYPE_I32, true);
    float *weights = golden_array(golden, "/triples/weights", DTYPE_F32, true);
    static int32_t rows[3 * GOLDEN_STEPS * GOLDEN_BATCH];
    static real shares[GOLDEN_STEPS * GOLDEN_BATCH];
    for (int64_t place = 0; place < GOLDEN_STEPS * GOLDEN_BATCH; place++) {
        int32_t *batch = rows + 3 * (place / GOLDEN_BATCH * GOLDEN_BATCH) + place % GOLDEN_BATCH;
        batch[0] = users[place];
        batch[GOLDEN_BATCH] = (int32_t)training->users + positives[place];
        batch[2 * GOLDEN_BATCH] = (int32_t)training->users + negatives[place];
        shares[place] = (real)weights[place] / GOLDEN_BATCH;
    }
    tensor_upload(training->backend, &training->rows, rows);
    tensor_upload(training->backend, &training->weights, shares);
    free(users);
    free(positives);
    free(negatives);
    free(weights);
}

static void compare_with_golden(struct embedding_training *training, struct store *golden, const char *model)
{
    char name[64];
    snprintf(name, sizeof name, "/%s/losses", model);
    double *expected = golden_array(golden, name, DTYPE_F64, false);
    snprintf(name, sizeof name, "/%s/table", model);
    float *table = golden_array(golden, name, DTYPE_F32, true);
    for (int64_t batch = 0; batch < GOLDEN_STEPS; batch++) {
        training->take_step(training, batch * GOLDEN_BATCH, GOLDEN_BATCH);
        const struct tensor of_batch = tensor_rows(&training->losses, batch * GOLDEN_BATCH, GOLDEN_BATCH);
        real losses[GOLDEN_BATCH];
        tensor_download(training->backend, losses, &of_batch);
        double mean = 0.0;
        for (int place = 0; place < GOLDEN_BATCH; place++)
            mean += (double)losses[place] / GOLDEN_BATCH;
        if (fabs(mean - expected[batch]) > 1e-5 * expected[batch])
            fail_msg("%s step %lld: loss %.9f, golden %.9f", model, (long long)batch + 1, mean,
                     expected[batch]);
    }
    real *trained = malloc(tensor_bytes(&training->parameters));
    tensor_download(training->backend, trained, &training->parameters);
    for (int64_t place = 0; place < tensor_count(&training->parameters); place++)
        if (fabs((double)trained[place] - (double)table[place]) > 1e-4)
            fail_msg("%s: parameter %lld is %g, golden %g", model, (long long)place, (double)trained[place],
                     (double)table[place]);
    free(trained);
    free(expected);
    free(table);
}

static inline void check_golden(struct backend *backend, const char *model)
{
    struct error error = ERROR_INITIALIZER;
    struct store *golden;
    struct csr positives;
    require(store_open(&golden, golden_path, &error), &error);
    require(store_read_csr(golden, "/positives", &positives, &error), &error);
    float *weights = golden_array(golden, "/weights", DTYPE_F32, false);
    float *initial = golden_array(golden, "/initial", DTYPE_F32, true);
    const struct training_set data = {.positives = &positives, .weights = weights};
    struct recommender_settings settings = settings_of(model, "adam");
    settings.width = GOLDEN_WIDTH;
    settings.layers = 3;
    settings.batch = GOLDEN_BATCH;
    settings.regularization = 0.02;
    const struct open_training opened = start_training(backend, &settings, &data, 1);
    struct embedding_training *training = opened.training;
    /* An epoch of this data has room for less than 50 batches. */
    struct arena room = arena_measure(backend, "golden");
    arena_tensor_1d(&room, DTYPE_REAL, 5 * GOLDEN_STEPS * GOLDEN_BATCH + 256);
    assert_true(arena_reserve(&room, 0, NULL, &error));
    training->rows = training->own_rows = arena_tensor_1d(&room, DTYPE_I32, 3 * GOLDEN_STEPS * GOLDEN_BATCH);
    training->weights = arena_tensor_1d(&room, DTYPE_REAL, GOLDEN_STEPS * GOLDEN_BATCH);
    training->losses = arena_tensor_1d(&room, DTYPE_REAL, GOLDEN_STEPS * GOLDEN_BATCH);
    tensor_upload(backend, &training->parameters, initial);
    load_golden_triples(training, golden);
    compare_with_golden(training, golden, model);
    end_training(opened);
    arena_release(&room);
    store_close(golden);
    csr_free(&positives);
    free(weights);
    free(initial);
}

/* ---- checkpoints -------------------------------------------------------------------------------------- */

/* Scores of the last epoch in a checkpoint: none was judged yet, or one that no later epoch reaches. */
enum best_of_checkpoint { NO_BEST = 0, UNBEATABLE = 2 };

/* Trains `epochs` epochs by hand and leaves the checkpoint that a killed fit would have left. */
static inline void leave_checkpoint(const struct recommender_settings *settings,
                                    const struct fixture *fixture, struct backend *backend, int64_t epochs,
                                    enum best_of_checkpoint best_score, const char *path)
{
    struct error error = ERROR_INITIALIZER;
    const struct training_set data = training_set_of(fixture);
    const struct fit_watch watch = {
        .truth = &fixture->truth, .mask = &fixture->positives, .metric = METRIC_NDCG, .k = 10};
    struct fit_fingerprint fingerprint;
    struct fit_progress progress = {0};
    assert_true(fit_fingerprint_compute(&fingerprint, backend, settings, &data, &watch, 7, &error));
    const struct open_training opened = start_training(backend, settings, &data, 7);
    const struct recommender_model *model = opened.recommender->model;
    for (double loss; progress.epoch < epochs;)
        assert_true(model->train_epoch(opened.training, ++progress.epoch, &loss, &error));
    if (best_score != NO_BEST) {
        progress.best_epoch = epochs;
        progress.best_score = best_score;
        assert_true(model->publish(opened.training, &error));
    }
    const struct training_state training_state = model->training_state(opened.training);
    require(fit_checkpoint_save(path, &fingerprint, backend, &training_state,
                                model->published(opened.recommender), &progress, &error),
            &error);
    end_training(opened);
}

#endif
