#include "cuda/device.cuh"
#include "cuda/packs.cuh"

enum { THREADS = 256, WIDTH = 4 };

struct relu {
    static __device__ float value(float x)
    {
        return x < 0.0f ? 0.0f : x;
    }
    static __device__ float slope(float x)
    {
        return x > 0.0f ? 1.0f : 0.0f;
    }
};

/* x Phi(x) with the normal distribution function Phi; its slope is Phi(x) + x Phi'(x). */
struct gelu {
    static __device__ float below(float x)
    {
        return 0.5f * erfcf(-0.70710678f * x);
    }
    static __device__ float value(float x)
    {
        return x * below(x);
    }
    static __device__ float slope(float x)
    {
        return fmaf(x, 0.39894228f * expf(-0.5f * x * x), below(x));
    }
};

template <typename Function, bool packed>
__global__ void activation_forward_kernel(float *out, const float *x, int64_t count)
{
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    float values[WIDTH];
    load_values<packed>(values, x + first, count - first);
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        values[i] = Function::value(values[i]);
    store_values<packed>(out + first, values, count - first);
}

template <typename Function, bool packed>
__global__ void activation_backward_kernel(float *d_x, const float *d_out, const float *x, int64_t count)
{
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    float values[WIDTH], d[WIDTH];
    load_values<packed>(values, x + first, count - first);
    load_values<packed>(d, d_out + first, count - first);
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        d[i] *= Function::slope(values[i]);
    store_values<packed>(d_x + first, d, count - first);
}

/* Runs the statement with Function the activation. */
#define BY_ACTIVATION(activation, ...)                                                                       \
    do {                                                                                                     \
        if ((activation) == ACTIVATION_RELU) {                                                               \
            using Function = relu;                                                                           \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            using Function = gelu;                                                                           \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

void cuda_activation_forward(struct backend *backend, struct tensor *out, const struct tensor *x,
                             enum activation activation)
{
    const int64_t count = tensor_count(x);
    BY_ACTIVATION(activation, BY_ACCESS(packs_fit<float>(x->data, count) && aligned(out), {
                      LAUNCH(backend, (activation_forward_kernel<Function, packed>),
                             dim3(blocks_for(count, THREADS * WIDTH)), dim3(THREADS), 0, data_of<float>(out),
                             data_of<float>(x), count);
                  }););
}

void cuda_activation_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                              const struct tensor *x, enum activation activation)
{
    const int64_t count = tensor_count(x);
    BY_ACTIVATION(activation, BY_ACCESS(packs_fit<float>(x->data, count) && aligned(d_x, d_out), {
                      LAUNCH(backend, (activation_backward_kernel<Function, packed>),
                             dim3(blocks_for(count, THREADS * WIDTH)), dim3(THREADS), 0, data_of<float>(d_x),
                             data_of<float>(d_out), data_of<float>(x), count);
                  }););
}
