#include "core/ops.h"

#include <stdio.h>

#include "core/operators.h"
#include "core/quantize.h"

/* ---- checks ---- */

enum { ANY = -1 };

static bool complain(struct backend *backend, const char *where, const char *name,
                     const struct tensor *tensor, const char *expected)
{
    char shape[96] = "";
    int length = 0;
    for (int axis = 0; axis < tensor->rank; axis++)
        length += snprintf(shape + length, sizeof shape - (size_t)length, axis ? ", %lld" : "%lld",
                           (long long)tensor->shape[axis]);
    return error_set(&backend->error, ERROR_RUN, "%s: %s is %s [%s]%s, expected %s", where, name,
                     dtype_name(tensor->dtype), shape,
                     tensor->device == backend->device ? "" : " of another device", expected);
}

static bool on_device(const struct backend *backend, const struct tensor *tensor, enum dtype dtype)
{
    return tensor->dtype == dtype && tensor->device == backend->device &&
           (tensor->data || tensor_count(tensor) == 0);
}

/* A matrix [rows, columns]; ANY leaves a side open. False also when an earlier operator failed. */
static bool matrix(struct backend *backend, const char *where, const char *name, const struct tensor *tensor,
                   enum dtype dtype, int64_t rows, int64_t columns)
{
    if (backend->error.kind != ERROR_NONE)
        return false;
    if (tensor->rank == 2 && on_device(backend, tensor, dtype) && (rows == ANY || tensor->shape[0] == rows) &&
        (columns == ANY || tensor->shape[1] == columns))
        return true;
    char expected[96];
    snprintf(expected, sizeof expected, "%s [%lld, %lld] (-1: any)", dtype_name(dtype), (long long)rows,
             (long long)columns);
    return complain(backend, where, name, tensor, expected);
}

static bool list(struct backend *backend, const char *where, const char *name, const struct tensor *tensor,
                 enum dtype dtype, int64_t length)
{
    if (backend->error.kind != ERROR_NONE)
        return false;
    if (tensor->rank == 1 && on_device(backend, tensor, dtype) &&
        (length == ANY || tensor->shape[0] == length))
        return true;
    char expected[96];
    snprintf(expected, sizeof expected, "%s [%lld] (-1: any)", dtype_name(dtype), (long long)length);
    return complain(backend, where, name, tensor, expected);
}

/* Any shape with as many elements as `like`. */
static bool alike(struct backend *backend, const char *where, const char *name, const struct tensor *tensor,
                  enum dtype dtype, const struct tensor *like)
{
    if (backend->error.kind != ERROR_NONE)
        return false;
    if (on_device(backend, tensor, dtype) && tensor_count(tensor) == tensor_count(like))
        return true;
    char expected[96];
    snprintf(expected, sizeof expected, "%s, %lld elements", dtype_name(dtype),
             (long long)tensor_count(like));
    return complain(backend, where, name, tensor, expected);
}

static bool condition(struct backend *backend, const char *where, bool holds, const char *what)
{
    if (backend->error.kind != ERROR_NONE)
        return false;
    return holds || error_set(&backend->error, ERROR_RUN, "%s: %s", where, what);
}

/* The type in which an operator's activations are stored; see "Storage" in ops.h. */
static enum dtype storage_of(const struct backend *backend, const struct tensor *tensor)
{
    return backend->device == DEVICE_CUDA && tensor->dtype == DTYPE_BF16 ? DTYPE_BF16 : DTYPE_REAL;
}

/* Within an operator, whose name `where` and `backend` are in scope; for STORED_*, its `storage` too. */
#define MATRIX(tensor, rows, columns) matrix(backend, where, #tensor, tensor, DTYPE_REAL, rows, columns)
#define LIST(tensor, length) list(backend, where, #tensor, tensor, DTYPE_REAL, length)
#define LIST_OF(dtype, tensor, length) list(backend, where, #tensor, tensor, dtype, length)
#define STORED_MATRIX(tensor, rows, columns) matrix(backend, where, #tensor, tensor, storage, rows, columns)
#define STORED_LIST(tensor, length) list(backend, where, #tensor, tensor, storage, length)
#define ALIKE(tensor, like) alike(backend, where, #tensor, tensor, DTYPE_REAL, like)
#define STORED_ALIKE(tensor, like) alike(backend, where, #tensor, tensor, storage, like)
#define CONDITION(holds, what) condition(backend, where, holds, what)

static void count_work(struct backend *backend, double operations, double elements)
{
    backend->counters.floating_point_operations += operations;
    backend->counters.bytes += elements * (double)sizeof(real);
}

static double elements(const struct tensor *tensor)
{
    return (double)tensor_count(tensor);
}

/* Elements of f32 that take as many bytes. */
static double stored(const struct tensor *tensor)
{
    return (double)tensor_bytes(tensor) / (double)sizeof(real);
}

/* ---- linear algebra ---- */

void op_gemm(struct backend *backend, struct tensor *c, const struct tensor *a, enum transpose transpose_a,
             const struct tensor *b, enum transpose transpose_b, float alpha, float beta)
{
    const char *where = "op_gemm";
    const enum dtype storage = storage_of(backend, a);
    if (!(c->dtype == storage ? STORED_MATRIX(c, ANY, ANY) : MATRIX(c, ANY, ANY)) ||
        !STORED_MATRIX(a, ANY, ANY))
        return;
    const int64_t m = c->shape[0], n = c->shape[1], k = transpose_a ? a->shape[0] : a->shape[1];
    if (!STORED_MATRIX(a, transpose_a ? k : m, transpose_a ? m : k) ||
        !STORED_MATRIX(b, transpose_b ? n : k, transpose_b ? k : n))
        return;
    const double operations = 2.0 * (double)m * (double)n * (double)k;
    count_work(backend, operations, stored(a) + stored(b) + stored(c) * (beta == 0.0f ? 1.0 : 2.0));
    backend->counters.gemm_operations += operations;
    backend->operators->gemm(backend, c, a, transpose_a, b, transpose_b, alpha, beta);
}

