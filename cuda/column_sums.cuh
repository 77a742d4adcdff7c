/*
 * column_sums.cuh: sums over the rows of a matrix that is computed on the fly, in an order that only its shape decides:
 * strips of rows in parallel, then over the strips.
 */
#ifndef IDREC_CUDA_COLUMN_SUMS_CUH
#define IDREC_CUDA_COLUMN_SUMS_CUH

#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

enum { SUMMING_ROWS = 8, STRIP_ROWS = 64, STRIPS_MAXIMUM = 512 };

/* A matrix in memory as a source of column_sums. A source gives `Count` values from (row, column) on, of which
 * `available` are in the row. */
template <typename T, bool packed> struct stored_matrix {
    const T *values;
    int64_t columns;
    static constexpr int count = packed ? pack_width<T> : 1;
    __device__ void load(float (&loaded)[count], int64_t row, int64_t column, int64_t available) const
    {
        load_values<packed>(loaded, values + row * columns + column, available);
    }
};

/* sums[strip, column] (+)= the sum of a strip of `strip_rows` rows; blocks of 32 x SUMMING_ROWS threads. */
template <typename Source>
__global__ void column_sums_kernel(float *sums, Source source, int64_t rows, int64_t columns,
                                   int64_t strip_rows, bool accumulate)
{
    constexpr int count = Source::count, block_columns = warp_width * count;
    SHARED_ARRAY(float, partial, SUMMING_ROWS *block_columns);
    const int64_t first_column = (int64_t)blockIdx.x * block_columns;
    const int64_t column = first_column + (int64_t)threadIdx.x * count;
    const int64_t first = (int64_t)blockIdx.y * strip_rows;
    const int64_t end = first + strip_rows < rows ? first + strip_rows : rows;
    float sum[count] = {};
#pragma unroll 4
    for (int64_t row = first + threadIdx.y; row < end; row += SUMMING_ROWS) {
        float values[count];
        source.load(values, row, column, columns - column);
#pragma unroll
        for (int i = 0; i < count; i++)
            sum[i] += values[i];
    }
#pragma unroll
    for (int i = 0; i < count; i++)
        partial[threadIdx.y * block_columns + threadIdx.x * count + i] = sum[i];
    __syncthreads();
    const int own = (int)(threadIdx.y * warp_width + threadIdx.x);
    if (own >= block_columns || first_column + own >= columns)
        return;
    float total = 0.0f;
    for (int i = 0; i < SUMMING_ROWS; i++)
        total += partial[i * block_columns + own];
    float *result = sums + blockIdx.y * columns + first_column + own;
    *result = accumulate ? *result + total : total;
}

template <typename Source>
static void sum_strips(struct backend *backend, float *sums, Source source, int64_t rows, int64_t columns,
                       int64_t strip_rows, bool accumulate)
{
    const dim3 grid(blocks_for(columns, warp_width * Source::count), blocks_for(rows, strip_rows));
    LAUNCH(backend, (column_sums_kernel<Source>), grid, dim3(warp_width, SUMMING_ROWS), 0, sums, source, rows,
           columns, strip_rows, accumulate);
}

/* total[column] += the sum of the source's column. Takes the workspace. */
template <typename Source>
static void column_sums(struct backend *backend, float *total, Source source, int64_t rows, int64_t columns)
{
    const int64_t longest = (rows + STRIPS_MAXIMUM - 1) / STRIPS_MAXIMUM;
    const int64_t strip_rows = longest > STRIP_ROWS ? longest : (int64_t)STRIP_ROWS;
    const int64_t strips = blocks_for(rows, strip_rows);
    if (strips == 1) {
        sum_strips(backend, total, source, rows, columns, strip_rows, true);
        return;
    }
    float *partial =
        static_cast<float *>(cuda_workspace(backend, (size_t)(strips * columns) * sizeof(float)));
    if (!partial)
        return;
    sum_strips(backend, partial, source, rows, columns, strip_rows, false);
    BY_ACCESS(packs_fit<float>(partial, columns) && columns > 1024, {
        sum_strips(backend, total, stored_matrix<float, packed>{partial, columns}, strips, columns, strips,
                   true);
    });
}

#endif
