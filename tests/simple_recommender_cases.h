/*
 * simple_recommender_cases.h: the goldens of the recommenders that are fitted in one go
 * (goldens/make_simple_recommenders.py), for a backend of any device.
 */
#ifndef IDREC_TESTS_SIMPLE_RECOMMENDER_CASES_H
#define IDREC_TESTS_SIMPLE_RECOMMENDER_CASES_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/recommenders/model.h"
#include "tests/fit_failure.h"

static const char *const golden_path = IDREC_SOURCE_DIR "/tests/goldens/simple_recommenders.h5";

enum { WITHOUT_ROWS = 7, WITHOUT_USERS = 11, ALS_WIDTH = 8, ALS_SWEEPS = 3, SEED = 5 };

struct golden {
    struct store *store;
    struct csr positives;
    float *weights;
};

static void *read_array(const struct golden *golden, const char *name, enum dtype dtype, bool matrix)
{
    struct error error = ERROR_INITIALIZER;
    int64_t rows, columns = matrix;
    void *values;
    require(store_read(golden->store, name, dtype, &rows, &columns, &values, &error), &error);
    return values;
}

static int open_golden(void **state)
{
    static struct golden golden;
    struct error error = ERROR_INITIALIZER;
    require(store_open(&golden.store, golden_path, &error) &&
                store_read_csr(golden.store, "/positives", &golden.positives, &error),
            &error);
    golden.weights = read_array(&golden, "/weights", DTYPE_F32, false);
    *state = &golden;
    return 0;
}

static int close_golden(void **state)
{
    struct golden *golden = *state;
    store_close(golden->store);
    csr_free(&golden->positives);
    free(golden->weights);
    return 0;
}

static struct training_set training_set_of(const struct golden *golden)
{
    return (struct training_set){.positives = &golden->positives, .weights = golden->weights};
}

/* ---- the models of the goldens ------------------------------------------------------------------------- */

static struct recommender_settings settings_of(const char *model, double regularization)
{
    struct recommender_settings settings = {.width = ALS_WIDTH,
                                            .regularization = regularization,
                                            .initial_deviation = 0.1,
                                            .batch = 1,
                                            .epochs = ALS_SWEEPS,
                                            .evaluate_every = 1,
                                            .neighbors = 10,
                                            .shrinkage = 1.5,
                                            .similarity = "cosine",
                                            .l1 = 0.1,
                                            .confidence = 5.0,
                                            .components = 4,
                                            .low_pass_weight = 0.3};
    snprintf(settings.model, sizeof settings.model, "%s", model);
    return settings;
}

static struct recommender_settings ease_settings(void)
{
    return settings_of("ease", 3.0);
}

static struct recommender_settings slim_settings(int64_t neighbors)
{
    struct recommender_settings settings = settings_of("slim", 0.5);
    settings.neighbors = neighbors;
    return settings;
}

static struct recommender_settings knn_settings(const char *similarity)
{
    struct recommender_settings settings = settings_of("item_knn", 0.0);
    snprintf(settings.similarity, sizeof settings.similarity, "%s", similarity);
    return settings;
}

static struct recommender *fit(const struct recommender_settings *settings, const struct golden *golden,
                               struct backend *backend)
{
    struct error error = ERROR_INITIALIZER;
    const struct training_set data = training_set_of(golden);
    const struct fit_watch nothing = {0};
    struct recommender *recommender;
    struct fit_report report;
    require(
        recommender_fit(&recommender, backend, settings, &data, &nothing, SEED, NULL, NULL, &report, &error),
        &error);
    return recommender;
}

/* Scores of all users, the last first, in blocks of 8; malloc'ed. */
static real *all_scores(struct recommender *recommender, struct backend *backend)
{
    enum { BLOCK = 8 };
    struct error error = ERROR_INITIALIZER;
    const struct scorer scorer = recommender_scorer(recommender);
    const int64_t users = recommender->users, items = recommender->items;
    const size_t row_bytes = (size_t)items * sizeof(real);
    real *scores = malloc((size_t)users * row_bytes), *part = malloc(BLOCK * row_bytes);
    struct tensor tensor =
        tensor_2d(backend_allocate(backend, BLOCK * row_bytes), DTYPE_REAL, backend->device, BLOCK, items);
    for (int64_t first = 0; first < users; first += BLOCK) {
        int32_t block[BLOCK];
        const int64_t count = users - first < BLOCK ? users - first : BLOCK;
        for (int64_t place = 0; place < count; place++)
            block[place] = (int32_t)(users - 1 - first - place);
        require(scorer.score(scorer.context, block, count, &tensor, &error), &error);
        tensor_download(backend, part, &tensor);
        require(backend_synchronize(backend, &error), &error);
        for (int64_t place = 0; place < count; place++)
            memcpy(scores + block[place] * items, part + place * items, row_bytes);
    }
    backend_release(backend, tensor.data, BLOCK * row_bytes);
    free(part);
    return scores;
}

/* Within 1e-4 of each score, or 1e-6 of the largest one. */
static void compare(const struct golden *golden, const char *name, const real *scores)
{
    char path[64];
    snprintf(path, sizeof path, "/scores/%s", name);
    float *expected = read_array(golden, path, DTYPE_F32, true);
    const int64_t items = golden->positives.columns, count = golden->positives.rows * items;
    double largest = 0.0;
    for (int64_t place = 0; place < count; place++)
        largest = fmax(largest, fabs((double)expected[place]));
    for (int64_t place = 0; place < count; place++) {
        const double aim = (double)expected[place], found = (double)scores[place];
        if (!(fabs(found - aim) <= 1e-4 * fabs(aim) + 1e-6 * largest))
            fail_msg("%s: user %lld, item %lld scores %.8g, golden %.8g", name, (long long)(place / items),
                     (long long)(place % items), found, aim);
    }
    for (int64_t item = 0; item < items; item++)
        assert_true(scores[WITHOUT_ROWS * items + item] == 0);
    for (int64_t user = 0; user < golden->positives.rows; user++)
        assert_true(scores[user * items + WITHOUT_USERS] == 0);
    free(expected);
}

static void check(struct backend *backend, const struct golden *golden, const char *name,
                  const struct recommender_settings settings)
{
    struct recommender *recommender = fit(&settings, golden, backend);
    real *scores = all_scores(recommender, backend);
    compare(golden, name, scores);
    free(scores);
    recommender_free(recommender);
}

/* ---- lists of them ------------------------------------------------------------------------------------- */

enum { MODELS = 6 };

static void list_models(struct recommender_settings settings[MODELS])
{
    settings[0] = ease_settings();
    settings[1] = slim_settings(0);
    settings[2] = settings_of("als", 0.1);
    settings[3] = settings_of("gf_cf", 0.0);
    settings[4] = knn_settings("bm25");
    settings[5] = settings_of("popularity", 0.0);
}

#endif
