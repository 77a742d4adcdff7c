#include "cuda/device.cuh"

enum { THREADS = 256 };

__global__ void pick_kernel(float *out, const float *x, const int32_t *columns, int64_t count, int64_t picked,
                            int64_t width)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        out[i] = columns[i] < 0 ? -INFINITY : x[i / picked * width + columns[i]];
}

void cuda_pick(struct backend *backend, struct tensor *out, const struct tensor *x,
               const struct tensor *columns)
{
    const int64_t picked = out->shape[1], count = out->shape[0] * picked;
    if (count > 0)
        LAUNCH(backend, pick_kernel, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0, data_of<float>(out),
               data_of<float>(x), data_of<int32_t>(columns), count, picked, x->shape[1]);
}
