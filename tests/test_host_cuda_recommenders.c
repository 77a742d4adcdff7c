/*
 * Recommenders on the CUDA backend whose kernels run on the host (host_cuda.h) and whose memory the host cannot touch:
 * the CPU's goldens and triples, the same bits again and after a resume, saved models, the CPU's rankings.
 */
#include <omp.h>
#include <unistd.h>

#include "tests/host_device.h"
#include "tests/host_schedule.h"
#include "tests/recommender_cases.h"

static const char *const trained[] = {"bpr_mf", "lightgcn"};
enum { TRAINED = sizeof trained / sizeof *trained };

static struct recommender_settings short_settings(const char *model)
{
    struct recommender_settings settings = settings_of(model, "adam");
    settings.layers = 1;
    settings.width = 8;
    settings.batch = 600;
    settings.epochs = settings.evaluate_every = 2;
    return settings;
}

static size_t score_bytes(const struct fixture *fixture)
{
    return (size_t)(fixture->positives.rows * fixture->positives.columns) * sizeof(real);
}

static void goldens_hold(void **state)
{
    (void)state;
    struct backend *device = open_device();
    check_golden(device, "bpr_mf");
    check_golden(device, "lightgcn");
    backend_close(device);
}

/* An epoch's rows, and behind them its weights; malloc'ed. */
static void *draw_epoch(struct backend *backend, const struct training_set *data, size_t *bytes)
{
    struct error error = ERROR_INITIALIZER;
    struct triple_sampler sampler;
    require(triple_sampler_open(&sampler, backend, data, 3, &error), &error);
    *bytes = (size_t)sampler.count * 4 * sizeof(int32_t);
    char *memory = backend_allocate(backend, *bytes), *host = malloc(*bytes);
    struct tensor rows = tensor_1d(memory, DTYPE_I32, backend->device, 3 * sampler.count);
    struct tensor weights =
        tensor_1d(memory + tensor_bytes(&rows), DTYPE_REAL, backend->device, sampler.count);
    triple_sampler_epoch(&sampler, 2, 64, &rows, &weights);
    backend->download(backend, host, memory, *bytes);
    require(backend_synchronize(backend, &error), &error);
    backend_release(backend, memory, *bytes);
    triple_sampler_close(&sampler);
    return host;
}

static void triples_are_those_of_the_cpu(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    const struct training_set data = training_set_of(&fixture);
    struct backend *device = open_device(), *cpu = open_backend(1);
    size_t bytes;
    void *expected = draw_epoch(cpu, &data, &bytes), *found = draw_epoch(device, &data, &bytes);
    assert_memory_equal(expected, found, bytes);
    free(expected);
    free(found);
    backend_close(device);
    backend_close(cpu);
    free_fixture(&fixture);
}

static void fits_repeat_and_resume(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *device = open_device();
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-host-cuda-recommenders-%ld.h5", (long)getpid());
    for (int model = 0; model < TRAINED; model++) {
        const struct recommender_settings settings = short_settings(trained[model]);
        host_schedule_choose(0);
        real *first = fitted_scores(&settings, &fixture, device, NULL);
        host_schedule_choose(host_schedule_count() - 1);
        real *again = fitted_scores(&settings, &fixture, device, NULL);
        leave_checkpoint(&settings, &fixture, device, 1, NO_BEST, path);
        real *resumed = fitted_scores(&settings, &fixture, device, path);
        assert_memory_equal(first, again, score_bytes(&fixture));
        assert_memory_equal(first, resumed, score_bytes(&fixture));
        free(first);
        free(again);
        free(resumed);
    }
    host_schedule_choose(0);
    unlink(path);
    backend_close(device);
    free_fixture(&fixture);
}

