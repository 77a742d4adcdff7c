#include <string.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

void cpu_layernorm_forward(struct backend *backend, struct tensor *out, struct tensor *mean,
                           struct tensor *inverse_deviation, const struct tensor *x,
                           const struct tensor *weight, const struct tensor *bias, float epsilon)
{
    const int64_t rows = x->shape[0], width = x->shape[1];
    const real *scale = weight->data, *shift = bias->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        const real *input = (const real *)x->data + row * width;
        real *output = (real *)out->data + row * width;
        real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++)
            sum += input[i];
        const real center = sum / (real)width;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares = real_fma(input[i] - center, input[i] - center, squares);
        const real inverse = 1 / real_sqrt(squares / (real)width + (real)epsilon);
        ((real *)mean->data)[row] = center;
        ((real *)inverse_deviation->data)[row] = inverse;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            output[i] = real_fma((input[i] - center) * inverse, scale[i], shift[i]);
    }
}

struct row_gradient {
    real *d_x;
    const real *d_out, *x, *weight;
    real mean, inverse;
};

/* With n = (x - mean) * inverse and g = d_out * weight: d_x += inverse * (g - mean(g) - n * mean(g n)), and the
 * row's d_out * n and d_out are added to d_weight and d_bias. */
static void differentiate_row(const struct row_gradient *r, real *d_weight, real *d_bias, int64_t width)
{
    real sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t i = 0; i < width; i++) {
        const real gradient = r->d_out[i] * r->weight[i];
        sum += gradient;
        product = real_fma(gradient, (r->x[i] - r->mean) * r->inverse, product);
    }
    sum /= (real)width;
    product /= (real)width;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const real normal = (r->x[i] - r->mean) * r->inverse, upstream = r->d_out[i];
        r->d_x[i] = real_fma(r->inverse, upstream * r->weight[i] - sum - normal * product, r->d_x[i]);
        d_weight[i] = real_fma(upstream, normal, d_weight[i]);
        d_bias[i] += upstream;
    }
}

/* Strips of rows have sums of their own, which are added in their order. */
void cpu_layernorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                            struct tensor *d_bias, const struct tensor *d_out, const struct tensor *x,
                            const struct tensor *weight, const struct tensor *mean,
                            const struct tensor *inverse_deviation)
{
    enum { STRIP_ROWS = 256 };
    const int64_t rows = x->shape[0], width = x->shape[1], strips = (rows + STRIP_ROWS - 1) / STRIP_ROWS;
    real *sums = cpu_workspace(backend, (size_t)(strips * 2 * width) * sizeof(real));
    if (!sums)
        return;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * width >= PARALLEL_MINIMUM)
    for (int64_t strip = 0; strip < strips; strip++) {
        real *strip_weight = sums + strip * 2 * width, *strip_bias = strip_weight + width;
        memset(strip_weight, 0, (size_t)(2 * width) * sizeof(real));
        for (int64_t row = strip * STRIP_ROWS; row < minimum_of(rows, (strip + 1) * STRIP_ROWS); row++) {
            const struct row_gradient gradient = {
                .d_x = (real *)d_x->data + row * width,
                .d_out = (const real *)d_out->data + row * width,
                .x = (const real *)x->data + row * width,
                .weight = weight->data,
                .mean = ((const real *)mean->data)[row],
                .inverse = ((const real *)inverse_deviation->data)[row],
            };
            differentiate_row(&gradient, strip_weight, strip_bias, width);
        }
    }
    for (int64_t strip = 0; strip < strips; strip++)
        for (int64_t i = 0; i < width; i++) {
            ((real *)d_weight->data)[i] += sums[strip * 2 * width + i];
            ((real *)d_bias->data)[i] += sums[strip * 2 * width + width + i];
        }
}
