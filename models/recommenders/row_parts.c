#include "models/recommenders/row_parts.h"

#include <stdlib.h>

/* The first row before which at least `wanted` work lies. */
static int64_t row_after(const int64_t *work, int64_t rows, int64_t wanted)
{
    int64_t low = 0, high = rows;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (work[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool row_parts_open(struct row_parts *parts, struct backend *backend, int64_t rows, const int64_t *work,
                    struct error *error)
{
    struct communicator *const ranks = fit_ranks(backend);
    *parts = (struct row_parts){.backend = backend, .ranks = ranks, .rows = rows, .count = rows};
    if (!ranks)
        return true;
    const size_t bytes = ((size_t)ranks->size + 1) * sizeof *parts->starts;
    parts->starts = malloc(bytes);
    parts->of_values = malloc(bytes);
    if (!parts->starts || !parts->of_values)
        return error_memory(error, "the rows of each rank", 2 * bytes, NULL);
    for (int rank = 0; rank <= ranks->size; rank++)
        parts->starts[rank] = !work ? comm_part(ranks, rows, rank)
                              : rank == ranks->size
                                  ? rows
                                  : row_after(work, rows, comm_part(ranks, work[rows], rank));
    parts->first = parts->starts[ranks->rank];
    parts->count = parts->starts[ranks->rank + 1] - parts->first;
    return true;
}

void row_parts_close(struct row_parts *parts)
{
    free(parts->starts);
    free(parts->of_values);
    *parts = (struct row_parts){0};
}

struct tensor row_parts_own(const struct row_parts *parts, const struct tensor *x)
{
    return tensor_rows(x, parts->first, parts->count);
}

/* Whether there is something to exchange. After an error there is not: the ranks end. */
static bool is_shared(const struct row_parts *parts)
{
    return parts->ranks && parts->backend->error.kind == ERROR_NONE;
}

/* The ranges of elements of ranges of rows. */
static const int64_t *of_values(const struct row_parts *parts, const int64_t *starts, int64_t width)
{
    for (int rank = 0; rank <= parts->ranks->size; rank++)
        parts->of_values[rank] = starts[rank] * width;
    return parts->of_values;
}

/* The same for the parts of a batch. */
static const int64_t *of_batch(const struct row_parts *parts, const struct tensor *x)
{
    for (int rank = 0; rank <= parts->ranks->size; rank++)
        parts->of_values[rank] = comm_part(parts->ranks, x->shape[0], rank) * x->shape[1];
    return parts->of_values;
}

void row_parts_gather(const struct row_parts *parts, struct tensor *x)
{
    if (is_shared(parts))
        comm_all_gather_parts(parts->ranks, x, of_values(parts, parts->starts, x->shape[1]),
                              &parts->backend->error);
}

void row_parts_sum(const struct row_parts *parts, struct tensor *x)
{
    if (is_shared(parts))
        comm_reduce_scatter_parts(parts->ranks, x, of_values(parts, parts->starts, x->shape[1]),
                                  &parts->backend->error);
}

struct batch_part batch_part_of(const struct row_parts *parts, int64_t batch)
{
    const struct communicator *const ranks = parts->ranks;
    const int64_t first = ranks ? comm_part(ranks, batch, ranks->rank) : 0;
    const int64_t end = ranks ? comm_part(ranks, batch, ranks->rank + 1) : batch;
    return (struct batch_part){first, end - first};
}

void batch_deal(const struct row_parts *parts, struct tensor *x)
{
    if (is_shared(parts))
        comm_reduce_scatter_parts(parts->ranks, x, of_batch(parts, x), &parts->backend->error);
}

void batch_gather(const struct row_parts *parts, struct tensor *x)
{
    if (is_shared(parts))
        comm_all_gather_parts(parts->ranks, x, of_batch(parts, x), &parts->backend->error);
}

void batch_sum(const struct row_parts *parts, struct tensor *x)
{
    if (is_shared(parts))
        comm_all_reduce(parts->ranks, x, COMM_SUM, &parts->backend->error);
}
