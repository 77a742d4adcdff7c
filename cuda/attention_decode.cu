#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/softmax.cuh"

/* A head is held by 1 to 32 lanes, a team, VALUES of it in each. A block reads CHUNK positions of a slot for up to four
 * query heads that share the key head; its teams take turns at the positions. Longer slots are read by several blocks,
 * whose sums are combined in the order of the positions. The parts depend on the length alone, so that a row has the same
 * bits in every batch. */
enum { THREADS = 128, VALUES = 8, CHUNK = 256, WIDTH_MAXIMUM = 32 * VALUES };

template <typename T> struct decode_operands {
    const T *q, *k_cache, *v_cache;
    const int32_t *slots, *lengths;
    int64_t capacity;
    int query_heads, key_heads, width, lanes;
};

/* The sum of softmax over a part of the positions. */
template <int heads> struct partial_sum {
    float maximum[heads], sum[heads], values[heads][VALUES];
};

/* Sums over the lanes of a team. */
__device__ static float team_sum(float value, int lanes)
{
    for (int mask = lanes / 2; mask > 0; mask /= 2)
        value += lane_exchange(value, mask);
    return value;
}

/* Adds `count` positions of the same head to the sums; those that are not there have a score of -infinity. */
template <int heads, int count>
__device__ static void add_positions(partial_sum<heads> &total, const float (&scores)[heads][count],
                                     const float (&values)[count][VALUES])
{
#pragma unroll
    for (int h = 0; h < heads; h++) {
        float maximum = total.maximum[h];
#pragma unroll
        for (int j = 0; j < count; j++)
            maximum = fmaxf(maximum, scores[h][j]);
        const float kept = maximum > -INFINITY ? exponential(total.maximum[h] - maximum) : 0.0f;
        total.maximum[h] = maximum;
        total.sum[h] *= kept;
#pragma unroll
        for (int i = 0; i < VALUES; i++)
            total.values[h][i] *= kept;
#pragma unroll
        for (int j = 0; j < count; j++) {
            const float weight = scores[h][j] > -INFINITY ? exponential(scores[h][j] - maximum) : 0.0f;
            total.sum[h] += weight;
#pragma unroll
            for (int i = 0; i < VALUES; i++)
                total.values[h][i] += weight * values[j][i];
        }
    }
}

/* What this thread's team sums up: every teams-th position of [first, last), `count` at a time. */
template <typename T, int heads, bool packed>
__device__ static partial_sum<heads> attend(const decode_operands<T> &o, const T *q, const T *keys,
                                            const T *values, int first, int last, int head_count)
{
    constexpr int count = heads == 4 ? 2 : 4;
    const int team = (int)threadIdx.x / o.lanes, teams = THREADS / o.lanes;
    const int start = (int)threadIdx.x % o.lanes * VALUES, available = o.width - start;
    const int64_t stride = (int64_t)o.key_heads * o.width;
    const float scale = 1.0f / sqrtf((float)o.width);
    float query[heads][VALUES];
    partial_sum<heads> total = {};
#pragma unroll
    for (int h = 0; h < heads; h++) {
        load_values<packed>(query[h], q + h * o.width + start, h < head_count ? available : 0);
        total.maximum[h] = -INFINITY;
    }
    for (int base = first; base < last; base += teams * count) {
        float key[count][VALUES], value[count][VALUES], scores[heads][count];
#pragma unroll
        for (int j = 0; j < count; j++) {
            const int position = base + j * teams + team, there = position < last ? available : 0;
            load_values<packed>(key[j], keys + position * stride + start, there);
            load_values<packed>(value[j], values + position * stride + start, there);
        }
#pragma unroll
        for (int h = 0; h < heads; h++)
#pragma unroll
            for (int j = 0; j < count; j++) {
                float product = 0.0f;
#pragma unroll
                for (int i = 0; i < VALUES; i++)
                    product += query[h][i] * key[j][i];
                product = team_sum(product, o.lanes) * scale;
                scores[h][j] = base + j * teams + team < last ? product : -INFINITY;
            }
        add_positions(total, scores, value);
    }
    return total;
}

