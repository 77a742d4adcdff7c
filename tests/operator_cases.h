/*
 * operator_cases.h: every operator with its operands, shapes and fillings: one list for finite differences,
 * for the comparison with plain loops, of thread counts and of devices, and for the bench.
 *
 * A family describes its operands for a size, runs the operator (forward), and, where there is one, its
 * backward: gradients of VARIABLE operands from those of RESULT operands. Both work on backend tensors only.
 */
#ifndef IDREC_TESTS_OPERATOR_CASES_H
#define IDREC_TESTS_OPERATOR_CASES_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "core/quantize.h"

enum role { CONSTANT, VARIABLE, RESULT };
/* INDEX: uniform on -1 .. bound - 1 (on 0 .. when no_gap); STARTS: 0 .. bound ascending, with empty ranges;
 * EVEN: the same with equal ranges; ONCE: distinct, in 0 .. bound - 1; ONCE_OR_NOT: the same with -1 between; BITS: random words; FREQUENCIES:
 * rope's; ASCENDING: 0 .. bound without its middle, again and again; WIDE: normal, a hundred times as large; HOLLOW:
 * every third row is -infinity and a third of the others' numbers; GAPS: normal, a third of them 0; UNREAD: infinite in
 * the first row; UNWRITTEN: not numbers. */
enum filling {
    ZERO,
    NORMAL,
    POSITIVE,
    INDEX,
    CLASS,
    LENGTH,
    STARTS,
    EVEN,
    ONCE,
    ONCE_OR_NOT,
    COUNT_UP,
    BITS,
    FREQUENCIES,
    ASCENDING,
    WIDE,
    HOLLOW,
    GAPS,
    UNREAD,
    UNWRITTEN
};

struct operand {
    const char *name;
    enum role role;
    enum dtype dtype;
    int64_t rows, columns; /* columns 0: rank 1 */
    enum filling filling;
    int64_t bound;
};

enum { OPERANDS_MAXIMUM = 14, SIZES_MAXIMUM = 18, SIZE_NUMBERS = 6 };
typedef const int64_t size_numbers[SIZE_NUMBERS];

struct operator_family {
    const char *name;
    int (*describe)(struct operand *operands, size_numbers size);
    void (*forward)(struct backend *backend, struct tensor *t, size_numbers size);
    void (*backward)(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers size);
    int64_t sizes[SIZES_MAXIMUM][SIZE_NUMBERS]; /* ends with a row of zeros */
    int64_t bench_sizes[6][SIZE_NUMBERS];       /* likewise */
};

#define REAL(name_, role_, rows_, columns_)                                                                  \
    (struct operand)                                                                                         \
    {                                                                                                        \
        .name = name_, .role = role_, .dtype = DTYPE_REAL, .rows = rows_, .columns = columns_,               \
        .filling = (role_) == RESULT ? ZERO : NORMAL                                                         \
    }
#define INTEGERS(name_, dtype_, rows_, filling_, bound_)                                                     \
    (struct operand)                                                                                         \
    {                                                                                                        \
        .name = name_, .role = CONSTANT, .dtype = dtype_, .rows = rows_, .filling = filling_,                \
        .bound = bound_                                                                                      \
    }

/* ---- gemm: m, n, k, transpose a, transpose b, alpha and beta of 0.5 ---- */

static int gemm_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("a", CONSTANT, s[3] ? s[2] : s[0], s[3] ? s[0] : s[2]);
    o[1] = REAL("b", CONSTANT, s[4] ? s[1] : s[2], s[4] ? s[2] : s[1]);
    o[2] = REAL("c", RESULT, s[0], s[1]);
    if (s[5])
        o[2].filling = NORMAL;
    return 3;
}

static void gemm_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_gemm(backend, &t[2], &t[0], s[3] ? TRANSPOSED : PLAIN, &t[1], s[4] ? TRANSPOSED : PLAIN,
            s[5] ? 0.5f : 1.0f, s[5] ? 0.5f : 0.0f);
}

/* ---- elementwise: rows, columns ---- */

static int add_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("a", CONSTANT, s[0], s[1]);
    o[1] = REAL("b", CONSTANT, s[0], s[1]);
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void add_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_add(backend, &t[2], &t[0], &t[1]);
}

static int axpby_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], s[1]);
    o[1] = REAL("y", RESULT, s[0], s[1]);
    o[1].filling = NORMAL;
    return 2;
}

static void axpby_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_axpby(backend, &t[1], 0.75f, &t[0], -0.5f);
}

/* To bf16 and back; both are what the device's rounding must equal bit for bit. */
static int convert_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], s[1]);
    o[1] = (struct operand){"narrow", RESULT, DTYPE_BF16, s[0], s[1], ZERO, 0};
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void convert_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_convert(backend, &t[1], &t[0]);
    op_convert(backend, &t[2], &t[1]);
}

/* Rows, columns, nf4 instead of int8. */
static int dequantize_describe(struct operand *o, size_numbers s)
{
    o[0] = (struct operand){"x", CONSTANT, s[2] ? DTYPE_NF4 : DTYPE_INT8, s[0], s[1], GAPS, 0};
    o[1] = REAL("out", RESULT, s[0], s[1]);
    return 2;
}

static void dequantize_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_dequantize(backend, &t[1], &t[0]);
}

static int bias_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[0], s[1]);
    o[1] = REAL("bias", VARIABLE, s[1], 0);
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void bias_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_axpby(backend, &t[2], 1.0f, &t[0], 0.0f);
    op_bias_forward(backend, &t[2], &t[1]);
}

static void bias_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)t;
    (void)s;
    op_axpby(backend, &d[0], 1.0f, &d[2], 0.0f);
    op_bias_backward(backend, &d[1], &d[2]);
}

static int swiglu_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("gate", VARIABLE, s[0], s[1]);
    o[1] = REAL("up", VARIABLE, s[0], s[1]);
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void swiglu_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_swiglu_forward(backend, &t[2], &t[0], &t[1]);
}

static void swiglu_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_swiglu_backward(backend, &d[0], &d[1], &d[2], &t[0], &t[1]);
}

/* columns, rows, gelu, large numbers */
static int activation_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[1], s[0]);
    if (s[3])
        o[0].filling = WIDE;
    o[1] = REAL("out", RESULT, s[1], s[0]);
    return 2;
}

static enum activation activation_of(size_numbers s)
{
    return s[2] ? ACTIVATION_GELU : ACTIVATION_RELU;
}

static void activation_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_activation_forward(backend, &t[1], &t[0], activation_of(s));
}

static void activation_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    op_axpby(backend, &d[0], 1.0f, &d[1], 0.0f);
    op_activation_backward(backend, &d[0], &d[0], &t[0], activation_of(s));
}

static int dropout_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[0], s[1]);
    o[1] = REAL("out", RESULT, s[0], s[1]);
    return 2;
}

static void dropout_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_dropout(backend, &t[1], &t[0], 0.3f, 7, 11, 13, 5);
}

static void dropout_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)t;
    (void)s;
    op_dropout(backend, &d[0], &d[1], 0.3f, 7, 11, 13, 5);
}

/* ---- linear with adapter: rows, in, out, rank (0: none), dropout in percent ---- */

