#include "cuda/device.cuh"

enum { THREADS = 256 };

template <typename T>
__global__ void columns_kernel(T *out, const T *x, int64_t first, int64_t count, int64_t columns,
                               int64_t width)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    const int64_t column = first + i % columns;
    out[i] = column < width ? x[i / columns * width + column] : from_float<T>(0.0f);
}

void cuda_columns(struct backend *backend, struct tensor *out, const struct tensor *x, int64_t first)
{
    const int64_t columns = out->shape[1], count = out->shape[0] * columns;
    if (count == 0)
        return;
    BY_STORAGE(x, {
        LAUNCH(backend, (columns_kernel<T>), dim3(blocks_for(count, THREADS)), dim3(THREADS), 0,
               data_of<T>(out), data_of<T>(x), first, count, columns, x->shape[1]);
    });
}
