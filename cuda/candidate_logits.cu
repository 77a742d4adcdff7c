#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/sort.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, WIDTH = 4, TOGETHER = 4 };

/* ---- forward ------------------------------------------------------------------------------------------- */

struct candidate_list {
    const int32_t *indices; /* [rows, count] */
    int64_t rows, count;
};

/* `lanes` threads for TOGETHER candidates of a row. */
template <bool packed>
__global__ void candidate_logits_kernel(float *logits, const float *x, const float *table,
                                        struct candidate_list list, int64_t width, int lanes)
{
    const int64_t parts = (list.count + TOGETHER - 1) / TOGETHER;
    const int64_t number = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes;
    const int64_t row = number / parts, first = number % parts * TOGETHER;
    const int member = (int)threadIdx.x % lanes;
    int64_t candidates[TOGETHER];
    float sums[TOGETHER] = {};
#pragma unroll
    for (int t = 0; t < TOGETHER; t++)
        candidates[t] =
            row < list.rows && first + t < list.count ? list.indices[row * list.count + first + t] : -1;
    for (int64_t column = (int64_t)member * WIDTH; row < list.rows && column < width;
         column += (int64_t)lanes * WIDTH) {
        float left[WIDTH], right[TOGETHER][WIDTH];
        load_values<packed>(left, x + row * width + column, width - column);
#pragma unroll
        for (int t = 0; t < TOGETHER; t++)
            load_values<packed>(right[t], table + candidates[t] * width + column,
                                candidates[t] < 0 ? 0 : width - column);
#pragma unroll
        for (int t = 0; t < TOGETHER; t++)
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                sums[t] = fmaf(left[i], right[t][i], sums[t]);
    }
#pragma unroll
    for (int t = 0; t < TOGETHER; t++) {
        for (int mask = lanes / 2; mask > 0; mask /= 2)
            sums[t] += lane_exchange(sums[t], mask);
        if (member == 0 && row < list.rows && first + t < list.count)
            logits[row * list.count + first + t] = candidates[t] < 0 ? (float)EXCLUDED_LOGIT : sums[t];
    }
}

void cuda_candidate_logits_forward(struct backend *backend, struct tensor *logits, const struct tensor *x,
                                   const struct tensor *table, const struct tensor *candidates)
{
    const int64_t width = x->shape[1];
    const struct candidate_list list = {data_of<int32_t>(candidates), logits->shape[0], logits->shape[1]};
    const int lanes = lanes_for((width + WIDTH - 1) / WIDTH);
    const int64_t parts = (list.count + TOGETHER - 1) / TOGETHER;
    if (list.rows * list.count == 0)
        return;
    BY_ACCESS(packs_fit<float>(table->data, width) && aligned(x), {
        LAUNCH(backend, (candidate_logits_kernel<packed>),
               dim3(blocks_for(list.rows * parts * lanes, THREADS)), dim3(THREADS), 0, data_of<float>(logits),
               data_of<float>(x), data_of<float>(table), list, width, lanes);
    });
}

/* ---- backward: two products with sparse matrices, the candidates' and its transpose ---------------------- */

/* starts [rows + 1] of compressed rows that are all `count` long. */
__global__ void equal_starts_kernel(int64_t *starts, int64_t rows, int64_t count)
{
    const int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (row <= rows)
        starts[row] = row * count;
}

/* starts [columns + 1]: where the first pair of a column stands among the sorted ones. */
__global__ void column_starts_kernel(int64_t *starts, struct sorted_pairs sorted, int64_t entries,
                                     int64_t columns)
{
    const int64_t column = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (column <= columns)
        starts[column] = first_place(sorted.keys, (uint32_t)column, 0, entries);
}

/* The row and the value of each pair. */
__global__ void transpose_kernel(int32_t *rows, float *values, struct sorted_pairs sorted,
                                 const float *d_logits, int64_t entries, int64_t count)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= entries)
        return;
    rows[i] = (int32_t)(sorted.values[i] / count);
    values[i] = d_logits[sorted.values[i]];
}

/* The memory of backward, one after another, each a multiple of 256 bytes. */
struct candidate_memory {
    int64_t *row_starts, *column_starts;
    int32_t *rows;
    float *values;
    void *sort;
};

static size_t list_bytes(int64_t count, size_t element)
{
    return ((size_t)count * element + 255) / 256 * 256;
}

static bool candidate_memory_open(struct candidate_memory *memory, struct backend *backend, int64_t rows,
                                  int64_t columns, int64_t entries)
{
    const size_t row_starts = list_bytes(rows + 1, sizeof(int64_t));
    const size_t column_starts = list_bytes(columns + 1, sizeof(int64_t));
    const size_t numbers = list_bytes(entries, sizeof(int32_t));
    unsigned char *next = static_cast<unsigned char *>(
        cuda_workspace(backend, row_starts + column_starts + 2 * numbers + index_sort_bytes(entries)));
    if (!next)
        return false;
    memory->row_starts = reinterpret_cast<int64_t *>(next);
    memory->column_starts = reinterpret_cast<int64_t *>(next += row_starts);
    memory->rows = reinterpret_cast<int32_t *>(next += column_starts);
    memory->values = reinterpret_cast<float *>(next += numbers);
    memory->sort = next + numbers;
    return true;
}

static struct csr_tensor sparse_matrix(int64_t rows, int64_t columns, int64_t entries, int64_t *starts,
                                       int32_t *indices, float *values)
{
    struct csr_tensor matrix;
    matrix.rows = rows;
    matrix.columns = columns;
    matrix.starts = tensor_1d(starts, DTYPE_I64, DEVICE_CUDA, rows + 1);
    matrix.indices = tensor_1d(indices, DTYPE_I32, DEVICE_CUDA, entries);
    matrix.values = tensor_1d(values, DTYPE_F32, DEVICE_CUDA, entries);
    return matrix;
}

void cuda_candidate_logits_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_table,
                                    const struct tensor *d_logits, const struct tensor *x,
                                    const struct tensor *table, const struct tensor *candidates)
{
    const int64_t rows = d_logits->shape[0], count = d_logits->shape[1], columns = table->shape[0];
    const int64_t entries = rows * count;
    struct candidate_memory memory;
    if (entries == 0)
        backend->fill_zero(backend, d_x->data, tensor_bytes(d_x));
    if (entries == 0 || !candidate_memory_open(&memory, backend, rows, columns, entries))
        return;
    int32_t *indices = data_of<int32_t>(candidates);
    float *gradients = data_of<float>(d_logits);
    LAUNCH(backend, equal_starts_kernel, dim3(blocks_for(rows + 1, THREADS)), dim3(THREADS), 0,
           memory.row_starts, rows, count);
    const struct csr_tensor by_row =
        sparse_matrix(rows, columns, entries, memory.row_starts, indices, gradients);
    cuda_csr_spmm(backend, d_x, &by_row, table, 0.0f);

    const struct sorted_pairs sorted = sort_indices(backend, indices, entries, columns, memory.sort);
    LAUNCH(backend, column_starts_kernel, dim3(blocks_for(columns + 1, THREADS)), dim3(THREADS), 0,
           memory.column_starts, sorted, entries, columns);
    LAUNCH(backend, transpose_kernel, dim3(blocks_for(entries, THREADS)), dim3(THREADS), 0, memory.rows,
           memory.values, sorted, gradients, entries, count);
    const struct csr_tensor by_column =
        sparse_matrix(columns, rows, entries, memory.column_starts, memory.rows, memory.values);
    cuda_csr_spmm(backend, d_table, &by_column, x, 1.0f);
}