static int linear_describe(struct operand *o, size_numbers s)
{
    const int64_t rank = s[3];
    o[0] = REAL("x", VARIABLE, s[0], s[1]);
    o[1] = REAL("weight", VARIABLE, s[2], s[1]);
    o[2] = REAL("bias", VARIABLE, s[2], 0);
    o[3] = REAL("y", RESULT, s[0], s[2]);
    if (rank == 0)
        return 4;
    o[4] = REAL("a", VARIABLE, rank, s[1]);
    o[5] = REAL("b", VARIABLE, s[2], rank);
    o[6] = REAL("hidden", CONSTANT, s[0], rank);
    o[7] = REAL("dropped", CONSTANT, s[0], s[1]);
    o[8] = REAL("d_hidden", CONSTANT, s[0], rank);
    return 9;
}

static struct lora linear_lora(struct tensor *t, struct tensor *d, size_numbers s)
{
    struct lora lora = {.scale = 0.5f, .dropout = (float)s[4] / 100.0f, .seed = 3, .step = 5, .site = 2};
    if (s[3] > 0) {
        lora.a = &t[4];
        lora.b = &t[5];
        lora.hidden = &t[6];
        lora.dropped = &t[7];
        lora.d_hidden = &t[8];
        lora.d_a = d ? &d[4] : NULL;
        lora.d_b = d ? &d[5] : NULL;
    }
    return lora;
}

static void linear_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    const struct lora lora = linear_lora(t, NULL, s);
    op_linear_forward(backend, &t[3], &t[0], &t[1], &t[2], &lora);
}

static void linear_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    const struct lora lora = linear_lora(t, d, s);
    op_linear_backward(backend, &d[0], true, &d[1], &d[2], &d[3], &t[0], &t[1], &lora);
}

/* ---- tables: n, width, rows of the table ---- */

static int gather_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("table", VARIABLE, s[2], s[1]);
    o[1] = INTEGERS("indices", DTYPE_I32, s[0], INDEX, s[2]);
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void gather_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_gather(backend, &t[2], &t[0], &t[1]);
}

static void gather_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_scatter_add(backend, &d[0], &d[2], &t[1]);
}

/* ---- rows of a range: n, rows of the table, the first of the range, how many ---- */

static int within_describe(struct operand *o, size_numbers s)
{
    o[0] = INTEGERS("indices", DTYPE_I32, s[0], INDEX, s[1]);
    o[1] = (struct operand){"out", RESULT, DTYPE_I32, s[0], 0, ZERO, 0};
    return 2;
}

static void within_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_rows_within(backend, &t[1], &t[0], s[2], s[3]);
}

/* ---- columns: rows, columns of x, the first one, how many ---- */

static int columns_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], s[1]);
    o[1] = REAL("out", RESULT, s[0], s[3]);
    o[1].filling = UNWRITTEN;
    return 2;
}

static void columns_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_columns(backend, &t[1], &t[0], s[2]);
}

/* ---- rmsnorm: rows, width ---- */

static int rmsnorm_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[0], s[1]);
    o[1] = REAL("weight", VARIABLE, s[1], 0);
    o[2] = REAL("out", RESULT, s[0], s[1]);
    o[3] = REAL("inverse_rms", CONSTANT, s[0], 0);
    return 4;
}

static void rmsnorm_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_rmsnorm_forward(backend, &t[2], &t[3], &t[0], &t[1], 1e-5f);
}

static void rmsnorm_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_rmsnorm_backward(backend, &d[0], &d[1], &d[2], &t[0], &t[1], &t[3]);
}

/* ---- layernorm: width, rows ---- */

static int layernorm_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[1], s[0]);
    o[1] = REAL("weight", VARIABLE, s[0], 0);
    o[2] = REAL("bias", VARIABLE, s[0], 0);
    o[3] = REAL("out", RESULT, s[1], s[0]);
    o[4] = REAL("mean", CONSTANT, s[1], 0);
    o[5] = REAL("inverse_deviation", CONSTANT, s[1], 0);
    return 6;
}

static void layernorm_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_layernorm_forward(backend, &t[3], &t[4], &t[5], &t[0], &t[1], &t[2], 1e-5f);
}

static void layernorm_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_layernorm_backward(backend, &d[0], &d[1], &d[2], &d[3], &t[0], &t[1], &t[4], &t[5]);
}

/* ---- rope: tokens, heads, head width ---- */

static int rope_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[0], s[1] * s[2]);
    o[1] = INTEGERS("positions", DTYPE_I32, s[0], COUNT_UP, 200);
    o[2] = REAL("frequencies", CONSTANT, s[2] / 2, 0);
    o[2].filling = FREQUENCIES;
    o[3] = REAL("out", RESULT, s[0], s[1] * s[2]);
    return 4;
}

static void rope_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_axpby(backend, &t[3], 1.0f, &t[0], 0.0f);
    op_rope_forward(backend, &t[3], &t[1], &t[2], s[2]);
}

static void rope_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    op_axpby(backend, &d[0], 1.0f, &d[3], 0.0f);
    op_rope_backward(backend, &d[0], &t[1], &t[2], s[2]);
}

/* ---- attention: tokens, sequences, query heads, key heads, head width, equal lengths + bidirectional ---- */

enum { EQUAL_LENGTHS = 1, BIDIRECTIONAL = 2 };

static int attention_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("q", VARIABLE, s[0], s[2] * s[4]);
    o[1] = REAL("k", VARIABLE, s[0], s[3] * s[4]);
    o[2] = REAL("v", VARIABLE, s[0], s[3] * s[4]);
    o[3] = INTEGERS("starts", DTYPE_I32, s[1] + 1, s[5] & EQUAL_LENGTHS ? EVEN : STARTS, s[0]);
    o[4] = REAL("out", RESULT, s[0], s[2] * s[4]);
    o[5] = REAL("log_sum_exp", CONSTANT, s[2], s[0]);
    return 6;
}

static struct attention_shape attention_shape_of(size_numbers s)
{
    return (struct attention_shape){s[2], s[3], s[4], .bidirectional = s[5] & BIDIRECTIONAL};
}

static void attention_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_attention_forward(backend, &t[4], &t[5], &t[0], &t[1], &t[2], &t[3], attention_shape_of(s));
}

static void attention_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    op_attention_backward(backend, &d[0], &d[1], &d[2], &d[4], &t[4], &t[5], &t[0], &t[1], &t[2], &t[3],
                          attention_shape_of(s));
}

/* ---- decode: rows, capacity, query heads, key heads, head width, rows without a slot (2: and large scores); slots are
 * as many as rows */

static int decode_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("q", CONSTANT, s[0], s[2] * s[4]);
    if (s[5] > 1)
        o[0].filling = WIDE;
    o[1] = REAL("k_cache", CONSTANT, s[0] * s[1], s[3] * s[4]);
    o[2] = REAL("v_cache", CONSTANT, s[0] * s[1], s[3] * s[4]);
    o[3] = INTEGERS("slots", DTYPE_I32, s[0], s[5] ? INDEX : ONCE, s[5] ? 2 : s[0]);
    o[4] = INTEGERS("lengths", DTYPE_I32, s[0], LENGTH, s[1]);
    o[5] = REAL("out", RESULT, s[0], s[2] * s[4]);
    if (s[5]) /* rows without a slot keep what they have */
        o[5].filling = NORMAL;
    return 6;
}

