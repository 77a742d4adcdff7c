/*
 * bench_ranking [USERS ITEMS WIDTH K]: seconds to rank every item for every user by inner products (by
 * default the size of gowalla), beside the seconds of the matrix products alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/evaluate.h"
#include "core/file.h"
#include "core/ops.h"
#include "core/random.h"

struct factors {
    struct backend *backend;
    int64_t width;
    struct tensor users, items; /* [users, width], [items, width] */
};

/* The users are ranked in order, so a block is a range of rows. */
static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    struct factors *factors = context;
    struct tensor block = tensor_rows(&factors->users, users[0], count);
    struct tensor rows = tensor_rows(scores, 0, count);
    op_gemm(factors->backend, &rows, &block, PLAIN, &factors->items, TRANSPOSED, 1, 0);
    return backend_synchronize(factors->backend, error);
}

static real *random_values(int64_t count)
{
    real *values = malloc((size_t)count * sizeof *values);
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    for (int64_t index = 0; values && index < count; index++)
        values[index] = (real)random_float(&stream) - (real)0.5;
    return values;
}

static bool measure(struct factors *factors, int64_t k, struct error *error)
{
    const int64_t users = factors->users.shape[0], items = factors->items.shape[0];
    int32_t *order = malloc((size_t)users * sizeof *order);
    for (int32_t user = 0; order && user < users; user++)
        order[user] = user;
    const struct scorer scorer = {.context = factors, .items = items, .score = score};
    struct top_k top;
    double since = clock_seconds();
    const bool done = order && top_k_rank(&top, factors->backend, &scorer, order, users, k, NULL, error);
    const double ranking_seconds = clock_seconds() - since;
    if (done) {
        const int64_t block = 384;
        struct tensor scores = tensor_2d(random_values(block * items), DTYPE_REAL, DEVICE_CPU, block, items);
        since = clock_seconds();
        for (int64_t first = 0; first + block <= users; first += block)
            score(factors, order + first, block, &scores, error);
        const double product_seconds = clock_seconds() - since;
        printf("%lld users, %lld items, width %lld, top %lld: %.2f s, of which matrix products %.2f s (%.0f "
               "GFLOP/s); "
               "%.0f users/s\n",
               (long long)users, (long long)items, (long long)factors->width, (long long)k, ranking_seconds,
               product_seconds,
               2e-9 * (double)users * (double)items * (double)factors->width / product_seconds,
               (double)users / ranking_seconds);
        free(scores.data);
        top_k_free(&top);
    }
    free(order);
    return done;
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    int64_t sizes[4] = {29858, 40981, 64, 20};
    for (int index = 1; index < argument_count && index <= 4; index++)
        sizes[index - 1] = atoll(arguments[index]);
    struct error error = ERROR_INITIALIZER;
    struct factors factors = {.backend = backend_open("cpu", 0, &error), .width = sizes[2]};
    factors.users = tensor_2d(random_values(sizes[0] * sizes[2]), DTYPE_REAL, DEVICE_CPU, sizes[0], sizes[2]);
    factors.items = tensor_2d(random_values(sizes[1] * sizes[2]), DTYPE_REAL, DEVICE_CPU, sizes[1], sizes[2]);
    const bool done = factors.backend && measure(&factors, sizes[3], &error);
    error_print(&error, stderr);
    free(factors.users.data);
    free(factors.items.data);
    backend_close(factors.backend);
    return done ? 0 : 1;
}
