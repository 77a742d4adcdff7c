/*
 * gemm_rows.h: a product whose rows do not know each other, for processors on which OpenBLAS's kernels treat
 * some rows of a block differently from others.
 */
#ifndef IDREC_CORE_CPU_GEMM_ROWS_H
#define IDREC_CORE_CPU_GEMM_ROWS_H

#include "core/ops.h"

/* c [m, n] = alpha * op(a) op(b) + beta * c. */
struct product {
    int64_t m, n, k;
    enum transpose transpose_a, transpose_b;
    const real *a, *b;
    int64_t a_columns, b_columns; /* of the matrices as stored */
    real *c;
    real alpha, beta; /* beta 0: what c held is not read */
};

/* `a` must be PLAIN. Every element is the same sequence of sums over k wherever it stands: its bits depend on
 * nothing but its row of a, its column of op(b) and its former value. */
void multiply_rows(struct backend *backend, const struct product *p);

#endif