/* `lengths` is filled with 0 .. capacity - 1: taken as positions first, each row stores its own token
 * there. */
static void decode_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_attention_decode(backend, &t[5], &t[0], &t[1], &t[2], &t[3], &t[4], s[1],
                        (struct attention_shape){s[2], s[3], s[4], .bidirectional = false});
}

static int cache_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("rows", CONSTANT, s[0], s[2]);
    o[1] = INTEGERS("slots", DTYPE_I32, s[0], s[3] ? ONCE_OR_NOT : ONCE, s[0]);
    o[2] = INTEGERS("positions", DTYPE_I32, s[0], CLASS, s[1]);
    o[3] = REAL("cache", RESULT, s[0] * s[1], s[2]);
    return 4;
}

static void cache_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_cache_store(backend, &t[3], &t[0], &t[1], &t[2], s[1]);
}

/* pairs of slots, capacity, width; `slots` holds those that receive, then those that give; `bounds` all begins, then all
 * ends */
static int share_describe(struct operand *o, size_numbers s)
{
    o[0] = INTEGERS("slots", DTYPE_I32, 2 * s[0], ONCE, 2 * s[0]);
    o[1] = INTEGERS("bounds", DTYPE_I32, 2 * s[0], STARTS, s[1]);
    o[2] = REAL("cache", RESULT, 2 * s[0] * s[1], s[2]);
    o[2].filling = NORMAL;
    return 3;
}

static void share_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    const struct tensor to = tensor_1d(t[0].data, DTYPE_I32, backend->device, s[0]);
    const struct tensor from = tensor_1d((int32_t *)t[0].data + s[0], DTYPE_I32, backend->device, s[0]);
    const struct tensor begins = tensor_1d(t[1].data, DTYPE_I32, backend->device, s[0]);
    const struct tensor ends = tensor_1d((int32_t *)t[1].data + s[0], DTYPE_I32, backend->device, s[0]);
    op_cache_share(backend, &t[2], &to, &from, &begins, &ends, s[1]);
}

/* ---- losses: rows, classes, classes used, (sets) targets in all ---- */

static int cross_entropy_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", VARIABLE, s[0], s[1]);
    o[1] = INTEGERS("targets", DTYPE_I32, s[0], INDEX, s[2]);
    o[2] = REAL("losses", RESULT, s[0], 0);
    o[3] = REAL("scratch", CONSTANT, s[0], s[1]);
    return 4;
}

/* The operator's weights are the upstream gradients of the losses. */
static void cross_entropy_backward(struct backend *backend, struct tensor *t, struct tensor *d,
                                   size_numbers s)
{
    op_axpby(backend, &d[0], 1.0f, &t[0], 0.0f);
    op_cross_entropy(backend, &d[0], &t[2], &t[1], &d[2], s[2]);
}

static void cross_entropy_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_axpby(backend, &t[3], 1.0f, &t[0], 0.0f);
    op_cross_entropy(backend, &t[3], &t[2], &t[1], &t[2], s[2]);
}

static int set_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", VARIABLE, s[0], s[1]);
    o[1] = INTEGERS("starts", DTYPE_I64, s[0] + 1, STARTS, s[3]);
    o[2] = INTEGERS("targets", DTYPE_I32, s[3], CLASS, s[2]);
    o[3] = REAL("losses", RESULT, s[0], 0);
    o[4] = REAL("scratch", CONSTANT, s[0], s[1]);
    return 5;
}

static void set_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_axpby(backend, &t[4], 1.0f, &t[0], 0.0f);
    op_cross_entropy_set(backend, &t[4], &t[3], &t[1], &t[2], &t[3], s[2]);
}

static void set_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    op_axpby(backend, &d[0], 1.0f, &t[0], 0.0f);
    op_cross_entropy_set(backend, &d[0], &t[3], &t[1], &t[2], &d[3], s[2]);
}

/* rows, classes, columns named in all; seen through the gradients that it leaves to the other classes */
static int exclude_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", CONSTANT, s[0], s[1]);
    o[1] = INTEGERS("begin", DTYPE_I32, s[0], EVEN, s[2] / 2);
    o[2] = INTEGERS("last", DTYPE_I32, s[0], EVEN, s[2] - 1);
    o[3] = INTEGERS("columns", DTYPE_I32, s[2], INDEX, s[1] + 1);
    o[4] = INTEGERS("targets", DTYPE_I32, s[0], CLASS, s[1]);
    o[5] = REAL("losses", CONSTANT, s[0], 0);
    o[6] = REAL("weights", CONSTANT, s[0], 0);
    o[7] = REAL("out", RESULT, s[0], s[1]);
    return 8;
}

static void exclude_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_axpby(backend, &t[7], 1.0f, &t[0], 0.0f);
    op_exclude(backend, &t[7], &t[1], &t[2], &t[3]);
    op_cross_entropy(backend, &t[7], &t[5], &t[4], &t[6], s[1]);
}

/* ---- optimisation: elements ---- */

static int squares_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], 0);
    o[1] = (struct operand){"sum", RESULT, DTYPE_F64, 1, 0, ZERO, 0};
    return 2;
}

static void squares_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_sum_of_squares(backend, &t[1], &t[0]);
}

/* The norm is clipped to s[0] - 1 quarters; 0: not at all. */
static int clip_describe(struct operand *o, size_numbers s)
{
    (void)s;
    o[0] = (struct operand){"sum", CONSTANT, DTYPE_F64, 1, 0, POSITIVE, 0};
    o[1] = (struct operand){"scale", RESULT, DTYPE_F32, 1, 0, ZERO, 0};
    return 2;
}

static void clip_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_clip_scale(backend, &t[1], &t[0], 0.25f * (float)(s[0] - 1));
}

static int adamw_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("gradient", CONSTANT, s[0], 0);
    o[1] = (struct operand){"scale", CONSTANT, DTYPE_F32, 1, 0, POSITIVE, 0};
    o[2] = REAL("weight", RESULT, s[0], 0);
    o[3] = REAL("first_moment", RESULT, s[0], 0);
    o[4] = REAL("second_moment", RESULT, s[0], 0);
    o[2].filling = o[3].filling = NORMAL;
    o[4].filling = POSITIVE;
    return 5;
}

static void adamw_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_adamw(backend, &t[2], &t[0], &t[3], &t[4], &t[1],
             (struct adamw){.learning_rate = 0.0625f,
                            .beta1 = 0.875f,
                            .beta2 = 0.96875f,
                            .epsilon = 0.0009765625f,
                            .weight_decay = 0.125f,
                            .step = 3});
}

/* ---- unit_rows: rows, width ---- */

static int unit_rows_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[0], s[1]);
    o[1] = REAL("out", RESULT, s[0], s[1]);
    o[2] = REAL("inverse_norm", CONSTANT, s[0], 0);
    return 3;
}

static void unit_rows_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_unit_rows_forward(backend, &t[1], &t[2], &t[0]);
}

