#include "core/cpu/cpu.h"

void cpu_exclude(struct backend *backend, struct tensor *logits, const struct tensor *begin,
                 const struct tensor *last, const struct tensor *columns)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int32_t *first = begin->data, *final = last->data, *column = columns->data;
#pragma omp parallel for num_threads(backend->threads) if (rows * classes >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = first[row]; i <= final[row]; i++)
            if (column[i] >= 0 && column[i] < classes)
                ((real *)logits->data)[row * classes + column[i]] = EXCLUDED_LOGIT;
}
