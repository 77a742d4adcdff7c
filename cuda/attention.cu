/*
 * Attention by tiles of tokens (Dao et al., "FlashAttention", 2022), in f32 arithmetic for any storage. A block
 * has 256 threads as 16 x 16; a thread holds ROWS x ROWS products of a tile, or ROWS rows and every 16th column of a
 * result. Each result belongs to one block, which sums it up in a fixed order.
 */
#include "cuda/attention.cuh"

#include "cuda/packs.cuh"
#include "cuda/softmax.cuh"

enum { THREADS = 256, SIDE = 16, DELTA_VALUES = 8, WIDTH_MAXIMUM = 32 * DELTA_VALUES };

/* WIDTH: of a head, rounded up. Rows in shared memory are four numbers longer, so that reading columns of them meets
 * different banks. */
template <int WIDTH_> struct tiling {
    static constexpr int WIDTH = WIDTH_, TILE = WIDTH > 128 ? 32 : 64, ROWS = TILE / SIDE,
                         COLUMNS = WIDTH / SIDE, STRIDE = WIDTH + 4, TILE_FLOATS = TILE * STRIDE,
                         WEIGHT_STRIDE = TILE + 4, WEIGHT_FLOATS = TILE * WEIGHT_STRIDE;
};

template <typename Tiling> using products = float[Tiling::ROWS][Tiling::ROWS];
template <typename Tiling> using results = float[Tiling::ROWS][Tiling::COLUMNS];

__device__ static int thread_row()
{
    return (int)threadIdx.x / SIDE;
}

__device__ static int thread_column()
{
    return (int)threadIdx.x % SIDE;
}

/* The sum over the 16 threads that share rows. */
__device__ static float row_sum(float value)
{
#pragma unroll
    for (int mask = SIDE / 2; mask > 0; mask /= 2)
        value += lane_exchange(value, mask);
    return value;
}

__device__ static float row_maximum(float value)
{
#pragma unroll
    for (int mask = SIDE / 2; mask > 0; mask /= 2)
        value = fmaxf(value, lane_exchange(value, mask));
    return value;
}

/* Shared rows [TILE, STRIDE] = up to `available` rows of a head that are `stride` apart; the rest is zero. */
template <typename Tiling, bool packed, typename T>
__device__ static void load_packs(float *to, const T *from, int64_t stride, int available, int width)
{
    constexpr int count = packed ? pack_width<T> : 1, packs = Tiling::WIDTH / count;
    for (int index = (int)threadIdx.x; index < Tiling::TILE * packs; index += THREADS) {
        const int row = index / packs, column = index % packs * count;
        float values[count];
        load_values<packed>(values, from + row * stride + column, row < available ? width - column : 0);
#pragma unroll
        for (int i = 0; i < count; i++)
            to[row * Tiling::STRIDE + column + i] = values[i];
    }
}

template <typename Tiling, typename T>
__device__ static void load_tile(float *to, const T *from, int64_t stride, int available,
                                 const attention_operands<T> &o)
{
    if (o.packed)
        load_packs<Tiling, true>(to, from, stride, available, o.width);
    else
        load_packs<Tiling, false>(to, from, stride, available, o.width);
}