/* The sums of `count` parts become one: maximum, then sum and value of this column, in the order of the parts. */
struct combined {
    float maximum, sum, value;
};
__device__ static combined combine(const float *maxima, const float *sums, const float *values, int count,
                                   int stride)
{
    combined total = {-INFINITY, 0.0f, 0.0f};
    for (int i = 0; i < count; i++)
        total.maximum = fmaxf(total.maximum, maxima[i]);
    for (int i = 0; i < count; i++) {
        const float weight = maxima[i] > -INFINITY ? exponential(maxima[i] - total.maximum) : 0.0f;
        total.sum += weight * sums[i];
        total.value += weight * values[i * stride];
    }
    return total;
}

__device__ static float quotient(const combined &total)
{
    return total.sum > 0.0f ? total.value / total.sum : 0.0f;
}

/* Where the sums of blocks are kept: [rows * query_heads, chunks], values the same with [width] behind. */
struct chunk_sums {
    float *maxima, *sums, *values;
    int chunks;
};

/* Blocks: rows (x), groups of query heads (y), parts of the length (z). */
template <typename T, int heads, bool packed>
__global__ void __launch_bounds__(THREADS)
    attention_decode_kernel(T *out, decode_operands<T> o, struct chunk_sums kept)
{
    SHARED_ARRAY(float, maxima, heads *THREADS);
    SHARED_ARRAY(float, sums, heads *THREADS);
    SHARED_ARRAY(float, values, heads *THREADS *VALUES);
    const int64_t row = blockIdx.x, slot = o.slots[row];
    const int first = (int)blockIdx.z * CHUNK, last = min(first + CHUNK, o.lengths[row]);
    if (slot < 0 || (first > 0 && first >= last))
        return;
    const int group = o.query_heads / o.key_heads, blocks = (group + heads - 1) / heads;
    const int key_head = (int)blockIdx.y / blocks, part = (int)blockIdx.y % blocks;
    const int head = key_head * group + part * heads, head_count = min(heads, group - part * heads);
    const int64_t place = row * o.query_heads + head;
    const int64_t cached = (slot * o.capacity * o.key_heads + key_head) * o.width;
    const partial_sum<heads> total = attend<T, heads, packed>(o, o.q + place * o.width, o.k_cache + cached,
                                                              o.v_cache + cached, first, last, head_count);

    const int team = (int)threadIdx.x / o.lanes, teams = THREADS / o.lanes, padded = o.lanes * VALUES;
#pragma unroll
    for (int h = 0; h < heads; h++) {
        maxima[h * teams + team] = total.maximum[h];
        sums[h * teams + team] = total.sum[h];
#pragma unroll
        for (int i = 0; i < VALUES; i++)
            values[(h * THREADS + (int)threadIdx.x) * VALUES + i] = total.values[h][i];
    }
    __syncthreads();
    for (int index = (int)threadIdx.x; index < head_count * o.width; index += THREADS) {
        const int h = index / o.width, column = index % o.width;
        const combined all = combine(maxima + h * teams, sums + h * teams,
                                     values + h * THREADS * VALUES + column, teams, padded);
        if (kept.chunks == 1) {
            out[place * o.width + index] = from_float<T>(quotient(all));
            continue;
        }
        const int64_t chunk = (place + h) * kept.chunks + blockIdx.z;
        kept.maxima[chunk] = all.maximum;
        kept.sums[chunk] = all.sum;
        kept.values[chunk * o.width + column] = all.value;
    }
}

/* One block for a row (x) and query head (y). */
template <typename T>
__global__ void attention_decode_combine_kernel(T *out, decode_operands<T> o, struct chunk_sums kept)
{
    const int64_t row = blockIdx.x, place = row * o.query_heads + blockIdx.y;
    const int used = max((o.lengths[row] + CHUNK - 1) / CHUNK, 1);
    if (o.slots[row] < 0)
        return;
    for (int column = (int)threadIdx.x; column < o.width; column += (int)blockDim.x) {
        const combined all = combine(kept.maxima + place * kept.chunks, kept.sums + place * kept.chunks,
                                     kept.values + place * kept.chunks * o.width + column, used, o.width);
        out[place * o.width + column] = from_float<T>(quotient(all));
    }
}

