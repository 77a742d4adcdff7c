/*
 * The contrastive models on the graph on the CUDA backend whose kernels run on the host (host_cuda.h): the first steps of the
 * CPU's goldens; of the two that begin an epoch with more than its triples, the same bits again and after a resume.
 */
#include <omp.h>
#include <unistd.h>

#include "tests/graph_recommender_cases.h"
#include "tests/host_device.h"
#include "tests/host_schedule.h"

static void goldens_hold(void **state)
{
    (void)state;
    enum { STEPS = 3 };
    struct backend *device = open_device();
    for (int golden = 0; golden < GRAPH_GOLDENS; golden++)
        check_graph_golden(device, &graph_goldens[golden], STEPS);
    backend_close(device);
}

/* Two epochs of two or three large batches, the second with prototypes. */
static struct recommender_settings short_settings(const char *model)
{
    struct recommender_settings settings = settings_of(model, "adam");
    settings.layers = strcmp(model, "ncl") == 0 ? 2 : 1;
    settings.width = 4;
    settings.batch = 600;
    settings.warm_up = 1;
    settings.epochs = settings.evaluate_every = 2;
    return settings;
}

static void fits_repeat_and_resume(void **state)
{
    (void)state;
    const char *const models[] = {"sgl", "ncl"};
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *device = open_device();
    const size_t bytes = (size_t)(fixture.positives.rows * fixture.positives.columns) * sizeof(real);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-host-cuda-graph-%ld.h5", (long)getpid());
    for (int model = 0; model < 2; model++) {
        const struct recommender_settings settings = short_settings(models[model]);
        host_schedule_choose(0);
        real *first = fitted_scores(&settings, &fixture, device, NULL);
        host_schedule_choose(host_schedule_count() - 1);
        leave_checkpoint(&settings, &fixture, device, 1, NO_BEST, path);
        real *resumed = fitted_scores(&settings, &fixture, device, path);
        assert_memory_equal(first, resumed, bytes);
        free(first);
        free(resumed);
    }
    host_schedule_choose(0);
    unlink(path);
    backend_close(device);
    free_fixture(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(fits_repeat_and_resume),
    };
    omp_set_num_threads(1); /* launches are small: a second thread would only spin */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
