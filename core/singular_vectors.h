/*
 * singular_vectors.h: the leading right singular vectors of a sparse matrix, and the normalisation of interactions that
 * they are usually taken of.
 */
#ifndef IDREC_CORE_SINGULAR_VECTORS_H
#define IDREC_CORE_SINGULAR_VECTORS_H

#include "core/error.h"
#include "core/interactions.h"
#include "core/tensor.h"

/* values[i] = w_i / sqrt(d_row d_column) of each index of the matrix, d the sums of the weights w of rows and columns (weights
 * NULL: all 1; 0 where a sum is 0); d [columns], where not NULL, receives those of the columns. malloc'ed. */
bool normalized_values(double **values, const struct csr *matrix, const real *weights, double *column_sums,
                       struct error *error);

struct singular_vectors {
    double *vectors; /* [columns, width], orthonormal; columns beyond the matrix's rank are 0 */
    double *squares; /* [width]: the singular values squared, descending as far as they have converged */
};

/* Of the matrix with these values, by orthogonal iteration from a random start (Halko, Martinsson and Tropp, "Finding
 * Structure with Randomness", SIAM Review 53, 2011, algorithm 4.4; Golub and Van Loan, "Matrix Computations", 8.2.4) with
 * Cholesky's factor, in double precision: after t iterations what is left of singular vector i in the span of the first j is
 * of the order (s_i / s_j)^2t. The bits do not depend on the number of threads. `lower` advises where memory is short. */
bool singular_vectors_find(struct singular_vectors *found, const struct csr *matrix, const double *values,
                           int64_t width, int iterations, uint64_t seed, int threads, const char *lower,
                           struct error *error);
void singular_vectors_free(struct singular_vectors *found);

#endif
