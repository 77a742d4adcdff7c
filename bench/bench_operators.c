/*
 * Times every operator of the case list beside what the device does at most: milliseconds, GB/s and share of the copy
 * bandwidth, GFLOP/s and share of the GEMM peak of the same storage, from the operators' own counters.
 *
 *   bench_operators [--device cpu|cuda] [--threads N] [--small] [FAMILY]
 *
 * On a GPU the sizes are those of device_sizes.h; --small takes the smallest of the tests' sizes.
 */
#include <stdio.h>

#include "bench/device_sizes.h"
#include "bench/measure.h"
#include "tests/operator_storage.h"

struct operator_bench {
    struct backend *backend;
    struct ceilings ceilings;
    const char *only_family;
    double budget; /* seconds a direction of a case */
    bool small;
};

struct directed_case {
    struct backend *backend;
    struct operator_case *c;
    bool backward;
};

static void run_once(void *context)
{
    const struct directed_case *directed = context;
    struct operator_case *c = directed->c;
    if (directed->backward)
        c->family->backward(directed->backend, c->tensors, c->gradients, c->size);
    else
        c->family->forward(directed->backend, c->tensors, c->size);
}

static void print_case(const struct operator_case *c, bool bf16, bool backward)
{
    printf("%-18s %-4s %-8s ", c->family->name, bf16 ? "bf16" : "f32", backward ? "backward" : "forward");
    int width = 0;
    for (int i = 0; i < SIZE_NUMBERS; i++)
        width += printf(i ? " %lld" : "%lld", (long long)c->size[i]);
    printf("%*s", 34 - width, "");
}

/* An operator that fails does nothing from then on, fast: it has no time. */
static bool time_direction(const struct operator_bench *bench, struct operator_case *c, bool bf16,
                           bool backward, struct error *error)
{
    struct backend *backend = bench->backend;
    struct directed_case directed = {backend, c, backward};
    backend_reset_counters(backend);
    run_once(&directed);
    const struct operation_counters counters = backend->counters;
    const double seconds = measure_seconds(backend, run_once, &directed, bench->budget);
    const double peak = bf16 ? bench->ceilings.gemm_bf16 : bench->ceilings.gemm_f32;
    if (!backend_synchronize(backend, error))
        return false;
    const double byte_rate = counters.bytes / seconds, rate = counters.floating_point_operations / seconds;
    print_case(c, bf16, backward);
    printf(" %10.4f ms %8.1f GB/s %6.1f %% of copy %10.1f GFLOP/s %6.1f %% of GEMM\n", 1e3 * seconds,
           1e-9 * byte_rate, 100.0 * byte_rate / bench->ceilings.copy_bytes, 1e-9 * rate,
           100.0 * rate / peak);
    fflush(stdout);
    return true;
}

static bool time_case(const struct operator_bench *bench, const struct operator_family *family,
                      const int64_t *size, bool bf16, struct error *error)
{
    struct backend *backend = bench->backend;
    struct operator_case c;
    case_open(&c, backend, family, size);
    if (bf16)
        store_in_bf16(&c);
    for (int i = 0; i < c.count; i++) {
        upload_values(backend, &c.tensors[i], &c.initial[i]);
        upload_values(backend, &c.gradients[i], &c.upstream[i]);
    }
    const bool done = time_direction(bench, &c, bf16, false, error) &&
                      (!family->backward || time_direction(bench, &c, bf16, true, error));
    case_close(&c, backend);
    return done;
}

/* The sizes of a family for a GPU. A family without any is timed with the tests' largest. */
static bool time_on_gpu(const struct operator_bench *bench, const struct operator_family *family,
                        struct error *error)
{
    bool done = true, found = false;
    for (int i = 0; done && i < DEVICE_SIZE_COUNT; i++)
        if (strcmp(device_sizes[i].family, family->name) == 0) {
            found = true;
            done =
                time_case(bench, family, device_sizes[i].size, device_sizes[i].storage == DTYPE_BF16, error);
        }
    return found ? done : time_case(bench, family, family->bench_sizes[0], false, error);
}

static bool time_family(const struct operator_bench *bench, const struct operator_family *family,
                        struct error *error)
{
    const bool gpu = bench->backend->device != DEVICE_CPU;
    if (bench->small)
        return time_case(bench, family, family->sizes[family->sizes[1][0] > 0], gpu && stored_of(family),
                         error);
    if (gpu)
        return time_on_gpu(bench, family, error);
    bool done = true;
    for (int s = 0; done && s < 6 && family->bench_sizes[s][0] > 0; s++)
        done = time_case(bench, family, family->bench_sizes[s], false, error);
    return done;
}

/* An operator that fails is named and the next is timed. */
static bool time_families(const struct operator_bench *bench, struct error *error)
{
    bool done = true;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        const struct operator_family *family = &operator_families[f];
        struct error failure = ERROR_INITIALIZER;
        if ((bench->only_family && strcmp(bench->only_family, family->name) != 0) ||
            time_family(bench, family, &failure))
            continue;
        error_print(&failure, stderr);
        done = error_set(error, failure.kind, "%s", failure.message);
    }
    return done;
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&argument_count, &arguments);
    struct error error = ERROR_INITIALIZER;
    struct operator_bench bench = {.backend = backend_open(device.name, device.threads, &error),
                                   .only_family = argument_count > 1 ? arguments[1] : NULL,
                                   .budget = device.small ? 0.0 : 0.25,
                                   .small = device.small};
    bool done = bench.backend && ceilings_measure(&bench.ceilings, bench.backend, device.small, &error);
    if (done) {
        ceilings_print(&bench.ceilings, bench.backend);
        done = time_families(&bench, &error);
    }
    error_print(&error, stderr);
    backend_close(bench.backend);
    return done ? 0 : (int)error.kind;
}