void op_add(struct backend *backend, struct tensor *out, const struct tensor *a, const struct tensor *b)
{
    const char *where = "op_add";
    const enum dtype storage = storage_of(backend, out);
    if (!STORED_ALIKE(out, out) || !STORED_ALIKE(a, out) || !STORED_ALIKE(b, out))
        return;
    count_work(backend, elements(out), 3.0 * elements(out));
    backend->operators->add(backend, out, a, b);
}

void op_dequantize(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const char *where = "op_dequantize";
    const enum dtype storage = storage_of(backend, out);
    if (!CONDITION(dtype_is_quantized(x->dtype), "x must be int8 or nf4") ||
        !matrix(backend, where, "x", x, x->dtype, ANY, ANY) || !STORED_MATRIX(out, x->shape[0], x->shape[1]))
        return;
    count_work(backend, elements(out), elements(out) + (double)tensor_bytes(x) / (double)sizeof(real));
    backend->operators->dequantize(backend, out, x);
}

void op_axpby(struct backend *backend, struct tensor *y, float alpha, const struct tensor *x, float beta)
{
    const char *where = "op_axpby";
    const enum dtype storage = storage_of(backend, y);
    if (!STORED_ALIKE(y, y) || !STORED_ALIKE(x, y))
        return;
    count_work(backend, 3.0 * elements(y), 3.0 * elements(y));
    backend->operators->axpby(backend, y, alpha, x, beta);
}

void op_convert(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const char *where = "op_convert";
    const enum dtype to = out->dtype == DTYPE_BF16 ? DTYPE_BF16 : DTYPE_REAL;
    const enum dtype from = x->dtype == DTYPE_BF16 ? DTYPE_BF16 : DTYPE_REAL;
    if (!alike(backend, where, "out", out, to, out) || !alike(backend, where, "x", x, from, out))
        return;
    count_work(backend, 0.0, 2.0 * elements(out));
    backend->operators->convert(backend, out, x);
}

void op_bias_forward(struct backend *backend, struct tensor *x, const struct tensor *bias)
{
    const char *where = "op_bias_forward";
    const enum dtype storage = storage_of(backend, x);
    if (!STORED_MATRIX(x, ANY, ANY) || !STORED_LIST(bias, x->shape[1]))
        return;
    count_work(backend, elements(x), 2.0 * elements(x));
    backend->operators->bias_forward(backend, x, bias);
}

void op_bias_backward(struct backend *backend, struct tensor *d_bias, const struct tensor *d_x)
{
    const char *where = "op_bias_backward";
    const enum dtype storage = storage_of(backend, d_x);
    if (!STORED_MATRIX(d_x, ANY, ANY) || !LIST(d_bias, d_x->shape[1]))
        return;
    count_work(backend, elements(d_x), elements(d_x));
    backend->operators->bias_backward(backend, d_bias, d_x);
}

/* The adapter's input: x itself, or its dropped copy. */
static const struct tensor *adapter_input(struct backend *backend, const struct tensor *x,
                                          const struct lora *lora)
{
    if (lora->dropout <= 0.0f)
        return x;
    op_dropout(backend, lora->dropped, x, lora->dropout, lora->seed, lora->step, lora->site, lora->first_row);
    return lora->dropped;
}

void op_linear_forward(struct backend *backend, struct tensor *y, const struct tensor *x,
                       const struct tensor *weight, const struct tensor *bias, const struct lora *lora)
{
    op_gemm(backend, y, x, PLAIN, weight, TRANSPOSED, 1.0f, 0.0f);
    if (bias)
        op_bias_forward(backend, y, bias);
    if (!lora || !lora->a)
        return;
    op_gemm(backend, lora->hidden, adapter_input(backend, x, lora), PLAIN, lora->a, TRANSPOSED, 1.0f, 0.0f);
    op_gemm(backend, y, lora->hidden, PLAIN, lora->b, TRANSPOSED, lora->scale, 1.0f);
}

/* d_b += scale d_y^T hidden; d_hidden = scale d_y B; d_a += d_hidden^T drop(x); d_x += drop'(d_hidden A). */
static void adapter_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_y,
                             const struct tensor *x, const struct lora *lora)
{
    if (lora->d_b)
        op_gemm(backend, lora->d_b, d_y, TRANSPOSED, lora->hidden, PLAIN, lora->scale, 1.0f);
    op_gemm(backend, lora->d_hidden, d_y, PLAIN, lora->b, PLAIN, lora->scale, 0.0f);
    if (lora->d_a)
        op_gemm(backend, lora->d_a, lora->d_hidden, TRANSPOSED, adapter_input(backend, x, lora), PLAIN, 1.0f,
                1.0f);
    if (!d_x)
        return;
    if (lora->dropout <= 0.0f) {
        op_gemm(backend, d_x, lora->d_hidden, PLAIN, lora->a, PLAIN, 1.0f, 1.0f);
        return;
    }
    op_gemm(backend, lora->dropped, lora->d_hidden, PLAIN, lora->a, PLAIN, 1.0f, 0.0f);
    op_dropout(backend, lora->dropped, lora->dropped, lora->dropout, lora->seed, lora->step, lora->site,
               lora->first_row);
    op_add(backend, d_x, d_x, lora->dropped);
}

void op_linear_backward(struct backend *backend, struct tensor *d_x, bool accumulate, struct tensor *d_weight,
                        struct tensor *d_bias, const struct tensor *d_y, const struct tensor *x,
                        const struct tensor *weight, const struct lora *lora)
{
    if (d_x)
        op_gemm(backend, d_x, d_y, PLAIN, weight, PLAIN, 1.0f, accumulate ? 1.0f : 0.0f);
    if (d_weight)
        op_gemm(backend, d_weight, d_y, TRANSPOSED, x, PLAIN, 1.0f, 1.0f);
    if (d_bias)
        op_bias_backward(backend, d_bias, d_y);
    if (lora && lora->a)
        adapter_backward(backend, d_x, d_y, x, lora);
}

