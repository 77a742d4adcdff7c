#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* The normal distribution's function and density at x. */
struct normal {
    real below, density;
};

static inline struct normal normal_at(real x)
{
    const real root_of_two_pi_inverse = (real)0.39894228040143267794;
    const real size = x < 0 ? -x : x;
    const real bell = real_exp(-(real)0.5 * x * x), tail = bell * real_normal_tail(size);
    return (struct normal){.below = x < 0 ? tail : 1 - tail, .density = root_of_two_pi_inverse * bell};
}

void cpu_activation_forward(struct backend *backend, struct tensor *out, const struct tensor *x,
                            enum activation activation)
{
    const int64_t count = tensor_count(x);
    const real *input = x->data;
    real *output = out->data;
    if (activation == ACTIVATION_RELU) {
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
        for (int64_t i = 0; i < count; i++)
            output[i] = input[i] < 0 ? 0 : input[i];
        return;
    }
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++)
        output[i] = input[i] * normal_at(input[i]).below;
}

void cpu_activation_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                             const struct tensor *x, enum activation activation)
{
    const int64_t count = tensor_count(x);
    const real *input = x->data, *upstream = d_out->data;
    real *d = d_x->data;
    if (activation == ACTIVATION_RELU) {
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
        for (int64_t i = 0; i < count; i++)
            d[i] = input[i] > 0 ? upstream[i] : 0;
        return;
    }
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        const struct normal normal = normal_at(input[i]);
        d[i] = upstream[i] * real_fma(input[i], normal.density, normal.below);
    }
}
