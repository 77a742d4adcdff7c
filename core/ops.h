/*
 * ops.h: the operators that every model is written with. Each is one plain C function, forward and backward
 * side by side. An operator checks shapes, types and device, counts floating-point operations and bytes, and
 * calls the backend's implementation; nothing else dispatches.
 *
 * Errors are sticky, as on a GPU: after a failed check the backend's `error` is set and every later operator
 * does nothing; backend_synchronize() reports it. A model's forward therefore reads without error handling.
 *
 * Conventions. All matrices are row-major. [rows, columns] after a parameter is its shape. "d_x" is the
 * gradient of the loss with respect to x. A backward that says "+=" accumulates; otherwise it overwrites.
 * The values of indices (rows, classes, slots, positions, starts) are on the device and are not checked: one
 * outside of its table is a defect of the caller.
 * Unless said otherwise tensors are DTYPE_REAL (f32; f64 in the build for finite differences).
 * Storage. On a GPU what flows through the transformer may be stored in bf16, all of one call alike: x, y, out, gate,
 * up, q, k, v, the caches, logits of the two cross-entropies, of op_exclude and of op_columns, weights, biases and
 * tables that are read, and the gradients of all these that are not a parameter's. Always f32: gradients of parameters
 * (d_weight, d_bias, the table of op_scatter_add), inverse_rms, log_sum_exp, losses, weights of losses, frequencies,
 * layer normalisation, activations, and everything of optimisation, recommenders and sampling. op_gemm takes a and b
 * alike and c alike or f32. Sums are f32.
 * Everything is deterministic: the bits of a result depend neither on the number of threads nor, row for row,
 * on which other rows are in the batch (op_gemm: see there).
 */
#ifndef IDREC_CORE_OPS_H
#define IDREC_CORE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/backend.h"
#include "core/random.h"
#include "core/tensor.h"

/* ---- linear algebra ---------------------------------------------------------------------------------- */

enum transpose { PLAIN, TRANSPOSED };

/* c [m, n] = alpha * op(a) op(b) + beta * c, where op(a) is [m, k] and op(b) is [k, n].
 * A row of c has the same bits whatever the other rows of a hold, for every m that is a multiple of
 * GEMM_ROW_BLOCK: callers that need this (generation, ranking) pad their batches. On a GPU that holds for one m at a
 * time: the library takes its algorithm by m, n and k, so a row's last bits may differ between two m. Twice the same
 * product has the same bits there too, unless backend->fast. */
#define GEMM_ROW_BLOCK 64
void op_gemm(struct backend *backend, struct tensor *c, const struct tensor *a, enum transpose transpose_a,
             const struct tensor *b, enum transpose transpose_b, float alpha, float beta);

/* out = a + b, element by element; out may be a or b. */
void op_add(struct backend *backend, struct tensor *out, const struct tensor *a, const struct tensor *b);

/* out = x, from f32 to bf16 (rounded to nearest, ties to even) or back; the same type: a copy. */
void op_convert(struct backend *backend, struct tensor *out, const struct tensor *x);

/* The numbers of a quantised matrix (quantize.h), right before the product that reads them. */
void op_dequantize(struct backend *backend, struct tensor *out /* [rows, columns] */,
                   const struct tensor *x /* int8 or nf4 [rows, columns] */);

/* y = alpha * x + beta * y. */
void op_axpby(struct backend *backend, struct tensor *y, float alpha, const struct tensor *x, float beta);

/* x [rows, columns] += bias [columns], in place. Backward: d_bias += the column sums of d_x. */
void op_bias_forward(struct backend *backend, struct tensor *x, const struct tensor *bias);
void op_bias_backward(struct backend *backend, struct tensor *d_bias, const struct tensor *d_x);

/* A linear layer with a low-rank update (Hu et al., "LoRA", 2021; y = x W^T + b + scale * drop(x) A^T B^T).
 * weight [out, in] and bias [out] (or NULL) as in PyTorch; a [rank, in], b [out, rank], or both NULL for a
 * plain layer. Dropout is applied to the adapter's input only, as in peft. */
