#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

void cpu_rmsnorm_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_rms,
                         const struct tensor *x, const struct tensor *weight, float epsilon)
{
    const int64_t rows = x->shape[0], width = x->shape[1];
    const real *scale = weight->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        const real *input = (const real *)x->data + row * width;
        real *output = (real *)out->data + row * width;
        real squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares = real_fma(input[i], input[i], squares);
        const real inverse = 1 / real_sqrt(squares / (real)width + (real)epsilon);
        ((real *)inverse_rms->data)[row] = inverse;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            output[i] = input[i] * inverse * scale[i];
    }
}

/* With n = x * inverse, g = d_out * weight: d_x += inverse * (g - n * mean(g n)). */
static void add_input_gradient(real *d_x, const real *d_out, const real *x, const real *weight, real inverse,
                               int64_t width)
{
    real product = 0;
#pragma omp simd reduction(+ : product)
    for (int64_t i = 0; i < width; i++)
        product = real_fma(d_out[i] * weight[i], x[i], product);
    const real correction = product * inverse * inverse / (real)width;
#pragma omp simd
    for (int64_t i = 0; i < width; i++)
        d_x[i] = real_fma(inverse, d_out[i] * weight[i] - x[i] * correction, d_x[i]);
}

/* Columns first .. first + columns - 1 of d_weight += the sum over rows of d_out * x * inverse. */
static void add_weight_gradient(real *d_weight, const real *d_out, const real *x, const real *inverse_rms,
                                int64_t rows, int64_t width, int64_t first, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++) {
        const real inverse = inverse_rms[row];
        const real *gradient = d_out + row * width, *input = x + row * width;
#pragma omp simd
        for (int64_t i = first; i < first + columns; i++)
            d_weight[i] = real_fma(gradient[i] * inverse, input[i], d_weight[i]);
    }
}

void cpu_rmsnorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                          const struct tensor *d_out, const struct tensor *x, const struct tensor *weight,
                          const struct tensor *inverse_rms)
{
    enum { STRIP = 64 };
    const int64_t rows = x->shape[0], width = x->shape[1];
    const real *inverse = inverse_rms->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++)
        add_input_gradient((real *)d_x->data + row * width, (const real *)d_out->data + row * width,
                           (const real *)x->data + row * width, weight->data, inverse[row], width);
    if (!d_weight)
        return;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t first = 0; first < width; first += STRIP)
        add_weight_gradient(d_weight->data, d_out->data, x->data, inverse, rows, width, first,
                            minimum_of(STRIP, width - first));
}
