/*
 * Each (sequence, key head) is one piece of work with its own scratch: keys and values are packed once and
 * serve all query heads of the group. Forward streams over blocks of keys with a running maximum (Milakov and
 * Gimelshein 2018; Dao et al., "FlashAttention", 2022). Backward recomputes the probabilities from
 * log_sum_exp.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/cpu/attention_tiles.h"
#include "core/cpu/cpu.h"

enum { KEY_BLOCK = 256, QUERY_BLOCK = 32 };

/* One sequence and key head. Rows of q are q_stride apart, rows of k and v are k_stride apart. */
struct piece {
    int64_t first, length;
    int64_t key_head, group; /* group: query heads that share the key head */
    int64_t head_width, padded_width, padded_length;
    int64_t q_stride, k_stride;
    real scale;
    bool bidirectional;
};

/* How many of the piece's keys a row sees, from the first on. */
static int64_t keys_seen(const struct piece *piece, int64_t row)
{
    return piece->bidirectional ? piece->length : minimum_of(row + 1, piece->length);
}

struct layout {
    int64_t tokens, sequences, longest;
    struct attention_shape shape;
    const int32_t *starts;
};

static struct layout layout_of(const struct tensor *q, const struct tensor *starts,
                               struct attention_shape shape)
{
    struct layout layout = {
        .tokens = q->shape[0], .sequences = starts->shape[0] - 1, .shape = shape, .starts = starts->data};
    for (int64_t s = 0; s < layout.sequences; s++) {
        const int64_t length = layout.starts[s + 1] - layout.starts[s];
        layout.longest = length > layout.longest ? length : layout.longest;
    }
    return layout;
}

static struct piece piece_of(const struct layout *layout, int64_t index)
{
    const struct attention_shape *shape = &layout->shape;
    const int64_t sequence = index / shape->key_heads;
    const int64_t length = layout->starts[sequence + 1] - layout->starts[sequence];
    return (struct piece){
        .first = layout->starts[sequence],
        .length = length,
        .key_head = index % shape->key_heads,
        .group = shape->query_heads / shape->key_heads,
        .head_width = shape->head_width,
        .padded_width = round_up(shape->head_width, VECTOR_LANES),
        .padded_length = round_up(length, VECTOR_LANES),
        .q_stride = shape->query_heads * shape->head_width,
        .k_stride = shape->key_heads * shape->head_width,
        .scale = 1 / real_sqrt((real)shape->head_width),
        .bidirectional = shape->bidirectional,
    };
}

/* packed [head_width, padded_length]: the transpose of a head's rows, zero-padded. */
static void pack_transposed(real *packed, const real *rows, const struct piece *piece)
{
    for (int64_t i = 0; i < piece->head_width; i++) {
        real *line = packed + i * piece->padded_length;
        for (int64_t token = 0; token < piece->length; token++)
            line[token] = rows[token * piece->k_stride + i];
        for (int64_t token = piece->length; token < piece->padded_length; token++)
            line[token] = 0;
    }
}

/* packed [count, padded_width]: a head's rows, zero-padded. */
static void pack_rows(real *packed, const real *rows, int64_t stride, int64_t count,
                      const struct piece *piece)
{
    const size_t width = (size_t)piece->head_width, padding = (size_t)piece->padded_width - width;
    for (int64_t token = 0; token < count; token++) {
        real *row = packed + token * piece->padded_width;
        memcpy(row, rows + token * stride, width * sizeof(real));
        memset(row + width, 0, padding * sizeof(real));
    }
}

/* Addresses of rows first .. first + 3 of a head; those past the end repeat the last row. */
static void tile_rows(const real *address[TILE_ROWS], const real *head, int64_t stride, int64_t first,
                      int64_t length)
{
    for (int64_t r = 0; r < TILE_ROWS; r++)
        address[r] = head + minimum_of(first + r, length - 1) * stride;
}

/* ---- forward ---- */

struct running_softmax {
    real maximum[TILE_ROWS], sum[TILE_ROWS];
    real *out; /* [TILE_ROWS, padded_width] */
};

/* Turns row r of a block of scores, of which the first `visible` are seen, into e^(scale (score - maximum)),
 * and brings what was summed so far to the new maximum. Works on whole vectors; hidden scores become 0. */