struct lora {
    struct tensor *a, *b;      /* parameters; NULL: no adapter */
    struct tensor *d_a, *d_b;  /* their gradients, accumulated; NULL: frozen */
    struct tensor *hidden;     /* [rows, rank], kept from forward to backward */
    struct tensor *dropped;    /* scratch [rows, in], needed when dropout > 0 */
    struct tensor *d_hidden;   /* scratch [rows, rank] */
    float scale;               /* alpha / rank */
    float dropout;             /* probability, 0 at inference */
    uint64_t seed, step, site; /* the dropout's random key: site numbers the layer and linear */
    int64_t first_row;         /* the number of x's first row, for the dropout */
};
void op_linear_forward(struct backend *backend, struct tensor *y, const struct tensor *x,
                       const struct tensor *weight, const struct tensor *bias, const struct lora *lora);
/* d_x = (or +=, when accumulate) d_y W + adapter's part; NULL d_x: not wanted. d_weight, d_bias +=; NULL:
 * frozen. */
void op_linear_backward(struct backend *backend, struct tensor *d_x, bool accumulate, struct tensor *d_weight,
                        struct tensor *d_bias, const struct tensor *d_y, const struct tensor *x,
                        const struct tensor *weight, const struct lora *lora);

/* ---- rows of tables ----------------------------------------------------------------------------------- */

/* out [n, width] = table[indices[n]]. Backward of a look-up: table[indices[i]] += rows[i], summed in the
 * order of i for each row of the table, whatever the number of threads. Index -1 gathers zeros, adds nothing.
 */
void op_gather(struct backend *backend, struct tensor *out, const struct tensor *table,
               const struct tensor *indices /* i32 [n] */);
void op_scatter_add(struct backend *backend, struct tensor *table, const struct tensor *rows,
                    const struct tensor *indices /* i32 [n] */);

/* out[i] = indices[i] - first where that is a row of the `count` from `first` on, else -1: what of a table's look-up falls
 * into a range of its rows. out may be indices. */
void op_rows_within(struct backend *backend, struct tensor *out /* i32 [n] */,
                    const struct tensor *indices /* i32 [n] */, int64_t first, int64_t count);

/* out [rows, k] = the columns first .. first + k - 1 of x [rows, n], first < n; those behind its last are 0. */
void op_columns(struct backend *backend, struct tensor *out, const struct tensor *x, int64_t first);

/* ---- the transformer ---------------------------------------------------------------------------------- */

/* Root-mean-square normalisation (Zhang and Sennrich 2019): out = x / sqrt(mean(x^2) + epsilon) * weight. */
void op_rmsnorm_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_rms /* [rows] */,
                        const struct tensor *x, const struct tensor *weight, float epsilon);
/* d_x += ; d_weight += (NULL: frozen). */
void op_rmsnorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                         const struct tensor *d_out, const struct tensor *x, const struct tensor *weight,
                         const struct tensor *inverse_rms);

/* Layer normalisation (Ba, Kiros and Hinton 2016): out = (x - mean) * inverse_deviation * weight + bias, a row at a
 * time, where inverse_deviation = 1 / sqrt(variance + epsilon) and the variance divides by the width. */
void op_layernorm_forward(struct backend *backend, struct tensor *out, struct tensor *mean /* [rows] */,
                          struct tensor *inverse_deviation /* [rows] */, const struct tensor *x,
                          const struct tensor *weight, const struct tensor *bias, float epsilon);
/* d_x, d_weight, d_bias +=. */
void op_layernorm_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_weight,
                           struct tensor *d_bias, const struct tensor *d_out, const struct tensor *x,
                           const struct tensor *weight, const struct tensor *mean,
                           const struct tensor *inverse_deviation);

/* Element by element. relu(x) = max(x, 0), whose derivative at 0 is 0; gelu(x) = x Phi(x) with the normal distribution
 * function Phi (Hendrycks and Gimpel 2016; exact, not their approximation by tanh). Backward overwrites d_x, which may
 * be d_out. */
enum activation { ACTIVATION_RELU, ACTIVATION_GELU };
void op_activation_forward(struct backend *backend, struct tensor *out, const struct tensor *x,
                           enum activation activation);
void op_activation_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                            const struct tensor *x, enum activation activation);

/* Rotary position embedding in place (Su et al. 2021), Llama's half-split pairing: dimensions i and
 * i + head_width / 2 of each head of x [tokens, heads * head_width] turn by position * frequencies[i]. */
