/*
 * The recommenders that are fitted in one go on the CUDA backend whose kernels run on the host (host_cuda.h) and whose memory
 * the host cannot touch: the CPU's goldens, and models that are fitted on one device and score on the other.
 */
#include <omp.h>
#include <unistd.h>

#include "tests/host_device.h"
#include "tests/simple_recommender_cases.h"

static void goldens_hold(void **state)
{
    struct backend *device = open_device();
    check(device, *state, "ease", ease_settings());
    check(device, *state, "slim", slim_settings(0));
    check(device, *state, "gf_cf", settings_of("gf_cf", 0.0));
    check(device, *state, "dice", knn_settings("dice"));
    backend_close(device);
}

static void models_score_alike_on_both(void **state)
{
    const struct golden *golden = *state;
    const int64_t count = golden->positives.rows * golden->positives.columns;
    struct recommender_settings settings[MODELS];
    struct backend *device = open_device(), *cpu = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-host-cuda-simple-recommenders-%ld.h5", (long)getpid());
    list_models(settings);
    for (int model = 0; model < MODELS; model++) {
        struct error error = ERROR_INITIALIZER;
        struct recommender *fitted = fit(&settings[model], golden, device), *loaded;
        require(recommender_save(fitted, path, &error) && recommender_load(&loaded, cpu, path, &error),
                &error);
        real *expected = all_scores(fitted, device), *found = all_scores(loaded, cpu);
        for (int64_t place = 0; place < count; place++)
            if (fabs((double)(expected[place] - found[place])) > 1e-5)
                fail_msg("%s: score %lld is %g on the device, %g on the CPU", settings[model].model,
                         (long long)place, (double)expected[place], (double)found[place]);
        free(expected);
        free(found);
        recommender_free(fitted);
        recommender_free(loaded);
    }
    unlink(path);
    backend_close(device);
    backend_close(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(models_score_alike_on_both),
    };
    omp_set_num_threads(1); /* launches are small: a second thread would only spin */
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
