/*
 * blas_core_type.h: what is known about OpenBLAS's kernels, by the name that openblas_get_corename() gives.
 */
#ifndef IDREC_CORE_CPU_BLAS_CORE_TYPE_H
#define IDREC_CORE_CPU_BLAS_CORE_TYPE_H

#include <stdbool.h>

/* The OPENBLAS_CORETYPE to ask for where the library's own choice is `core`; NULL: that choice is good. */
const char *blas_better_core_type(const char *core, bool has_avx512);

/* Whether a row of a product by these kernels has the same bits whatever the other rows hold, at any multiple
 * of GEMM_ROW_BLOCK rows. */
bool blas_rows_are_independent(const char *core);

#endif