/* ---- rows of tables ---- */

void op_gather(struct backend *backend, struct tensor *out, const struct tensor *table,
               const struct tensor *indices)
{
    const char *where = "op_gather";
    const enum dtype storage = storage_of(backend, table);
    if (!STORED_MATRIX(table, ANY, ANY) || !STORED_MATRIX(out, ANY, table->shape[1]) ||
        !LIST_OF(DTYPE_I32, indices, out->shape[0]))
        return;
    count_work(backend, 0.0, 2.0 * elements(out));
    backend->operators->gather(backend, out, table, indices);
}

void op_scatter_add(struct backend *backend, struct tensor *table, const struct tensor *rows,
                    const struct tensor *indices)
{
    const char *where = "op_scatter_add";
    const enum dtype storage = storage_of(backend, rows);
    if (!MATRIX(table, ANY, ANY) || !STORED_MATRIX(rows, ANY, table->shape[1]) ||
        !LIST_OF(DTYPE_I32, indices, rows->shape[0]))
        return;
    count_work(backend, elements(rows), 3.0 * elements(rows));
    backend->operators->scatter_add(backend, table, rows, indices);
}

void op_rows_within(struct backend *backend, struct tensor *out, const struct tensor *indices, int64_t first,
                    int64_t count)
{
    const char *where = "op_rows_within";
    if (!LIST_OF(DTYPE_I32, out, ANY) || !LIST_OF(DTYPE_I32, indices, out->shape[0]) ||
        !CONDITION(first >= 0 && count >= 0 && first + count <= INT32_MAX,
                   "the range must be in 0 .. 2^31 - 1"))
        return;
    count_work(backend, 0.0, 2.0 * elements(out));
    backend->operators->rows_within(backend, out, indices, first, count);
}

void op_columns(struct backend *backend, struct tensor *out, const struct tensor *x, int64_t first)
{
    const char *where = "op_columns";
    const enum dtype storage = storage_of(backend, x);
    if (!STORED_MATRIX(x, ANY, ANY) || !STORED_MATRIX(out, x->shape[0], ANY) ||
        !CONDITION(first >= 0 && first < x->shape[1], "the first column must be one of x"))
        return;
    count_work(backend, 0.0, 2.0 * elements(out));
    backend->operators->columns(backend, out, x, first);
}

/* ---- the transformer ---- */

void op_rmsnorm_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_rms,
                        const struct tensor *x, const struct tensor *weight, float epsilon)
{
    const char *where = "op_rmsnorm_forward";
    const enum dtype storage = storage_of(backend, x);
    if (!STORED_MATRIX(x, ANY, ANY) || !STORED_MATRIX(out, x->shape[0], x->shape[1]) ||
        !STORED_LIST(weight, x->shape[1]) || !LIST(inverse_rms, x->shape[0]))
        return;
    count_work(backend, 4.0 * elements(x), 2.0 * elements(x));
    backend->operators->rmsnorm_forward(backend, out, inverse_rms, x, weight, epsilon);
}

void op_rmsnorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                         const struct tensor *d_out, const struct tensor *x, const struct tensor *weight,
                         const struct tensor *inverse_rms)
{
    const char *where = "op_rmsnorm_backward";
    const enum dtype storage = storage_of(backend, x);
    if (!STORED_MATRIX(x, ANY, ANY) || !STORED_MATRIX(d_x, x->shape[0], x->shape[1]) ||
        !STORED_MATRIX(d_out, x->shape[0], x->shape[1]) || !STORED_LIST(weight, x->shape[1]) ||
        !LIST(inverse_rms, x->shape[0]) || (d_weight && !LIST(d_weight, x->shape[1])))
        return;
    count_work(backend, 9.0 * elements(x), 4.0 * elements(x));
    backend->operators->rmsnorm_backward(backend, d_x, d_weight, d_out, x, weight, inverse_rms);
}

void op_layernorm_forward(struct backend *backend, struct tensor *out, struct tensor *mean,
                          struct tensor *inverse_deviation, const struct tensor *x,
                          const struct tensor *weight, const struct tensor *bias, float epsilon)
{
    const char *where = "op_layernorm_forward";
    if (!MATRIX(x, ANY, ANY) || !MATRIX(out, x->shape[0], x->shape[1]) || !LIST(weight, x->shape[1]) ||
        !LIST(bias, x->shape[1]) || !LIST(mean, x->shape[0]) || !LIST(inverse_deviation, x->shape[0]))
        return;
    count_work(backend, 7.0 * elements(x), 2.0 * elements(x));
    backend->operators->layernorm_forward(backend, out, mean, inverse_deviation, x, weight, bias, epsilon);
}

void op_layernorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                           struct tensor *d_bias, const struct tensor *d_out, const struct tensor *x,
                           const struct tensor *weight, const struct tensor *mean,
                           const struct tensor *inverse_deviation)
{
    const char *where = "op_layernorm_backward";
    if (!MATRIX(x, ANY, ANY) || !MATRIX(d_x, x->shape[0], x->shape[1]) ||
        !MATRIX(d_out, x->shape[0], x->shape[1]) || !LIST(weight, x->shape[1]) ||
        !LIST(d_weight, x->shape[1]) || !LIST(d_bias, x->shape[1]) || !LIST(mean, x->shape[0]) ||
        !LIST(inverse_deviation, x->shape[0]))
        return;
    count_work(backend, 13.0 * elements(x), 4.0 * elements(x));
    backend->operators->layernorm_backward(backend, d_x, d_weight, d_bias, d_out, x, weight, mean,
                                           inverse_deviation);
}

static bool check_activation(struct backend *backend, const char *where, enum activation activation)
{
    return CONDITION(activation == ACTIVATION_RELU || activation == ACTIVATION_GELU,
                     "the activation must be ACTIVATION_RELU or ACTIVATION_GELU");
}