static void softmax_row(struct running_softmax *running, int r, real *scores, int64_t count, int64_t visible,
                        const struct piece *piece)
{
    const int64_t padded = round_up(count, VECTOR_LANES);
    const real scale = piece->scale;
    for (int64_t j = visible > 0 ? visible : 0; j < padded; j++)
        scores[j] = -INFINITY;
    real largest = running->maximum[r];
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < padded; j++)
        largest = scores[j] > largest ? scores[j] : largest;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < padded; j++) {
        scores[j] = real_exp((scores[j] - largest) * scale);
        sum += scores[j];
    }
    if (largest > running->maximum[r]) {
        const real factor = real_exp((running->maximum[r] - largest) * scale);
        running->sum[r] *= factor;
        for (int64_t i = 0; i < piece->padded_width; i++)
            running->out[r * piece->padded_width + i] *= factor;
    }
    running->maximum[r] = largest;
    running->sum[r] += sum;
}

/* Query rows row .. row + 3 of one head. */
static void attend_rows(struct running_softmax *running, const struct piece *piece, const real *q,
                        int64_t row, const real *keys, const real *values)
{
    real scores[TILE_ROWS * KEY_BLOCK];
    const real *rows[TILE_ROWS];
    tile_rows(rows, q, piece->q_stride, row, piece->length);
    const int64_t end = keys_seen(piece, row + TILE_ROWS - 1);
    for (int r = 0; r < TILE_ROWS; r++) {
        running->maximum[r] = -INFINITY;
        running->sum[r] = 0;
    }
    memset(running->out, 0, (size_t)(TILE_ROWS * piece->padded_width) * sizeof(real));
    for (int64_t key = 0; key < end; key += KEY_BLOCK) {
        const int64_t count = minimum_of(KEY_BLOCK, end - key);
        tile_scores(scores, KEY_BLOCK, rows, keys + key, piece->padded_length, piece->head_width, count);
        for (int r = 0; r < TILE_ROWS; r++)
            softmax_row(running, r, scores + r * KEY_BLOCK, count,
                        minimum_of(count, keys_seen(piece, row + r) - key), piece);
        tile_combine(running->out, (struct coefficients){scores, KEY_BLOCK, 1}, count,
                     values + key * piece->padded_width, piece->padded_width);
    }
}

struct forward_tensors {
    real *out, *log_sum_exp;
    const real *q, *k, *v;
};

static size_t forward_scratch(const struct layout *layout)
{
    const int64_t padded_width = round_up(layout->shape.head_width, VECTOR_LANES);
    return (size_t)((round_up(layout->longest, VECTOR_LANES) + TILE_ROWS) * 2 * padded_width);
}

static void attend_piece(const struct forward_tensors *t, const struct layout *layout,
                         const struct piece *piece, real *scratch)
{
    real *keys = scratch, *values = keys + piece->head_width * piece->padded_length;
    struct running_softmax running = {.out = values + piece->length * piece->padded_width};
    const int64_t key_offset = piece->first * piece->k_stride + piece->key_head * piece->head_width;
    pack_transposed(keys, t->k + key_offset, piece);
    pack_rows(values, t->v + key_offset, piece->k_stride, piece->length, piece);
    for (int64_t g = 0; g < piece->group; g++) {
        const int64_t head = piece->key_head * piece->group + g;
        const int64_t offset = piece->first * piece->q_stride + head * piece->head_width;
        for (int64_t row = 0; row < piece->length; row += TILE_ROWS) {
            attend_rows(&running, piece, t->q + offset, row, keys, values);
            for (int64_t r = 0; r < minimum_of(TILE_ROWS, piece->length - row); r++) {
                const real inverse = 1 / running.sum[r];
                real *out = t->out + offset + (row + r) * piece->q_stride;
                for (int64_t i = 0; i < piece->head_width; i++)
                    out[i] = running.out[r * piece->padded_width + i] * inverse;
                t->log_sum_exp[head * layout->tokens + piece->first + row + r] =
                    running.maximum[r] * piece->scale + real_log(running.sum[r]);
            }
        }
    }
}

void cpu_attention_forward(struct backend *backend, struct tensor *out, struct tensor *log_sum_exp,
                           const struct tensor *q, const struct tensor *k, const struct tensor *v,
                           const struct tensor *starts, struct attention_shape shape)
{
    const struct layout layout = layout_of(q, starts, shape);
    const size_t scratch = forward_scratch(&layout);
    real *memory = cpu_workspace(backend, (size_t)backend->threads * scratch * sizeof(real));
    if (!memory)
        return;
    const struct forward_tensors tensors = {out->data, log_sum_exp->data, q->data, k->data, v->data};
#pragma omp parallel for schedule(dynamic) num_threads(backend->threads)
    for (int64_t index = 0; index < layout.sequences * shape.key_heads; index++) {
        const struct piece piece = piece_of(&layout, index);
        attend_piece(&tensors, &layout, &piece, memory + (size_t)omp_get_thread_num() * scratch);
    }
}

