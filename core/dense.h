/*
 * dense.h: small dense linear algebra on the host in double precision, row-major. The bits of a result do not depend on the
 * number of threads.
 */
#ifndef IDREC_CORE_DENSE_H
#define IDREC_CORE_DENSE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* The lower triangle of gram [width, width] = a^T a, a [rows, width]. */
void dense_gram(double *gram, const double *a, int64_t rows, int64_t width, int threads);

/* From the lower triangle of a: a = L L^T (Golub and Van Loan, "Matrix Computations", 4.2), L in the lower triangle of the
 * result and L^T in the upper one. A pivot that is nearly 0 beside a[0] gives a column of zeros. */
void dense_cholesky(double *a, int64_t width);

/* x = L^-1 x and x = L^-T x, of the result of dense_cholesky(); a zero on the diagonal gives 0. */
void dense_solve_lower(double *x, const double *factor, int64_t width);
void dense_solve_lower_transposed(double *x, const double *factor, int64_t width);

/* product [width, width] = a^T b, both [rows, width]. */
void dense_product_transposed(double *product, const double *a, const double *b, int64_t rows, int64_t width,
                              int threads);

/* From the lower triangle of a symmetric matrix [size, size]: its eigenvalues, ascending, and in its place as rows its
 * orthonormal eigenvectors (LAPACK's dsyevd). */
bool dense_eigenvectors(double *matrix, double *values /* [size] */, int64_t size, struct error *error);

#endif