void op_activation_forward(struct backend *backend, struct tensor *out, const struct tensor *x,
                           enum activation activation)
{
    const char *where = "op_activation_forward";
    if (!ALIKE(x, x) || !ALIKE(out, x) || !check_activation(backend, where, activation))
        return;
    count_work(backend, (activation == ACTIVATION_RELU ? 1.0 : 6.0) * elements(x), 2.0 * elements(x));
    backend->operators->activation_forward(backend, out, x, activation);
}

void op_activation_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                            const struct tensor *x, enum activation activation)
{
    const char *where = "op_activation_backward";
    if (!ALIKE(x, x) || !ALIKE(d_x, x) || !ALIKE(d_out, x) || !check_activation(backend, where, activation))
        return;
    count_work(backend, (activation == ACTIVATION_RELU ? 1.0 : 10.0) * elements(x), 3.0 * elements(x));
    backend->operators->activation_backward(backend, d_x, d_out, x, activation);
}

static bool check_rope(struct backend *backend, const char *where, const struct tensor *x,
                       const struct tensor *positions, const struct tensor *frequencies, int64_t head_width)
{
    const enum dtype storage = storage_of(backend, x);
    return CONDITION(head_width > 0 && head_width % 2 == 0, "head_width must be even") &&
           STORED_MATRIX(x, ANY, ANY) &&
           CONDITION(x->shape[1] % head_width == 0, "the width of x must be a multiple of head_width") &&
           LIST_OF(DTYPE_I32, positions, x->shape[0]) && LIST(frequencies, head_width / 2);
}

void op_rope_forward(struct backend *backend, struct tensor *x, const struct tensor *positions,
                     const struct tensor *frequencies, int64_t head_width)
{
    if (!check_rope(backend, "op_rope_forward", x, positions, frequencies, head_width))
        return;
    count_work(backend, 3.0 * elements(x), 2.0 * elements(x));
    backend->operators->rope_forward(backend, x, positions, frequencies, head_width);
}

void op_rope_backward(struct backend *backend, struct tensor *d_x, const struct tensor *positions,
                      const struct tensor *frequencies, int64_t head_width)
{
    if (!check_rope(backend, "op_rope_backward", d_x, positions, frequencies, head_width))
        return;
    count_work(backend, 3.0 * elements(d_x), 2.0 * elements(d_x));
    backend->operators->rope_backward(backend, d_x, positions, frequencies, head_width);
}

static bool check_heads(struct backend *backend, const char *where, const struct attention_shape *shape)
{
    return CONDITION(shape->head_width > 0 && shape->key_heads > 0 &&
                         shape->query_heads % shape->key_heads == 0,
                     "query_heads must be a multiple of key_heads");
}

static bool check_attention(struct backend *backend, const char *where, const struct tensor *out,
                            const struct tensor *log_sum_exp, const struct tensor *q, const struct tensor *k,
                            const struct tensor *v, const struct tensor *starts, struct attention_shape shape)
{
    const enum dtype storage = storage_of(backend, q);
    const int64_t tokens = q->shape[0], query_width = shape.query_heads * shape.head_width;
    const int64_t key_width = shape.key_heads * shape.head_width;
    return check_heads(backend, where, &shape) && STORED_MATRIX(q, ANY, query_width) &&
           STORED_MATRIX(out, tokens, query_width) && STORED_MATRIX(k, tokens, key_width) &&
           STORED_MATRIX(v, tokens, key_width) && MATRIX(log_sum_exp, shape.query_heads, tokens) &&
           LIST_OF(DTYPE_I32, starts, ANY) &&
           CONDITION(starts->shape[0] >= 1, "starts must hold one more than the number of sequences");
}

/* Of the scores that are seen, taking sequences of equal length. */
static double attention_operations(const struct tensor *q, const struct tensor *starts,
                                   struct attention_shape shape)
{
    const double sequences = (double)(starts->shape[0] > 1 ? starts->shape[0] - 1 : 1);
    const double length = (double)q->shape[0] / sequences;
    return 4.0 * elements(q) * (shape.bidirectional ? length : (length + 1.0) / 2.0);
}

void op_attention_forward(struct backend *backend, struct tensor *out, struct tensor *log_sum_exp,
                          const struct tensor *q, const struct tensor *k, const struct tensor *v,
                          const struct tensor *starts, struct attention_shape shape)
{
    if (!check_attention(backend, "op_attention_forward", out, log_sum_exp, q, k, v, starts, shape))
        return;
    count_work(backend, attention_operations(q, starts, shape), 2.0 * stored(q) + 2.0 * stored(k));
    backend->operators->attention_forward(backend, out, log_sum_exp, q, k, v, starts, shape);
}

void op_attention_backward(struct backend *backend, struct tensor *d_q, struct tensor *d_k,
                           struct tensor *d_v, const struct tensor *d_out, const struct tensor *out,
                           const struct tensor *log_sum_exp, const struct tensor *q, const struct tensor *k,
                           const struct tensor *v, const struct tensor *starts, struct attention_shape shape)
{
    const char *where = "op_attention_backward";
    const enum dtype storage = storage_of(backend, q);
    if (!check_attention(backend, where, out, log_sum_exp, q, k, v, starts, shape) ||
        !STORED_MATRIX(d_q, q->shape[0], q->shape[1]) || !STORED_MATRIX(d_out, q->shape[0], q->shape[1]) ||
        !STORED_MATRIX(d_k, k->shape[0], k->shape[1]) || !STORED_MATRIX(d_v, k->shape[0], k->shape[1]))
        return;
    count_work(backend, 2.5 * attention_operations(q, starts, shape), 4.0 * elements(q) + 4.0 * elements(k));
    backend->operators->attention_backward(backend, d_q, d_k, d_v, d_out, out, log_sum_exp, q, k, v, starts,
                                           shape);
}

