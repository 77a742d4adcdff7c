#include <math.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

void cpu_sum_of_squares(struct backend *backend, struct tensor *sum, const struct tensor *x)
{
    const int64_t count = tensor_count(x), block = 16384, blocks = (count + block - 1) / block;
    const real *values = x->data;
    double *partial = cpu_workspace(backend, (size_t)blocks * sizeof(double));
    if (!partial)
        return;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (blocks > 1)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t end = minimum_of(count, (b + 1) * block);
        double squares = 0.0;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = b * block; i < end; i++)
            squares += (double)values[i] * (double)values[i];
        partial[b] = squares;
    }
    for (int64_t b = 0; b < blocks; b++)
        *(double *)sum->data += partial[b];
}

void cpu_clip_scale(struct backend *backend, struct tensor *scale, const struct tensor *sum, float maximum)
{
    (void)backend;
    const double norm = sqrt(*(const double *)sum->data);
    *(float *)scale->data = maximum > 0.0f && norm > (double)maximum ? (float)((double)maximum / norm) : 1.0f;
}

void cpu_adamw(struct backend *backend, struct tensor *weight, const struct tensor *gradient,
               struct tensor *first_moment, struct tensor *second_moment, const struct tensor *scale,
               struct adamw settings)
{
    const int64_t count = tensor_count(weight);
    const double step = (double)settings.step, beta1 = (double)settings.beta1, beta2 = (double)settings.beta2;
    const real rate = (real)((double)settings.learning_rate / (1.0 - pow(beta1, step)));
    const real deviation = (real)(1.0 / sqrt(1.0 - pow(beta2, step)));
    const real decay = (real)(1.0 - (double)settings.learning_rate * (double)settings.weight_decay);
    const real b1 = (real)beta1, b2 = (real)beta2, c1 = (real)(1.0 - beta1), c2 = (real)(1.0 - beta2);
    const real epsilon = (real)settings.epsilon;
    const real factor = scale ? (real) * (const float *)scale->data : 1;
    real *w = weight->data, *m = first_moment->data, *v = second_moment->data;
    const real *d = gradient->data;
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        const real g = d[i] * factor;
        const real mean = b1 * m[i] + c1 * g, square = b2 * v[i] + c2 * g * g;
        m[i] = mean;
        v[i] = square;
        w[i] = w[i] * decay - rate * mean / (real_sqrt(square) * deviation + epsilon);
    }
}
