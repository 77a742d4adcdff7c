#include "cuda/packs.cuh"
#include "cuda/sort.cuh"

enum { THREADS = 256, CHUNK = 64, SUMMING_WARPS = 8, LANES = 32, SUM_WIDTH = 4 };

/* ---- look-up ------------------------------------------------------------------------------------------- */

template <typename T, int Count>
__global__ void gather_kernel(T *out, const T *table, const int32_t *indices, int64_t count, int64_t width)
{
    const int64_t place = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * Count;
    if (place >= count * width)
        return;
    const int64_t index = indices[place / width];
    pack<T, Count> row = {};
    if (index >= 0)
        row = *reinterpret_cast<const pack<T, Count> *>(table + index * width + place % width);
    *reinterpret_cast<pack<T, Count> *>(out + place) = row;
}

void cuda_gather(struct backend *backend, struct tensor *out, const struct tensor *table,
                 const struct tensor *indices)
{
    const int64_t count = out->shape[0], width = out->shape[1];
    BY_STORAGE(table, BY_ACCESS(packs_fit<T>(table->data, width) && aligned(out), {
                   constexpr int together = packed ? pack_width<T> : 1;
                   LAUNCH(backend, (gather_kernel<T, together>),
                          dim3(blocks_for(count * width, THREADS * together)), dim3(THREADS), 0,
                          data_of<T>(out), data_of<T>(table), data_of<int32_t>(indices), count, width);
               }););
}

/* ---- its backward: sort by index, then sum segments of equal index ---------------------------------------- */

/* What the sums read: the indices, sorted, and from where in `rows` each came. `unused` is the key of index -1. A
 * segment is added in chunks of CHUNK rows that are counted from its beginning, so that the order of its sum does not
 * depend on what else is in the batch. A segment of one chunk is added to the table row after row. */
struct segments {
    const uint32_t *keys, *places;
    int64_t count;
    uint32_t unused;
};

static __device__ bool begins_segment(const struct segments &sorted, int64_t place)
{
    return place == 0 || sorted.keys[place - 1] != sorted.keys[place];
}

static __device__ bool begins_chunk(const struct segments &sorted, int64_t place)
{
    const uint32_t key = sorted.keys[place];
    if (begins_segment(sorted, place))
        return true;
    if (place < CHUNK || sorted.keys[place - CHUNK] != key)
        return false;
    return (place - first_place(sorted.keys, key, 0, place)) % CHUNK == 0;
}

/* Where the sum of a chunk of a long segment is kept, among 2 * slots rows: whole chunks do not overlap, and neither
 * do a shorter last one and the whole one before it. */
static __device__ int64_t slot_of(const struct segments &sorted, int64_t place, bool whole)
{
    return place / CHUNK + (whole ? 0 : sorted.count / CHUNK + 1);
}

/* `lanes` threads a place and LANES packs of columns a block row: those at the beginning of a chunk add it. */
template <typename T, bool packed>
__global__ void add_chunks_kernel(float *table, float *partial, const T *rows, struct segments sorted,
                                  int64_t width, int lanes)
{
    constexpr int together = pack_width<T>;
    const int64_t place = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / lanes;
    const int64_t column = ((int64_t)blockIdx.y * LANES + threadIdx.x % (unsigned)lanes) * together;
    if (place >= sorted.count || sorted.keys[place] == sorted.unused || !begins_chunk(sorted, place))
        return;
    const uint32_t key = sorted.keys[place];
    const int64_t last = place + CHUNK < sorted.count ? place + CHUNK : sorted.count;
    const int64_t end = first_place(sorted.keys, key + 1, place + 1, last);
    const bool alone = begins_segment(sorted, place) && (end == sorted.count || sorted.keys[end] != key);
    float *target =
        alone ? table + key * width : partial + slot_of(sorted, place, end == place + CHUNK) * width;
    float sum[together];
    load_values<packed>(sum, target + column, alone ? width - column : 0);
#pragma unroll 4
    for (int64_t i = place; i < end; i++) {
        float values[together];
        load_values<packed>(values, rows + sorted.places[i] * width + column, width - column);
#pragma unroll
        for (int j = 0; j < together; j++)
            sum[j] += values[j];
    }
    store_values<packed>(target + column, sum, width - column);
}

/* At most one segment of more than CHUNK rows begins among CHUNK neighbouring places. A block looks for it and adds the
 * sums of its chunks: each warp every SUMMING_WARPS-th, then the warps in turn. */
