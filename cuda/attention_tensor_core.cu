/*
 * The causal attention of attention.cu in bf16 on tensor cores (Dao, "FlashAttention-2", 2023), for heads up to 128 wide of a
 * multiple of 8. A block of four warps has 64 rows (queries, or keys for their gradients), a warp 16 of them; what it
 * runs over comes to shared memory by asynchronous copies, one step ahead. Weights of softmax pass from one product to
 * the next in registers.
 */
#include "cuda/attention.cuh"
#include "cuda/mma.cuh"

enum { THREADS = 128, TILE = 64, WARP_ROWS = 16, WIDTH_MAXIMUM = 128 };

constexpr float log2_e = 1.44269504088896341f;

/* Rows in shared memory are 16 bytes longer than a head, so that the rows of an 8 x 8 matrix lie in different banks. */
template <int WIDTH> constexpr int row_stride = WIDTH + 8;

/* Rows per step of backward, where wide heads leave fewer registers. */
template <int WIDTH> constexpr int step_rows = WIDTH > 64 ? 32 : 64;

/* Starts the copy of `rows` rows of a head that are `stride` apart; those from `available` on are zero. */
template <int WIDTH, int rows>
__device__ static void copy_rows(bf16 *to, const bf16 *from, int64_t stride, int available, int width)
{
    constexpr int packs = WIDTH / 8;
#pragma unroll
    for (int index = (int)threadIdx.x; index < rows * packs; index += THREADS) {
        const int row = index / packs, column = index % packs * 8;
        const bool there = row < available && column < width;
        copy_pack(to + row * row_stride<WIDTH> + column, there ? from + row * stride + column : from, there);
    }
}

__device__ static int warp_row()
{
    return warp_index() * WARP_ROWS;
}

/* The 16 rows of a warp as fragments a: kept in registers, or read from shared memory each time. */
template <int WIDTH> struct held_rows {
    uint32_t fragments[WIDTH / 16][4];
    __device__ void load(const bf16 *tile)
    {
#pragma unroll
        for (int depth = 0; depth < WIDTH / 16; depth++)
            load_a<row_stride<WIDTH>>(fragments[depth], tile, warp_row(), 16 * depth);
    }
    __device__ void get(uint32_t (&a)[4], int depth) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = fragments[depth][i];
    }
};

template <int WIDTH> struct shared_rows {
    const bf16 *tile;
    __device__ void get(uint32_t (&a)[4], int depth) const
    {
        load_a<row_stride<WIDTH>>(a, tile, warp_row(), 16 * depth);
    }
};

