#include "cuda/column_sums.cuh"
#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, WIDTH = 4 };

/* Where a thread stands: `lanes` neighbours share a row, each with every lanes-th pack, which later readings find in the
 * cache. A row that is not there has no columns. */
struct row_share {
    int64_t row, start, end, first, stride; /* columns first, first + stride, ... below end */
    int lanes;
    __device__ row_share(int64_t rows, int64_t columns, int lanes_)
        : row(((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes_), start(row * columns),
          end(row < rows ? columns : 0), first((int64_t)((int)threadIdx.x % lanes_) * WIDTH),
          stride((int64_t)lanes_ * WIDTH), lanes(lanes_)
    {
    }
    /* Over the threads of the row, in all of them. */
    __device__ float sum(float value) const
    {
        for (int mask = lanes / 2; mask > 0; mask /= 2)
            value += lane_exchange(value, mask);
        return value;
    }
};

template <bool packed>
__global__ void layernorm_forward_kernel(float *out, float *mean, float *inverse_deviation, const float *x,
                                         const float *weight, const float *bias, float epsilon, int64_t rows,
                                         int64_t columns, int lanes)
{
    const row_share share(rows, columns, lanes);
    float values[WIDTH], scale[WIDTH], shift[WIDTH], sum = 0.0f, squares = 0.0f;
    for (int64_t column = share.first; column < share.end; column += share.stride) {
        load_values<packed>(values, x + share.start + column, share.end - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            sum += values[i];
    }
    const float center = share.sum(sum) / (float)columns;
    for (int64_t column = share.first; column < share.end; column += share.stride) {
        load_values<packed>(values, x + share.start + column, share.end - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            if (column + i < share.end)
                squares = fmaf(values[i] - center, values[i] - center, squares);
    }
    const float inverse = 1.0f / sqrtf(share.sum(squares) / (float)columns + epsilon);
    if (share.first == 0 && share.row < rows) {
        mean[share.row] = center;
        inverse_deviation[share.row] = inverse;
    }
    for (int64_t column = share.first; column < share.end; column += share.stride) {
        load_values<packed>(values, x + share.start + column, share.end - column);
        load_values<packed>(scale, weight + column, share.end - column);
        load_values<packed>(shift, bias + column, share.end - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            values[i] = fmaf((values[i] - center) * inverse, scale[i], shift[i]);
        store_values<packed>(out + share.start + column, values, share.end - column);
    }
}

/* With n = (x - mean) r, r = inverse_deviation and g = d_out w: d_x += r (g - mean(g) - n mean(g n)). */
template <bool packed>
__global__ void layernorm_backward_kernel(float *d_x, const float *d_out, const float *x, const float *weight,
                                          const float *mean, const float *inverse_deviation, int64_t rows,
                                          int64_t columns, int lanes)
{
    const row_share share(rows, columns, lanes);
    const float center = share.row < rows ? mean[share.row] : 0.0f;
    const float inverse = share.row < rows ? inverse_deviation[share.row] : 0.0f;
    float normal[WIDTH], gradient[WIDTH], d[WIDTH], sum = 0.0f, product = 0.0f;
    const auto load = [&](int64_t column) {
        float scale[WIDTH];
        load_values<packed>(normal, x + share.start + column, share.end - column);
        load_values<packed>(gradient, d_out + share.start + column, share.end - column);
        load_values<packed>(scale, weight + column, share.end - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            normal[i] = (normal[i] - center) * inverse;
            gradient[i] *= scale[i];
        }
    };
    for (int64_t column = share.first; column < share.end; column += share.stride) {
        load(column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            sum += gradient[i];
            product = fmaf(gradient[i], normal[i], product);
        }
    }
    sum = share.sum(sum) / (float)columns;
    product = share.sum(product) / (float)columns;
    for (int64_t column = share.first; column < share.end; column += share.stride) {
        load(column);
        load_values<packed>(d, d_x + share.start + column, share.end - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            d[i] = fmaf(inverse, gradient[i] - sum - normal[i] * product, d[i]);
        store_values<packed>(d_x + share.start + column, d, share.end - column);
    }
}

/* d_out n, for the sums over rows. */
template <bool packed> struct normal_gradient {
    const float *d_out, *x, *mean, *inverse_deviation;
    int64_t columns;
    static constexpr int count = packed ? pack_width<float> : 1;
    __device__ void load(float (&products)[count], int64_t row, int64_t column, int64_t available) const
    {
        float values[count];
        load_values<packed>(products, d_out + row * columns + column, available);
        load_values<packed>(values, x + row * columns + column, available);
        const float center = mean[row], inverse = inverse_deviation[row];
#pragma unroll
        for (int i = 0; i < count; i++)
            products[i] *= (values[i] - center) * inverse;
    }
};

void cuda_layernorm_forward(struct backend *backend, struct tensor *out, struct tensor *mean,
                            struct tensor *inverse_deviation, const struct tensor *x,
                            const struct tensor *weight, const struct tensor *bias, float epsilon)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    const int lanes = lanes_for((columns + WIDTH - 1) / WIDTH);
    BY_ACCESS(packs_fit<float>(x->data, columns) && aligned(out, weight, bias), {
        LAUNCH(backend, (layernorm_forward_kernel<packed>), dim3(blocks_for(rows * lanes, THREADS)),
               dim3(THREADS), 0, data_of<float>(out), data_of<float>(mean), data_of<float>(inverse_deviation),
               data_of<float>(x), data_of<float>(weight), data_of<float>(bias), epsilon, rows, columns,
               lanes);
    });
}

void cuda_layernorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                             struct tensor *d_bias, const struct tensor *d_out, const struct tensor *x,
                             const struct tensor *weight, const struct tensor *mean,
                             const struct tensor *inverse_deviation)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    const int lanes = lanes_for((columns + WIDTH - 1) / WIDTH);
    BY_ACCESS(packs_fit<float>(x->data, columns) && aligned(d_x, d_out, weight), {
        LAUNCH(backend, (layernorm_backward_kernel<packed>), dim3(blocks_for(rows * lanes, THREADS)),
               dim3(THREADS), 0, data_of<float>(d_x), data_of<float>(d_out), data_of<float>(x),
               data_of<float>(weight), data_of<float>(mean), data_of<float>(inverse_deviation), rows, columns,
               lanes);
        column_sums(backend, data_of<float>(d_weight),
                    normal_gradient<packed>{data_of<float>(d_out), data_of<float>(x), data_of<float>(mean),
                                            data_of<float>(inverse_deviation), columns},
                    rows, columns);
        column_sums(backend, data_of<float>(d_bias),
                    stored_matrix<float, packed>{data_of<float>(d_out), columns}, rows, columns);
    });
}