/* ---- backward ---- */

struct backward_tensors {
    real *d_q, *d_k, *d_v;
    const real *d_out, *out, *log_sum_exp, *q, *k, *v;
};

/* The scratch of a piece in backward. Lengths are padded so that tiles may run over the end. */
struct backward_scratch {
    real *keys_transposed, *values_transposed; /* [head_width, padded_length] */
    real *keys;                                /* [padded_length, padded_width] */
    real *d_keys, *d_values;                   /* [padded_length, padded_width] */
    real *q, *d_out, *d_q;                     /* [QUERY_BLOCK, padded_width] */
    real *probability, *d_score;               /* [QUERY_BLOCK, KEY_BLOCK] */
};

static struct backward_scratch scratch_of(real *memory, int64_t padded_length, int64_t padded_width)
{
    const int64_t matrix = padded_length * padded_width, block = QUERY_BLOCK * padded_width;
    struct backward_scratch scratch = {.keys_transposed = memory, .values_transposed = memory + matrix};
    scratch.keys = memory + 2 * matrix;
    scratch.d_keys = memory + 3 * matrix;
    scratch.d_values = memory + 4 * matrix;
    scratch.q = memory + 5 * matrix;
    scratch.d_out = scratch.q + block;
    scratch.d_q = scratch.q + 2 * block;
    scratch.probability = scratch.q + 3 * block;
    scratch.d_score = scratch.probability + QUERY_BLOCK * KEY_BLOCK;
    return scratch;
}

static size_t backward_scratch_size(const struct layout *layout)
{
    const int64_t width = round_up(layout->shape.head_width, VECTOR_LANES);
    return (size_t)(5 * round_up(layout->longest, VECTOR_LANES) * width + 3 * QUERY_BLOCK * width +
                    2 * QUERY_BLOCK * KEY_BLOCK);
}

/* What a block of queries of one head needs. */
struct query_block {
    int64_t first, rows;     /* in the sequence */
    const real *log_sum_exp; /* [rows] */
    real delta[QUERY_BLOCK]; /* sum of d_out * out of each row */
};

/* probability and d_score of the block's rows for keys key .. key + count - 1. */
static void block_gradients(const struct backward_scratch *scratch, const struct piece *piece,
                            const struct query_block *block, int64_t key, int64_t count)
{
    const real *q[TILE_ROWS], *d_out[TILE_ROWS];
    for (int64_t row = 0; row < block->rows; row += TILE_ROWS) {
        tile_rows(q, scratch->q, piece->padded_width, row, block->rows);
        tile_rows(d_out, scratch->d_out, piece->padded_width, row, block->rows);
        tile_scores(scratch->probability + row * KEY_BLOCK, KEY_BLOCK, q, scratch->keys_transposed + key,
                    piece->padded_length, piece->head_width, count);
        tile_scores(scratch->d_score + row * KEY_BLOCK, KEY_BLOCK, d_out, scratch->values_transposed + key,
                    piece->padded_length, piece->head_width, count);
    }
    for (int64_t row = 0; row < block->rows; row++) {
        real *p = scratch->probability + row * KEY_BLOCK, *d = scratch->d_score + row * KEY_BLOCK;
        const int64_t visible = minimum_of(count, keys_seen(piece, block->first + row) - key);
        const int64_t padded = round_up(count, VECTOR_LANES);
        const real log_sum_exp = block->log_sum_exp[row], delta = block->delta[row], scale = piece->scale;
        for (int64_t j = visible > 0 ? visible : 0; j < padded; j++)
            p[j] = -INFINITY;
#pragma omp simd
        for (int64_t j = 0; j < padded; j++) {
            p[j] = real_exp(p[j] * scale - log_sum_exp);
            d[j] = p[j] * (d[j] - delta) * scale;
        }
    }
}

static void add_block_gradients(const struct backward_scratch *scratch, const struct piece *piece,
                                const struct query_block *block, int64_t key, int64_t count)
{
    const int64_t width = piece->padded_width;
    for (int64_t row = 0; row < block->rows; row += TILE_ROWS)
        tile_combine(scratch->d_q + row * width,
                     (struct coefficients){scratch->d_score + row * KEY_BLOCK, KEY_BLOCK, 1}, count,
                     scratch->keys + key * width, width);
    for (int64_t c = 0; c < count; c += TILE_ROWS) {
        tile_combine(scratch->d_keys + (key + c) * width,
                     (struct coefficients){scratch->d_score + c, 1, KEY_BLOCK}, block->rows, scratch->q,
                     width);
        tile_combine(scratch->d_values + (key + c) * width,
                     (struct coefficients){scratch->probability + c, 1, KEY_BLOCK}, block->rows,
                     scratch->d_out, width);
    }
}