/* out [16, 8 * tiles] = the rows of the warp times the transpose of a tile's rows. */
template <int WIDTH, int tiles, typename Rows>
__device__ static void multiply(float (&out)[tiles][4], const Rows &rows, const bf16 *tile)
{
#pragma unroll
    for (int n = 0; n < tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[n][i] = 0.0f;
#pragma unroll
    for (int depth = 0; depth < WIDTH / 16; depth++) {
        uint32_t a[4];
        rows.get(a, depth);
#pragma unroll
        for (int n = 0; n < tiles; n += 2) {
            uint32_t b[4];
            load_b_of_rows<row_stride<WIDTH>>(b, tile, 8 * n, 16 * depth);
            multiply_add(out[n], a, b[0], b[1]);
            multiply_add(out[n + 1], a, b[2], b[3]);
        }
    }
}

/* sums [16, WIDTH] += weights [16, 8 * tiles] times a tile's rows. */
template <int WIDTH, int tiles>
__device__ static void accumulate(float (&sums)[WIDTH / 8][4], const float (&weights)[tiles][4],
                                  const bf16 *tile)
{
#pragma unroll
    for (int k = 0; k < tiles; k += 2) {
        uint32_t a[4];
        a_of_c(a, weights[k], weights[k + 1]);
#pragma unroll
        for (int n = 0; n < WIDTH / 8; n += 2) {
            uint32_t b[4];
            load_b_of_columns<row_stride<WIDTH>>(b, tile, 8 * k, 8 * n);
            multiply_add(sums[n], a, b[0], b[1]);
            multiply_add(sums[n + 1], a, b[2], b[3]);
        }
    }
}

/* Writes the rows of the warp, times factors of rows lane_group() and + 8, by way of its rows of a tile. */
template <int WIDTH>
__device__ static void store_rows(bf16 *to, bf16 *tile, const float (&sums)[WIDTH / 8][4],
                                  const float (&factors)[2], int64_t stride, int available, int width)
{
    constexpr int packs = WIDTH / 8, length = row_stride<WIDTH>;
    bf16 *own = tile + warp_row() * length;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *reinterpret_cast<uint32_t *>(own + (lane_group() + 8 * h) * length + 8 * n + 2 * lane_member()) =
                two_bf16(sums[n][2 * h] * factors[h], sums[n][2 * h + 1] * factors[h]);
    __syncwarp();
    for (int index = lane_index(); index < WARP_ROWS * packs; index += warp_width) {
        const int row = index / packs, column = index % packs * 8;
        if (warp_row() + row < available && column < width)
            *reinterpret_cast<pack<bf16, 8> *>(to + (warp_row() + row) * stride + column) =
                *reinterpret_cast<const pack<bf16, 8> *>(own + row * length + column);
    }
}

/* The sum over the four lanes that share rows. */
__device__ static float row_sum(float value)
{
    value += lane_exchange(value, 1);
    return value + lane_exchange(value, 2);
}

__device__ static float row_maximum(float value)
{
    value = fmaxf(value, lane_exchange(value, 1));
    return fmaxf(value, lane_exchange(value, 2));
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* Hides keys behind the query: of row `r` of the warp those beyond r + distance. */
template <int tiles> __device__ static void hide(float (&scores)[tiles][4], int distance, float hidden)
{
#pragma unroll
    for (int n = 0; n < tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (8 * n + 2 * lane_member() + i % 2 > lane_group() + 8 * (i / 2) + distance)
                scores[n][i] = hidden;
}

/* The scores become 2^(scale * (score - maximum)), and what was summed so far is brought to the new maximum. Rows see
 * key 0 in their first step, so that their maximum is a number. `total` is of this lane's columns only. */
template <int tiles, int sum_tiles>
__device__ static void softmax_step(float (&scores)[tiles][4], float (&sums)[sum_tiles][4],
                                    float (&maximum)[2], float (&total)[2], float scale)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float largest = maximum[h];
#pragma unroll
        for (int n = 0; n < tiles; n++)
            largest = fmaxf(largest, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
        largest = row_maximum(largest);
        const float kept = binary_exponential((maximum[h] - largest) * scale), shift = largest * scale;
        maximum[h] = largest;
        total[h] *= kept;
#pragma unroll
        for (int n = 0; n < sum_tiles; n++) {
            sums[n][2 * h] *= kept;
            sums[n][2 * h + 1] *= kept;
        }
#pragma unroll
        for (int n = 0; n < tiles; n++)
#pragma unroll
            for (int i = 2 * h; i < 2 * h + 2; i++) {
                scores[n][i] = binary_exponential(scores[n][i] * scale - shift);
                total[h] += scores[n][i];
            }
    }
}

/* Blocks: tiles of queries (x), the longest first, and query heads (y). */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    attention_forward_tensor_core_kernel(bf16 *out, float *log_sum_exp, attention_operands<bf16> o)
{
    constexpr int size = TILE * row_stride<WIDTH>;
    DYNAMIC_SHARED(bf16, shared);
    bf16 *queries = shared, *keys = queries + size, *values = keys + 2 * size;
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int own_tile = place.count - 1 - place.tile, available = place.length - own_tile * TILE;
    const int head = (int)blockIdx.y, key_head = o.key_head_of(head);
    const int64_t first = place.first + own_tile * TILE, offset = o.query_at(first, head);
    const auto copy_keys = [&](int tile) {
        const int64_t from = o.key_at(place.first + tile * TILE, key_head);
        const int there = place.length - tile * TILE, buffer = tile % 2 * size;
        copy_rows<WIDTH, TILE>(keys + buffer, o.k + from, o.key_stride(), there, o.width);
        copy_rows<WIDTH, TILE>(values + buffer, o.v + from, o.key_stride(), there, o.width);
    };
    copy_rows<WIDTH, TILE>(queries, o.q + offset, o.query_stride(), available, o.width);
    close_copies();
    copy_keys(0);
    close_copies();
    wait_for_copies<1>();
    __syncthreads();
    held_rows<WIDTH> rows;
    rows.load(queries);

    float maximum[2] = {-INFINITY, -INFINITY}, total[2] = {}, sums[WIDTH / 8][4] = {};
    for (int tile = 0; tile <= own_tile; tile++) {
        if (tile < own_tile)
            copy_keys(tile + 1);
        close_copies();
        wait_for_copies<1>();
        __syncthreads();
        float scores[TILE / 8][4];
        multiply<WIDTH>(scores, rows, keys + tile % 2 * size);
        if (tile == own_tile)
            hide(scores, warp_row(), -INFINITY);
        softmax_step(scores, sums, maximum, total, o.scale * log2_e);
        accumulate<WIDTH>(sums, scores, values + tile % 2 * size);
        __syncthreads();
    }
    float factors[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp_row() + lane_group() + 8 * h;
        total[h] = row_sum(total[h]);
        factors[h] = 1.0f / total[h];
        if (lane_member() == 0 && row < available)
            log_sum_exp[head * o.tokens + first + row] = maximum[h] * o.scale + logf(total[h]);
    }
    store_rows<WIDTH>(out + offset, queries, sums, factors, o.query_stride(), available, o.width);
}

/* ---- backward ------------------------------------------------------------------------------------------ */

/* Blocks: tiles of queries (x), the longest first, and query heads (y). */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    attention_d_q_tensor_core_kernel(bf16 *d_q, attention_operands<bf16> o, attention_gradient<bf16> g)
{
    constexpr int size = TILE * row_stride<WIDTH>, KEYS = step_rows<WIDTH>,
                  step_size = KEYS * row_stride<WIDTH>;
    DYNAMIC_SHARED(bf16, shared);
    bf16 *queries = shared, *d_outs = queries + size, *keys = d_outs + size, *values = keys + 2 * step_size;
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int own_tile = place.count - 1 - place.tile, available = place.length - own_tile * TILE;
    const int head = (int)blockIdx.y, key_head = o.key_head_of(head);
    const int64_t first = place.first + own_tile * TILE, offset = o.query_at(first, head);
    const auto copy_keys = [&](int step) {
        const int64_t from = o.key_at(place.first + step * KEYS, key_head);
        const int there = place.length - step * KEYS, buffer = step % 2 * step_size;
        copy_rows<WIDTH, KEYS>(keys + buffer, o.k + from, o.key_stride(), there, o.width);
        copy_rows<WIDTH, KEYS>(values + buffer, o.v + from, o.key_stride(), there, o.width);
    };
    copy_rows<WIDTH, TILE>(queries, o.q + offset, o.query_stride(), available, o.width);
    copy_rows<WIDTH, TILE>(d_outs, g.d_out + offset, o.query_stride(), available, o.width);
    close_copies();
    copy_keys(0);
    close_copies();
    wait_for_copies<1>();
    __syncthreads();
    held_rows<WIDTH> query_rows, d_out_rows;
    query_rows.load(queries);
    d_out_rows.load(d_outs);

    float normaliser[2], delta[2], sums[WIDTH / 8][4] = {};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp_row() + lane_group() + 8 * h;
        const int64_t index = head * o.tokens + first + row;
        normaliser[h] = row < available ? g.log_sum_exp[index] * log2_e : 0.0f;
        delta[h] = row < available ? g.delta[index] : 0.0f;
    }
    const int seen = min(place.length, (own_tile + 1) * TILE), steps = (seen + KEYS - 1) / KEYS;
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps)
            copy_keys(step + 1);
        close_copies();
        wait_for_copies<1>();
        __syncthreads();
        const int buffer = step % 2 * step_size, distance = own_tile * TILE - step * KEYS;
        float scores[KEYS / 8][4], d_weights[KEYS / 8][4];
        multiply<WIDTH>(scores, query_rows, keys + buffer);
        multiply<WIDTH>(d_weights, d_out_rows, values + buffer);
        if (distance < KEYS)
            hide(scores, warp_row() + distance, -INFINITY);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                scores[n][i] = binary_exponential(scores[n][i] * (o.scale * log2_e) - normaliser[i / 2]) *
                               (d_weights[n][i] - delta[i / 2]);
        accumulate<WIDTH>(sums, scores, keys + buffer);
        __syncthreads();
    }
    const float factors[2] = {o.scale, o.scale};
    store_rows<WIDTH>(d_q + offset, queries, sums, factors, o.query_stride(), available, o.width);
}

