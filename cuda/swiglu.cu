#include "cuda/device.cuh"
#include "cuda/packs.cuh"

enum { THREADS = 256 };

/* To about 2^-20 on a GPU, where the exact functions would cost more than the memory accesses. */
static __device__ float sigmoid(float x)
{
#ifdef __CUDA_ARCH__
    return __fdividef(1.0f, 1.0f + __expf(-x));
#else
    return 1.0f / (1.0f + expf(-x));
#endif
}

template <typename T, bool packed>
__global__ void swiglu_forward_kernel(T *out, const T *gate, const T *up, int64_t count)
{
    constexpr int width = pack_width<T>;
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * width;
    float g[width], u[width];
    load_values<packed>(g, gate + first, count - first);
    load_values<packed>(u, up + first, count - first);
#pragma unroll
    for (int i = 0; i < width; i++)
        u[i] *= g[i] * sigmoid(g[i]);
    store_values<packed>(out + first, u, count - first);
}

/* d_up = d_out silu(gate); d_gate = d_out up silu'(gate), silu'(x) = s (1 + x (1 - s)) with s = sigmoid(x). */
template <typename T, bool packed>
__global__ void swiglu_backward_kernel(T *d_gate, T *d_up, const T *d_out, const T *gate, const T *up,
                                       int64_t count)
{
    constexpr int width = pack_width<T>;
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * width;
    float d[width], g[width], u[width];
    load_values<packed>(d, d_out + first, count - first);
    load_values<packed>(g, gate + first, count - first);
    load_values<packed>(u, up + first, count - first);
#pragma unroll
    for (int i = 0; i < width; i++) {
        const float s = sigmoid(g[i]);
        u[i] *= d[i] * s * (1.0f + g[i] * (1.0f - s));
        d[i] *= g[i] * s;
    }
    store_values<packed>(d_gate + first, u, count - first);
    store_values<packed>(d_up + first, d, count - first);
}

void cuda_swiglu_forward(struct backend *backend, struct tensor *out, const struct tensor *gate,
                         const struct tensor *up)
{
    const int64_t count = tensor_count(out);
    BY_STORAGE(out, BY_ACCESS(packs_fit<T>(out->data, count) && aligned(gate, up), {
                   LAUNCH(backend, (swiglu_forward_kernel<T, packed>),
                          dim3(blocks_for(count, THREADS * pack_width<T>)), dim3(THREADS), 0, data_of<T>(out),
                          data_of<T>(gate), data_of<T>(up), count);
               }););
}

void cuda_swiglu_backward(struct backend *backend, struct tensor *d_gate, struct tensor *d_up,
                          const struct tensor *d_out, const struct tensor *gate, const struct tensor *up)
{
    const int64_t count = tensor_count(d_out);
    BY_STORAGE(d_out, BY_ACCESS(packs_fit<T>(d_out->data, count) && aligned(d_gate, d_up, gate, up), {
                   LAUNCH(backend, (swiglu_backward_kernel<T, packed>),
                          dim3(blocks_for(count, THREADS * pack_width<T>)), dim3(THREADS), 0,
                          data_of<T>(d_gate), data_of<T>(d_up), data_of<T>(d_out), data_of<T>(gate),
                          data_of<T>(up), count);
               }););
}