static void unit_rows_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_unit_rows_backward(backend, &d[0], &d[1], &t[1], &t[2]);
}

/* ---- infonce_loss: rows, width, rows of the other side ---- */

#define INFONCE_TEMPERATURE 2.0f

static int infonce_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("a", VARIABLE, s[0], s[1]);
    o[1] = REAL("b", VARIABLE, s[2], s[1]);
    o[2] = INTEGERS("positives", DTYPE_I32, s[0], CLASS, s[2]);
    o[3] = REAL("losses", RESULT, s[0], 0);
    o[4] = REAL("logits", CONSTANT, s[0], s[2]);
    o[5] = REAL("d_a", CONSTANT, s[0], s[1]);
    o[6] = REAL("d_b", CONSTANT, s[2], s[1]);
    return 7;
}

static struct contrast infonce_contrast(struct tensor *t, const struct tensor *weights)
{
    return (struct contrast){&t[0], &t[1], &t[2], weights, &t[4], INFONCE_TEMPERATURE, false};
}

static void infonce_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    const struct contrast contrast = infonce_contrast(t, &t[3]);
    op_infonce_loss(backend, &t[3], &t[5], &t[6], &contrast);
}

static void infonce_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    const struct contrast contrast = infonce_contrast(t, &d[3]);
    op_infonce_loss(backend, &t[3], &t[5], &t[6], &contrast);
    op_add(backend, &d[0], &d[0], &t[5]);
    op_add(backend, &d[1], &d[1], &t[6]);
}

/* ---- recommenders ---- */

/* rows, columns, nonzeros, width, beta of 0.5 */
static int spmm_describe(struct operand *o, size_numbers s)
{
    o[0] = INTEGERS("starts", DTYPE_I64, s[0] + 1, STARTS, s[2]);
    o[1] = INTEGERS("indices", DTYPE_I32, s[2], s[5] ? LENGTH : CLASS, s[5] ? s[1] - 1 : s[1]);
    o[2] = REAL("values", CONSTANT, s[2], 0);
    o[3] = REAL("x", CONSTANT, s[1], s[3]);
    if (s[5])
        o[3].filling = UNREAD;
    o[4] = REAL("out", RESULT, s[0], s[3]);
    o[4].filling = s[4] ? NORMAL : UNWRITTEN;
    return 5;
}

static void spmm_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    const struct csr_tensor sparse = {s[0], s[1], t[0], t[1], t[2]};
    op_csr_spmm(backend, &t[4], &sparse, &t[3], s[4] ? 0.5f : 0.0f);
}

/* triples, users, items, width. The gradients of the tables are scattered. */
static int bpr_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("user_table", VARIABLE, s[1], s[3]);
    o[1] = REAL("item_table", VARIABLE, s[2], s[3]);
    o[2] = INTEGERS("users", DTYPE_I32, s[0], CLASS, s[1]);
    o[3] = INTEGERS("positives", DTYPE_I32, s[0], CLASS, s[2]);
    o[4] = INTEGERS("negatives", DTYPE_I32, s[0], CLASS, s[2]);
    o[5] = REAL("losses", RESULT, s[0], 0);
    for (int i = 6; i < 9; i++)
        o[i] = REAL("rows", CONSTANT, s[0], s[3]);
    return 9;
}

static void bpr_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_bpr_loss(backend, &t[5], &t[6], &t[7], &t[8], &t[0], &t[1],
                (struct triples){&t[2], &t[3], &t[4], &t[5]});
}

static void bpr_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_bpr_loss(backend, &t[5], &t[6], &t[7], &t[8], &t[0], &t[1],
                (struct triples){&t[2], &t[3], &t[4], &d[5]});
    op_scatter_add(backend, &d[0], &t[6], &t[2]);
    op_scatter_add(backend, &d[1], &t[7], &t[3]);
    op_scatter_add(backend, &d[1], &t[8], &t[4]);
}

/* pairs, users, items, batch, how many of the first items are excluded for every user */
static int triples_describe(struct operand *o, size_numbers s)
{
    o[0] = INTEGERS("users", DTYPE_I32, s[0], CLASS, s[1]);
    o[1] = INTEGERS("positives", DTYPE_I32, s[0], CLASS, s[2]);
    o[2] = REAL("pair_weights", CONSTANT, s[0], 0);
    o[3] = INTEGERS("starts", DTYPE_I64, s[1] + 1, EVEN, s[1] * s[4]);
    o[4] = INTEGERS("excluded", DTYPE_I32, s[1] * s[4], ASCENDING, s[4]);
    o[5] = (struct operand){"rows", RESULT, DTYPE_I32, 3 * s[0], 0, ZERO, 0};
    o[6] = REAL("weights", RESULT, s[0], 0);
    return 7;
}

enum { TRIPLES_SEED = 5, TRIPLES_EPOCH = 3 };

static void triples_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_sample_triples(backend, &t[5], &t[6], (struct triple_source){&t[0], &t[1], &t[2], &t[3], &t[4], s[2]},
                      s[3], TRIPLES_SEED, TRIPLES_EPOCH);
}

/* width, rows, candidates a row, rows of the table. What d_x holds before must not matter. */
static int candidates_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", VARIABLE, s[1], s[0]);
    o[1] = REAL("table", VARIABLE, s[3], s[0]);
    o[2] = (struct operand){"candidates", CONSTANT, DTYPE_I32, s[1], s[2], CLASS, s[3]};
    o[3] = REAL("logits", RESULT, s[1], s[2]);
    return 4;
}

static void candidates_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_candidate_logits_forward(backend, &t[3], &t[0], &t[1], &t[2]);
}

static void candidates_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    (void)s;
    op_axpby(backend, &d[0], 1.0f, &t[0], 0.0f);
    op_candidate_logits_backward(backend, &d[0], &d[1], &d[3], &t[0], &t[1], &t[2]);
}

/* The same with candidates of -1, seen through the loss that they must not touch. */
static int candidate_loss_describe(struct operand *o, size_numbers s)
{
    candidates_describe(o, s);
    o[2].filling = INDEX;
    o[3].role = CONSTANT;
    o[4] = REAL("losses", RESULT, s[1], 0);
    return 5;
}

static void candidate_loss_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    candidates_forward(backend, t, s);
    op_binary_cross_entropy(backend, &t[3], &t[4], &t[4], 1.0f);
}

static void candidate_loss_backward(struct backend *backend, struct tensor *t, struct tensor *d,
                                    size_numbers s)
{
    candidates_forward(backend, t, s);
    op_binary_cross_entropy(backend, &t[3], &t[4], &d[4], 1.0f);
    op_candidate_logits_backward(backend, &d[0], &d[1], &t[3], &t[0], &t[1], &t[2]);
}

/* columns, rows, columns excluded in all, percent of the positive's power, large numbers */
static int binary_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", VARIABLE, s[1], s[0]);
    if (s[4])
        o[0].filling = WIDE;
    o[1] = INTEGERS("begin", DTYPE_I32, s[1], EVEN, s[2] / 2);
    o[2] = INTEGERS("last", DTYPE_I32, s[1], EVEN, s[2] - 1);
    o[3] = INTEGERS("columns", DTYPE_I32, s[2], INDEX, s[0] + 1);
    o[4] = REAL("losses", RESULT, s[1], 0);
    o[5] = REAL("scratch", CONSTANT, s[1], s[0]);
    return 6;
}

