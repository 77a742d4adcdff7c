#include "cuda/device.cuh"
#include "cuda/packs.cuh"

constexpr int THREADS = 256;
constexpr int64_t groups_maximum = 65535;

/* Blocks go over columns (x) and groups (y). */
template <bool packed>
__global__ void mean_probability_kernel(float *mean, const float *x, const int32_t *starts, int64_t count,
                                        int64_t groups, int64_t columns)
{
    constexpr int width = packed ? pack_width<float> : 1;
    const int64_t column = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * width;
    for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
        float sum[width], values[width];
        load_values<packed>(sum, mean + group * columns + column, columns - column);
        const int32_t end = starts[group + 1];
        for (int32_t row = starts[group]; row < end; row++) {
            load_values<packed>(values, x + row * columns + column, columns - column);
#pragma unroll
            for (int i = 0; i < width; i++)
                sum[i] += expf(values[i]);
        }
#pragma unroll
        for (int i = 0; i < width; i++)
            sum[i] = count > 0 ? logf(sum[i] / (float)count) : sum[i];
        store_values<packed>(mean + group * columns + column, sum, columns - column);
    }
}

void cuda_mean_probability(struct backend *backend, struct tensor *mean, const struct tensor *x,
                           const struct tensor *starts, int64_t count)
{
    const int64_t groups = mean->shape[0], columns = mean->shape[1];
    if (groups == 0 || columns == 0)
        return;
    BY_ACCESS(packs_fit<float>(mean->data, columns) && aligned(x), {
        const dim3 grid(blocks_for(columns, THREADS * (packed ? pack_width<float> : 1)),
                        (unsigned)(groups < groups_maximum ? groups : groups_maximum));
        LAUNCH(backend, (mean_probability_kernel<packed>), grid, dim3(THREADS), 0, data_of<float>(mean),
               data_of<float>(x), data_of<int32_t>(starts), count, groups, columns);
    });
}
