#include "cuda/device.cuh"
#include "cuda/warp.cuh"

enum { ROW_THREADS = 256, PARTIAL_ROWS = 64 };

/* One block a row. */
template <typename T>
__global__ void rmsnorm_forward_kernel(T *out, float *inverse_rms, const T *x, const T *weight, float epsilon,
                                       int64_t columns)
{
    const int64_t row = blockIdx.x;
    x += row * columns;
    out += row * columns;
    float squares = 0.0f;
    for (int64_t column = threadIdx.x; column < columns; column += blockDim.x) {
        const float value = to_float(x[column]);
        squares += value * value;
    }
    const float inverse = 1.0f / sqrtf(block_sum(squares) / (float)columns + epsilon);
    if (threadIdx.x == 0)
        inverse_rms[row] = inverse;
    for (int64_t column = threadIdx.x; column < columns; column += blockDim.x)
        out[column] = from_float<T>(to_float(x[column]) * inverse * to_float(weight[column]));
}

/* With r = inverse_rms and n columns: d_x += r (d_out w - x r^2 mean(d_out w x)). */
template <typename T>
__global__ void rmsnorm_backward_kernel(T *d_x, const T *d_out, const T *x, const T *weight,
                                        const float *inverse_rms, int64_t columns)
{
    const int64_t row = blockIdx.x;
    const int64_t first = row * columns;
    float products = 0.0f;
    for (int64_t column = threadIdx.x; column < columns; column += blockDim.x)
        products += to_float(d_out[first + column]) * to_float(weight[column]) * to_float(x[first + column]);
    const float inverse = inverse_rms[row];
    const float mean = block_sum(products) / (float)columns * inverse * inverse;
    for (int64_t column = threadIdx.x; column < columns; column += blockDim.x) {
        const float d =
            to_float(d_out[first + column]) * to_float(weight[column]) - to_float(x[first + column]) * mean;
        d_x[first + column] = from_float<T>(to_float(d_x[first + column]) + inverse * d);
    }
}

/* partial[strip, column] = the sum over a strip of PARTIAL_ROWS rows of d_out x r. */
template <typename T>
__global__ void rmsnorm_weight_kernel(float *partial, const T *d_out, const T *x, const float *inverse_rms,
                                      int64_t rows, int64_t columns)
{
    const int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t first = (int64_t)blockIdx.y * PARTIAL_ROWS;
    const int64_t end = first + PARTIAL_ROWS < rows ? first + PARTIAL_ROWS : rows;
    if (column >= columns)
        return;
    float sum = 0.0f;
    for (int64_t row = first; row < end; row++)
        sum +=
            to_float(d_out[row * columns + column]) * to_float(x[row * columns + column]) * inverse_rms[row];
    partial[blockIdx.y * columns + column] = sum;
}

__global__ void add_strips_kernel(float *total, const float *partial, int64_t strips, int64_t columns)
{
    const int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns)
        return;
    float sum = 0.0f;
    for (int64_t strip = 0; strip < strips; strip++)
        sum += partial[strip * columns + column];
    total[column] += sum;
}

void cuda_rmsnorm_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_rms,
                          const struct tensor *x, const struct tensor *weight, float epsilon)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    if (rows == 0)
        return;
    BY_STORAGE(x, {
        LAUNCH(backend, (rmsnorm_forward_kernel<T>), dim3((unsigned)rows), dim3(ROW_THREADS), 0,
               data_of<T>(out), data_of<float>(inverse_rms), data_of<T>(x), data_of<T>(weight), epsilon,
               columns);
    });
}

void cuda_rmsnorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                           const struct tensor *d_out, const struct tensor *x, const struct tensor *weight,
                           const struct tensor *inverse_rms)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    if (rows == 0)
        return;
    BY_STORAGE(x, {
        LAUNCH(backend, (rmsnorm_backward_kernel<T>), dim3((unsigned)rows), dim3(ROW_THREADS), 0,
               data_of<T>(d_x), data_of<T>(d_out), data_of<T>(x), data_of<T>(weight),
               data_of<float>(inverse_rms), columns);
    });
    if (!d_weight)
        return;
    const int64_t strips = blocks_for(rows, PARTIAL_ROWS);
    float *partial =
        static_cast<float *>(cuda_workspace(backend, (size_t)(strips * columns) * sizeof(float)));
    if (!partial)
        return;
    const dim3 grid(blocks_for(columns, ROW_THREADS), (unsigned)strips);
    BY_STORAGE(x, {
        LAUNCH(backend, (rmsnorm_weight_kernel<T>), grid, dim3(ROW_THREADS), 0, partial, data_of<T>(d_out),
               data_of<T>(x), data_of<float>(inverse_rms), rows, columns);
    });
    LAUNCH(backend, add_strips_kernel, dim3(grid.x), dim3(ROW_THREADS), 0, data_of<float>(d_weight), partial,
           strips, columns);
}