static void binary_run(struct backend *backend, struct tensor *logits, struct tensor *t,
                       const struct tensor *weights, size_numbers s)
{
    op_axpby(backend, logits, 1.0f, &t[0], 0.0f);
    op_exclude(backend, logits, &t[1], &t[2], &t[3]);
    op_binary_cross_entropy(backend, logits, &t[4], weights, (float)s[3] / 100.0f);
}

static void binary_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    binary_run(backend, &t[5], t, &t[4], s);
}

static void binary_backward(struct backend *backend, struct tensor *t, struct tensor *d, size_numbers s)
{
    binary_run(backend, &d[0], t, &d[4], s);
}

/* items, rows, negatives a row, owners, how many of the first items are excluded for every owner, the first row's
 * number */
static int negatives_describe(struct operand *o, size_numbers s)
{
    o[0] = INTEGERS("positives", DTYPE_I32, s[1], CLASS, s[0]);
    o[1] = INTEGERS("owners", DTYPE_I32, s[1], CLASS, s[3]);
    o[2] = INTEGERS("starts", DTYPE_I64, s[3] + 1, EVEN, s[3] * s[4]);
    o[3] = INTEGERS("excluded", DTYPE_I32, s[3] * s[4], ASCENDING, s[4]);
    o[4] = (struct operand){"candidates", RESULT, DTYPE_I32, s[1], 1 + s[2], ZERO, 0};
    return 5;
}

enum { NEGATIVES_SEED = 9, NEGATIVES_STEP = 4 };

static void negatives_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_sample_negatives(backend, &t[4], (struct negative_source){&t[0], &t[1], &t[2], &t[3], s[0], s[5]},
                        NEGATIVES_SEED, NEGATIVES_STEP);
}

/* columns, rows, in place */
static int row_noise_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[1], s[0]);
    o[0].filling = GAPS;
    o[1] = REAL("out", RESULT, s[1], s[0]);
    return 2;
}

enum { NOISE_SEED = 3, NOISE_STEP = 5, NOISE_SITE = 7 };
#define NOISE_MAGNITUDE 0.5f

static void row_noise_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    if (s[2])
        op_axpby(backend, &t[1], 1.0f, &t[0], 0.0f);
    op_row_noise(backend, &t[1], s[2] ? &t[1] : &t[0], NOISE_MAGNITUDE, NOISE_SEED, NOISE_STEP, NOISE_SITE);
}

/* rows, columns, k, masked in all */
static int topk_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("scores", CONSTANT, s[0], s[1]);
    o[1] = INTEGERS("mask_rows", DTYPE_I32, s[0], ONCE, s[0]);
    o[2] = INTEGERS("mask_starts", DTYPE_I64, s[0] + 1, STARTS, s[3]);
    o[3] = INTEGERS("mask_indices", DTYPE_I32, s[3], CLASS, s[1]);
    o[4] = (struct operand){"top_columns", RESULT, DTYPE_I32, s[0], s[2], ZERO, 0};
    o[5] = REAL("top_scores", RESULT, s[0], s[2]);
    o[6] = (struct operand){"ties", RESULT, DTYPE_I32, s[0], 0, ZERO, 0};
    return 7;
}

static void topk_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_topk_masked(backend, &t[4], &t[5], &t[6], &t[0], &t[1], &t[2], &t[3]);
}

/* ---- sampling: rows, classes, classes used, top_k, top_p in percent, forbidden ---- */

static int sample_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", CONSTANT, s[0], s[1]);
    o[1] = INTEGERS("streams", DTYPE_I64, s[0], COUNT_UP, 0);
    o[2] = INTEGERS("steps", DTYPE_I32, s[0], CLASS, 50);
    o[3] = (struct operand){"forbidden", CONSTANT, DTYPE_U32, s[0], s[1] / 32 + 1, s[5] ? BITS : ZERO, 0};
    o[4] = (struct operand){"tokens", RESULT, DTYPE_I32, s[0], 0, ZERO, 0};
    o[5] = REAL("log_probability", RESULT, s[0], 0);
    return 6;
}

static void sample_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_sample(
        backend, &t[4], &t[5], &t[0], s[5] ? &t[3] : NULL, &t[1], &t[2], s[2],
        (struct sampling){.temperature = 0.75f, .top_p = (float)s[4] / 100.0f, .top_k = s[3], .seed = 17});
}

/* rows, classes, classes used, nothing forbidden, how the logits are filled */
static int log_softmax_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("logits", CONSTANT, s[0], s[1]);
    if (s[4])
        o[0].filling = (enum filling)s[4];
    o[1] = (struct operand){"forbidden", CONSTANT, DTYPE_U32, s[0], s[1] / 32 + 1, BITS, 0};
    o[2] = REAL("out", RESULT, s[0], s[1]);
    return 3;
}

static void log_softmax_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_axpby(backend, &t[2], 1.0f, &t[0], 0.0f);
    op_log_softmax_masked(backend, &t[2], s[3] ? NULL : &t[1], s[2]);
}

/* rows, tokens, columns of the log, most tokens of a row, no mask of what is forbidden */
static int advance_describe(struct operand *o, size_numbers s)
{
    static const char *const names[] = {"token", "position", "length", "slot", "drawn"};
    for (int i = 0; i < 5; i++) {
        o[i] = INTEGERS(names[i], DTYPE_I32, s[0], CLASS, s[3]);
        o[i].role = RESULT;
    }
    o[5] = INTEGERS("stream", DTYPE_I64, s[0], INDEX, 3);
    o[5].role = RESULT;
    o[6] = (struct operand){"forbidden", RESULT, DTYPE_U32, s[0], s[1] / 32 + 1, BITS, 0};
    o[7] = (struct operand){"log", RESULT, DTYPE_I32, s[0], s[2], INDEX, 5};
    o[8] = REAL("log_probabilities", RESULT, s[0], s[2]);
    o[9] = INTEGERS("tokens", DTYPE_I32, s[0], INDEX, s[1]);
    o[10] = REAL("log_probability", CONSTANT, s[0], 0);
    return 11;
}

enum { ADVANCE_END = 1 };

static void advance_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_advance(backend,
               (struct decode_rows){.token = &t[0],
                                    .position = &t[1],
                                    .length = &t[2],
                                    .slot = &t[3],
                                    .drawn = &t[4],
                                    .stream = &t[5],
                                    .forbidden = s[4] ? NULL : &t[6],
                                    .log = &t[7],
                                    .log_probability = &t[8]},
               &t[9], &t[10], ADVANCE_END, s[3]);
}

/* rows, columns, groups, divisor (0: sums) */
static int mean_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], s[1]);
    o[1] = INTEGERS("starts", DTYPE_I32, s[2] + 1, STARTS, s[0]);
    o[2] = REAL("mean", RESULT, s[2], s[1]);
    o[2].filling = POSITIVE;
    return 3;
}

static void mean_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    op_mean_probability(backend, &t[2], &t[0], &t[1], s[3]);
}

