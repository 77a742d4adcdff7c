#include <string.h>

#include "core/bf16.h"
#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

void cpu_add(struct backend *backend, struct tensor *out, const struct tensor *a, const struct tensor *b)
{
    const int64_t count = tensor_count(out);
    real *sum = out->data;
    const real *x = a->data, *y = b->data;
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++)
        sum[i] = x[i] + y[i];
}

void cpu_axpby(struct backend *backend, struct tensor *y, float alpha, const struct tensor *x, float beta)
{
    const int64_t count = tensor_count(y);
    real *target = y->data;
    const real *source = x->data;
    const real a = (real)alpha, b = (real)beta;
    if (beta == 0.0f) {
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
        for (int64_t i = 0; i < count; i++)
            target[i] = a * source[i];
        return;
    }
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++)
        target[i] = real_fma(a, source[i], b * target[i]);
}

void cpu_bias_forward(struct backend *backend, struct tensor *x, const struct tensor *bias)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    real *values = x->data;
    const real *added = bias->data;
#pragma omp parallel for num_threads(backend->threads) if (rows * columns >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
#pragma omp simd
        for (int64_t column = 0; column < columns; column++)
            values[row * columns + column] += added[column];
    }
}

void cpu_bias_backward(struct backend *backend, struct tensor *d_bias, const struct tensor *d_x)
{
    enum { STRIP = 64 };
    const int64_t rows = d_x->shape[0], columns = d_x->shape[1];
    const real *gradient = d_x->data;
    real *sum = d_bias->data;
#pragma omp parallel for num_threads(backend->threads) if (rows * columns >= PARALLEL_MINIMUM)
    for (int64_t first = 0; first < columns; first += STRIP) {
        const int64_t width = minimum_of(STRIP, columns - first);
        real partial[STRIP] = {0};
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < width; column++)
                partial[column] += gradient[row * columns + first + column];
        for (int64_t column = 0; column < width; column++)
            sum[first + column] += partial[column];
    }
}

void cpu_convert(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const int64_t count = tensor_count(out);
    if (out->dtype == x->dtype) {
        backend->copy(backend, out->data, x->data, tensor_bytes(out));
        return;
    }
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        if (out->dtype == DTYPE_BF16)
            ((uint16_t *)out->data)[i] = bf16_nearest((float)((const real *)x->data)[i]);
        else
            ((real *)out->data)[i] = (real)bf16_value(((const uint16_t *)x->data)[i]);
    }
}
