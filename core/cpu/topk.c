#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/cpu/candidates.h"
#include "core/cpu/cpu.h"

static void hide(struct selection *selection, const int32_t *mask, int64_t count, bool hidden)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t *word = selection->hidden + mask[i] / 64;
        const uint64_t bit = (uint64_t)1 << (mask[i] % 64);
        *word = hidden ? *word | bit : *word & ~bit;
    }
}

/* Writes the k best of a scanned row; returns 1 when the k-th and the next score are equal. */
static int32_t write_best(struct selection *selection, int64_t k, const real *scores, int32_t *columns,
                          real *best)
{
    const int64_t found = minimum_of(selection->count, selection->wanted);
    candidates_sort(selection->buffer, selection->count, found);
    for (int64_t rank = 0; rank < k; rank++) {
        columns[rank] = rank < found ? candidate_column(selection->buffer[rank]) : -1;
        best[rank] = rank < found ? scores[columns[rank]] : -INFINITY;
    }
    return found > k && k > 0 &&
           candidate_key(selection->buffer[k - 1]) == candidate_key(selection->buffer[k]);
}

void cpu_topk_masked(struct backend *backend, struct tensor *top_columns, struct tensor *top_scores,
                     struct tensor *ties, const struct tensor *scores, const struct tensor *mask_rows,
                     const struct tensor *mask_starts, const struct tensor *mask_indices)
{
    const int64_t rows = scores->shape[0], columns = scores->shape[1], k = top_columns->shape[1];
    const int32_t *mask_row = mask_rows->data, *mask = mask_indices->data;
    const int64_t *starts = mask_starts->data, capacity = 4 * (k + 1) + 64, words = columns / 64 + 1;
    const size_t bytes = (size_t)capacity * sizeof(candidate) + (size_t)words * sizeof(uint64_t);
    const size_t stride = (size_t)round_up((int64_t)bytes, 64);
    char *memory = cpu_workspace(backend, (size_t)backend->threads * stride);
    if (!memory)
        return;
    memset(memory, 0, (size_t)backend->threads * stride);
#pragma omp parallel for schedule(dynamic, 4) num_threads(backend->threads)
    for (int64_t row = 0; row < rows; row++) {
        char *own = memory + (size_t)omp_get_thread_num() * stride;
        struct selection selection = {.buffer = (candidate *)own,
                                      .hidden = (uint64_t *)(own + (size_t)capacity * sizeof(candidate)),
                                      .capacity = capacity,
                                      .wanted = k + 1};
        const int64_t first = starts[mask_row[row]], count = starts[mask_row[row] + 1] - first;
        hide(&selection, mask + first, count, true);
        const real *values = (const real *)scores->data + row * columns;
        selection_scan(&selection, values, columns);
        const int32_t tie = write_best(&selection, k, values, (int32_t *)top_columns->data + row * k,
                                       (real *)top_scores->data + row * k);
        if (ties)
            ((int32_t *)ties->data)[row] = tie;
        hide(&selection, mask + first, count, false);
    }
}