/* rows, columns, picked */
static int pick_describe(struct operand *o, size_numbers s)
{
    o[0] = REAL("x", CONSTANT, s[0], s[1]);
    o[1] = INTEGERS("columns", DTYPE_I32, s[0], INDEX, s[1]);
    o[1].columns = s[2];
    o[2] = REAL("out", RESULT, s[0], s[2]);
    return 3;
}

static void pick_forward(struct backend *backend, struct tensor *t, size_numbers s)
{
    (void)s;
    op_pick(backend, &t[2], &t[0], &t[1]);
}

static const struct operator_family operator_families[] = {
    {"gemm",
     gemm_describe,
     gemm_forward,
     NULL,
     {{1, 1, 1},
      {33, 31, 257},
      {64, 257, 33, 0, 1},
      {31, 33, 64, 1, 0, 1},
      {65, 1, 31, 1, 1, 1},
      {257, 130, 513, 0, 1, 1},
      {128, 128, 3000, 1, 0, 1},
      {1100, 70, 33, 0, 0},
      {8, 128, 2500, 1, 0, 1}},
     {{2048, 2048, 2048},
      {4096, 128, 128, 0, 1},
      {4096, 352, 128, 0, 1},
      {2048, 8192, 128, 0, 1},
      {128, 128, 4096, 1}}},
    {"add", add_describe, add_forward, NULL, {{1, 1}, {33, 31}, {257, 65}, {31, 264}}, {{4096, 128}}},
    {"axpby", axpby_describe, axpby_forward, NULL, {{1, 1}, {33, 31}, {257, 65}, {31, 264}}, {{4096, 128}}},
    {"convert",
     convert_describe,
     convert_forward,
     NULL,
     {{1, 1}, {33, 31}, {257, 65}, {31, 264}},
     {{4096, 128}}},
    {"dequantize",
     dequantize_describe,
     dequantize_forward,
     NULL,
     {{1, 1},
      {1, 1, 1},
      {33, 31},
      {33, 31, 1},
      {257, 65},
      {257, 65, 1},
      {31, 264},
      {31, 264, 1},
      {3, 2731},
      {3, 2731, 1},
      {1, 2, 1}},
     {{4096, 1024}, {4096, 1024, 1}}},
    {"bias",
     bias_describe,
     bias_forward,
     bias_backward,
     {{1, 1}, {33, 31}, {257, 65}, {31, 264}, {130, 520}},
     {{4096, 128}}},
    {"linear",
     linear_describe,
     linear_forward,
     linear_backward,
     {{1, 1, 1}, {33, 31, 20}, {65, 33, 31, 4}, {31, 33, 65, 8, 25}},
     {{4096, 128, 128, 8, 5}}},
    {"gather",
     gather_describe,
     gather_forward,
     gather_backward,
     {{1, 1, 1},
      {257, 31, 33},
      {1000, 64, 257},
      {1000, 8, 1},
      {700, 136, 2},
      {2000, 33, 3},
      {1100, 2, 66000},
      {17000, 1, 300}},
     {{4096, 128, 40000}, {100000, 64, 70000}}},
    {"rows_within",
     within_describe,
     within_forward,
     NULL,
     {{1, 1, 0, 1}, {33, 31, 0, 0}, {257, 65, 60, 5}, {1000, 40, 3, 30}, {5000, 9, 4, 1}, {40, 9, 9, 0}},
     {{300000, 70000, 20000, 35000}}},
    {"columns",
     columns_describe,
     columns_forward,
     NULL,
     {{1, 1, 0, 1}, {33, 31, 7, 5}, {257, 65, 60, 8}, {31, 264, 0, 264}, {1000, 40, 39, 8}},
     {{1024, 41024, 32768, 8256}}},
    {"rmsnorm",
     rmsnorm_describe,
     rmsnorm_forward,
     rmsnorm_backward,
     {{1, 4}, {31, 33}, {33, 64}, {257, 130}, {31, 520}, {3, 2049}, {5, 4104}, {2, 4097}, {2, 8200}},
     {{4096, 128}}},
    {"layernorm",
     layernorm_describe,
     layernorm_forward,
     layernorm_backward,
     {{1, 1}, {33, 31}, {64, 257}, {130, 600}, {257, 9}, {520, 31}, {2049, 3}, {33, 0}},
     {{64, 15000}, {128, 15000}}},
    {"rope",
     rope_describe,
     rope_forward,
     rope_backward,
     {{1, 1, 2}, {31, 3, 10}, {257, 2, 64}, {9, 5, 128}},
     {{4096, 4, 32}}},
    {"attention",
     attention_describe,
     attention_forward,
     attention_backward,
     {{1, 1, 1, 1, 1},
      {33, 3, 2, 1, 8},
      {257, 5, 4, 2, 16},
      {66, 2, 3, 3, 31},
      {300, 1, 2, 2, 33},
      {330, 2, 4, 1, 64},
      {31, 6, 1, 1, 129},
      {40, 30, 4, 2, 32, 1},
      {257, 90, 2, 1, 32},
      {131, 3, 2, 1, 128},
      {70, 1, 2, 2, 96},
      {33, 3, 2, 1, 8, BIDIRECTIONAL},
      {257, 5, 4, 2, 16, BIDIRECTIONAL},
      {300, 1, 2, 2, 33, BIDIRECTIONAL},
      {257, 90, 2, 1, 32, BIDIRECTIONAL},
      {31, 6, 1, 1, 129, BIDIRECTIONAL},
      {128, 2, 2, 1, 64, EQUAL_LENGTHS + BIDIRECTIONAL}},
     {{4096, 40, 4, 4, 32, 1},
      {4096, 40, 8, 8, 16, 1},
      {4096, 10, 4, 2, 64, 1},
      {4096, 160, 4, 4, 32, 1},
      {15000, 100, 1, 1, 64, EQUAL_LENGTHS},
      {15000, 100, 2, 2, 32, EQUAL_LENGTHS + BIDIRECTIONAL}}},
    {"attention_decode",
     decode_describe,
     decode_forward,
     NULL,
     {{1, 1, 1, 1, 1},
      {9, 40, 4, 2, 16},
      {33, 70, 3, 3, 31, 1},
      {5, 600, 8, 1, 128, 1},
      {3, 257, 6, 2, 33},
      {4, 90, 5, 1, 8},
      {9, 300, 4, 2, 32, 2}},
     {{256, 200, 4, 4, 32}}},
    {"cache_store",
     cache_describe,
     cache_forward,
     NULL,
     {{1, 1, 1}, {33, 31, 65}, {33, 9, 64, 1}},
     {{256, 200, 128}}},
    {"cache_share",
     share_describe,
     share_forward,
     NULL,
     {{1, 1, 1}, {31, 33, 65}, {9, 70, 64}},
     {{128, 200, 128}}},
    {"swiglu",
     swiglu_describe,
     swiglu_forward,
     swiglu_backward,
     {{1, 1}, {33, 31}, {257, 65}, {31, 264}},
     {{4096, 352}}},
    {"activation",
     activation_describe,
     activation_forward,
     activation_backward,
     {{1, 1}, {1, 1, 1}, {33, 31}, {31, 33, 1}, {257, 65, 1}, {264, 31, 0, 1}, {264, 31, 1, 1}, {33, 0, 1}},
     {{64, 15000}, {256, 15000, 1}}},
    {"dropout",
     dropout_describe,
     dropout_forward,
     dropout_backward,
     {{1, 1}, {33, 31}, {257, 257}, {31, 264}},
     {{4096, 128}}},
    {"cross_entropy",
     cross_entropy_describe,
     cross_entropy_forward,
     cross_entropy_backward,
     {{1, 1, 1}, {31, 33, 31}, {65, 257, 257}, {9, 2000, 1999}, {3, 31, 31}, {5, 2056, 2048}, {40, 9, 3}},
     {{2048, 1700, 1700}, {512, 41000, 41000}}},
    {"cross_entropy_set",
     set_describe,
     set_forward,
     set_backward,
     {{1, 1, 1, 1}, {31, 33, 31, 100}, {65, 257, 257, 300}, {9, 2000, 1999, 50}, {2, 40, 40, 1300}},
     {{2048, 1700, 1700, 40000}, {512, 41000, 41000, 10000}}},
    {"exclude",
     exclude_describe,
     exclude_forward,
     NULL,
     {{1, 1, 1}, {31, 33, 60}, {33, 257, 900}, {65, 31, 40}, {4, 2000, 1500}},
     {{512, 41000, 60000}}},
    {"sum_of_squares",
     squares_describe,
     squares_forward,
     NULL,
     {{1}, {31}, {257}, {4104}, {100000}},
     {{5000000}}},
    {"clip_scale", clip_describe, clip_forward, NULL, {{1}, {2}, {9}}, {{2}}},
    {"adamw", adamw_describe, adamw_forward, NULL, {{1}, {31}, {257}, {50000}}, {{5000000}}},
    {"csr_spmm",
     spmm_describe,
     spmm_forward,
     NULL,
     {{1, 1, 1, 1},
      {33, 31, 257, 33},
      {100, 257, 1000, 64, 1},
      {31, 33, 5, 130, 1},
      {3, 40, 700, 64, 1},
      {9, 31, 1300, 33},
      {4, 9, 600, 2},
      {4, 40, 900, 130, 1},
      {33, 31, 257, 33, 0, 1}},
     {{70000, 70000, 1600000, 64}}},
    {"bpr_loss",
     bpr_describe,
     bpr_forward,
     bpr_backward,
     {{1, 1, 1, 1}, {257, 31, 33, 65}, {31, 100, 200, 64}},
     {{2048, 30000, 40000, 64}}},
    {"unit_rows",
     unit_rows_describe,
     unit_rows_forward,
     unit_rows_backward,
     {{1, 1}, {31, 33}, {257, 64}, {9, 257}},
     {{4096, 64}}},
    {"infonce_loss",
     infonce_describe,
     infonce_forward,
     infonce_backward,
     {{1, 1, 1}, {31, 33, 31}, {33, 64, 65}, {257, 8, 33}},
     {{2048, 64, 2048}}},
    {"sample_triples",
     triples_describe,
     triples_forward,
     NULL,
     {{1, 1, 2, 1, 1},
      {257, 31, 33, 64, 7},
      {1000, 9, 100, 1000, 99},
      {700, 65, 1000, 31, 3},
      {1000, 9, 40, 100, 38}},
     {{800000, 30000, 40000, 2048, 30}}},
    {"candidate_logits",
     candidates_describe,
     candidates_forward,
     candidates_backward,
     {{1, 1, 1, 1},
      {33, 31, 5, 31},
      {64, 33, 257, 65},
      {31, 257, 33, 300},
      {8, 257, 31, 2},
      {130, 9, 31, 1000},
      {65, 0, 3, 9}},
     {{64, 15000, 257, 41000}, {128, 15000, 257, 3400}}},
    {"candidate_loss",
     candidate_loss_describe,
     candidate_loss_forward,
     candidate_loss_backward,
     {{1, 1, 1, 1}, {33, 31, 5, 3}, {64, 33, 40, 65}, {31, 257, 3, 1}, {130, 9, 31, 1000}, {65, 0, 3, 9}},
     {{64, 15000, 257, 41000}}},
    {"binary_cross_entropy",
     binary_describe,
     binary_forward,
     binary_backward,
     {{1, 1, 1, 100},
      {2, 31, 40, 100},
      {257, 33, 900, 75},
      {33, 257, 60, 50},
      {1500, 3, 700, 100},
      {31, 33, 40, 100, 1},
      {33, 0, 1, 100}},
     {{257, 15000, 1, 100}}},
    {"sample_negatives",
     negatives_describe,
     negatives_forward,
     NULL,
     {{2, 1, 1, 1, 1},
      {40, 31, 33, 9, 38},
      {1000, 257, 9, 31, 7, 65},
      {100, 33, 257, 3, 99},
      {33, 9, 0, 2, 5},
      {65, 0, 3, 2, 1}},
     {{41000, 15000, 256, 600, 150}}},
    {"row_noise",
     row_noise_describe,
     row_noise_forward,
     NULL,
     {{1, 1}, {33, 31}, {64, 257, 1}, {257, 33}, {130, 9, 1}, {33, 0}},
     {{64, 70000}}},
    {"topk_masked",
     topk_describe,
     topk_forward,
     NULL,
     {{1, 1, 1, 1},
      {31, 33, 31, 65},
      {9, 257, 300, 400},
      {5, 3000, 20, 700},
      {3, 31, 31, 1},
      {2, 9000, 1000, 900},
      {2, 5001, 600, 40}},
     {{512, 40000, 20, 20000}, {512, 40000, 200, 20000}}},
    {"sample",
     sample_describe,
     sample_forward,
     NULL,
     {{1, 1, 1, 0, 100},
      {31, 257, 200, 0, 100, 1},
      {33, 300, 300, 5, 100},
      {9, 1000, 999, 0, 90, 1},
      {9, 700, 650, 40, 50},
      {4, 33, 31, 0, 100},
      {5, 6000, 6000, 0, 95, 1},
      {5, 2500, 2499, 2400, 100}},
     {{256, 41000, 41000, 0, 100, 1}, {256, 41000, 41000, 50, 90, 1}, {256, 41000, 41000, 0, 90, 1}}},
    {"log_softmax_masked",
     log_softmax_describe,
     log_softmax_forward,
     NULL,
     {{1, 1, 1},
      {31, 257, 200},
      {9, 1000, 1000},
      {33, 33, 31},
      {9, 1500, 1499, 0, WIDE},
      {9, 1500, 1499, 1, HOLLOW},
      {3, 2000, 1999, 1, WIDE}},
     {{256, 41000, 41000}}},
    {"advance",
     advance_describe,
     advance_forward,
     NULL,
     {{1, 1, 1, 1}, {257, 31, 3, 5}, {130, 700, 8, 20}, {31, 33, 4, 5, 1}},
     {{256, 41000, 8, 20}}},
    {"pick",
     pick_describe,
     pick_forward,
     NULL,
     {{1, 1, 1}, {31, 257, 9}, {65, 33, 130}, {4, 9, 3}},
     {{256, 128256, 16}}},
    {"mean_probability",
     mean_describe,
     mean_forward,
     NULL,
     {{1, 1, 1, 1}, {31, 257, 9, 0}, {33, 260, 4, 8}, {4, 3000, 1, 4}},
     {{256, 41000, 32, 8}}},
};
enum { FAMILY_COUNT = (int)(sizeof operator_families / sizeof operator_families[0]) };

