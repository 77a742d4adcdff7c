#include "cuda/column_sums.cuh"
#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

/* A row belongs to `lanes` threads: a part of a warp, a warp, or the whole block. Each holds `chunks` packs of it in
 * registers, lanes packs apart, so that memory is read once; chunks 0: any width, read twice. The width of a row alone
 * decides which of these it is, and with it the order of summation. */
enum { THREADS = 256 };

template <int lanes> struct row_place {
    int64_t row;
    int member; /* of the row's threads */
    __device__ row_place()
        : row(blockIdx.x * (int64_t)(THREADS / lanes) + threadIdx.x / lanes), member((int)threadIdx.x % lanes)
    {
    }
};

/* The sum over the threads of a row, in all of them. */
template <int lanes> static __device__ float row_sum(float value)
{
    if constexpr (lanes > warp_width) {
        return block_sum(value);
    } else {
#pragma unroll
        for (int mask = lanes / 2; mask > 0; mask /= 2)
            value += lane_exchange(value, mask);
        return value;
    }
}

/* Calls body(chunk, column) for the packs of this thread. */
template <typename T, int lanes, int chunks, typename Body>
static __device__ void each_pack(int member, int64_t columns, Body body)
{
    const int64_t first = (int64_t)member * pack_width<T>;
    constexpr int64_t stride = (int64_t)lanes * pack_width<T>;
    if (chunks > 0) {
#pragma unroll
        for (int chunk = 0; chunk < chunks; chunk++)
            body(chunk, first + chunk * stride);
    } else {
        for (int64_t column = first; column < columns; column += stride)
            body(0, column);
    }
}

template <typename T, int lanes, int chunks, bool packed>
__global__ void rmsnorm_forward_kernel(T *out, float *inverse_rms, const T *x, const T *weight, float epsilon,
                                       int64_t rows, int64_t columns)
{
    constexpr int width = pack_width<T>;
    const row_place<lanes> place;
    const int64_t first = place.row * columns, end = place.row < rows ? columns : 0;
    float values[chunks > 0 ? chunks : 1][width];
    float squares = 0.0f;
    each_pack<T, lanes, chunks>(place.member, columns, [&](int chunk, int64_t column) {
        load_values<packed>(values[chunk], x + first + column, end - column);
#pragma unroll
        for (int i = 0; i < width; i++)
            squares = fmaf(values[chunk][i], values[chunk][i], squares);
    });
    const float inverse = 1.0f / sqrtf(row_sum<lanes>(squares) / (float)columns + epsilon);
    if (place.member == 0 && place.row < rows)
        inverse_rms[place.row] = inverse;
    each_pack<T, lanes, chunks>(place.member, columns, [&](int chunk, int64_t column) {
        float scale[width];
        load_values<packed>(scale, weight + column, end - column);
        if (chunks == 0)
            load_values<packed>(values[chunk], x + first + column, end - column);
#pragma unroll
        for (int i = 0; i < width; i++)
            values[chunk][i] *= inverse * scale[i];
        store_values<packed>(out + first + column, values[chunk], end - column);
    });
}

