/*
 * Recommenders: goldens of BPR-MF and LightGCN against PyTorch (goldens/make_recommenders.py), the triples,
 * the same bits at any number of threads and after a resume, early stopping, and the neighbourhood models by
 * brute force.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "models/recommenders/block_sgd.h"
#include "tests/recommender_cases.h"

/* ---- goldens ------------------------------------------------------------------------------------------- */

static void test_golden_bpr_mf(void **state)
{
    (void)state;
    struct backend *backend = open_backend(2);
    check_golden(backend, "bpr_mf");
    backend_close(backend);
}

static void test_golden_lightgcn(void **state)
{
    (void)state;
    struct backend *backend = open_backend(2);
    check_golden(backend, "lightgcn");
    backend_close(backend);
}

/* ---- triples ------------------------------------------------------------------------------------------- */

static void test_triples(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    const struct training_set data = training_set_of(&fixture);
    const int64_t users = fixture.positives.rows, items = fixture.positives.columns, batch = 50;
    struct triple_sampler sampler;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(2);
    assert_true(triple_sampler_open(&sampler, backend, &data, 3, &error));
    assert_int_equal(sampler.count, csr_count(&fixture.positives));
    int32_t *rows = malloc((size_t)(3 * sampler.count) * sizeof *rows);
    real *weights = malloc((size_t)sampler.count * sizeof *weights);
    struct tensor row_tensor = tensor_1d(rows, DTYPE_I32, DEVICE_CPU, 3 * sampler.count);
    struct tensor weight_tensor = tensor_1d(weights, DTYPE_REAL, DEVICE_CPU, sampler.count);
    int *seen = calloc((size_t)(users * items), sizeof *seen);
    for (int epoch = 1; epoch <= 3; epoch++) {
        triple_sampler_epoch(&sampler, epoch, batch, &row_tensor, &weight_tensor);
        for (int64_t place = 0; place < sampler.count; place++) {
            const int64_t first = place / batch * batch;
            const int64_t size = sampler.count - first < batch ? sampler.count - first : batch;
            const int32_t *triple = rows + 3 * first + (place - first);
            const int32_t user = triple[0], positive = triple[size] - (int32_t)users,
                          negative = triple[2 * size] - (int32_t)users;
            assert_true(csr_contains_sorted(&fixture.positives, user, positive));
            assert_false(csr_contains_sorted(&fixture.positives, user, negative));
            assert_false(csr_contains_sorted(&fixture.excluded, user, negative));
            seen[user * items + positive]++;
        }
    }
    for (int64_t cell = 0; cell < users * items; cell++)
        assert_int_equal(seen[cell],
                         csr_contains_sorted(&fixture.positives, cell / items, (int32_t)(cell % items)) * 3);
    free(rows);
    free(weights);
    free(seen);
    triple_sampler_close(&sampler);
    backend_close(backend);
    free_fixture(&fixture);
}

