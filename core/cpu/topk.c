#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/cpu/candidates.h"
#include "core/cpu/cpu.h"

/* Scratch of one thread. A candidate enters the buffer when it beats `threshold`, the key of the worst of the
 * best `wanted` so far; a full buffer is cut back to these. */
struct selection {
    candidate *buffer; /* [capacity] */
    uint64_t *hidden;  /* [columns / 64 + 1] bits; all 0 between rows */
    int64_t capacity, count, wanted;
    bool full; /* the threshold holds */
    score_key threshold;
};

static void cut_back(struct selection *selection)
{
    candidates_select(selection->buffer, selection->count, selection->wanted);
    selection->count = selection->wanted;
    candidate worst = selection->buffer[0];
    for (int64_t i = 1; i < selection->count; i++)
        worst = selection->buffer[i] < worst ? selection->buffer[i] : worst;
    selection->threshold = candidate_key(worst);
    selection->full = true;
}

static void consider(struct selection *selection, const score_key *keys, int64_t first, int64_t count)
{
    for (int64_t c = 0; c < count; c++) {
        const int64_t column = first + c;
        if (selection->full && keys[c] <= selection->threshold)
            continue;
        if (selection->hidden[column / 64] >> (column % 64) & 1)
            continue;
        selection->buffer[selection->count++] = candidate_of(keys[c], column);
        if (selection->count == selection->capacity)
            cut_back(selection);
    }
}

static void scan_row(struct selection *selection, const real *scores, int64_t columns)
{
    enum { BLOCK = 64 };
    score_key keys[BLOCK];
    selection->count = 0;
    selection->full = false;
    for (int64_t first = 0; first < columns; first += BLOCK) {
        const int64_t count = minimum_of(BLOCK, columns - first);
        score_key largest = 0;
#pragma omp simd reduction(max : largest)
        for (int64_t c = 0; c < count; c++) {
            keys[c] = key_of_score(scores[first + c]);
            largest = keys[c] > largest ? keys[c] : largest;
        }
        if (!selection->full || largest > selection->threshold)
            consider(selection, keys, first, count);
    }
}

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
        scan_row(&selection, values, columns);
        const int32_t tie = write_best(&selection, k, values, (int32_t *)top_columns->data + row * k,
                                       (real *)top_scores->data + row * k);
        if (ties)
            ((int32_t *)ties->data)[row] = tie;
        hide(&selection, mask + first, count, false);
    }
}