/* With r = inverse_rms and n columns: d_x += r (d_out w - x r^2 mean(d_out w x)). */
template <typename T, int lanes, int chunks, bool packed>
__global__ void rmsnorm_backward_kernel(T *d_x, const T *d_out, const T *x, const T *weight,
                                        const float *inverse_rms, int64_t rows, int64_t columns)
{
    constexpr int width = pack_width<T>, kept = chunks > 0 ? chunks : 1;
    const row_place<lanes> place;
    const int64_t first = place.row * columns, end = place.row < rows ? columns : 0;
    float values[kept][width], scaled[kept][width]; /* x; d_out w */
    const auto load = [&](int chunk, int64_t column) {
        float scale[width];
        load_values<packed>(scale, weight + column, end - column);
        load_values<packed>(scaled[chunk], d_out + first + column, end - column);
        load_values<packed>(values[chunk], x + first + column, end - column);
#pragma unroll
        for (int i = 0; i < width; i++)
            scaled[chunk][i] *= scale[i];
    };
    float products = 0.0f;
    each_pack<T, lanes, chunks>(place.member, columns, [&](int chunk, int64_t column) {
        load(chunk, column);
#pragma unroll
        for (int i = 0; i < width; i++)
            products = fmaf(scaled[chunk][i], values[chunk][i], products);
    });
    const float inverse = place.row < rows ? inverse_rms[place.row] : 0.0f;
    const float mean = row_sum<lanes>(products) / (float)columns * inverse * inverse;
    each_pack<T, lanes, chunks>(place.member, columns, [&](int chunk, int64_t column) {
        float sum[width];
        load_values<packed>(sum, d_x + first + column, end - column);
        if (chunks == 0)
            load(chunk, column);
#pragma unroll
        for (int i = 0; i < width; i++)
            sum[i] = fmaf(inverse, fmaf(-mean, values[chunk][i], scaled[chunk][i]), sum[i]);
        store_values<packed>(d_x + first + column, sum, end - column);
    });
}

/* d_out x r, for the sums over rows. */
template <typename T, bool packed> struct weight_gradient {
    const T *d_out, *x;
    const float *inverse_rms;
    int64_t columns;
    static constexpr int count = packed ? pack_width<T> : 1;
    __device__ void load(float (&products)[count], int64_t row, int64_t column, int64_t available) const
    {
        float values[count];
        load_values<packed>(products, d_out + row * columns + column, available);
        load_values<packed>(values, x + row * columns + column, available);
        const float inverse = inverse_rms[row];
#pragma unroll
        for (int i = 0; i < count; i++)
            products[i] *= values[i] * inverse;
    }
};

/* Runs the statement with the constants `lanes` and `chunks` for rows of `columns`. */
#define BY_WIDTH(columns, ...)                                                                               \
    do {                                                                                                     \
        if ((columns) <= 16 * pack_width<T>) {                                                               \
            constexpr int lanes = 16, chunks = 1;                                                            \
            __VA_ARGS__                                                                                      \
        } else if ((columns) <= 4 * warp_width * pack_width<T>) {                                            \
            constexpr int lanes = warp_width, chunks = 4;                                                    \
            __VA_ARGS__                                                                                      \
        } else if ((columns) <= 4 * THREADS * pack_width<T>) {                                               \
            constexpr int lanes = THREADS, chunks = 4;                                                       \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            constexpr int lanes = THREADS, chunks = 0;                                                       \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

void cuda_rmsnorm_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_rms,
                          const struct tensor *x, const struct tensor *weight, float epsilon)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    BY_STORAGE(x, BY_ACCESS(packs_fit<T>(x->data, columns) && aligned(out, weight), {
                   BY_WIDTH(columns, {
                       LAUNCH(backend, (rmsnorm_forward_kernel<T, lanes, chunks, packed>),
                              dim3(blocks_for(rows, THREADS / lanes)), dim3(THREADS), 0, data_of<T>(out),
                              data_of<float>(inverse_rms), data_of<T>(x), data_of<T>(weight), epsilon, rows,
                              columns);
                   });
               }););
}

void cuda_rmsnorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                           const struct tensor *d_out, const struct tensor *x, const struct tensor *weight,
                           const struct tensor *inverse_rms)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    BY_STORAGE(x, BY_ACCESS(packs_fit<T>(x->data, columns) && aligned(d_x, d_out, weight), {
                   BY_WIDTH(columns, {
                       LAUNCH(backend, (rmsnorm_backward_kernel<T, lanes, chunks, packed>),
                              dim3(blocks_for(rows, THREADS / lanes)), dim3(THREADS), 0, data_of<T>(d_x),
                              data_of<T>(d_out), data_of<T>(x), data_of<T>(weight),
                              data_of<float>(inverse_rms), rows, columns);
                   });
                   if (d_weight)
                       column_sums(backend, data_of<float>(d_weight),
                                   weight_gradient<T, packed>{data_of<T>(d_out), data_of<T>(x),
                                                              data_of<float>(inverse_rms), columns},
                                   rows, columns);
               }););
}
