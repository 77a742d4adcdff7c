#include <math.h>

#include "core/cpu/cpu.h"

void cpu_pick(struct backend *backend, struct tensor *out, const struct tensor *x,
              const struct tensor *columns)
{
    const int64_t rows = out->shape[0], picked = out->shape[1], width = x->shape[1];
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * picked >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        const real *from = (const real *)x->data + row * width;
        const int32_t *column = (const int32_t *)columns->data + row * picked;
        real *to = (real *)out->data + row * picked;
        for (int64_t i = 0; i < picked; i++)
            to[i] = column[i] < 0 ? -INFINITY : from[column[i]];
    }
}
