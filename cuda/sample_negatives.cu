#include "core/negatives.h"
#include "cuda/device.cuh"

enum { THREADS = 256 };

struct negative_rows {
    const int32_t *positives, *owners;
    const int64_t *starts;
    const int32_t *excluded;
    int64_t rows, count, items, first_row; /* count: negatives of a row */
};

/* A thread a group of columns; that of the first group writes the positive too. */
__global__ void sample_negatives_kernel(int32_t *candidates, struct negative_rows source, int64_t groups,
                                        uint64_t seed, uint64_t step)
{
    const int64_t number = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t row = number / groups, first = number % groups * NEGATIVES_TOGETHER;
    if (row >= source.rows)
        return;
    int32_t *chosen = candidates + row * (source.count + 1);
    if (first == 0)
        *chosen = source.positives[row];
    const int64_t begin = source.starts[source.owners[row]], end = source.starts[source.owners[row] + 1];
    const struct excluded_items excluded = {source.excluded + begin, end - begin};
    struct random_stream stream =
        random_stream_open(seed, RANDOM_NEGATIVE, step, (uint64_t)(source.first_row * groups + number));
    for (int64_t j = first; j < first + NEGATIVES_TOGETHER && j < source.count; j++)
        chosen[1 + j] = draw_negative(&stream, &excluded, source.items);
}

void cuda_sample_negatives(struct backend *backend, struct tensor *candidates, struct negative_source source,
                           uint64_t seed, uint64_t step)
{
    const int64_t rows = candidates->shape[0], count = candidates->shape[1] - 1;
    const int64_t groups = blocks_for(count, NEGATIVES_TOGETHER);
    const struct negative_rows drawn = {.positives = data_of<int32_t>(source.positives),
                                        .owners = data_of<int32_t>(source.owners),
                                        .starts = data_of<int64_t>(source.starts),
                                        .excluded = data_of<int32_t>(source.excluded),
                                        .rows = rows,
                                        .count = count,
                                        .items = source.items,
                                        .first_row = source.first_row};
    LAUNCH(backend, sample_negatives_kernel, dim3(blocks_for(rows * groups, THREADS)), dim3(THREADS), 0,
           data_of<int32_t>(candidates), drawn, groups, seed, step);
}