/* out[i][j] = the product of rows thread_row * ROWS + i of a and thread_column + 16 j of b. */
template <typename Tiling>
__device__ static void multiply(products<Tiling> &out, const float *a, const float *b)
{
    constexpr int rows = Tiling::ROWS, stride = Tiling::STRIDE;
    memset(out, 0, sizeof out);
    a += thread_row() * rows * stride;
    b += thread_column() * stride;
#pragma unroll 2
    for (int column = 0; column < Tiling::WIDTH; column += 4) {
        pack<float, 4> left[rows], right[rows];
#pragma unroll
        for (int i = 0; i < rows; i++) {
            left[i] = *reinterpret_cast<const pack<float, 4> *>(a + i * stride + column);
            right[i] = *reinterpret_cast<const pack<float, 4> *>(b + i * SIDE * stride + column);
        }
#pragma unroll
        for (int i = 0; i < rows; i++)
#pragma unroll
            for (int j = 0; j < rows; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    out[i][j] += left[i].value[e] * right[j].value[e];
    }
}

/* Shared weights [TILE, WEIGHT_STRIDE] = the transpose of a tile of products. */
template <typename Tiling>
__device__ static void keep_transposed(float *weights, const products<Tiling> &values)
{
    constexpr int rows = Tiling::ROWS;
#pragma unroll
    for (int j = 0; j < rows; j++) {
        pack<float, rows> column;
#pragma unroll
        for (int i = 0; i < rows; i++)
            column.value[i] = values[i][j];
        *reinterpret_cast<pack<float, rows> *>(
            weights + (thread_column() + SIDE * j) * Tiling::WEIGHT_STRIDE + thread_row() * rows) = column;
    }
}

/* sums[i][j] += the sum over r of weights[r][thread_row * ROWS + i] * rows[r][thread_column + 16 j]. */
template <typename Tiling>
__device__ static void accumulate(results<Tiling> &sums, const float *weights, const float *rows)
{
    constexpr int count = Tiling::ROWS;
#pragma unroll 4
    for (int r = 0; r < Tiling::TILE; r++) {
        const pack<float, count> weight = *reinterpret_cast<const pack<float, count> *>(
            weights + r * Tiling::WEIGHT_STRIDE + thread_row() * count);
#pragma unroll
        for (int j = 0; j < Tiling::COLUMNS; j++) {
            const float value = rows[r * Tiling::STRIDE + thread_column() + SIDE * j];
#pragma unroll
            for (int i = 0; i < count; i++)
                sums[i][j] += weight.value[i] * value;
        }
    }
}

/* Writes row i times factors[i] where the tile has it. */
template <typename Tiling, typename T>
__device__ static void store_results(T *to, const results<Tiling> &values,
                                     const float (&factors)[Tiling::ROWS], int64_t stride, int available,
                                     int width)
{
#pragma unroll
    for (int i = 0; i < Tiling::ROWS; i++)
#pragma unroll
        for (int j = 0; j < Tiling::COLUMNS; j++) {
            const int row = thread_row() * Tiling::ROWS + i, column = thread_column() + SIDE * j;
            if (row < available && column < width)
                to[row * stride + column] = from_float<T>(values[i][j] * factors[i]);
        }
}

/* What a tile of queries sees of a tile of keys: how many tiles of keys there are to go over, and the last key of one of
 * them that a row sees. `distance` is from the first key of the tile to the first query, `there` how many of the keys
 * there are; behind a causal query are none that are not. */
template <typename T>
__device__ static int tiles_seen(const attention_operands<T> &o, const attention_tile &place)
{
    return o.bidirectional ? place.count : place.tile + 1;
}

template <typename T>
__device__ static int last_key(const attention_operands<T> &o, int row, int distance, int there)
{
    return o.bidirectional ? there - 1 : row + distance;
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* The scores become e^(scale * score - maximum), of keys that the query sees; what was summed so far is brought to the
 * new maximum. Rows see key 0 in their first tile, so that their maximum is a number. */
template <typename T, typename Tiling>
__device__ static void softmax_step(products<Tiling> &scores, results<Tiling> &sums,
                                    float (&maximum)[Tiling::ROWS], float (&total)[Tiling::ROWS],
                                    const attention_operands<T> &o, int distance, int there)
{
#pragma unroll
    for (int i = 0; i < Tiling::ROWS; i++) {
        const int last = last_key(o, thread_row() * Tiling::ROWS + i, distance, there);
        float largest = -INFINITY, sum = 0.0f;
#pragma unroll
        for (int j = 0; j < Tiling::ROWS; j++) {
            scores[i][j] = thread_column() + SIDE * j <= last ? scores[i][j] * o.scale : -INFINITY;
            largest = fmaxf(largest, scores[i][j]);
        }
        largest = fmaxf(maximum[i], row_maximum(largest));
        const float kept = exponential(maximum[i] - largest);
        maximum[i] = largest;
#pragma unroll
        for (int j = 0; j < Tiling::ROWS; j++) {
            scores[i][j] = exponential(scores[i][j] - largest);
            sum += scores[i][j];
        }
        total[i] = total[i] * kept + row_sum(sum);
#pragma unroll
        for (int j = 0; j < Tiling::COLUMNS; j++)
            sums[i][j] *= kept;
    }
}

/* Blocks: tiles of queries (x), query heads (y). */
template <typename T, typename Tiling>
__global__ void __launch_bounds__(THREADS, 1)
    attention_forward_kernel(T *out, float *log_sum_exp, attention_operands<T> o)
{
    constexpr int TILE = Tiling::TILE, ROWS = Tiling::ROWS;
    DYNAMIC_SHARED(float, shared);
    float *queries = shared, *rows = queries + Tiling::TILE_FLOATS, *weights = rows + Tiling::TILE_FLOATS;
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int head = (int)blockIdx.y, key_head = o.key_head_of(head);
    const int64_t first = place.first + place.tile * TILE, offset = o.query_at(first, head);
    const int available = place.length - place.tile * TILE;
    load_tile<Tiling>(queries, o.q + offset, o.query_stride(), available, o);

    float maximum[ROWS], total[ROWS] = {};
    results<Tiling> sums = {};
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        maximum[i] = -INFINITY;
    for (int tile = 0; tile < tiles_seen(o, place); tile++) {
        const int64_t keys = o.key_at(place.first + tile * TILE, key_head);
        const int there = place.length - tile * TILE;
        products<Tiling> scores;
        __syncthreads();
        load_tile<Tiling>(rows, o.k + keys, o.key_stride(), there, o);
        __syncthreads();
        multiply<Tiling>(scores, queries, rows);
        softmax_step<T, Tiling>(scores, sums, maximum, total, o, (place.tile - tile) * TILE, there);
        keep_transposed<Tiling>(weights, scores);
        __syncthreads();
        load_tile<Tiling>(rows, o.v + keys, o.key_stride(), there, o);
        __syncthreads();
        accumulate<Tiling>(sums, weights, rows);
    }
    float factors[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int row = thread_row() * ROWS + i;
        factors[i] = 1.0f / total[i];
        if (thread_column() == 0 && row < available)
            log_sum_exp[head * o.tokens + first + row] = maximum[i] + logf(total[i]);
    }
    store_results<Tiling>(out + offset, sums, factors, o.query_stride(), available, o.width);
}

/* ---- backward ------------------------------------------------------------------------------------------ */

/* `lanes` threads for each token and query head, DELTA_VALUES numbers in each. */
template <typename T, bool packed>
__global__ void attention_delta_kernel(float *delta, const T *d_out, const T *out, int64_t tokens, int heads,
                                       int width, int lanes)
{
    const int64_t index = (blockIdx.x * (int64_t)THREADS + threadIdx.x) / lanes;
    const int column = (int)threadIdx.x % lanes * DELTA_VALUES;
    const bool there = index < tokens * heads;
    float gradients[DELTA_VALUES], values[DELTA_VALUES], sum = 0.0f;
    load_values<packed>(gradients, d_out + index * width + column, there ? width - column : 0);
    load_values<packed>(values, out + index * width + column, there ? width - column : 0);
#pragma unroll
    for (int i = 0; i < DELTA_VALUES; i++)
        sum += gradients[i] * values[i];
    for (int mask = lanes / 2; mask > 0; mask /= 2)
        sum += lane_exchange(sum, mask);
    if (there && column == 0)
        delta[index % heads * tokens + index / heads] = sum;
}

/* Blocks: tiles of queries (x), query heads (y). */
template <typename T, typename Tiling>
__global__ void __launch_bounds__(THREADS, 1)
    attention_d_q_kernel(T *d_q, attention_operands<T> o, attention_gradient<T> g)
{
    constexpr int TILE = Tiling::TILE, ROWS = Tiling::ROWS;
    DYNAMIC_SHARED(float, shared);
    float *queries = shared, *d_outs = queries + Tiling::TILE_FLOATS, *keys = d_outs + Tiling::TILE_FLOATS;
    float *values = keys + Tiling::TILE_FLOATS, *weights = values + Tiling::TILE_FLOATS;
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int head = (int)blockIdx.y, key_head = o.key_head_of(head);
    const int64_t first = place.first + place.tile * TILE, offset = o.query_at(first, head);
    const int available = place.length - place.tile * TILE;
    load_tile<Tiling>(queries, o.q + offset, o.query_stride(), available, o);
    load_tile<Tiling>(d_outs, g.d_out + offset, o.query_stride(), available, o);

    float normaliser[ROWS], delta[ROWS], factors[ROWS];
    results<Tiling> sums = {};
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int row = thread_row() * ROWS + i;
        const int64_t index = head * o.tokens + first + row;
        normaliser[i] = row < available ? g.log_sum_exp[index] : 0.0f;
        delta[i] = row < available ? g.delta[index] : 0.0f;
        factors[i] = o.scale;
    }
    for (int tile = 0; tile < tiles_seen(o, place); tile++) {
        const int64_t from = o.key_at(place.first + tile * TILE, key_head);
        const int there = place.length - tile * TILE, distance = (place.tile - tile) * TILE;
        products<Tiling> scores, d_weights;
        __syncthreads();
        load_tile<Tiling>(keys, o.k + from, o.key_stride(), there, o);
        load_tile<Tiling>(values, o.v + from, o.key_stride(), there, o);
        __syncthreads();
        multiply<Tiling>(scores, queries, keys);
        multiply<Tiling>(d_weights, d_outs, values);
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                const bool visible =
                    thread_column() + SIDE * j <= last_key(o, thread_row() * ROWS + i, distance, there);
                const float weight = visible ? exponential(scores[i][j] * o.scale - normaliser[i]) : 0.0f;
                scores[i][j] = weight * (d_weights[i][j] - delta[i]);
            }
        keep_transposed<Tiling>(weights, scores);
        __syncthreads();
        accumulate<Tiling>(sums, weights, keys);
    }
    store_results<Tiling>(d_q + offset, sums, factors, o.query_stride(), available, o.width);
}