static void rank(struct top_k *top, struct recommender *recommender, struct backend *backend,
                 const struct fixture *fixture)
{
    enum { CUT = 10 };
    struct error error = ERROR_INITIALIZER;
    const struct scorer scorer = recommender_scorer(recommender);
    int32_t *users;
    int64_t count;
    require(users_with_truth(&users, &count, &fixture->truth, &error), &error);
    require(top_k_rank(top, backend, &scorer, users, count, CUT, &fixture->positives, &error), &error);
    free(users);
}

/* A model that is fitted and saved on one device and loaded on the other ranks the same. */
static void check_rankings(struct backend *fitting, struct backend *loading, const char *model,
                           const struct fixture *fixture, const char *path)
{
    struct error error = ERROR_INITIALIZER;
    const struct recommender_settings settings = short_settings(model);
    struct fit_report report;
    struct recommender *fitted = fit(&settings, fixture, fitting, NULL, &report), *loaded;
    require(recommender_save(fitted, path, &error), &error);
    require(recommender_load(&loaded, loading, path, &error), &error);
    struct top_k expected, found;
    rank(&expected, fitted, fitting, fixture);
    rank(&found, loaded, loading, fixture);
    assert_int_equal(expected.users, found.users);
    assert_memory_equal(expected.items, found.items,
                        (size_t)(expected.users * expected.k) * sizeof *expected.items);
    assert_int_equal(expected.ties, found.ties);
    top_k_free(&expected);
    top_k_free(&found);
    recommender_free(fitted);
    recommender_free(loaded);
}

static void rankings_are_those_of_the_cpu(void **state)
{
    (void)state;
    static const char *const all[] = {"bpr_mf", "lightgcn", "item_knn", "popularity"};
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *device = open_device(), *cpu = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-host-cuda-recommenders-%ld.h5", (long)getpid());
    for (size_t model = 0; model < sizeof all / sizeof *all; model++)
        check_rankings(cpu, device, all[model], &fixture, path);
    check_rankings(device, cpu, "bpr_mf", &fixture, path);
    unlink(path);
    backend_close(device);
    backend_close(cpu);
    free_fixture(&fixture);
}

/* Descent by blocks is the host's work: the bits of the CPU. */
static void sgd_is_that_of_the_cpu(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *device = open_device(), *cpu = open_backend(1);
    struct recommender_settings settings = settings_of("bpr_mf", "sgd");
    settings.epochs = 3;
    const struct training_set data = training_set_of(&fixture);
    real *tables[2];
    struct backend *const backends[] = {cpu, device};
    for (int b = 0; b < 2; b++) {
        struct error error = ERROR_INITIALIZER;
        const struct open_training opened = start_training(backends[b], &settings, &data, 7);
        struct embedding_training *training = opened.training;
        double loss;
        for (int64_t epoch = 1; epoch <= settings.epochs; epoch++)
            require(bpr_mf_model.train_epoch(training, epoch, &loss, &error), &error);
        tables[b] = malloc(tensor_bytes(&training->parameters));
        tensor_download(backends[b], tables[b], &training->parameters);
        end_training(opened);
    }
    assert_memory_equal(tables[0], tables[1],
                        (size_t)((fixture.positives.rows + fixture.positives.columns) * settings.width) *
                            sizeof(real));
    free(tables[0]);
    free(tables[1]);
    backend_close(device);
    backend_close(cpu);
    free_fixture(&fixture);
}

static void failures_say_what_to_do(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *device = open_device();
    struct recommender_settings settings = short_settings("bpr_mf");
    settings.learning_rate = 1e30;
    const struct training_set data = training_set_of(&fixture);
    expect_failure_on(device, &settings, &data, "optimizer step");
    backend_close(device);
    free_fixture(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),           cmocka_unit_test(triples_are_those_of_the_cpu),
        cmocka_unit_test(fits_repeat_and_resume), cmocka_unit_test(rankings_are_those_of_the_cpu),
        cmocka_unit_test(sgd_is_that_of_the_cpu), cmocka_unit_test(failures_say_what_to_do),
    };
    omp_set_num_threads(1); /* launches are small: a second thread would only spin */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
