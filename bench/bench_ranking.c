/*
 * Seconds to rank every item for every user by inner products, by default at the size of gowalla, beside the matrix
 * products alone and what the device does at most.
 *
 *   bench_ranking [--device cpu|cuda] [--threads N] [--small] [USERS ITEMS WIDTH K]
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/measure.h"
#include "core/evaluate.h"
#include "core/file.h"

enum { PRODUCT_ROWS = 6 * GEMM_ROW_BLOCK };

struct factors {
    struct backend *backend;
    struct tensor users, items; /* [users, width], [items, width] */
};

/* The users are ranked in order, so a block is a range of rows. An error shows when the ranking waits. */
static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    struct factors *factors = context;
    struct tensor block = tensor_rows(&factors->users, users[0], count);
    struct tensor rows = tensor_rows(scores, 0, count);
    (void)error;
    op_gemm(factors->backend, &rows, &block, PLAIN, &factors->items, TRANSPOSED, 1, 0);
    return true;
}

static bool factors_open(struct factors *factors, struct backend *backend, const int64_t *sizes,
                         struct error *error)
{
    *factors = (struct factors){.backend = backend};
    factors->users = random_matrix(backend, DTYPE_REAL, sizes[0], sizes[2], error);
    factors->items = random_matrix(backend, DTYPE_REAL, sizes[1], sizes[2], error);
    return factors->users.data && factors->items.data;
}

static void factors_close(struct factors *factors)
{
    if (factors->users.data)
        factors->backend->release(factors->backend, factors->users.data);
    if (factors->items.data)
        factors->backend->release(factors->backend, factors->items.data);
}

/* ---- the products alone -------------------------------------------------------------------------------- */

struct products {
    struct factors *factors;
    struct tensor scores;
};

static void multiply_all(void *context)
{
    struct products *products = context;
    struct factors *factors = products->factors;
    for (int64_t first = 0; first < factors->users.shape[0]; first += PRODUCT_ROWS) {
        const int64_t left = factors->users.shape[0] - first;
        const int64_t count = left < PRODUCT_ROWS ? left : PRODUCT_ROWS;
        struct tensor block = tensor_rows(&factors->users, first, count);
        struct tensor rows = tensor_rows(&products->scores, 0, count);
        op_gemm(factors->backend, &rows, &block, PLAIN, &factors->items, TRANSPOSED, 1, 0);
    }
}

static bool time_products(double *seconds, struct factors *factors, struct error *error)
{
    struct products products = {
        .factors = factors,
        .scores = random_matrix(factors->backend, DTYPE_REAL, PRODUCT_ROWS, factors->items.shape[0], error)};
    if (!products.scores.data)
        return false;
    *seconds = measure_seconds(factors->backend, multiply_all, &products, 1.0);
    factors->backend->release(factors->backend, products.scores.data);
    return backend_synchronize(factors->backend, error);
}

/* ---- the whole ranking --------------------------------------------------------------------------------- */

/* The median of REPEATS after one that is not counted. */
static bool time_ranking(double *seconds, struct factors *factors, const int32_t *order, int64_t k,
                         struct error *error)
{
    enum { REPEATS = 5 };
    const struct scorer scorer = {.context = factors, .items = factors->items.shape[0], .score = score};
    double repeats[REPEATS];
    for (int repeat = -1; repeat < REPEATS; repeat++) {
        struct top_k top;
        backend_reset_counters(factors->backend);
        const double started = clock_seconds();
        if (!top_k_rank(&top, factors->backend, &scorer, order, factors->users.shape[0], k, NULL, error))
            return false;
        if (repeat >= 0)
            repeats[repeat] = clock_seconds() - started;
        top_k_free(&top);
    }
    *seconds = median(repeats, REPEATS);
    return true;
}

static bool measure(struct factors *factors, const struct ceilings *ceilings, int64_t k, struct error *error)
{
    const int64_t users = factors->users.shape[0];
    int32_t *order = malloc((size_t)users * sizeof *order);
    if (!order)
        return error_memory(error, "the users", (size_t)users * sizeof *order, NULL);
    for (int32_t user = 0; user < users; user++)
        order[user] = user;
    double ranking, products;
    const bool done = time_ranking(&ranking, factors, order, k, error);
    const struct operation_counters work = factors->backend->counters;
    free(order);
    if (!done || !time_products(&products, factors, error))
        return false;
    printf("ranking %lld users, %lld items, width %lld, top %lld: %.4f s, %.0f users/s, %.1f GB/s (%.1f %% "
           "of copy), "
           "matrix products alone %.4f s, %.1f GFLOP/s (%.1f %% of GEMM)\n",
           (long long)users, (long long)factors->items.shape[0], (long long)factors->items.shape[1],
           (long long)k, ranking, (double)users / ranking, 1e-9 * work.bytes / ranking,
           100.0 * work.bytes / ranking / ceilings->copy_bytes, products,
           1e-9 * work.gemm_operations / products,
           100.0 * work.gemm_operations / products / ceilings->gemm_f32);
    return true;
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&argument_count, &arguments);
    int64_t sizes[4] = {device.small ? 300 : 29858, device.small ? 400 : 40981, 64, 20};
    for (int index = 1; index < argument_count && index <= 4; index++)
        sizes[index - 1] = atoll(arguments[index]);
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open(device.name, device.threads, &error);
    struct ceilings ceilings;
    struct factors factors = {.backend = backend};
    bool done = backend && ceilings_measure(&ceilings, backend, device.small, &error);
    if (done) {
        ceilings_print(&ceilings, backend);
        done =
            factors_open(&factors, backend, sizes, &error) && measure(&factors, &ceilings, sizes[3], &error);
    }
    factors_close(&factors);
    error_print(&error, stderr);
    backend_close(backend);
    return done ? 0 : (int)error.kind;
}