/* scores [keys, queries] become the weights of softmax, d_weights what reaches the scores. */
template <typename T, typename Tiling>
__device__ static void differentiate_scores(products<Tiling> &scores, products<Tiling> &d_weights,
                                            const attention_operands<T> &o, const attention_gradient<T> &g,
                                            int64_t statistics, int available, int distance)
{
    constexpr int ROWS = Tiling::ROWS;
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        const int query = thread_column() + SIDE * j;
        const float normaliser = query < available ? g.log_sum_exp[statistics + query] : 0.0f;
        const float delta = query < available ? g.delta[statistics + query] : 0.0f;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int key = thread_row() * ROWS + i;
            const bool visible = query < available && (o.bidirectional || key <= query + distance);
            scores[i][j] = visible ? exponential(scores[i][j] * o.scale - normaliser) : 0.0f;
            d_weights[i][j] = scores[i][j] * (d_weights[i][j] - delta);
        }
    }
}

/* Blocks: tiles of keys (x), key heads (y). */
template <typename T, typename Tiling>
__global__ void __launch_bounds__(THREADS, 1)
    attention_d_k_d_v_kernel(T *d_k, T *d_v, attention_operands<T> o, attention_gradient<T> g)
{
    constexpr int TILE = Tiling::TILE, ROWS = Tiling::ROWS;
    DYNAMIC_SHARED(float, shared);
    float *queries = shared, *d_outs = queries + Tiling::TILE_FLOATS, *keys = d_outs + Tiling::TILE_FLOATS;
    float *values = keys + Tiling::TILE_FLOATS, *weights = values + Tiling::TILE_FLOATS;
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int key_head = (int)blockIdx.y, group = o.query_heads / o.key_heads;
    const int64_t offset = o.key_at(place.first + place.tile * TILE, key_head);
    const int available = place.length - place.tile * TILE;
    load_tile<Tiling>(keys, o.k + offset, o.key_stride(), available, o);
    load_tile<Tiling>(values, o.v + offset, o.key_stride(), available, o);

    results<Tiling> key_sums = {}, value_sums = {};
    for (int head = key_head * group; head < (key_head + 1) * group; head++)
        for (int tile = o.bidirectional ? 0 : place.tile; tile < place.count; tile++) {
            const int64_t token = place.first + tile * TILE, from = o.query_at(token, head);
            const int there = place.length - tile * TILE;
            products<Tiling> scores, d_weights;
            __syncthreads();
            load_tile<Tiling>(queries, o.q + from, o.query_stride(), there, o);
            load_tile<Tiling>(d_outs, g.d_out + from, o.query_stride(), there, o);
            __syncthreads();
            multiply<Tiling>(scores, keys, queries);
            multiply<Tiling>(d_weights, values, d_outs);
            differentiate_scores<T, Tiling>(scores, d_weights, o, g, head * o.tokens + token, there,
                                            (tile - place.tile) * TILE);
            keep_transposed<Tiling>(weights, scores);
            __syncthreads();
            accumulate<Tiling>(value_sums, weights, d_outs);
            __syncthreads();
            keep_transposed<Tiling>(weights, d_weights);
            __syncthreads();
            accumulate<Tiling>(key_sums, weights, queries);
        }
    float ones[ROWS], scales[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        ones[i] = 1.0f;
        scales[i] = o.scale;
    }
    store_results<Tiling>(d_k + offset, key_sums, scales, o.key_stride(), available, o.width);
    store_results<Tiling>(d_v + offset, value_sums, ones, o.key_stride(), available, o.width);
}

