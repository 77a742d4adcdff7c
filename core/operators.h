/*
 * operators.h: the operators that a backend implements, each with the signature of op_NAME in ops.h. Included
 * by ops.c, backend.c and the backends only. op_linear_* and op_infonce_loss are compositions of the others and no entries here.
 */
#ifndef IDREC_CORE_OPERATORS_H
#define IDREC_CORE_OPERATORS_H

#include "core/ops.h"

#define OPERATORS(X)                                                                                         \
    X(gemm)                                                                                                  \
    X(add)                                                                                                   \
    X(convert)                                                                                               \
    X(dequantize)                                                                                            \
    X(axpby)                                                                                                 \
    X(bias_forward)                                                                                          \
    X(bias_backward)                                                                                         \
    X(gather)                                                                                                \
    X(scatter_add)                                                                                           \
    X(rows_within)                                                                                           \
    X(columns)                                                                                               \
    X(rmsnorm_forward)                                                                                       \
    X(rmsnorm_backward)                                                                                      \
    X(layernorm_forward)                                                                                     \
    X(layernorm_backward)                                                                                    \
    X(activation_forward)                                                                                    \
    X(activation_backward)                                                                                   \
    X(rope_forward)                                                                                          \
    X(rope_backward)                                                                                         \
    X(attention_forward)                                                                                     \
    X(attention_backward)                                                                                    \
    X(attention_decode)                                                                                      \
    X(cache_store)                                                                                           \
    X(cache_share)                                                                                           \
    X(swiglu_forward)                                                                                        \
    X(swiglu_backward)                                                                                       \
    X(dropout)                                                                                               \
    X(cross_entropy)                                                                                         \
    X(cross_entropy_set)                                                                                     \
    X(exclude)                                                                                               \
    X(sum_of_squares)                                                                                        \
    X(clip_scale)                                                                                            \
    X(adamw)                                                                                                 \
    X(csr_spmm)                                                                                              \
    X(bpr_loss)                                                                                              \
    X(unit_rows_forward)                                                                                     \
    X(unit_rows_backward)                                                                                    \
    X(sample_triples)                                                                                        \
    X(candidate_logits_forward)                                                                              \
    X(candidate_logits_backward)                                                                             \
    X(binary_cross_entropy)                                                                                  \
    X(sample_negatives)                                                                                      \
    X(row_noise)                                                                                             \
    X(topk_masked)                                                                                           \
    X(sample)                                                                                                \
    X(advance)                                                                                               \
    X(log_softmax_masked)                                                                                    \
    X(pick)                                                                                                  \
    X(mean_probability)

#define OPERATOR_ENTRY(name) __typeof__(op_##name) *name;
struct operators {
    OPERATORS(OPERATOR_ENTRY)
};
#undef OPERATOR_ENTRY

/* Returns the backend, or closes it and records which of its calls or operators is missing. */
struct backend *backend_without_holes(struct backend *backend, struct error *error);

#endif