void op_rope_forward(struct backend *backend, struct tensor *x,
                     const struct tensor *positions /* i32 [tokens] */,
                     const struct tensor *frequencies /* [head_width / 2] */, int64_t head_width);
void op_rope_backward(struct backend *backend, struct tensor *d_x, const struct tensor *positions,
                      const struct tensor *frequencies, int64_t head_width);

/* Grouped-query attention over packed sequences without padding. Sequence s occupies the tokens starts[s] ..
 * starts[s + 1] - 1; a token attends to those of its sequence up to itself, or to all of them when bidirectional.
 * Query head h reads key/value head h / (query_heads / key_heads). Scores are scaled by 1 / sqrt(head_width).
 * log_sum_exp [query_heads, tokens] is kept for backward. */
struct attention_shape {
    int64_t query_heads, key_heads, head_width;
    bool bidirectional; /* op_attention_decode has no use for it */
};
void op_attention_forward(struct backend *backend,
                          struct tensor *out /* [tokens, query_heads * head_width] */,
                          struct tensor *log_sum_exp, const struct tensor *q /* like out */,
                          const struct tensor *k /* [tokens, key_heads * head_width] */,
                          const struct tensor *v, const struct tensor *starts /* i32 [sequences + 1] */,
                          struct attention_shape shape);
void op_attention_backward(struct backend *backend, struct tensor *d_q, struct tensor *d_k,
                           struct tensor *d_v, const struct tensor *d_out, const struct tensor *out,
                           const struct tensor *log_sum_exp, const struct tensor *q, const struct tensor *k,
                           const struct tensor *v, const struct tensor *starts, struct attention_shape shape);

/* Attention of one new token a row over a cache. k_cache, v_cache [slots * capacity, key_heads * head_width];
 * row r reads lengths[r] positions (its own token's included) of slot slots[r]. Rows with slot -1 are
 * skipped. */
void op_attention_decode(struct backend *backend, struct tensor *out /* [rows, query_heads * head_width] */,
                         const struct tensor *q, const struct tensor *k_cache, const struct tensor *v_cache,
                         const struct tensor *slots /* i32 [rows] */,
                         const struct tensor *lengths /* i32 [rows] */, int64_t capacity,
                         struct attention_shape shape);
/* Writes rows of k or v into the cache: cache[slots[r] * capacity + positions[r]] = rows[r]; slot -1:
 * skipped. */
void op_cache_store(struct backend *backend, struct tensor *cache, const struct tensor *rows,
                    const struct tensor *slots, const struct tensor *positions, int64_t capacity);

/* Gives slot to[i] the rows begins[i] .. ends[i] - 1 of slot from[i]; no slot is in both lists. */
void op_cache_share(struct backend *backend, struct tensor *cache, const struct tensor *to /* i32 [n] */,
                    const struct tensor *from /* i32 [n] */, const struct tensor *begins /* i32 [n] */,
                    const struct tensor *ends /* i32 [n] */, int64_t capacity);

/* SwiGLU (Shazeer 2020): out = silu(gate) * up. */
void op_swiglu_forward(struct backend *backend, struct tensor *out, const struct tensor *gate,
                       const struct tensor *up);
void op_swiglu_backward(struct backend *backend, struct tensor *d_gate, struct tensor *d_up,
                        const struct tensor *d_out, const struct tensor *gate, const struct tensor *up);

/* Inverted dropout: out = x * keep / (1 - probability), keep drawn from (seed, RANDOM_DROPOUT, step, site and
 * the row and column of the element), where the first row counts as number first_row: rows that ranks have divided are dropped
 * as they would be together. The same call on d_out is the backward. out may be x. */
void op_dropout(struct backend *backend, struct tensor *out, const struct tensor *x, float probability,
                uint64_t seed, uint64_t step, uint64_t site, int64_t first_row);

/* Softmax cross-entropy, in place: logits [rows, classes] becomes d_logits = weights[row] * (softmax -
 * target), losses[row] = unweighted loss. Column c takes part only if c < classes_used. Two targets: one
 * class a row (-1: the row counts nothing), or a set: uniform over targets[starts[row] .. starts[row + 1] -
 * 1], loss = log-sum-exp - mean of the targets' logits (a row without targets counts nothing). */