/* Hides queries before the key: of row r of the warp those with column + distance < r. */
template <int tiles> __device__ static void hide_queries(float (&scores)[tiles][4], int distance)
{
#pragma unroll
    for (int n = 0; n < tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (8 * n + 2 * lane_member() + i % 2 + distance < lane_group() + 8 * (i / 2))
                scores[n][i] = -INFINITY;
}

/* Blocks: tiles of keys (x), key heads (y). Steps go over the query heads of the group, and over the queries of each from
 * the first key on; queries that are not there are zero, and add nothing. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    attention_d_k_d_v_tensor_core_kernel(bf16 *d_k, bf16 *d_v, attention_operands<bf16> o,
                                         attention_gradient<bf16> g)
{
    constexpr int size = TILE * row_stride<WIDTH>, QUERIES = step_rows<WIDTH>,
                  step_size = QUERIES * row_stride<WIDTH>;
    DYNAMIC_SHARED(bf16, shared);
    bf16 *keys = shared, *values = keys + size, *queries = values + size, *d_outs = queries + 2 * step_size;
    float *statistics = reinterpret_cast<float *>(d_outs + 2 * step_size);
    const attention_tile place = find_tile<TILE>(o.starts, o.sequences);
    if (place.tile >= place.count)
        return;
    const int key_head = (int)blockIdx.y, group = o.query_heads / o.key_heads;
    const int64_t first = place.first + place.tile * TILE, offset = o.key_at(first, key_head);
    const int available = place.length - place.tile * TILE;
    const int head_steps = (available + QUERIES - 1) / QUERIES, steps = group * head_steps;
    const auto copy_queries = [&](int step) {
        const int head = key_head * group + step / head_steps, query = step % head_steps * QUERIES;
        const int64_t from = o.query_at(first + query, head), buffer = step % 2 * step_size;
        copy_rows<WIDTH, QUERIES>(queries + buffer, o.q + from, o.query_stride(), available - query, o.width);
        copy_rows<WIDTH, QUERIES>(d_outs + buffer, g.d_out + from, o.query_stride(), available - query,
                                  o.width);
        for (int i = (int)threadIdx.x; i < 2 * QUERIES; i += THREADS) {
            const bool there = query + i % QUERIES < available;
            const int64_t index = head * o.tokens + first + (there ? query + i % QUERIES : 0);
            copy_number(statistics + step % 2 * 2 * QUERIES + i,
                        (i < QUERIES ? g.log_sum_exp : g.delta) + index, there);
        }
    };
    copy_rows<WIDTH, TILE>(keys, o.k + offset, o.key_stride(), available, o.width);
    copy_rows<WIDTH, TILE>(values, o.v + offset, o.key_stride(), available, o.width);
    copy_queries(0);
    close_copies();

    const shared_rows<WIDTH> key_rows = {keys}, value_rows = {values};
    float key_sums[WIDTH / 8][4] = {}, value_sums[WIDTH / 8][4] = {};
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps)
            copy_queries(step + 1);
        close_copies();
        wait_for_copies<1>();
        __syncthreads();
        const int buffer = step % 2 * step_size, distance = step % head_steps * QUERIES;
        const float *normalisers = statistics + step % 2 * 2 * QUERIES, *deltas = normalisers + QUERIES;
        float weights[QUERIES / 8][4], d_weights[QUERIES / 8][4];
        multiply<WIDTH>(weights, key_rows, queries + buffer);
        if (distance < TILE)
            hide_queries(weights, distance - warp_row());
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                weights[n][i] = binary_exponential(
                    (weights[n][i] * o.scale - normalisers[8 * n + 2 * lane_member() + i % 2]) * log2_e);
        accumulate<WIDTH>(value_sums, weights, d_outs + buffer);
        multiply<WIDTH>(d_weights, value_rows, d_outs + buffer);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                d_weights[n][i] =
                    weights[n][i] * (d_weights[n][i] - deltas[8 * n + 2 * lane_member() + i % 2]);
        accumulate<WIDTH>(key_sums, d_weights, queries + buffer);
        __syncthreads();
    }
    const float ones[2] = {1.0f, 1.0f}, scales[2] = {o.scale, o.scale};
    store_rows<WIDTH>(d_k + offset, keys, key_sums, scales, o.key_stride(), available, o.width);
    store_rows<WIDTH>(d_v + offset, values, value_sums, ones, o.key_stride(), available, o.width);
}

/* ---- what attention.cu calls --------------------------------------------------------------------------- */

/* Runs the statement with the constant WIDTH, that of a head rounded up. */
#define BY_HEAD_WIDTH(width, ...)                                                                            \
    do {                                                                                                     \
        if ((width) <= 32) {                                                                                 \
            constexpr int WIDTH = 32;                                                                        \
            __VA_ARGS__                                                                                      \
        } else if ((width) <= 64) {                                                                          \
            constexpr int WIDTH = 64;                                                                        \
            __VA_ARGS__                                                                                      \
        } else if ((width) <= 96) {                                                                          \
            constexpr int WIDTH = 96;                                                                        \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            constexpr int WIDTH = WIDTH_MAXIMUM;                                                             \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

bool tensor_cores_take(const attention_operands<bf16> &o)
{
    return o.packed && o.width <= WIDTH_MAXIMUM && !o.bidirectional;
}

void attention_forward_on_tensor_cores(struct backend *backend, bf16 *out, float *log_sum_exp,
                                       const attention_operands<bf16> &o)
{
    const dim3 grid(attention_blocks<TILE>(o), (unsigned)o.query_heads);
    BY_HEAD_WIDTH(o.width, {
        const size_t bytes = 5 * TILE * row_stride<WIDTH> * sizeof(bf16);
        LAUNCH(backend, (attention_forward_tensor_core_kernel<WIDTH>), grid, dim3(THREADS), bytes, out,
               log_sum_exp, o);
    });
}

void attention_backward_on_tensor_cores(struct backend *backend, bf16 *d_q, bf16 *d_k, bf16 *d_v,
                                        const attention_operands<bf16> &o, const attention_gradient<bf16> &g)
{
    const unsigned blocks = attention_blocks<TILE>(o);
    BY_HEAD_WIDTH(o.width, {
        const size_t rows = 2 * TILE + 4 * step_rows<WIDTH>, bytes = rows * row_stride<WIDTH> * sizeof(bf16);
        LAUNCH(backend, (attention_d_k_d_v_tensor_core_kernel<WIDTH>), dim3(blocks, (unsigned)o.key_heads),
               dim3(THREADS), bytes + 4 * step_rows<WIDTH> * sizeof(float), d_k, d_v, o, g);
        LAUNCH(backend, (attention_d_q_tensor_core_kernel<WIDTH>), dim3(blocks, (unsigned)o.query_heads),
               dim3(THREADS), bytes, d_q, o, g);
    });
}