/* All keys for one block of queries of one head; head points at the head's first element of the first row. */
static void differentiate_block(const struct backward_tensors *t, const struct backward_scratch *scratch,
                                const struct piece *piece, struct query_block *block, int64_t offset)
{
    const int64_t place = offset + block->first * piece->q_stride;
    pack_rows(scratch->q, t->q + place, piece->q_stride, block->rows, piece);
    pack_rows(scratch->d_out, t->d_out + place, piece->q_stride, block->rows, piece);
    memset(scratch->d_q, 0, (size_t)(QUERY_BLOCK * piece->padded_width) * sizeof(real));
    for (int64_t row = 0; row < block->rows; row++) {
        real delta = 0;
#pragma omp simd reduction(+ : delta)
        for (int64_t i = 0; i < piece->head_width; i++)
            delta += t->d_out[place + row * piece->q_stride + i] * t->out[place + row * piece->q_stride + i];
        block->delta[row] = delta;
    }
    const int64_t end = keys_seen(piece, block->first + block->rows - 1);
    for (int64_t key = 0; key < end; key += KEY_BLOCK) {
        const int64_t count = minimum_of(KEY_BLOCK, end - key);
        block_gradients(scratch, piece, block, key, count);
        add_block_gradients(scratch, piece, block, key, count);
    }
    for (int64_t row = 0; row < block->rows; row++)
        memcpy(t->d_q + place + row * piece->q_stride, scratch->d_q + row * piece->padded_width,
               (size_t)piece->head_width * sizeof(real));
}

static void differentiate_piece(const struct backward_tensors *t, const struct layout *layout,
                                const struct piece *piece, real *memory)
{
    const struct backward_scratch scratch = scratch_of(memory, piece->padded_length, piece->padded_width);
    const int64_t key_offset = piece->first * piece->k_stride + piece->key_head * piece->head_width;
    pack_transposed(scratch.keys_transposed, t->k + key_offset, piece);
    pack_transposed(scratch.values_transposed, t->v + key_offset, piece);
    pack_rows(scratch.keys, t->k + key_offset, piece->k_stride, piece->length, piece);
    const size_t bytes = (size_t)(piece->padded_length * piece->padded_width) * sizeof(real);
    memset(scratch.d_keys, 0, bytes);
    memset(scratch.d_values, 0, bytes);
    for (int64_t g = 0; g < piece->group; g++) {
        const int64_t head = piece->key_head * piece->group + g;
        const int64_t offset = piece->first * piece->q_stride + head * piece->head_width;
        for (int64_t row = 0; row < piece->length; row += QUERY_BLOCK) {
            struct query_block block = {
                .first = row,
                .rows = minimum_of(QUERY_BLOCK, piece->length - row),
                .log_sum_exp = t->log_sum_exp + head * layout->tokens + piece->first + row,
            };
            differentiate_block(t, &scratch, piece, &block, offset);
        }
    }
    for (int64_t token = 0; token < piece->length; token++) {
        const size_t width = (size_t)piece->head_width * sizeof(real);
        memcpy(t->d_k + key_offset + token * piece->k_stride, scratch.d_keys + token * piece->padded_width,
               width);
        memcpy(t->d_v + key_offset + token * piece->k_stride, scratch.d_values + token * piece->padded_width,
               width);
    }
}

void cpu_attention_backward(struct backend *backend, struct tensor *d_q, struct tensor *d_k,
                            struct tensor *d_v, const struct tensor *d_out, const struct tensor *out,
                            const struct tensor *log_sum_exp, const struct tensor *q, const struct tensor *k,
                            const struct tensor *v, const struct tensor *starts, struct attention_shape shape)
{
    const struct layout layout = layout_of(q, starts, shape);
    const size_t scratch = backward_scratch_size(&layout);
    real *memory = cpu_workspace(backend, (size_t)backend->threads * scratch * sizeof(real));
    if (!memory)
        return;
    const struct backward_tensors tensors = {d_q->data,         d_k->data, d_v->data, d_out->data, out->data,
                                             log_sum_exp->data, q->data,   k->data,   v->data};
#pragma omp parallel for schedule(dynamic) num_threads(backend->threads)
    for (int64_t index = 0; index < layout.sequences * shape.key_heads; index++) {
        const struct piece piece = piece_of(&layout, index);
        differentiate_piece(&tensors, &layout, &piece, memory + (size_t)omp_get_thread_num() * scratch);
    }
}