void op_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses /* [rows] */,
                      const struct tensor *targets /* i32 [rows] */,
                      const struct tensor *weights /* [rows] */, int64_t classes_used);
void op_cross_entropy_set(struct backend *backend, struct tensor *logits, struct tensor *losses,
                          const struct tensor *starts /* i64 [rows + 1] */,
                          const struct tensor *targets /* i32 */, const struct tensor *weights,
                          int64_t classes_used);

/* Takes classes out of a row's softmax: logits[row, columns[i]] = EXCLUDED_LOGIT for begin[row] <= i <=
 * last[row]. Columns outside the matrix are skipped. */
#define EXCLUDED_LOGIT ((real)-1e30)
void op_exclude(struct backend *backend, struct tensor *logits, const struct tensor *begin /* i32 [rows] */,
                const struct tensor *last /* i32 [rows] */, const struct tensor *columns /* i32 */);

/* ---- optimisation ------------------------------------------------------------------------------------- */

/* sum[0] += the sum of squares of x, in double precision (DTYPE_F64 tensor of length 1). */
void op_sum_of_squares(struct backend *backend, struct tensor *sum, const struct tensor *x);

/* scale[0] = min(1, maximum / sqrt(sum[0])), the factor of clipping by the global norm; 1 when maximum <= 0.
 */
void op_clip_scale(struct backend *backend, struct tensor *scale /* f32 [1] */, const struct tensor *sum,
                   float maximum);

/* AdamW (Loshchilov and Hutter 2019), decoupled decay, bias-corrected; with decay 0 it is Adam.
 * The gradient is multiplied by scale[0] (NULL: 1) first. `step` counts from 1. */
struct adamw {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    int64_t step;
};
void op_adamw(struct backend *backend, struct tensor *weight, const struct tensor *gradient,
              struct tensor *first_moment, struct tensor *second_moment, const struct tensor *scale,
              struct adamw settings);

/* ---- recommenders ------------------------------------------------------------------------------------- */

/* A sparse matrix in compressed rows, on the device. */
struct csr_tensor {
    int64_t rows, columns;
    struct tensor starts;  /* i64 [rows + 1] */
    struct tensor indices; /* i32 [nonzeros] */
    struct tensor values;  /* [nonzeros] */
};
/* out [rows, width] = matrix x [columns, width] + beta * out. */
void op_csr_spmm(struct backend *backend, struct tensor *out, const struct csr_tensor *matrix,
                 const struct tensor *x, float beta);

/* Bayesian personalised ranking (Rendle et al. 2009) over triples (user, positive, negative) of rows of two
 * tables: losses[i] = softplus(s(u,n) - s(u,p)), unweighted; d_* [n, width] = weights[i] * its gradients
 * (overwritten, to be scattered by the caller). */
struct triples {
    const struct tensor *users, *positives, *negatives; /* i32 [n] */
    const struct tensor *weights;                       /* [n] */
};
void op_bpr_loss(struct backend *backend, struct tensor *losses /* [n] */, struct tensor *d_users,
                 struct tensor *d_positives, struct tensor *d_negatives, const struct tensor *user_table,
                 const struct tensor *item_table, struct triples triples);

/* Rows of unit length: out = x / max(|x|, UNIT_ROWS_SMALLEST), a row at a time. Backward: d_x += . */
#define UNIT_ROWS_SMALLEST 1e-12
void op_unit_rows_forward(struct backend *backend, struct tensor *out,
                          struct tensor *inverse_norm /* [rows] */, const struct tensor *x);
void op_unit_rows_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                           const struct tensor *out, const struct tensor *inverse_norm);

/* InfoNCE (van den Oord et al. 2018): row i of a against all rows of b, of which b[positives[i]] is the right one:
 * losses[i] = -log softmax_j(a_i . b_j / temperature)[positives[i]], unweighted; d_a, d_b (overwritten) are the
 * gradients of sum_i weights[i] losses[i]. Rows are usually of unit length. So that n may be cut into blocks, d_b may
 * accumulate. */
