/*
 * eigenvectors.h: the leading eigenvectors of a large symmetric matrix of which only the product with vectors is known.
 */
#ifndef IDREC_CORE_EIGENVECTORS_H
#define IDREC_CORE_EIGENVECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

struct symmetric_operator {
    int64_t size;
    double least, largest; /* no eigenvalue lies outside */
    void *context;
    /* out [size, width] = matrix x [size, width] */
    void (*apply)(void *context, double *out, const double *x, int64_t width);
};

struct eigenvectors {
    double *vectors; /* [size, count], orthonormal columns */
    double *values;  /* [count], descending */
    double residual; /* the largest |matrix v - value v| of them */
};

/* The eigenvectors of the `count` <= size largest eigenvalues, by subspace iteration with a Chebyshev filter (Zhou,
 * Saad, Tiago and Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace iteration", J.
 * Comput. Phys. 219, 2006) over a few more vectors than asked for, from a random start, until the residual is at
 * most `tolerance` times `largest` or `rounds` are done: what has not converged then lies nearly in the span of
 * neighbouring eigenvectors. A small matrix is decomposed as a whole. The bits do not depend on the number of
 * threads. `lower` advises where memory is short. */
bool eigenvectors_find(struct eigenvectors *found, const struct symmetric_operator *matrix, int64_t count,
                       double tolerance, int rounds, uint64_t seed, int threads, const char *lower,
                       struct error *error);
/* How many columns the operator is applied to at once. */
int64_t eigenvectors_width(int64_t size, int64_t count);
void eigenvectors_free(struct eigenvectors *found);

#endif
