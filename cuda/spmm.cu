#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

/* A warp takes a row of the matrix. Its lanes form groups that hold the row's columns in packs of WIDTH; the groups
 * take turns at the neighbours. The whole block takes the rows of more than HEAVY neighbours, one after another. The
 * width and a row's own number of neighbours alone decide the order of its sum. */
enum {
    WARPS = 8,
    THREADS = WARPS * warp_width,
    WIDTH = 4,
    STRIP = warp_width * WIDTH,
    HEAVY = 128,
    AT_ONCE = 4
};

struct sparse_matrix {
    int64_t rows;
    const int64_t *starts;
    const int32_t *indices;
    const float *values;
};

/* Where a thread stands: its columns, and its group's turn among the groups of a warp. */
struct spmm_place {
    int64_t column;
    int lanes, groups, group;
    __device__ explicit spmm_place(int lanes_)
        : column((int64_t)blockIdx.y * STRIP + lane_index() % lanes_ * WIDTH), lanes(lanes_),
          groups(warp_width / lanes_), group(lane_index() / lanes_)
    {
    }
};

/* The sum over neighbours first, first + stride, ... of all groups of the warp, in all of them. An index of -1 names
 * none. */
template <bool packed>
static __device__ void sum_neighbours(float (&sum)[WIDTH], const struct sparse_matrix &matrix, const float *x,
                                      int64_t width, const struct spmm_place &place, int64_t first,
                                      int64_t end, int stride)
{
    for (int64_t j = first; j < end; j += AT_ONCE * stride) {
        float neighbours[AT_ONCE][WIDTH], values[AT_ONCE];
#pragma unroll
        for (int turn = 0; turn < AT_ONCE; turn++) {
            const int64_t edge = j + turn * stride;
            const int64_t row = edge < end ? matrix.indices[edge] : -1;
            const bool valid = row >= 0;
            values[turn] = valid ? matrix.values[edge] : 0.0f;
            load_values<packed>(neighbours[turn], x + row * width + place.column,
                                valid ? width - place.column : 0);
        }
#pragma unroll
        for (int turn = 0; turn < AT_ONCE; turn++)
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                sum[i] = fmaf(values[turn], neighbours[turn][i], sum[i]);
    }
    for (int mask = warp_width / 2; mask >= place.lanes; mask /= 2)
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            sum[i] += lane_exchange(sum[i], mask);
}

template <bool packed>
static __device__ void store_sum(float *out, float (&sum)[WIDTH], float beta, int64_t available)
{
    if (beta != 0.0f) {
        float before[WIDTH];
        load_values<packed>(before, out, available);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            sum[i] = fmaf(beta, before[i], sum[i]);
    }
    store_values<packed>(out, sum, available);
}

/* A heavy row by all warps: each sums its share, the first adds the shares in turn. */
template <bool packed>
static __device__ void multiply_heavy_row(float *out, const struct sparse_matrix &matrix, const float *x,
                                          float beta, int64_t width, const struct spmm_place &place,
                                          int64_t row)
{
    SHARED_ARRAY(float, shares, THREADS *WIDTH);
    float sum[WIDTH] = {};
    sum_neighbours<packed>(sum, matrix, x, width, place,
                           matrix.starts[row] + warp_index() * place.groups + place.group,
                           matrix.starts[row + 1], WARPS * place.groups);
    __syncthreads();
    store_values<true>(shares + threadIdx.x * WIDTH, sum, WIDTH);
    __syncthreads();
    if (warp_index() > 0 || place.group > 0)
        return;
    for (int warp = 1; warp < WARPS; warp++)
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            sum[i] += shares[(warp * warp_width + lane_index()) * WIDTH + i];
    store_sum<packed>(out + row * width + place.column, sum, beta, width - place.column);
}

template <bool packed>
__global__ void __launch_bounds__(THREADS)
    csr_spmm_kernel(float *out, struct sparse_matrix matrix, const float *x, float beta, int64_t width,
                    int lanes)
{
    const struct spmm_place place(lanes);
    const int64_t first_row = (int64_t)blockIdx.x * WARPS, row = first_row + warp_index();
    const int64_t begin = row < matrix.rows ? matrix.starts[row] : 0;
    const int64_t end = row < matrix.rows ? matrix.starts[row + 1] : 0;
    if (row < matrix.rows && end - begin <= HEAVY) {
        float sum[WIDTH] = {};
        sum_neighbours<packed>(sum, matrix, x, width, place, begin + place.group, end, place.groups);
        if (place.group == 0)
            store_sum<packed>(out + row * width + place.column, sum, beta, width - place.column);
    }
    for (int64_t other = first_row; other < first_row + WARPS && other < matrix.rows; other++)
        if (matrix.starts[other + 1] - matrix.starts[other] > HEAVY)
            multiply_heavy_row<packed>(out, matrix, x, beta, width, place, other);
}

void cuda_csr_spmm(struct backend *backend, struct tensor *out, const struct csr_tensor *matrix,
                   const struct tensor *x, float beta)
{
    const int64_t width = out->shape[1];
    const struct sparse_matrix sparse = {matrix->rows, data_of<int64_t>(&matrix->starts),
                                         data_of<int32_t>(&matrix->indices), data_of<float>(&matrix->values)};
    const dim3 grid(blocks_for(matrix->rows, WARPS), blocks_for(width, STRIP));
    BY_ACCESS(packs_fit<float>(x->data, width) && aligned(out), {
        LAUNCH(backend, (csr_spmm_kernel<packed>), grid, dim3(THREADS), 0, data_of<float>(out), sparse,
               data_of<float>(x), beta, width, lanes_for((width + WIDTH - 1) / WIDTH));
    });
}