struct contrast {
    const struct tensor *a, *b;     /* [n, width], [m, width] */
    const struct tensor *positives; /* i32 [n] */
    const struct tensor *weights;   /* [n] */
    struct tensor *logits;          /* scratch [n, m] */
    float temperature;
    bool accumulate; /* d_b += */
};
void op_infonce_loss(struct backend *backend, struct tensor *losses /* [n] */, struct tensor *d_a,
                     struct tensor *d_b, const struct contrast *contrast);

/* What the triples of an epoch are drawn from. */
struct triple_source {
    const struct tensor *users, *positives; /* i32 [n]: a user and an item that he has */
    const struct tensor *weights;           /* [n] */
    const struct tensor *starts,
        *excluded; /* i64 [users + 1], i32: of each user the items that are no negatives,
                                             * ascending, each once, never all items */
    int64_t items;
};
/* An epoch of a table of users and, behind them, items: every pair of the source once, in an order drawn from (seed,
 * RANDOM_SHUFFLE, epoch), with a negative that is uniform over the items not excluded for the user, drawn from (seed,
 * RANDOM_NEGATIVE, epoch, place in the epoch). Batch b of m = `batch` triples (the last may have fewer) holds, from
 * rows[3 * b * batch], m users, m positives and m negatives as rows of the table; weights = the pair's weight / m.
 * n < 2^31 / 3. */
void op_sample_triples(struct backend *backend, struct tensor *rows /* i32 [3 * n] */,
                       struct tensor *weights /* [n] */, struct triple_source source, int64_t batch,
                       uint64_t seed, uint64_t epoch);

/* Scores of a few candidates a row: logits[r, j] = x[r] . table[candidates[r, j]]; index -1 gives EXCLUDED_LOGIT and no
 * gradient. Backward: d_x is overwritten, d_table +=. rows * k < 2^31. */
void op_candidate_logits_forward(struct backend *backend, struct tensor *logits /* [rows, k] */,
                                 const struct tensor *x /* [rows, width] */,
                                 const struct tensor *table /* [n, width] */,
                                 const struct tensor *candidates /* i32 [rows, k] */);
void op_candidate_logits_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_table,
                                  const struct tensor *d_logits, const struct tensor *x,
                                  const struct tensor *table, const struct tensor *candidates);

/* Binary cross-entropy of a positive, column 0, and negatives, the other columns of logits [rows, k], k >= 1:
 * losses[r] = positive_power * softplus(-s_0) + sum_{j >= 1} softplus(s_j), unweighted. In place: logits become
 * weights[r] times its gradient. A power of 1 is the loss of SASRec (Kang and McAuley 2018); beta, with which
 * sigmoid(s_0)^beta takes the place of sigmoid(s_0), is gBCE (Petrov and Macdonald 2023). EXCLUDED_LOGIT contributes
 * nothing. */
void op_binary_cross_entropy(struct backend *backend, struct tensor *logits,
                             struct tensor *losses /* [rows] */, const struct tensor *weights /* [rows] */,
                             float positive_power);

/* What negatives of rows are drawn from. */
struct negative_source {
    const struct tensor *positives; /* i32 [rows], taken as they are */
    const struct tensor *owners;    /* i32 [rows]: whose excluded items count */
    const struct tensor *starts,
        *excluded; /* i64 [owners + 1], i32: of each owner the items that are no negatives, ascending,
                    * each once, never all items */
    int64_t items;
    int64_t first_row; /* the number of the first of these rows among those that are drawn together */
};
/* candidates[r, 0] = positives[r]; candidates[r, j] for j >= 1 is uniform, with replacement, over the items not excluded
 * for the row's owner. Columns come in groups of NEGATIVES_TOGETHER, each drawn from (seed, RANDOM_NEGATIVE, step,
 * number of the group over all rows), where the first row counts as number first_row. */
#define NEGATIVES_TOGETHER 8
void op_sample_negatives(struct backend *backend, struct tensor *candidates /* i32 [rows, 1 + k] */,
                         struct negative_source source, uint64_t seed, uint64_t step);

/* The noise of SimGCL (Yu et al. 2022): out = x + magnitude * sign(x) * u / |u|, a row at a time, with u uniform on (0, 1]
 * in each element, drawn from (seed, RANDOM_NOISE, step, site and row). sign(0) = 0; a row without zeros moves by
 * exactly `magnitude`. out may be x. Its backward is the identity. site < 2^24. */
