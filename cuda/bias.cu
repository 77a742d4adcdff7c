#include "cuda/column_sums.cuh"

enum { THREADS = 256 };

template <typename T, int Count>
__global__ void bias_forward_kernel(T *x, const T *bias, int64_t count, int64_t columns)
{
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * Count;
    float values[Count], added[Count];
    load_values<(Count > 1)>(values, x + first, count - first);
    load_values<(Count > 1)>(added, bias + first % columns, Count);
#pragma unroll
    for (int i = 0; i < Count; i++)
        values[i] += added[i];
    store_values<(Count > 1)>(x + first, values, count - first);
}

void cuda_bias_forward(struct backend *backend, struct tensor *x, const struct tensor *bias)
{
    const int64_t count = tensor_count(x), columns = x->shape[1];
    if (count == 0)
        return;
    BY_STORAGE(x, BY_ACCESS(packs_fit<T>(x->data, columns) && aligned(bias), {
                   constexpr int width = packed ? pack_width<T> : 1;
                   LAUNCH(backend, (bias_forward_kernel<T, width>), dim3(blocks_for(count, THREADS * width)),
                          dim3(THREADS), 0, data_of<T>(x), data_of<T>(bias), count, columns);
               }););
}

void cuda_bias_backward(struct backend *backend, struct tensor *d_bias, const struct tensor *d_x)
{
    const int64_t rows = d_x->shape[0], columns = d_x->shape[1];
    BY_STORAGE(d_x, BY_ACCESS(packs_fit<T>(d_x->data, columns), {
                   column_sums(backend, data_of<float>(d_bias),
                               stored_matrix<T, packed>{data_of<T>(d_x), columns}, rows, columns);
               }););
}
