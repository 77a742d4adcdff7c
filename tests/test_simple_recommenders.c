/*
 * The recommenders that are fitted in one go: their scores against numpy (goldens/make_simple_recommenders.py), among them a
 * user without rows and an item without users; the inverse of a matrix of several panels; the same bits at any number of
 * threads; saved and loaded again; what they refuse.
 */
#include <unistd.h>

#include "core/random.h"
#include "models/recommenders/als.h"
#include "models/recommenders/symmetric_matrix.h"
#include "tests/simple_recommender_cases.h"

static void check_on_cpu(const struct golden *golden, const char *name,
                         const struct recommender_settings settings)
{
    struct backend *backend = open_backend(2);
    check(backend, golden, name, settings);
    backend_close(backend);
}

static void ease_is_the_closed_form(void **state)
{
    check_on_cpu(*state, "ease", ease_settings());
}

static void slim_is_the_minimum(void **state)
{
    check_on_cpu(*state, "slim", slim_settings(0));
    check_on_cpu(*state, "slim_neighbors", slim_settings(12));
}

static void gf_cf_is_the_sum_of_its_filters(void **state)
{
    check_on_cpu(*state, "gf_cf", settings_of("gf_cf", 0.0));
}

static void neighborhoods_are_as_defined(void **state)
{
    check_on_cpu(*state, "dice", knn_settings("dice"));
    check_on_cpu(*state, "tf_idf", knn_settings("tf_idf"));
    check_on_cpu(*state, "bm25", knn_settings("bm25"));
}

/* ---- als ----------------------------------------------------------------------------------------------- */

/* Scores after the sweeps from these items, which it overwrites; malloc'ed. */
static real *scores_by_sweeps(const struct golden *golden, double *initial_items)
{
    struct error error = ERROR_INITIALIZER;
    const struct training_set data = training_set_of(golden);
    const int64_t users = golden->positives.rows, items = golden->positives.columns;
    struct sparse_matrix history, audience;
    require(sparse_matrix_of_training(&history, &data, &error) &&
                sparse_matrix_transpose(&audience, &history, &error),
            &error);
    struct als als = {&history, &audience, ALS_WIDTH, 0.1, 5.0, 2, NULL, initial_items};
    als.users = malloc((size_t)(users * ALS_WIDTH) * sizeof *als.users);
    for (int sweep = 0; sweep < ALS_SWEEPS; sweep++)
        require(als_sweep(&als, &error), &error);
    real *scores = calloc((size_t)(users * items), sizeof *scores);
    for (int64_t place = 0; place < users * items; place++)
        for (int64_t i = 0; i < ALS_WIDTH; i++)
            scores[place] +=
                (real)(als.users[place / items * ALS_WIDTH + i] * als.items[place % items * ALS_WIDTH + i]);
    free(als.users);
    sparse_matrix_free(&history);
    sparse_matrix_free(&audience);
    return scores;
}

static void als_sweeps_solve_exactly(void **state)
{
    const struct golden *golden = *state;
    double *items = read_array(golden, "/initial_items", DTYPE_F64, true);
    real *scores = scores_by_sweeps(golden, items);
    compare(golden, "als", scores);
    free(scores);
    free(items);
}

static void als_fits_by_sweeps_from_its_seed(void **state)
{
    const struct golden *golden = *state;
    const int64_t users = golden->positives.rows, items = golden->positives.columns;
    double *factors = malloc((size_t)(items * ALS_WIDTH) * sizeof *factors);
    for (int64_t item = 0; item < items; item++) {
        struct random_stream stream =
            random_stream_open(SEED, RANDOM_INITIALIZE, 0, (uint64_t)(users + item));
        for (int64_t i = 0; i < ALS_WIDTH; i++)
            factors[item * ALS_WIDTH + i] = 0.1 * random_normal(&stream);
    }
    real *expected = scores_by_sweeps(golden, factors);
    struct backend *backend = open_backend(2);
    const struct recommender_settings settings = settings_of("als", 0.1);
    struct recommender *recommender = fit(&settings, golden, backend);
    real *scores = all_scores(recommender, backend);
    for (int64_t place = 0; place < users * items; place++)
        assert_true(fabs((double)(scores[place] - expected[place])) < 1e-5);
    free(scores);
    free(expected);
    free(factors);
    recommender_free(recommender);
    backend_close(backend);
}

/* ---- the inverse --------------------------------------------------------------------------------------- */

enum { SIZE = 2 * SYMMETRIC_PANEL + 76, FEATURES = 40 };

/* Element of F F^T + I. */
static double element(const double *features, int64_t i, int64_t j)
{
    double sum = i == j;
    for (int64_t k = 0; k < FEATURES; k++)
        sum += features[i * FEATURES + k] * features[j * FEATURES + k];
    return sum;
}

/* Where element (i, j) is kept. */
static real *place_of(const struct symmetric_matrix *matrix, int64_t i, int64_t j)
{
    const int64_t row = i > j ? i : j, column = i > j ? j : i, panel = column / SYMMETRIC_PANEL;
    return (real *)matrix->values.data + symmetric_panel_first(matrix, panel) +
           row * symmetric_panel_columns(matrix, panel) + column % SYMMETRIC_PANEL;
}