template <typename T, int heads>
static void launch_decode(struct backend *backend, struct tensor *out, const decode_operands<T> &o,
                          const struct chunk_sums &kept, bool fits)
{
    const int64_t rows = out->shape[0];
    const int group = o.query_heads / o.key_heads;
    const dim3 grid((unsigned)rows, (unsigned)(o.key_heads * ((group + heads - 1) / heads)),
                    (unsigned)kept.chunks);
    BY_ACCESS(fits, {
        LAUNCH(backend, (attention_decode_kernel<T, heads, packed>), grid, dim3(THREADS), 0, data_of<T>(out),
               o, kept);
    });
    if (kept.chunks > 1)
        LAUNCH(backend, (attention_decode_combine_kernel<T>), dim3((unsigned)rows, (unsigned)o.query_heads),
               dim3(64), 0, data_of<T>(out), o, kept);
}

static bool keep_chunks(struct backend *backend, struct chunk_sums *kept, int64_t places, int64_t capacity,
                        int64_t width)
{
    const int64_t chunks = (capacity + CHUNK - 1) / CHUNK, count = places * chunks;
    *kept = {};
    kept->chunks = (int)chunks;
    if (chunks == 1)
        return true;
    kept->maxima =
        static_cast<float *>(cuda_workspace(backend, (size_t)(count * (width + 2)) * sizeof(float)));
    kept->sums = kept->maxima + count;
    kept->values = kept->sums + count;
    return kept->maxima != NULL;
}

void cuda_attention_decode(struct backend *backend, struct tensor *out, const struct tensor *q,
                           const struct tensor *k_cache, const struct tensor *v_cache,
                           const struct tensor *slots, const struct tensor *lengths, int64_t capacity,
                           struct attention_shape shape)
{
    const int64_t rows = out->shape[0], width = shape.head_width, group = shape.query_heads / shape.key_heads;
    struct chunk_sums kept;
    if (width > WIDTH_MAXIMUM) {
        error_set(&backend->error, ERROR_RUN, "device cuda: heads are at most %d wide, not %lld",
                  (int)WIDTH_MAXIMUM, (long long)width);
        return;
    }
    if (rows == 0 || !keep_chunks(backend, &kept, rows * shape.query_heads, capacity, width))
        return;
    BY_STORAGE(q, {
        const decode_operands<T> o = {data_of<T>(q),
                                      data_of<T>(k_cache),
                                      data_of<T>(v_cache),
                                      data_of<int32_t>(slots),
                                      data_of<int32_t>(lengths),
                                      capacity,
                                      (int)shape.query_heads,
                                      (int)shape.key_heads,
                                      (int)width,
                                      lanes_for((width + VALUES - 1) / VALUES)};
        const bool fits = width % pack_width<T> == 0 && aligned(q, k_cache, v_cache);
        if (group == 1)
            launch_decode<T, 1>(backend, out, o, kept, fits);
        else if (group == 2)
            launch_decode<T, 2>(backend, out, o, kept, fits);
        else
            launch_decode<T, 4>(backend, out, o, kept, fits);
    });
}

/* ---- cache --------------------------------------------------------------------------------------------- */

/* One thread for a pack of a row. */
template <typename Pack>
__global__ void cache_store_kernel(Pack *cache, const Pack *rows, const int32_t *slots,
                                   const int32_t *positions, int64_t capacity, int64_t count, int64_t width)
{
    const int64_t index = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, row = index / width;
    if (row >= count || slots[row] < 0)
        return;
    cache[(slots[row] * capacity + positions[row]) * width + index % width] = rows[index];
}

template <typename T, int width>
static void store(struct backend *backend, struct tensor *cache, const struct tensor *rows,
                  const struct tensor *slots, const struct tensor *positions, int64_t capacity)
{
    const int64_t count = rows->shape[0], packs = rows->shape[1] / width;
    LAUNCH(backend, (cache_store_kernel<pack<T, width>>), dim3(blocks_for(count * packs, THREADS)),
           dim3(THREADS), 0, (data_of<pack<T, width>>(cache)), (data_of<pack<T, width>>(rows)),
           data_of<int32_t>(slots), data_of<int32_t>(positions), capacity, count, packs);
}

void cuda_cache_store(struct backend *backend, struct tensor *cache, const struct tensor *rows,
                      const struct tensor *slots, const struct tensor *positions, int64_t capacity)
{
    if (tensor_count(rows) == 0)
        return;
    BY_STORAGE(cache, {
        if (packs_fit<T>(cache->data, rows->shape[1]) && aligned(rows))
            store<T, pack_width<T>>(backend, cache, rows, slots, positions, capacity);
        else
            store<T, 1>(backend, cache, rows, slots, positions, capacity);
    });
}