void op_attention_decode(struct backend *backend, struct tensor *out, const struct tensor *q,
                         const struct tensor *k_cache, const struct tensor *v_cache,
                         const struct tensor *slots, const struct tensor *lengths, int64_t capacity,
                         struct attention_shape shape)
{
    const char *where = "op_attention_decode";
    const enum dtype storage = storage_of(backend, q);
    const int64_t query_width = shape.query_heads * shape.head_width,
                  key_width = shape.key_heads * shape.head_width;
    if (!check_heads(backend, where, &shape) || !STORED_MATRIX(out, ANY, query_width) ||
        !STORED_MATRIX(q, out->shape[0], query_width) || !STORED_MATRIX(k_cache, ANY, key_width) ||
        !STORED_MATRIX(v_cache, k_cache->shape[0], key_width) || !LIST_OF(DTYPE_I32, slots, out->shape[0]) ||
        !LIST_OF(DTYPE_I32, lengths, out->shape[0]) ||
        !CONDITION(capacity > 0 && k_cache->shape[0] % capacity == 0,
                   "the cache must hold slots of `capacity` rows"))
        return;
    /* Slots are half full on average. */
    count_work(backend, 2.0 * elements(q) * (double)capacity,
               2.0 * stored(q) +
                   stored(k_cache) / (double)k_cache->shape[0] * (double)(out->shape[0] * capacity));
    backend->operators->attention_decode(backend, out, q, k_cache, v_cache, slots, lengths, capacity, shape);
}

void op_cache_store(struct backend *backend, struct tensor *cache, const struct tensor *rows,
                    const struct tensor *slots, const struct tensor *positions, int64_t capacity)
{
    const char *where = "op_cache_store";
    const enum dtype storage = storage_of(backend, rows);
    if (!STORED_MATRIX(rows, ANY, ANY) || !STORED_MATRIX(cache, ANY, rows->shape[1]) ||
        !LIST_OF(DTYPE_I32, slots, rows->shape[0]) || !LIST_OF(DTYPE_I32, positions, rows->shape[0]) ||
        !CONDITION(capacity > 0 && cache->shape[0] % capacity == 0,
                   "the cache must hold slots of `capacity` rows"))
        return;
    count_work(backend, 0.0, 2.0 * elements(rows));
    backend->operators->cache_store(backend, cache, rows, slots, positions, capacity);
}

void op_cache_share(struct backend *backend, struct tensor *cache, const struct tensor *to,
                    const struct tensor *from, const struct tensor *begins, const struct tensor *ends,
                    int64_t capacity)
{
    const char *where = "op_cache_share";
    const enum dtype storage = storage_of(backend, cache);
    if (!STORED_MATRIX(cache, ANY, ANY) || !LIST_OF(DTYPE_I32, to, ANY) ||
        !LIST_OF(DTYPE_I32, from, to->shape[0]) || !LIST_OF(DTYPE_I32, begins, to->shape[0]) ||
        !LIST_OF(DTYPE_I32, ends, to->shape[0]) ||
        !CONDITION(capacity > 0 && cache->shape[0] % capacity == 0,
                   "the cache must hold slots of `capacity` rows"))
        return;
    count_work(backend, 0.0, 2.0 * elements(to) * (double)(capacity * cache->shape[1]));
    backend->operators->cache_share(backend, cache, to, from, begins, ends, capacity);
}

void op_swiglu_forward(struct backend *backend, struct tensor *out, const struct tensor *gate,
                       const struct tensor *up)
{
    const char *where = "op_swiglu_forward";
    const enum dtype storage = storage_of(backend, out);
    if (!STORED_ALIKE(out, out) || !STORED_ALIKE(gate, out) || !STORED_ALIKE(up, out))
        return;
    count_work(backend, 5.0 * elements(out), 3.0 * elements(out));
    backend->operators->swiglu_forward(backend, out, gate, up);
}

void op_swiglu_backward(struct backend *backend, struct tensor *d_gate, struct tensor *d_up,
                        const struct tensor *d_out, const struct tensor *gate, const struct tensor *up)
{
    const char *where = "op_swiglu_backward";
    const enum dtype storage = storage_of(backend, d_out);
    if (!STORED_ALIKE(d_out, d_out) || !STORED_ALIKE(d_gate, d_out) || !STORED_ALIKE(d_up, d_out) ||
        !STORED_ALIKE(gate, d_out) || !STORED_ALIKE(up, d_out))
        return;
    count_work(backend, 11.0 * elements(d_out), 5.0 * elements(d_out));
    backend->operators->swiglu_backward(backend, d_gate, d_up, d_out, gate, up);
}

void op_dropout(struct backend *backend, struct tensor *out, const struct tensor *x, float probability,
                uint64_t seed, uint64_t step, uint64_t site, int64_t first_row)
{
    const char *where = "op_dropout";
    const enum dtype storage = storage_of(backend, x);
    if (!STORED_ALIKE(x, x) || !STORED_ALIKE(out, x) ||
        !CONDITION(x->rank >= 1, "x must have rows or columns") ||
        !CONDITION(probability >= 0.0f && probability < 1.0f, "the probability must be in [0, 1)") ||
        !CONDITION(first_row >= 0, "the number of the first row must not be negative"))
        return;
    count_work(backend, elements(x), 2.0 * elements(x));
    backend->operators->dropout(backend, out, x, probability, seed, step, site, first_row);
}

static bool check_classes(struct backend *backend, const char *where, const struct tensor *logits,
                          enum dtype storage, int64_t classes_used)
{
    return STORED_MATRIX(logits, ANY, ANY) && CONDITION(classes_used > 0 && classes_used <= logits->shape[1],
                                                        "classes_used must be in 1 .. the columns of logits");
}

void op_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                      const struct tensor *targets, const struct tensor *weights, int64_t classes_used)
{
    const char *where = "op_cross_entropy";
    if (!check_classes(backend, where, logits, storage_of(backend, logits), classes_used) ||
        !LIST(losses, logits->shape[0]) || !LIST_OF(DTYPE_I32, targets, logits->shape[0]) ||
        !LIST(weights, logits->shape[0]))
        return;
    count_work(backend, 5.0 * elements(logits), 2.0 * elements(logits));
    backend->operators->cross_entropy(backend, logits, losses, targets, weights, classes_used);
}

