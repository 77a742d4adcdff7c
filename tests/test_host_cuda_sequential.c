/*
 * Sequential recommenders on the CUDA backend whose kernels run on the host (host_cuda.h) and whose memory the host cannot
 * touch: the CPU's goldens, the same bits under another schedule, and the CPU's rankings with models from files.
 */
#include <omp.h>
#include <unistd.h>

#include "tests/host_device.h"
#include "tests/host_schedule.h"
#include "tests/sequential_cases.h"

static void goldens_hold(void **state)
{
    (void)state;
    /* The others run the same kernels on other data. */
    static const char *const cases[] = {"cross_entropy", "gbce",         "sampled_softmax",
                                        "bert4rec",      "cl4srec_mask", "targets_cross_entropy"};
    struct backend *device = open_device();
    int checked = 0;
    for (int number = 0; number < SEQUENTIAL_GOLDENS; number++)
        if (strcmp(sequential_goldens[number][0], cases[checked]) == 0) {
            check_sequential_golden(device, number);
            if (++checked == sizeof cases / sizeof *cases)
                break;
        }
    assert_int_equal(checked, sizeof cases / sizeof *cases);
    backend_close(device);
}

static struct recommender_settings short_settings(int model)
{
    struct recommender_settings settings =
        sequential_settings(sequential_models[model][0], sequential_models[model][1]);
    settings.sequences = CHAIN_USERS;
    settings.layers = 1;
    settings.dropout = 0.2;
    settings.epochs = settings.evaluate_every = 1;
    return settings;
}

/* Of sequential_models: one a loss and one a model. */
static const int fitted_models[] = {0, 2, 4, 6};
enum { FITTED_MODELS = sizeof fitted_models / sizeof *fitted_models };

static void schedules_give_the_same_bits(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    struct backend *device = open_device();
    for (int model = 0; model < FITTED_MODELS; model++) {
        const struct recommender_settings settings = short_settings(fitted_models[model]);
        real *scores[2];
        for (int schedule = 0; schedule < 2; schedule++) {
            struct fit_report report;
            host_schedule_choose(schedule);
            struct recommender *recommender = fit_chains(&settings, &chains, device, NULL, &report);
            scores[schedule] = chain_scores(recommender, device);
            recommender_free(recommender);
        }
        assert_memory_equal(scores[0], scores[1], CHAIN_SCORE_BYTES);
        free(scores[0]);
        free(scores[1]);
    }
    host_schedule_choose(0);
    backend_close(device);
    free_chains(&chains);
}

/* What one device fits and saves the other loads and scores alike. */
static void scores_are_those_of_the_cpu(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct chains chains;
    make_chains(&chains);
    struct backend *device = open_device(), *cpu = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-host-cuda-sequential-%ld.h5", (long)getpid());
    for (int model = 0; model < FITTED_MODELS; model++) {
        const struct recommender_settings settings = short_settings(fitted_models[model]);
        struct fit_report report;
        struct backend *const fitting = model % 2 == 0 ? cpu : device, *const loading =
                                                                           model % 2 == 0 ? device : cpu;
        struct recommender *fitted = fit_chains(&settings, &chains, fitting, NULL, &report), *loaded;
        require(recommender_save(fitted, path, &error) && recommender_load(&loaded, loading, path, &error),
                &error);
        real *expected = chain_scores(fitted, fitting), *found = chain_scores(loaded, loading);
        for (int64_t place = 0; place < CHAIN_USERS * CHAIN_ITEMS; place++)
            if (!(fabs((double)(found[place] - expected[place])) <=
                  1e-5 * (1.0 + fabs((double)expected[place]))))
                fail_msg("%s %s: score %lld is %g, on the other device %g", settings.model, settings.loss,
                         (long long)place, (double)found[place], (double)expected[place]);
        free(expected);
        free(found);
        recommender_free(fitted);
        recommender_free(loaded);
    }
    unlink(path);
    backend_close(device);
    backend_close(cpu);
    free_chains(&chains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(schedules_give_the_same_bits),
        cmocka_unit_test(scores_are_those_of_the_cpu),
    };
    omp_set_num_threads(1); /* launches are small: a second thread would only spin */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