/* Chi-square of 20,000 negatives of one user over the items left to him. */
static void test_negatives_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 20000, USER = 4 };
    struct fixture fixture;
    make_fixture(&fixture);
    struct csr forbidden;
    struct error error = ERROR_INITIALIZER;
    require(csr_union(&forbidden, &fixture.positives, &fixture.excluded, &error), &error);
    const int32_t users = (int32_t)forbidden.rows, items = (int32_t)forbidden.columns;
    static int32_t pair_users[DRAWS], pair_items[DRAWS], rows[3 * DRAWS];
    static real pair_weights[DRAWS], weights[DRAWS];
    for (int64_t draw = 0; draw < DRAWS; draw++)
        pair_users[draw] = USER;
    const struct tensor user_list = tensor_1d(pair_users, DTYPE_I32, DEVICE_CPU, DRAWS);
    const struct tensor item_list = tensor_1d(pair_items, DTYPE_I32, DEVICE_CPU, DRAWS);
    const struct tensor weight_list = tensor_1d(pair_weights, DTYPE_REAL, DEVICE_CPU, DRAWS);
    const struct tensor starts = tensor_1d(forbidden.starts, DTYPE_I64, DEVICE_CPU, users + 1);
    const struct tensor excluded = tensor_1d(forbidden.indices, DTYPE_I32, DEVICE_CPU, csr_count(&forbidden));
    struct tensor drawn = tensor_1d(rows, DTYPE_I32, DEVICE_CPU, 3 * DRAWS);
    struct tensor drawn_weights = tensor_1d(weights, DTYPE_REAL, DEVICE_CPU, DRAWS);
    struct backend *backend = open_backend(1);
    op_sample_triples(backend, &drawn, &drawn_weights,
                      (struct triple_source){&user_list, &item_list, &weight_list, &starts, &excluded, items},
                      DRAWS, 5, 1);
    require(backend_synchronize(backend, &error), &error);
    int64_t counts[256] = {0};
    for (int64_t draw = 0; draw < DRAWS; draw++)
        counts[rows[2 * DRAWS + draw] - users]++;
    double statistic = 0.0;
    const int64_t allowed = items - csr_row_length(&forbidden, USER);
    const double expected = (double)DRAWS / (double)allowed;
    for (int32_t item = 0; item < items; item++)
        if (csr_contains_sorted(&forbidden, USER, item))
            assert_int_equal(counts[item], 0);
        else
            statistic += ((double)counts[item] - expected) * ((double)counts[item] - expected) / expected;
    /* Five standard deviations above the mean of a chi-square with allowed - 1 degrees of freedom. */
    assert_true(statistic < (double)(allowed - 1) + 5.0 * sqrt(2.0 * (double)(allowed - 1)));
    backend_close(backend);
    csr_free(&forbidden);
    free_fixture(&fixture);
}

/* ---- fits ---------------------------------------------------------------------------------------------- */

static const char *const trained[][2] = {{"bpr_mf", "adam"}, {"bpr_mf", "sgd"},  {"lightgcn", "adam"},
                                         {"sgl", "adam"},    {"simgcl", "adam"}, {"xsimgcl", "adam"},
                                         {"ncl", "adam"}};
enum { TRAINED = sizeof trained / sizeof *trained };

static void test_threads_give_the_same_bits(void **state)
{
    (void)state;
    const char *const all[][2] = {{"bpr_mf", "adam"}, {"bpr_mf", "sgd"},  {"lightgcn", "adam"},
                                  {"sgl", "adam"},    {"simgcl", "adam"}, {"xsimgcl", "adam"},
                                  {"ncl", "adam"},    {"item_knn", ""}};
    struct fixture fixture;
    make_fixture(&fixture);
    const size_t bytes = (size_t)(fixture.positives.rows * fixture.positives.columns) * sizeof(real);
    for (size_t model = 0; model < sizeof all / sizeof *all; model++) {
        struct recommender_settings settings = settings_of(all[model][0], all[model][1]);
        settings.width = 64;
        settings.batch = 300; /* large enough for the operators to use their threads */
        real *scores[2];
        for (int threads = 1; threads <= 2; threads++) {
            struct fit_report report;
            struct backend *backend = open_backend(threads);
            struct recommender *recommender = fit(&settings, &fixture, backend, NULL, &report);
            scores[threads - 1] = all_scores(recommender, backend, fixture.positives.rows);
            recommender_free(recommender);
            backend_close(backend);
        }
        assert_memory_equal(scores[0], scores[1], bytes);
        free(scores[0]);
        free(scores[1]);
    }
    free_fixture(&fixture);
}

static void test_resume_equals_straight(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(2);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-recommenders-%ld.h5", (long)getpid());
    for (int model = 0; model < TRAINED; model++) {
        struct recommender_settings settings = settings_of(trained[model][0], trained[model][1]);
        settings.evaluate_every = 4;
        struct fit_report straight_report, resumed_report;
        struct recommender *straight = fit(&settings, &fixture, backend, NULL, &straight_report);
        leave_checkpoint(&settings, &fixture, backend, 3, NO_BEST, path);
        struct recommender *resumed = fit(&settings, &fixture, backend, path, &resumed_report);
        real *expected = all_scores(straight, backend, fixture.positives.rows);
        real *found = all_scores(resumed, backend, fixture.positives.rows);
        assert_memory_equal(expected, found,
                            (size_t)(fixture.positives.rows * fixture.positives.columns) * sizeof(real));
        assert_int_equal(straight_report.best_epoch, resumed_report.best_epoch);
        assert_int_equal(straight_report.epochs, resumed_report.epochs);
        free(expected);
        free(found);
        recommender_free(straight);
        recommender_free(resumed);
    }
    unlink(path);
    backend_close(backend);
    free_fixture(&fixture);
}

