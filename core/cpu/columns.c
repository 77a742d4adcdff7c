#include <string.h>

#include "core/cpu/cpu.h"

void cpu_columns(struct backend *backend, struct tensor *out, const struct tensor *x, int64_t first)
{
    const int64_t rows = out->shape[0], columns = out->shape[1], width = x->shape[1];
    const int64_t held = minimum_of(columns, width - first);
#pragma omp parallel for schedule(static)                                                                    \
    num_threads(backend->threads) if (rows * columns >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        real *to = (real *)out->data + row * columns;
        memcpy(to, (const real *)x->data + row * width + first, (size_t)held * sizeof *to);
        memset(to + held, 0, (size_t)(columns - held) * sizeof *to);
    }
}