/* ---- a case in memory ---- */

struct operator_case {
    const struct operator_family *family;
    const int64_t *size;
    int count;
    struct operand operands[OPERANDS_MAXIMUM];
    struct tensor tensors[OPERANDS_MAXIMUM], gradients[OPERANDS_MAXIMUM]; /* on the backend */
    struct tensor initial[OPERANDS_MAXIMUM], upstream[OPERANDS_MAXIMUM];  /* the same on the host */
};

static void fill_integers(struct random_stream *random, const struct operand *operand, int64_t index,
                          int64_t *value)
{
    const uint32_t bound = (uint32_t)(operand->bound > 0 ? operand->bound : 1);
    switch (operand->filling) {
    case INDEX:
        *value = (int64_t)random_below(random, bound + 1) - 1;
        break;
    case CLASS:
        *value = (int64_t)random_below(random, bound);
        break;
    case LENGTH:
        *value = 1 + (int64_t)random_below(random, bound);
        break;
    case STARTS: /* two neighbours share a start, so that some ranges are empty */
        *value = index == operand->rows - 1
                     ? operand->bound
                     : operand->bound * (index / 2 * 2) / (operand->rows > 1 ? operand->rows - 1 : 1);
        break;
    case EVEN:
        *value = operand->bound * index / (operand->rows > 1 ? operand->rows - 1 : 1);
        break;
    case ONCE: /* 7919 is prime: distinct unless it divides the bound */
        *value = index * 7919 % operand->bound;
        break;
    case ONCE_OR_NOT:
        *value = index % 3 == 1 ? -1 : index * 7919 % operand->bound;
        break;
    case COUNT_UP:
        *value = operand->bound > 0 ? index % operand->bound : index;
        break;
    case ASCENDING:
        *value = index % operand->bound + (index % operand->bound >= operand->bound / 2);
        break;
    case BITS:
        *value = (int64_t)random_word(random);
        break;
    default:
        *value = 0;
    }
}

