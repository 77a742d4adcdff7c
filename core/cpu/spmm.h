/*
 * spmm.h: a row of a sparse matrix times a dense one.
 */
#ifndef IDREC_CORE_CPU_SPMM_H
#define IDREC_CORE_CPU_SPMM_H

#include "core/tensor.h"

/* out [width] = sum over j < count of values[j] * x[indices[j]] + beta * out, in the order of j; with beta 0 out is not
 * read. Of the `left` >= count indices from here on those that are not the row's are rows of x too, soon to be used. */
void cpu_multiply_row(real *out, const real *x, const int32_t *indices, const real *values, int64_t count,
                      int64_t left, int64_t width, real beta);

#endif