template <bool packed>
__global__ void add_long_segments_kernel(float *table, const float *partial, struct segments sorted,
                                         int64_t width)
{
    SHARED_ARRAY(int64_t, found, 1);
    SHARED_ARRAY(float, sums, SUMMING_WARPS *LANES *SUM_WIDTH);
    const int warp = (int)threadIdx.y, lane = (int)threadIdx.x, thread = warp * LANES + lane;
    const int64_t place = (int64_t)blockIdx.x * CHUNK + thread;
    if (thread == 0)
        found[0] = sorted.count;
    __syncthreads();
    if (thread < CHUNK && place + CHUNK < sorted.count && sorted.keys[place] != sorted.unused &&
        sorted.keys[place + CHUNK] == sorted.keys[place] && begins_segment(sorted, place))
        found[0] = place;
    __syncthreads();
    const int64_t begin = found[0];
    if (begin == sorted.count)
        return;
    const uint32_t key = sorted.keys[begin];
    const int64_t end = first_place(sorted.keys, key + 1, begin, sorted.count);
    const int64_t column = ((int64_t)blockIdx.y * LANES + lane) * SUM_WIDTH;
    float sum[SUM_WIDTH] = {};
#pragma unroll 4
    for (int64_t chunk = begin + warp * CHUNK; chunk < end; chunk += SUMMING_WARPS * CHUNK) {
        float values[SUM_WIDTH];
        const int64_t slot = slot_of(sorted, chunk, chunk + CHUNK <= end);
        load_values<packed>(values, partial + slot * width + column, width - column);
#pragma unroll
        for (int i = 0; i < SUM_WIDTH; i++)
            sum[i] += values[i];
    }
    store_values<true>(sums + thread * SUM_WIDTH, sum, SUM_WIDTH);
    __syncthreads();
    if (warp > 0)
        return;
    float total[SUM_WIDTH];
    load_values<packed>(total, table + key * width + column, width - column);
    for (int other = 0; other < SUMMING_WARPS; other++)
#pragma unroll
        for (int i = 0; i < SUM_WIDTH; i++)
            total[i] += sums[(other * LANES + lane) * SUM_WIDTH + i];
    store_values<packed>(table + key * width + column, total, width - column);
}

template <typename T>
static void add_segments(struct backend *backend, struct tensor *table, float *partial,
                         const struct tensor *rows, struct segments sorted)
{
    const int64_t width = rows->shape[1];
    const int lanes = lanes_for((width + pack_width<T> - 1) / pack_width<T>);
    const dim3 chunk_grid(blocks_for(sorted.count * lanes, THREADS),
                          blocks_for(width, LANES * pack_width<T>));
    const dim3 long_grid(blocks_for(sorted.count, CHUNK), blocks_for(width, LANES * SUM_WIDTH));
    BY_ACCESS(packs_fit<T>(rows->data, width) && aligned(table), {
        LAUNCH(backend, (add_chunks_kernel<T, packed>), chunk_grid, dim3(THREADS), 0, data_of<float>(table),
               partial, data_of<T>(rows), sorted, width, lanes);
        LAUNCH(backend, (add_long_segments_kernel<packed>), long_grid, dim3(LANES, SUMMING_WARPS), 0,
               data_of<float>(table), partial, sorted, width);
    });
}

void cuda_scatter_add(struct backend *backend, struct tensor *table, const struct tensor *rows,
                      const struct tensor *indices)
{
    const int64_t count = rows->shape[0], width = rows->shape[1];
    const uint32_t unused = (uint32_t)table->shape[0];
    if (count == 0 || width == 0)
        return;
    const size_t sort_bytes = index_sort_bytes(count);
    const size_t partial_bytes = 2 * (size_t)(count / CHUNK + 1) * (size_t)width * sizeof(float);
    unsigned char *memory = static_cast<unsigned char *>(cuda_workspace(backend, sort_bytes + partial_bytes));
    if (!memory)
        return;
    float *partial = reinterpret_cast<float *>(memory + sort_bytes);
    const struct sorted_pairs sorted =
        sort_indices(backend, data_of<int32_t>(indices), count, unused, memory);
    const struct segments segments = {sorted.keys, sorted.values, count, unused};
    BY_STORAGE(rows, { add_segments<T>(backend, table, partial, rows, segments); });
}

/* ---- a range of rows ------------------------------------------------------------------------------------- */

__global__ void rows_within_kernel(int32_t *out, const int32_t *indices, int64_t length, int64_t first,
                                   int64_t count)
{
    const int64_t place = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= length)
        return;
    const int64_t row = indices[place] - first;
    out[place] = row >= 0 && row < count ? (int32_t)row : -1;
}

void cuda_rows_within(struct backend *backend, struct tensor *out, const struct tensor *indices,
                      int64_t first, int64_t count)
{
    const int64_t length = out->shape[0];
    LAUNCH(backend, rows_within_kernel, dim3(blocks_for(length, THREADS)), dim3(THREADS), 0,
           data_of<int32_t>(out), data_of<int32_t>(indices), length, first, count);
}