static double fill_number(struct random_stream *random, const struct operand *operand, int64_t index)
{
    switch (operand->filling) {
    case NORMAL:
        return random_normal(random);
    case WIDE:
        return 100.0 * random_normal(random);
    case HOLLOW:
        return index / operand->columns % 3 == 1 || random_below(random, 3) == 0 ? -INFINITY
                                                                                 : random_normal(random);
    case GAPS:
        return random_below(random, 3) == 0 ? 0.0 : random_normal(random);
    case UNREAD:
        return index < operand->columns ? INFINITY : random_normal(random);
    case UNWRITTEN:
        return NAN;
    case POSITIVE:
        return 0.25 + random_double(random);
    case FREQUENCIES:
        return pow(100.0, -(double)index / (double)operand->rows);
    default:
        return 0.0;
    }
}

/* Random numbers repeat after so many: drawing more takes longer than what a bench measures. */
enum { DRAWN_MAXIMUM = 1 << 20 };

/* A quantised operand, of numbers that are drawn like any other's. */
static void fill_quantized(struct tensor *tensor, const struct operand *operand, struct random_stream *random)
{
    const int64_t count = tensor_count(tensor);
    struct error error = ERROR_INITIALIZER;
    real *values = malloc((size_t)count * sizeof *values);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = i < DRAWN_MAXIMUM ? (real)fill_number(random, operand, i) : values[i - DRAWN_MAXIMUM];
    if (!values || !quantize(tensor->data, tensor, values, 1, &error))
        abort();
    free(values);
}

static void fill_operand(struct tensor *tensor, const struct operand *operand, uint64_t key)
{
    struct random_stream random = random_stream_open(1, RANDOM_TEST, 0, key);
    if (operand->filling == ZERO)
        return; /* as it was allocated */
    if (dtype_is_quantized(tensor->dtype)) {
        fill_quantized(tensor, operand, &random);
        return;
    }
    for (int64_t i = 0; i < tensor_count(tensor); i++) {
        int64_t value = 0;
        fill_integers(&random, operand, i, &value);
        switch (tensor->dtype) {
        case DTYPE_F32:
            ((float *)tensor->data)[i] = i < DRAWN_MAXIMUM ? (float)fill_number(&random, operand, i)
                                                           : ((float *)tensor->data)[i - DRAWN_MAXIMUM];
            break;
        case DTYPE_F64:
            ((double *)tensor->data)[i] = fill_number(&random, operand, i);
            break;
        case DTYPE_I64:
            ((int64_t *)tensor->data)[i] = value;
            break;
        case DTYPE_BF16: /* only results are */
            ((uint16_t *)tensor->data)[i] = 0;
            break;
        default:
            ((int32_t *)tensor->data)[i] = (int32_t)value;
        }
    }
}

static struct tensor tensor_new(struct backend *backend, const struct operand *operand)
{
    struct tensor tensor = operand->columns
                               ? tensor_2d(NULL, operand->dtype, DEVICE_CPU, operand->rows, operand->columns)
                               : tensor_1d(NULL, operand->dtype, DEVICE_CPU, operand->rows);
    const size_t bytes = tensor_bytes(&tensor);
    tensor.data = backend ? backend->allocate(backend, bytes) : calloc(1, bytes + 1);
    tensor.device = backend ? backend->device : DEVICE_CPU;
    if (!tensor.data)
        abort();
    return tensor;
}

/* Fills the operands and the upstream gradients; the same numbers for every backend. */
static void case_open(struct operator_case *c, struct backend *backend, const struct operator_family *family,
                      const int64_t *size)
{
    *c = (struct operator_case){.family = family, .size = size};
    c->count = family->describe(c->operands, size);
    for (int i = 0; i < c->count; i++) {
        struct operand upstream = c->operands[i];
        upstream.filling = upstream.role == RESULT ? NORMAL : ZERO;
        c->initial[i] = tensor_new(NULL, &c->operands[i]);
        c->upstream[i] = tensor_new(NULL, &upstream);
        c->tensors[i] = tensor_new(backend, &c->operands[i]);
        c->gradients[i] = tensor_new(backend, &upstream);
        fill_operand(&c->initial[i], &c->operands[i], (uint64_t)i);
        fill_operand(&c->upstream[i], &upstream, (uint64_t)(100 + i));
    }
}

/* Brings all operands and gradients back to their beginning. */
static inline void case_reset(struct operator_case *c, struct backend *backend)
{
    for (int i = 0; i < c->count; i++) {
        tensor_upload(backend, &c->tensors[i], c->initial[i].data);
        tensor_upload(backend, &c->gradients[i], c->upstream[i].data);
    }
}

static void case_close(struct operator_case *c, struct backend *backend)
{
    for (int i = 0; i < c->count; i++) {
        free(c->initial[i].data);
        free(c->upstream[i].data);
        backend->release(backend, c->tensors[i].data);
        backend->release(backend, c->gradients[i].data);
    }
}

#endif
