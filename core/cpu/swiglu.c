#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

void cpu_swiglu_forward(struct backend *backend, struct tensor *out, const struct tensor *gate,
                        const struct tensor *up)
{
    const int64_t count = tensor_count(out);
    real *result = out->data;
    const real *g = gate->data, *u = up->data;
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++)
        result[i] = g[i] * real_sigmoid(g[i]) * u[i];
}

void cpu_swiglu_backward(struct backend *backend, struct tensor *d_gate, struct tensor *d_up,
                         const struct tensor *d_out, const struct tensor *gate, const struct tensor *up)
{
    const int64_t count = tensor_count(d_out);
    real *d_g = d_gate->data, *d_u = d_up->data;
    const real *d = d_out->data, *g = gate->data, *u = up->data;
#pragma omp parallel for simd num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        const real value = g[i], gradient = d[i], sigmoid = real_sigmoid(value);
        const real up_value = u[i];
        d_u[i] = gradient * value * sigmoid;
        d_g[i] = gradient * up_value * sigmoid * (1 + value * (1 - sigmoid));
    }
}
