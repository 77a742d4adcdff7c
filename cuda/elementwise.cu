#include "cuda/device.cuh"
#include "cuda/packs.cuh"

enum { THREADS = 256 };

/* The first of the `width` elements of this thread. */
static __device__ int64_t first_element(int width)
{
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * width;
}

template <typename T, bool packed> __global__ void add_kernel(T *out, const T *a, const T *b, int64_t count)
{
    constexpr int width = pack_width<T>;
    const int64_t first = first_element(width);
    float x[width], y[width];
    load_values<packed>(x, a + first, count - first);
    load_values<packed>(y, b + first, count - first);
#pragma unroll
    for (int i = 0; i < width; i++)
        x[i] += y[i];
    store_values<packed>(out + first, x, count - first);
}

/* beta 0 does not read y, which may hold anything. */
template <typename T, bool packed>
__global__ void axpby_kernel(T *y, float alpha, const T *x, float beta, int64_t count)
{
    constexpr int width = pack_width<T>;
    const int64_t first = first_element(width);
    float added[width], sum[width];
    load_values<packed>(added, x + first, count - first);
    load_values<packed>(sum, y + first, beta == 0.0f ? 0 : count - first);
#pragma unroll
    for (int i = 0; i < width; i++)
        sum[i] = fmaf(alpha, added[i], beta * sum[i]);
    store_values<packed>(y + first, sum, count - first);
}

template <typename To, typename From, bool packed>
__global__ void convert_kernel(To *out, const From *x, int64_t count)
{
    constexpr int width = pack_width<bf16>;
    const int64_t first = first_element(width);
    float values[width];
    load_values<packed>(values, x + first, count - first);
    store_values<packed>(out + first, values, count - first);
}

void cuda_add(struct backend *backend, struct tensor *out, const struct tensor *a, const struct tensor *b)
{
    const int64_t count = tensor_count(out);
    BY_STORAGE(out, BY_ACCESS(packs_fit<T>(out->data, count) && aligned(a, b), {
                   LAUNCH(backend, (add_kernel<T, packed>), dim3(blocks_for(count, THREADS * pack_width<T>)),
                          dim3(THREADS), 0, data_of<T>(out), data_of<T>(a), data_of<T>(b), count);
               }););
}

void cuda_axpby(struct backend *backend, struct tensor *y, float alpha, const struct tensor *x, float beta)
{
    const int64_t count = tensor_count(y);
    BY_STORAGE(y, BY_ACCESS(packs_fit<T>(y->data, count) && aligned(x), {
                   LAUNCH(backend, (axpby_kernel<T, packed>),
                          dim3(blocks_for(count, THREADS * pack_width<T>)), dim3(THREADS), 0, data_of<T>(y),
                          alpha, data_of<T>(x), beta, count);
               }););
}

template <typename To, typename From>
static void convert(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const int64_t count = tensor_count(out);
    BY_ACCESS(packs_fit<bf16>(out->data, count) && aligned(x), {
        LAUNCH(backend, (convert_kernel<To, From, packed>),
               dim3(blocks_for(count, THREADS * pack_width<bf16>)), dim3(THREADS), 0, data_of<To>(out),
               data_of<From>(x), count);
    });
}

void cuda_convert(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    if (out->dtype == x->dtype)
        backend->copy(backend, out->data, x->data, tensor_bytes(out));
    else if (out->dtype == DTYPE_BF16)
        convert<bf16, float>(backend, out, x);
    else
        convert<float, bf16>(backend, out, x);
}