void op_cross_entropy_set(struct backend *backend, struct tensor *logits, struct tensor *losses,
                          const struct tensor *starts, const struct tensor *targets,
                          const struct tensor *weights, int64_t classes_used)
{
    const char *where = "op_cross_entropy_set";
    if (!check_classes(backend, where, logits, storage_of(backend, logits), classes_used) ||
        !LIST(losses, logits->shape[0]) || !LIST_OF(DTYPE_I64, starts, logits->shape[0] + 1) ||
        !LIST_OF(DTYPE_I32, targets, ANY) || !LIST(weights, logits->shape[0]))
        return;
    count_work(backend, 5.0 * elements(logits), 2.0 * elements(logits));
    backend->operators->cross_entropy_set(backend, logits, losses, starts, targets, weights, classes_used);
}

void op_exclude(struct backend *backend, struct tensor *logits, const struct tensor *begin,
                const struct tensor *last, const struct tensor *columns)
{
    const char *where = "op_exclude";
    const enum dtype storage = storage_of(backend, logits);
    if (!STORED_MATRIX(logits, ANY, ANY) || !LIST_OF(DTYPE_I32, begin, logits->shape[0]) ||
        !LIST_OF(DTYPE_I32, last, logits->shape[0]) || !LIST_OF(DTYPE_I32, columns, ANY))
        return;
    count_work(backend, 0, elements(columns));
    backend->operators->exclude(backend, logits, begin, last, columns);
}

/* ---- optimisation ---- */

void op_sum_of_squares(struct backend *backend, struct tensor *sum, const struct tensor *x)
{
    const char *where = "op_sum_of_squares";
    if (!LIST_OF(DTYPE_F64, sum, 1) || !ALIKE(x, x))
        return;
    count_work(backend, 2.0 * elements(x), elements(x));
    backend->operators->sum_of_squares(backend, sum, x);
}

void op_clip_scale(struct backend *backend, struct tensor *scale, const struct tensor *sum, float maximum)
{
    const char *where = "op_clip_scale";
    if (LIST_OF(DTYPE_F32, scale, 1) && LIST_OF(DTYPE_F64, sum, 1))
        backend->operators->clip_scale(backend, scale, sum, maximum);
}

void op_adamw(struct backend *backend, struct tensor *weight, const struct tensor *gradient,
              struct tensor *first_moment, struct tensor *second_moment, const struct tensor *scale,
              struct adamw settings)
{
    const char *where = "op_adamw";
    if (!ALIKE(weight, weight) || !ALIKE(gradient, weight) || !ALIKE(first_moment, weight) ||
        !ALIKE(second_moment, weight) || (scale && !LIST_OF(DTYPE_F32, scale, 1)) ||
        !CONDITION(settings.step >= 1, "step counts from 1"))
        return;
    count_work(backend, 14.0 * elements(weight), 7.0 * elements(weight));
    backend->operators->adamw(backend, weight, gradient, first_moment, second_moment, scale, settings);
}

/* ---- recommenders ---- */

void op_csr_spmm(struct backend *backend, struct tensor *out, const struct csr_tensor *sparse,
                 const struct tensor *x, float beta)
{
    const char *where = "op_csr_spmm";
    const struct tensor *starts = &sparse->starts, *indices = &sparse->indices, *values = &sparse->values;
    if (!MATRIX(out, sparse->rows, ANY) || !MATRIX(x, sparse->columns, out->shape[1]) ||
        !LIST_OF(DTYPE_I64, starts, sparse->rows + 1) || !LIST_OF(DTYPE_I32, indices, ANY) ||
        !LIST(values, indices->shape[0]))
        return;
    const double nonzeros = elements(values);
    count_work(backend, 2.0 * nonzeros * (double)out->shape[1],
               nonzeros * (double)(out->shape[1] + 2) + elements(out) * (beta == 0.0f ? 1.0 : 2.0));
    backend->operators->csr_spmm(backend, out, sparse, x, beta);
}

void op_bpr_loss(struct backend *backend, struct tensor *losses, struct tensor *d_users,
                 struct tensor *d_positives, struct tensor *d_negatives, const struct tensor *user_table,
                 const struct tensor *item_table, struct triples triples)
{
    const char *where = "op_bpr_loss";
    if (!LIST(losses, ANY) || !MATRIX(user_table, ANY, ANY) || !MATRIX(item_table, ANY, user_table->shape[1]))
        return;
    const int64_t count = losses->shape[0], width = user_table->shape[1];
    if (!MATRIX(d_users, count, width) || !MATRIX(d_positives, count, width) ||
        !MATRIX(d_negatives, count, width) || !LIST_OF(DTYPE_I32, triples.users, count) ||
        !LIST_OF(DTYPE_I32, triples.positives, count) || !LIST_OF(DTYPE_I32, triples.negatives, count) ||
        !LIST(triples.weights, count))
        return;
    count_work(backend, 7.0 * elements(d_users), 6.0 * elements(d_users));
    backend->operators->bpr_loss(backend, losses, d_users, d_positives, d_negatives, user_table, item_table,
                                 triples);
}

void op_unit_rows_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_norm,
                          const struct tensor *x)
{
    const char *where = "op_unit_rows_forward";
    if (!MATRIX(x, ANY, ANY) || !MATRIX(out, x->shape[0], x->shape[1]) || !LIST(inverse_norm, x->shape[0]))
        return;
    count_work(backend, 3.0 * elements(x), 2.0 * elements(x));
    backend->operators->unit_rows_forward(backend, out, inverse_norm, x);
}