/* Rows of the inverse times F F^T + I are rows of the identity. */
static void inverse_of_several_panels(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(2);
    double *features = malloc(SIZE * FEATURES * sizeof *features);
    struct random_stream stream = random_stream_open(3, RANDOM_TEST, 0, 0);
    for (int64_t i = 0; i < SIZE * FEATURES; i++)
        features[i] = 0.2 * random_normal(&stream);
    struct symmetric_matrix matrix;
    require(symmetric_matrix_create(&matrix, backend, SIZE, "lower SIZE", &error), &error);
    for (int64_t i = 0; i < SIZE; i++)
        for (int64_t j = 0; j < SIZE; j++)
            *place_of(&matrix, i, j) = (real)element(features, i, j);
    /* The blocks on the diagonal are kept whole. */
    for (int64_t i = 0; i < SIZE; i++)
        for (int64_t j = i + 1; j < SIZE && j / SYMMETRIC_PANEL == i / SYMMETRIC_PANEL; j++)
            *(place_of(&matrix, i, i) + j - i) = (real)element(features, i, j);
    require(symmetric_matrix_negative_inverse(&matrix, "try again", &error), &error);
    for (int64_t row = 0; row < SIZE; row += 97) {
        double projected[FEATURES] = {0};
        for (int64_t j = 0; j < SIZE; j++)
            for (int64_t k = 0; k < FEATURES; k++)
                projected[k] -= (double)*place_of(&matrix, row, j) * features[j * FEATURES + k];
        for (int64_t column = 0; column < SIZE; column++) {
            double found = -(double)*place_of(&matrix, row, column);
            for (int64_t k = 0; k < FEATURES; k++)
                found += projected[k] * features[column * FEATURES + k];
            if (fabs(found - (row == column)) > 2e-5)
                fail_msg("row %lld, column %lld of the product is %g", (long long)row, (long long)column,
                         found);
        }
    }
    symmetric_matrix_release(&matrix);
    free(features);
    backend_close(backend);
}

static void a_singular_matrix_is_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(1);
    struct symmetric_matrix matrix;
    require(symmetric_matrix_create(&matrix, backend, 3, "lower SIZE", &error), &error);
    for (int64_t i = 0; i < 9; i++)
        ((real *)matrix.values.data)[i] = 1;
    assert_false(symmetric_matrix_negative_inverse(&matrix, "raise it", &error));
    assert_non_null(strstr(error.message, "not positive definite; raise it"));
    symmetric_matrix_release(&matrix);
    backend_close(backend);
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static size_t score_bytes(const struct golden *golden)
{
    return (size_t)(golden->positives.rows * golden->positives.columns) * sizeof(real);
}

static void threads_give_the_same_bits(void **state)
{
    const struct golden *golden = *state;
    struct recommender_settings settings[MODELS];
    list_models(settings);
    for (int model = 0; model < MODELS; model++) {
        real *scores[2];
        for (int threads = 1; threads <= 2; threads++) {
            struct backend *backend = open_backend(threads);
            struct recommender *recommender = fit(&settings[model], golden, backend);
            scores[threads - 1] = all_scores(recommender, backend);
            recommender_free(recommender);
            backend_close(backend);
        }
        assert_memory_equal(scores[0], scores[1], score_bytes(golden));
        free(scores[0]);
        free(scores[1]);
    }
}

static void loaded_models_score_the_same(void **state)
{
    const struct golden *golden = *state;
    struct recommender_settings settings[MODELS];
    struct backend *backend = open_backend(2);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-simple-recommenders-%ld.h5", (long)getpid());
    list_models(settings);
    for (int model = 0; model < MODELS; model++) {
        struct error error = ERROR_INITIALIZER;
        struct recommender *fitted = fit(&settings[model], golden, backend), *loaded;
        require(recommender_save(fitted, path, &error) && recommender_load(&loaded, backend, path, &error),
                &error);
        real *expected = all_scores(fitted, backend), *found = all_scores(loaded, backend);
        assert_memory_equal(expected, found, score_bytes(golden));
        free(expected);
        free(found);
        recommender_free(fitted);
        recommender_free(loaded);
    }
    unlink(path);
    backend_close(backend);
}

static void only_als_depends_on_the_seed(void **state)
{
    (void)state;
    struct recommender_settings settings[MODELS];
    list_models(settings);
    for (int model = 0; model < MODELS; model++)
        assert_int_equal(recommender_is_deterministic(&settings[model]),
                         strcmp(settings[model].model, "als") != 0);
}

static void fails_with(const struct golden *golden, const struct recommender_settings settings,
                       const char *expected)
{
    const struct training_set data = training_set_of(golden);
    expect_failure(&settings, &data, expected);
}

/* An item without users makes X^T X singular. A catalogue beyond any memory is refused before it is taken. */
static void failures_say_what_to_do(void **state)
{
    const struct golden *golden = *state;
    struct golden wide = *golden;
    wide.positives.columns = 30000000;
    fails_with(golden, settings_of("ease", 0.0), "raise recommenders.regularization");
    fails_with(&wide, ease_settings(), "raise data.k_core");
    fails_with(golden, knn_settings("nearest"), "use cosine");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ease_is_the_closed_form),         cmocka_unit_test(slim_is_the_minimum),
        cmocka_unit_test(gf_cf_is_the_sum_of_its_filters), cmocka_unit_test(neighborhoods_are_as_defined),
        cmocka_unit_test(als_sweeps_solve_exactly),        cmocka_unit_test(als_fits_by_sweeps_from_its_seed),
        cmocka_unit_test(inverse_of_several_panels),       cmocka_unit_test(a_singular_matrix_is_refused),
        cmocka_unit_test(threads_give_the_same_bits),      cmocka_unit_test(loaded_models_score_the_same),
        cmocka_unit_test(only_als_depends_on_the_seed),    cmocka_unit_test(failures_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