/* ---- operators ----------------------------------------------------------------------------------------- */

/* Runs the statement with Tiling chosen for heads of that width. */
#define BY_HEAD_WIDTH(width, ...)                                                                            \
    do {                                                                                                     \
        if ((width) <= 32) {                                                                                 \
            using Tiling = tiling<32>;                                                                       \
            __VA_ARGS__                                                                                      \
        } else if ((width) <= 64) {                                                                          \
            using Tiling = tiling<64>;                                                                       \
            __VA_ARGS__                                                                                      \
        } else if ((width) <= 128) {                                                                         \
            using Tiling = tiling<128>;                                                                      \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            using Tiling = tiling<WIDTH_MAXIMUM>;                                                            \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

template <typename T>
static attention_operands<T> operands_of(const struct tensor *q, const struct tensor *k,
                                         const struct tensor *v, const struct tensor *starts,
                                         struct attention_shape shape)
{
    attention_operands<T> o;
    o.q = data_of<T>(q);
    o.k = data_of<T>(k);
    o.v = data_of<T>(v);
    o.starts = data_of<int32_t>(starts);
    o.tokens = q->shape[0];
    o.sequences = (int)(starts->shape[0] - 1);
    o.query_heads = (int)shape.query_heads;
    o.key_heads = (int)shape.key_heads;
    o.width = (int)shape.head_width;
    o.scale = 1.0f / sqrtf((float)shape.head_width);
    o.bidirectional = shape.bidirectional;
    o.packed = shape.head_width % pack_width<T> == 0 && aligned(q, k, v);
    return o;
}

/* False when there is nothing to do, or heads are too wide. */
static bool attention_begins(struct backend *backend, const struct tensor *q, const struct tensor *starts,
                             struct attention_shape shape)
{
    if (shape.head_width > WIDTH_MAXIMUM)
        return error_set(&backend->error, ERROR_RUN, "device cuda: heads are at most %d wide, not %lld",
                         (int)WIDTH_MAXIMUM, (long long)shape.head_width);
    return tensor_count(q) > 0 && starts->shape[0] > 1;
}

template <typename T>
static void forward(struct backend *backend, T *out, float *log_sum_exp, const attention_operands<T> &o)
{
    BY_HEAD_WIDTH(o.width, {
        const size_t floats = 2 * Tiling::TILE_FLOATS + Tiling::WEIGHT_FLOATS;
        LAUNCH(backend, (attention_forward_kernel<T, Tiling>),
               dim3(attention_blocks<Tiling::TILE>(o), (unsigned)o.query_heads), dim3(THREADS),
               floats * sizeof(float), out, log_sum_exp, o);
    });
}

template <typename T>
static void backward(struct backend *backend, T *d_q, T *d_k, T *d_v, const attention_operands<T> &o,
                     const attention_gradient<T> &g)
{
    BY_HEAD_WIDTH(o.width, {
        const size_t bytes = (4 * Tiling::TILE_FLOATS + Tiling::WEIGHT_FLOATS) * sizeof(float);
        const unsigned blocks = attention_blocks<Tiling::TILE>(o);
        LAUNCH(backend, (attention_d_k_d_v_kernel<T, Tiling>), dim3(blocks, (unsigned)o.key_heads),
               dim3(THREADS), bytes, d_k, d_v, o, g);
        LAUNCH(backend, (attention_d_q_kernel<T, Tiling>), dim3(blocks, (unsigned)o.query_heads),
               dim3(THREADS), bytes, d_q, o, g);
    });
}

void cuda_attention_forward(struct backend *backend, struct tensor *out, struct tensor *log_sum_exp,
                            const struct tensor *q, const struct tensor *k, const struct tensor *v,
                            const struct tensor *starts, struct attention_shape shape)
{
    if (!attention_begins(backend, q, starts, shape))
        return;
    float *kept = data_of<float>(log_sum_exp);
    if (q->dtype == DTYPE_F32) {
        forward(backend, data_of<float>(out), kept, operands_of<float>(q, k, v, starts, shape));
        return;
    }
    const attention_operands<bf16> operands = operands_of<bf16>(q, k, v, starts, shape);
    if (tensor_cores_take(operands) && aligned(out))
        attention_forward_on_tensor_cores(backend, data_of<bf16>(out), kept, operands);
    else
        forward(backend, data_of<bf16>(out), kept, operands);
}

template <typename T>
static attention_gradient<T> gradient_of(struct backend *backend, const struct tensor *d_out,
                                         const struct tensor *out, const struct tensor *log_sum_exp,
                                         const attention_operands<T> &o)
{
    const int64_t rows = o.tokens * o.query_heads;
    const int lanes = lanes_for((o.width + DELTA_VALUES - 1) / DELTA_VALUES);
    float *delta = static_cast<float *>(cuda_workspace(backend, (size_t)rows * sizeof(float)));
    if (delta)
        BY_ACCESS(o.width % pack_width<T> == 0 && aligned(d_out, out), {
            LAUNCH(backend, (attention_delta_kernel<T, packed>), dim3(blocks_for(rows * lanes, THREADS)),
                   dim3(THREADS), 0, delta, data_of<T>(d_out), data_of<T>(out), o.tokens, o.query_heads,
                   o.width, lanes);
        });
    return {data_of<T>(d_out), data_of<float>(log_sum_exp), delta};
}

void cuda_attention_backward(struct backend *backend, struct tensor *d_q, struct tensor *d_k,
                             struct tensor *d_v, const struct tensor *d_out, const struct tensor *out,
                             const struct tensor *log_sum_exp, const struct tensor *q, const struct tensor *k,
                             const struct tensor *v, const struct tensor *starts,
                             struct attention_shape shape)
{
    if (!attention_begins(backend, q, starts, shape))
        return;
    if (q->dtype == DTYPE_F32) {
        attention_operands<float> o = operands_of<float>(q, k, v, starts, shape);
        o.packed = o.packed && aligned(d_out);
        const attention_gradient<float> g = gradient_of(backend, d_out, out, log_sum_exp, o);
        if (g.delta)
            backward(backend, data_of<float>(d_q), data_of<float>(d_k), data_of<float>(d_v), o, g);
        return;
    }
    attention_operands<bf16> o = operands_of<bf16>(q, k, v, starts, shape);
    o.packed = o.packed && aligned(d_out);
    const attention_gradient<bf16> g = gradient_of(backend, d_out, out, log_sum_exp, o);
    if (!g.delta)
        return;
    if (tensor_cores_take(o) && aligned(d_q, d_k, d_v))
        attention_backward_on_tensor_cores(backend, data_of<bf16>(d_q), data_of<bf16>(d_k),
                                           data_of<bf16>(d_v), o, g);
    else
        backward(backend, data_of<bf16>(d_q), data_of<bf16>(d_k), data_of<bf16>(d_v), o, g);
}