void op_unit_rows_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                           const struct tensor *out, const struct tensor *inverse_norm)
{
    const char *where = "op_unit_rows_backward";
    if (!MATRIX(out, ANY, ANY) || !MATRIX(d_x, out->shape[0], out->shape[1]) ||
        !MATRIX(d_out, out->shape[0], out->shape[1]) || !LIST(inverse_norm, out->shape[0]))
        return;
    count_work(backend, 6.0 * elements(out), 4.0 * elements(out));
    backend->operators->unit_rows_backward(backend, d_x, d_out, out, inverse_norm);
}

void op_infonce_loss(struct backend *backend, struct tensor *losses, struct tensor *d_a, struct tensor *d_b,
                     const struct contrast *contrast)
{
    const char *where = "op_infonce_loss";
    const float sharpness = 1.0f / contrast->temperature;
    struct tensor *logits = contrast->logits;
    if (!CONDITION(contrast->temperature > 0.0f, "the temperature must be above 0"))
        return;
    op_gemm(backend, logits, contrast->a, PLAIN, contrast->b, TRANSPOSED, sharpness, 0.0f);
    op_cross_entropy(backend, logits, losses, contrast->positives, contrast->weights, logits->shape[1]);
    op_gemm(backend, d_a, logits, PLAIN, contrast->b, PLAIN, sharpness, 0.0f);
    op_gemm(backend, d_b, logits, TRANSPOSED, contrast->a, PLAIN, sharpness,
            contrast->accumulate ? 1.0f : 0.0f);
}

void op_sample_triples(struct backend *backend, struct tensor *rows, struct tensor *weights,
                       struct triple_source source, int64_t batch, uint64_t seed, uint64_t epoch)
{
    const char *where = "op_sample_triples";
    if (!LIST(weights, ANY))
        return;
    const int64_t count = weights->shape[0];
    if (!LIST_OF(DTYPE_I32, rows, 3 * count) || !LIST_OF(DTYPE_I32, source.users, count) ||
        !LIST_OF(DTYPE_I32, source.positives, count) || !LIST(source.weights, count) ||
        !LIST_OF(DTYPE_I64, source.starts, ANY) || !LIST_OF(DTYPE_I32, source.excluded, ANY) ||
        !CONDITION(batch >= 1 && source.items >= 1 && count < INT32_MAX / 3,
                   "batch and items must be at least 1, triples fewer than 2^31 / 3"))
        return;
    count_work(backend, 0.0, 8.0 * (double)count);
    backend->operators->sample_triples(backend, rows, weights, source, batch, seed, epoch);
}

static bool check_candidates(struct backend *backend, const char *where, const struct tensor *logits,
                             const struct tensor *x, const struct tensor *table,
                             const struct tensor *candidates)
{
    return MATRIX(x, ANY, ANY) && MATRIX(table, ANY, x->shape[1]) && MATRIX(logits, x->shape[0], ANY) &&
           matrix(backend, where, "candidates", candidates, DTYPE_I32, logits->shape[0], logits->shape[1]) &&
           CONDITION(tensor_count(logits) <= INT32_MAX,
                     "rows and candidates must be fewer than 2^31 together");
}

void op_candidate_logits_forward(struct backend *backend, struct tensor *logits, const struct tensor *x,
                                 const struct tensor *table, const struct tensor *candidates)
{
    if (!check_candidates(backend, "op_candidate_logits_forward", logits, x, table, candidates))
        return;
    const double products = elements(logits) * (double)x->shape[1];
    count_work(backend, 2.0 * products, products + 2.0 * elements(logits) + elements(x));
    backend->operators->candidate_logits_forward(backend, logits, x, table, candidates);
}

void op_candidate_logits_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_table,
                                  const struct tensor *d_logits, const struct tensor *x,
                                  const struct tensor *table, const struct tensor *candidates)
{
    const char *where = "op_candidate_logits_backward";
    if (!check_candidates(backend, where, d_logits, x, table, candidates) ||
        !MATRIX(d_x, x->shape[0], x->shape[1]) || !MATRIX(d_table, table->shape[0], table->shape[1]))
        return;
    const double products = elements(d_logits) * (double)x->shape[1];
    count_work(backend, 4.0 * products,
               2.0 * products + 4.0 * elements(d_logits) + elements(x) + 2.0 * elements(table));
    backend->operators->candidate_logits_backward(backend, d_x, d_table, d_logits, x, table, candidates);
}

void op_binary_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                             const struct tensor *weights, float positive_power)
{
    const char *where = "op_binary_cross_entropy";
    if (!MATRIX(logits, ANY, ANY) || !LIST(losses, logits->shape[0]) || !LIST(weights, logits->shape[0]) ||
        !CONDITION(logits->shape[1] >= 1, "logits must have a column for the positive"))
        return;
    count_work(backend, 7.0 * elements(logits), 2.0 * elements(logits));
    backend->operators->binary_cross_entropy(backend, logits, losses, weights, positive_power);
}

void op_sample_negatives(struct backend *backend, struct tensor *candidates, struct negative_source source,
                         uint64_t seed, uint64_t step)
{
    const char *where = "op_sample_negatives";
    if (!matrix(backend, where, "candidates", candidates, DTYPE_I32, ANY, ANY) ||
        !LIST_OF(DTYPE_I32, source.positives, candidates->shape[0]) ||
        !LIST_OF(DTYPE_I32, source.owners, candidates->shape[0]) || !LIST_OF(DTYPE_I64, source.starts, ANY) ||
        !LIST_OF(DTYPE_I32, source.excluded, ANY) ||
        !CONDITION(candidates->shape[1] >= 1, "candidates must have a column for the positive") ||
        !CONDITION(source.items >= 1 && source.items <= INT32_MAX, "items must be in 1 .. 2^31 - 1") ||
        !CONDITION(source.first_row >= 0, "first_row must not be negative"))
        return;
    count_work(backend, 0.0, elements(candidates));
    backend->operators->sample_negatives(backend, candidates, source, seed, step);
}