static int64_t epoch_of_checkpoint(const char *path)
{
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    int64_t epoch;
    require(store_open(&store, path, &error) && store_get_integer(store, "/", "epoch", &epoch, &error),
            &error);
    store_close(store);
    return epoch;
}

/* The exit status of a process that is interrupted at the start of a fit, whose every epoch is judged. */
static int fit_interrupted(const struct recommender_settings *settings, const struct fixture *fixture,
                           const char *checkpoint)
{
    const pid_t child = fork();
    if (child == 0) {
        struct error error = ERROR_INITIALIZER;
        struct recommender *recommender;
        struct fit_report report;
        const struct training_set data = training_set_of(fixture);
        const struct fit_watch watch = {
            .truth = &fixture->truth, .mask = &fixture->positives, .metric = METRIC_NDCG, .k = 10};
        struct backend *backend = open_backend(1);
        interrupt_install();
        raise(SIGINT);
        recommender_fit(&recommender, backend, settings, &data, &watch, 7, checkpoint, NULL, &report, &error);
        _exit((int)error.kind);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_interrupted_fit_keeps_its_epoch(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-recommenders-%ld.h5", (long)getpid());
    for (int model = 0; model < TRAINED; model++) {
        struct recommender_settings settings = settings_of(trained[model][0], trained[model][1]);
        settings.evaluate_every = 1;
        assert_int_equal(fit_interrupted(&settings, &fixture, path), ERROR_INTERRUPTED);
        assert_int_equal(epoch_of_checkpoint(path), 1);
    }
    unlink(path);
    free_fixture(&fixture);
}

/* A fit that goes on keeps the best epoch's embeddings, and its patience counts from that epoch. */
static void test_resume_keeps_the_best(void **state)
{
    (void)state;
    enum { BEST_EPOCH = 3, PATIENCE = 4 };
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-recommenders-%ld.h5", (long)getpid());
    const int64_t users = fixture.positives.rows;
    const size_t bytes = (size_t)(users * fixture.positives.columns) * sizeof(real);
    for (int model = 0; model < TRAINED; model++) {
        struct recommender_settings settings = settings_of(trained[model][0], trained[model][1]);
        settings.evaluate_every = 1;
        settings.patience = PATIENCE;
        struct fit_report report;
        leave_checkpoint(&settings, &fixture, backend, BEST_EPOCH, UNBEATABLE, path);
        struct recommender *resumed = fit(&settings, &fixture, backend, path, &report);
        assert_int_equal(report.best_epoch, BEST_EPOCH);
        assert_int_equal(report.epochs, BEST_EPOCH + PATIENCE);
        settings.epochs = settings.evaluate_every = BEST_EPOCH;
        struct recommender *straight = fit(&settings, &fixture, backend, NULL, &report);
        real *expected = all_scores(straight, backend, users), *found = all_scores(resumed, backend, users);
        assert_memory_equal(expected, found, bytes);
        free(expected);
        free(found);
        recommender_free(straight);
        recommender_free(resumed);
    }
    unlink(path);
    backend_close(backend);
    free_fixture(&fixture);
}

/* A checkpoint of other settings is not used. */
static void test_foreign_checkpoint_is_ignored(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-recommenders-%ld.h5", (long)getpid());
    struct recommender_settings settings = settings_of("bpr_mf", "adam");
    leave_checkpoint(&settings, &fixture, backend, 3, NO_BEST, path);
    settings.learning_rate = 0.02;
    struct fit_report alone, beside;
    struct recommender *first = fit(&settings, &fixture, backend, NULL, &alone);
    struct recommender *second = fit(&settings, &fixture, backend, path, &beside);
    real *expected = all_scores(first, backend, fixture.positives.rows);
    real *found = all_scores(second, backend, fixture.positives.rows);
    assert_memory_equal(expected, found,
                        (size_t)(fixture.positives.rows * fixture.positives.columns) * sizeof(real));
    free(expected);
    free(found);
    recommender_free(first);
    recommender_free(second);
    unlink(path);
    backend_close(backend);
    free_fixture(&fixture);
}

/* The fit learns, stops when patience is spent, and hands back the best epoch's model. */
static void test_early_stopping(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    const struct training_set data = training_set_of(&fixture);
    for (int model = 0; model < TRAINED; model++) {
        struct error error = ERROR_INITIALIZER;
        struct recommender_settings settings = settings_of(trained[model][0], trained[model][1]);
        settings.epochs = 300;
        struct fit_report report, popular;
        recommender_free(fit(
            &(struct recommender_settings){
                .model = "popularity", .width = 1, .batch = 1, .epochs = 1, .evaluate_every = 1},
            &fixture, backend, NULL, &popular));
        recommender_free(fit(&settings, &fixture, backend, NULL, &report));
        assert_true(report.epochs < settings.epochs);
        assert_int_equal(report.epochs, report.best_epoch + settings.patience);
        assert_true(report.best_score > popular.best_score);

        /* Trained for just so many epochs and judged only at the end, the same model has the same score. */
        struct recommender *again;
        settings.epochs = settings.evaluate_every = report.best_epoch;
        struct fit_report straight;
        again = fit(&settings, &fixture, backend, NULL, &straight);
        assert_true(straight.best_score == report.best_score);
        recommender_free(again);
        const struct fit_watch nothing = {0};
        assert_true(
            recommender_fit(&again, backend, &settings, &data, &nothing, 7, NULL, NULL, &straight, &error));
        assert_int_equal(straight.epochs, settings.epochs);
        recommender_free(again);
    }
    backend_close(backend);
    free_fixture(&fixture);
}

static void test_failures_say_what_to_do(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct training_set data = training_set_of(&fixture);
    struct recommender_settings settings = settings_of("bpr_mf", "adam");
    settings.learning_rate = 1e30;
    expect_failure(&settings, &data, "lower recommenders.learning_rate");
    settings = settings_of("lightgcn", "adam");
    settings.learning_rate = 1e30;
    expect_failure(&settings, &data, "optimizer step");
    settings = settings_of("bpr_mf", "sgd");
    settings.learning_rate = 1e30;
    expect_failure(&settings, &data, "lower recommenders.learning_rate");
    settings = settings_of("lightgcn", "adam");
    settings.layers = 9;
    expect_failure(&settings, &data, "recommenders.layers");
    settings = settings_of("bpr", "adam");
    expect_failure(&settings, &data, "is not known");
    settings = settings_of("bpr_mf", "adam");
    fixture.weights[3] = -1.0f;
    expect_failure(&settings, &data, "row 3");
    fixture.weights[3] = NAN;
    expect_failure(&settings, &data, "row 3");
    free_fixture(&fixture);
}

/* ---- neighbourhoods by brute force --------------------------------------------------------------------- */

static double weight_at(const struct fixture *fixture, int64_t user, int32_t item)
{
    for (int64_t index = fixture->positives.starts[user]; index < fixture->positives.starts[user + 1];
         index++)
        if (fixture->positives.indices[index] == item)
            return (double)fixture->weights[index];
    return 0.0;
}

static double brute_similarity(const struct fixture *fixture, const char *kind, int32_t source,
                               int32_t target, double shrinkage)
{
    double product = 0.0, lower = 0.0, upper = 0.0, source_sum = 0.0, source_square = 0.0,
           target_square = 0.0;
    for (int64_t user = 0; user < fixture->positives.rows; user++) {
        const double a = weight_at(fixture, user, source), b = weight_at(fixture, user, target);
        product += a * b;
        lower += fmin(a, b);
        upper += fmax(a, b);
        source_sum += a;
        source_square += a * a;
        target_square += b * b;
    }
    if (strcmp(kind, "cosine") == 0)
        return product > 0 ? product / (sqrt(source_square) * sqrt(target_square) + shrinkage) : 0.0;
    if (strcmp(kind, "jaccard") == 0)
        return lower > 0 ? lower / (upper + shrinkage) : 0.0;
    return product > 0 ? product / (source_sum + shrinkage) : 0.0;
}

static void check_knn(const struct fixture *fixture, const char *kind)
{
    enum { TARGET = 17, NEIGHBORS = 10 };
    struct recommender_settings settings = settings_of("item_knn", "");
    snprintf(settings.similarity, sizeof settings.similarity, "%s", kind);
    struct backend *backend = open_backend(2);
    struct fit_report report;
    struct recommender *recommender = fit(&settings, fixture, backend, NULL, &report);
    const int32_t items = (int32_t)fixture->positives.columns;
    real *scores = all_scores(recommender, backend, fixture->positives.rows);
    double similarity[256];
    for (int32_t source = 0; source < items; source++)
        similarity[source] =
            source == TARGET ? 0.0 : brute_similarity(fixture, kind, source, TARGET, settings.shrinkage);
    bool kept[256] = {false};
    for (int rank = 0; rank < NEIGHBORS; rank++) {
        int32_t best = -1;
        for (int32_t source = 0; source < items; source++)
            if (!kept[source] && (best < 0 || similarity[source] > similarity[best]))
                best = source;
        kept[best] = true;
    }
    for (int64_t user = 0; user < fixture->positives.rows; user++) {
        double expected = 0.0;
        for (int32_t source = 0; source < items; source++)
            expected += kept[source] ? weight_at(fixture, user, source) * similarity[source] : 0.0;
        if (fabs(expected - (double)scores[user * items + TARGET]) > 1e-5)
            fail_msg("%s: user %lld scores %g, brute force %g", kind, (long long)user,
                     (double)scores[user * items + TARGET], expected);
    }
    free(scores);
    recommender_free(recommender);
    backend_close(backend);
}

static void test_item_knn(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    check_knn(&fixture, "cosine");
    check_knn(&fixture, "jaccard");
    check_knn(&fixture, "conditional");
    free_fixture(&fixture);
}

static void test_popularity(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    struct fit_report report;
    const struct recommender_settings settings = settings_of("popularity", "");
    struct recommender *recommender = fit(&settings, &fixture, backend, NULL, &report);
    real *scores = all_scores(recommender, backend, fixture.positives.rows);
    for (int32_t item = 0; item < fixture.positives.columns; item++) {
        double expected = 0.0;
        for (int64_t user = 0; user < fixture.positives.rows; user++)
            expected += weight_at(&fixture, user, item);
        assert_true(fabs(expected - (double)scores[item]) < 1e-5);
    }
    free(scores);
    recommender_free(recommender);
    backend_close(backend);
    free_fixture(&fixture);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static void test_save_and_load(void **state)
{
    (void)state;
    const char *const all[][2] = {{"bpr_mf", "adam"}, {"lightgcn", "adam"}, {"sgl", "adam"},
                                  {"simgcl", "adam"}, {"xsimgcl", "adam"},  {"ncl", "adam"},
                                  {"item_knn", ""},   {"popularity", ""}};
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-recommenders-%ld.h5", (long)getpid());
    for (size_t model = 0; model < sizeof all / sizeof *all; model++) {
        struct error error = ERROR_INITIALIZER;
        const struct recommender_settings settings = settings_of(all[model][0], all[model][1]);
        struct fit_report report;
        struct recommender *fitted = fit(&settings, &fixture, backend, NULL, &report), *loaded;
        require(recommender_save(fitted, path, &error), &error);
        require(recommender_load(&loaded, backend, path, &error), &error);
        real *expected = all_scores(fitted, backend, fixture.positives.rows);
        real *found = all_scores(loaded, backend, fixture.positives.rows);
        assert_memory_equal(expected, found,
                            (size_t)(fixture.positives.rows * fixture.positives.columns) * sizeof(real));
        free(expected);
        free(found);
        recommender_free(fitted);
        recommender_free(loaded);
    }
    unlink(path);
    backend_close(backend);
    free_fixture(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bpr_mf),
        cmocka_unit_test(test_golden_lightgcn),
        cmocka_unit_test(test_triples),
        cmocka_unit_test(test_negatives_are_uniform),
        cmocka_unit_test(test_threads_give_the_same_bits),
        cmocka_unit_test(test_resume_equals_straight),
        cmocka_unit_test(test_interrupted_fit_keeps_its_epoch),
        cmocka_unit_test(test_resume_keeps_the_best),
        cmocka_unit_test(test_foreign_checkpoint_is_ignored),
        cmocka_unit_test(test_early_stopping),
        cmocka_unit_test(test_failures_say_what_to_do),
        cmocka_unit_test(test_item_knn),
        cmocka_unit_test(test_popularity),
        cmocka_unit_test(test_save_and_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
