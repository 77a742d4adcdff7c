#include <math.h>

#include "core/cpu/cpu.h"

void cpu_unit_rows_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_norm,
                           const struct tensor *x)
{
    const int64_t rows = x->shape[0], width = x->shape[1];
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        const real *from = (const real *)x->data + row * width;
        real *to = (real *)out->data + row * width;
        real squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares += from[i] * from[i];
        const real norm = (real)sqrt((double)squares);
        const real inverse = 1 / (norm > (real)UNIT_ROWS_SMALLEST ? norm : (real)UNIT_ROWS_SMALLEST);
        ((real *)inverse_norm->data)[row] = inverse;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            to[i] = from[i] * inverse;
    }
}

void cpu_unit_rows_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                            const struct tensor *out, const struct tensor *inverse_norm)
{
    const int64_t rows = out->shape[0], width = out->shape[1];
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        const real *upstream = (const real *)d_out->data + row * width;
        const real *unit = (const real *)out->data + row * width;
        real *d = (real *)d_x->data + row * width;
        const real inverse = ((const real *)inverse_norm->data)[row];
        real along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < width; i++)
            along += upstream[i] * unit[i];
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            d[i] += inverse * (upstream[i] - along * unit[i]);
    }
}
