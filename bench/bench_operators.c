/*
 * Times every operator of the case list: best of several runs, GFLOP/s and GB/s from the operators' own
 * counters. Usage: bench_operators [THREADS [FAMILY]].
 */
#include <cblas.h>
#include <stdio.h>

#include "core/file.h"
#include "tests/operator_cases.h"

/* Seconds of the fastest of the runs that fit into `budget`, at least 3. */
static double fastest(struct backend *backend, struct operator_case *c, bool backward, double budget)
{
    const double begin = clock_seconds();
    double best = 1e9;
    for (int run = 0; run < 3 || clock_seconds() - begin < budget; run++) {
        backend_reset_counters(backend);
        const double start = clock_seconds();
        if (backward)
            c->family->backward(backend, c->tensors, c->gradients, c->size);
        else
            c->family->forward(backend, c->tensors, c->size);
        backend->wait(backend);
        const double seconds = clock_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void print_line(struct backend *backend, const struct operator_case *c, const char *direction,
                       double seconds)
{
    printf("%-20s %-8s ", c->family->name, direction);
    int width = 0;
    for (int i = 0; i < SIZE_NUMBERS; i++)
        width += printf(i ? " %lld" : "%lld", (long long)c->size[i]);
    printf("%*s %10.3f ms %8.1f GFLOP/s %7.2f GB/s\n", 36 - width, "", 1e3 * seconds,
           1e-9 * backend->counters.floating_point_operations / seconds,
           1e-9 * backend->counters.bytes / seconds);
}

static void time_family(struct backend *backend, const struct operator_family *family)
{
    for (int s = 0; s < 6 && family->bench_sizes[s][0] > 0; s++) {
        struct operator_case c;
        case_open(&c, backend, family, family->bench_sizes[s]);
        case_reset(&c, backend);
        print_line(backend, &c, "forward", fastest(backend, &c, false, 0.4));
        if (family->backward)
            print_line(backend, &c, "backward", fastest(backend, &c, true, 0.4));
        case_close(&c, backend);
    }
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open("cpu", argument_count > 1 ? atoi(arguments[1]) : 0, &error);
    if (!backend) {
        error_print(&error, stderr);
        return (int)error.kind;
    }
    printf("%d threads, OpenBLAS kernels for %s\n", backend->threads, openblas_get_corename());
    for (int f = 0; f < FAMILY_COUNT; f++)
        if (argument_count < 3 || strcmp(arguments[2], operator_families[f].name) == 0)
            time_family(backend, &operator_families[f]);
    const bool done = backend_synchronize(backend, &error);
    error_print(&error, stderr);
    backend_close(backend);
    return done ? 0 : (int)error.kind;
}