void op_row_noise(struct backend *backend, struct tensor *out, const struct tensor *x, float magnitude,
                  uint64_t seed, uint64_t step, uint64_t site)
{
    const char *where = "op_row_noise";
    if (!MATRIX(x, ANY, ANY) || !MATRIX(out, x->shape[0], x->shape[1]) ||
        !CONDITION(site < UINT64_C(1) << 24, "site must be below 2^24"))
        return;
    count_work(backend, 5.0 * elements(x), 2.0 * elements(x));
    backend->operators->row_noise(backend, out, x, magnitude, seed, step, site);
}

void op_topk_masked(struct backend *backend, struct tensor *top_columns, struct tensor *top_scores,
                    struct tensor *ties, const struct tensor *scores, const struct tensor *mask_rows,
                    const struct tensor *mask_starts, const struct tensor *mask_indices)
{
    const char *where = "op_topk_masked";
    if (!MATRIX(scores, ANY, ANY) || !MATRIX(top_scores, scores->shape[0], ANY) ||
        !matrix(backend, where, "top_columns", top_columns, DTYPE_I32, scores->shape[0],
                top_scores->shape[1]) ||
        (ties && !LIST_OF(DTYPE_I32, ties, scores->shape[0])) ||
        !LIST_OF(DTYPE_I32, mask_rows, scores->shape[0]) || !LIST_OF(DTYPE_I64, mask_starts, ANY) ||
        !LIST_OF(DTYPE_I32, mask_indices, ANY))
        return;
    count_work(backend, elements(scores), elements(scores));
    backend->operators->topk_masked(backend, top_columns, top_scores, ties, scores, mask_rows, mask_starts,
                                    mask_indices);
}

/* ---- sampling ---- */

static bool check_forbidden(struct backend *backend, const char *where, const struct tensor *forbidden,
                            const struct tensor *logits, int64_t classes_used)
{
    return !forbidden || (matrix(backend, where, "forbidden", forbidden, DTYPE_U32, logits->shape[0], ANY) &&
                          CONDITION(forbidden->shape[1] * 32 >= classes_used, "forbidden has too few words"));
}

void op_sample(struct backend *backend, struct tensor *tokens, struct tensor *log_probability,
               const struct tensor *logits, const struct tensor *forbidden, const struct tensor *streams,
               const struct tensor *steps, int64_t classes_used, struct sampling settings)
{
    const char *where = "op_sample";
    if (!check_classes(backend, where, logits, DTYPE_REAL, classes_used) ||
        !check_forbidden(backend, where, forbidden, logits, classes_used) ||
        !LIST_OF(DTYPE_I32, tokens, logits->shape[0]) || !LIST(log_probability, logits->shape[0]) ||
        !LIST_OF(DTYPE_I64, streams, logits->shape[0]) || !LIST_OF(DTYPE_I32, steps, logits->shape[0]) ||
        !CONDITION(settings.temperature >= 0.0f && settings.top_p > 0.0f && settings.top_k >= 0,
                   "temperature must be >= 0, top_p > 0, top_k >= 0"))
        return;
    count_work(backend, 4.0 * elements(logits), elements(logits));
    backend->operators->sample(backend, tokens, log_probability, logits, forbidden, streams, steps,
                               classes_used, settings);
}

void op_log_softmax_masked(struct backend *backend, struct tensor *logits, const struct tensor *forbidden,
                           int64_t classes_used)
{
    const char *where = "op_log_softmax_masked";
    if (!check_classes(backend, where, logits, DTYPE_REAL, classes_used) ||
        !check_forbidden(backend, where, forbidden, logits, classes_used))
        return;
    count_work(backend, 4.0 * elements(logits), 2.0 * elements(logits));
    backend->operators->log_softmax_masked(backend, logits, forbidden, classes_used);
}

void op_advance(struct backend *backend, struct decode_rows rows, const struct tensor *tokens,
                const struct tensor *log_probability, int32_t end, int64_t drawn_maximum)
{
    const char *where = "op_advance";
    const int64_t count = tokens->shape[0];
    if (!LIST_OF(DTYPE_I32, tokens, ANY) || !LIST(log_probability, count) ||
        !LIST_OF(DTYPE_I32, rows.token, count) || !LIST_OF(DTYPE_I32, rows.position, count) ||
        !LIST_OF(DTYPE_I32, rows.length, count) || !LIST_OF(DTYPE_I32, rows.slot, count) ||
        !LIST_OF(DTYPE_I64, rows.stream, count) || !LIST_OF(DTYPE_I32, rows.drawn, count) ||
        (rows.forbidden &&
         !matrix(backend, where, "rows.forbidden", rows.forbidden, DTYPE_U32, count, ANY)) ||
        !matrix(backend, where, "rows.log", rows.log, DTYPE_I32, count, ANY) ||
        !MATRIX(rows.log_probability, count, rows.log->shape[1]) ||
        !CONDITION(rows.log->shape[1] > 0, "the log has no columns"))
        return;
    count_work(backend, 0.0, 12.0 * (double)count);
    backend->operators->advance(backend, rows, tokens, log_probability, end, drawn_maximum);
}

void op_pick(struct backend *backend, struct tensor *out, const struct tensor *x,
             const struct tensor *columns)
{
    const char *where = "op_pick";
    if (!MATRIX(x, ANY, ANY) || !MATRIX(out, x->shape[0], ANY) ||
        !matrix(backend, where, "columns", columns, DTYPE_I32, x->shape[0], out->shape[1]))
        return;
    count_work(backend, 0.0, 3.0 * elements(out));
    backend->operators->pick(backend, out, x, columns);
}

void op_mean_probability(struct backend *backend, struct tensor *mean, const struct tensor *x,
                         const struct tensor *starts, int64_t count)
{
    const char *where = "op_mean_probability";
    if (!MATRIX(mean, ANY, ANY) || !MATRIX(x, ANY, mean->shape[1]) ||
        !LIST_OF(DTYPE_I32, starts, mean->shape[0] + 1))
        return;
    count_work(backend, 2.0 * elements(x), elements(x) + 2.0 * elements(mean));
    backend->operators->mean_probability(backend, mean, x, starts, count);
}