void op_row_noise(struct backend *backend, struct tensor *out, const struct tensor *x, float magnitude,
                  uint64_t seed, uint64_t step, uint64_t site);

/* For each row of scores [rows, columns] the k best columns that are not masked, by score descending, ties by
 * column ascending. Row r is masked at mask_indices[mask_starts[mask_rows[r]] ..]. Missing ranks hold -1 and
 * -infinity. NaN ranks last. `ties[r]` (may be NULL) = 1 when the k-th and the (k+1)-th score are equal. */
void op_topk_masked(struct backend *backend, struct tensor *top_columns /* i32 [rows, k] */,
                    struct tensor *top_scores /* [rows, k] */, struct tensor *ties /* i32 [rows] or NULL */,
                    const struct tensor *scores, const struct tensor *mask_rows /* i32 [rows] */,
                    const struct tensor *mask_starts /* i64 */, const struct tensor *mask_indices /* i32 */);

/* ---- sampling ----------------------------------------------------------------------------------------- */

struct sampling {
    float temperature; /* > 0; 0: greedy */
    float top_p;       /* 1: off */
    int64_t top_k;     /* 0: off */
    uint64_t seed;
};
/* Draws one token a row of logits [rows, classes] among those whose bit in forbidden u32 [rows, words] (bit
 * c % 32 of word c / 32; NULL: none) is 0, after temperature, then top-k, then top-p, renormalised. The
 * random number is keyed by (seed, RANDOM_SAMPLE, steps[row], streams[row]). log_probability is that of the
 * token before temperature, top-k and top-p, among the tokens that are not forbidden. Rows with stream -1 are
 * skipped; a row with nothing allowed yields token -1; logits that are not numbers are an error. */
void op_sample(struct backend *backend, struct tensor *tokens /* i32 [rows] */,
               struct tensor *log_probability, const struct tensor *logits, const struct tensor *forbidden,
               const struct tensor *streams /* i64 [rows] */, const struct tensor *steps /* i32 [rows] */,
               int64_t classes_used, struct sampling settings);

/* What a decode carries from token to token, all of it on the device. A row that is not in use has slot and stream -1. */
struct decode_rows {
    struct tensor *token, *position,
        *length;                    /* i32 [rows]: to be decoded, how many are before it, that plus 1 */
    struct tensor *slot;            /* i32 [rows], in the cache */
    struct tensor *stream, *drawn;  /* i64, i32 [rows]: op_sample's streams and steps; drawn: tokens so far */
    struct tensor *forbidden;       /* u32 [rows, words], or NULL */
    struct tensor *log;             /* i32 [rows, n]: the tokens drawn, token i in column i % n */
    struct tensor *log_probability; /* [rows, n], of these tokens */
};
/* Moves each row on by the token that op_sample drew for it: logged, forbidden from now on, and the next to be decoded.
 * A row that drew -1 or `end` instead ends without logging it, one with `drawn_maximum` tokens ends with the last; an ended
 * row is no longer in use, and its log and `drawn` stay. */
void op_advance(struct backend *backend, struct decode_rows rows,
                const struct tensor *tokens /* i32 [rows] */, const struct tensor *log_probability,
                int32_t end, int64_t drawn_maximum);

/* In place: row r of logits becomes log-probabilities over the columns whose bit in `forbidden` is 0; the
 * others become -infinity. */
void op_log_softmax_masked(struct backend *backend, struct tensor *logits, const struct tensor *forbidden,
                           int64_t classes_used);

/* out [rows, k]: out[r, j] = x[r, columns[r, j]]; column -1 gives -infinity. */
void op_pick(struct backend *backend, struct tensor *out, const struct tensor *x /* [rows, n] */,
             const struct tensor *columns /* i32 [rows, k] */);

/* mean [groups, columns] += e^x of the rows starts[group] .. starts[group + 1] - 1 of x [rows, columns], in their order;
 * with `count` > 0 that was the last part, and mean becomes log(mean / count). */
void op_mean_probability(struct backend *backend, struct tensor *mean, const struct tensor *x,
                         const struct tensor *starts /* i32 [groups + 1] */, int64_t count);

#endif
