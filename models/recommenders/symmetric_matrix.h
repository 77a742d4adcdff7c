/*
 * symmetric_matrix.h: a large symmetric positive definite matrix on the backend, and its inverse in place.
 *
 * Kept as panels of SYMMETRIC_PANEL columns, of which panel j is a matrix [size, columns] of its own and only the rows
 * from j * SYMMETRIC_PANEL on count: the lower triangle and the blocks on the diagonal.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SYMMETRIC_MATRIX_H
#define IDREC_MODELS_RECOMMENDERS_SYMMETRIC_MATRIX_H

#include "core/arena.h"

#define SYMMETRIC_PANEL 512

struct symmetric_matrix {
    struct backend *backend;
    int64_t size, panels;
    struct arena memory, scratch;
    struct tensor values;          /* [size * size]: the panels one behind the other */
    struct tensor column, product; /* scratch [size * SYMMETRIC_PANEL] */
    struct tensor inverse;  /* scratch [SYMMETRIC_PANEL * SYMMETRIC_PANEL], of a block on the diagonal */
    struct tensor identity; /* [SYMMETRIC_PANEL, SYMMETRIC_PANEL] */
};

/* Bytes that symmetric_matrix_create() takes on the backend. */
size_t symmetric_matrix_bytes(int64_t size);
/* Zeros. `lower` says what to lower when memory does not suffice. */
bool symmetric_matrix_create(struct symmetric_matrix *matrix, struct backend *backend, int64_t size,
                             const char *lower, struct error *error);
void symmetric_matrix_release(struct symmetric_matrix *matrix);

/* Where panel j begins among the values, and how many columns it has. */
int64_t symmetric_panel_first(const struct symmetric_matrix *matrix, int64_t panel);
int64_t symmetric_panel_columns(const struct symmetric_matrix *matrix, int64_t panel);
/* The block of rows `row` and columns `column` <= row, in panels, as a view [rows, columns]. */
struct tensor symmetric_block(const struct symmetric_matrix *matrix, int64_t row, int64_t column);

/* Replaces the matrix by -1 times its inverse, with size^3 floating-point operations, nearly all of them in op_gemm: block
 * by block of the diagonal, the sweep operator of Beaton ("The use of special matrix operators in statistical calculus",
 * 1964; Goodnight, "A tutorial on the SWEEP operator", The American Statistician 33, 1979). The blocks on the diagonal
 * are inverted on the host in double precision. A matrix that is not positive definite is an error, whose message ends
 * with `advice`; so is a signal that ends the run. */
bool symmetric_matrix_negative_inverse(struct symmetric_matrix *matrix, const char *advice,
                                       struct error *error);

#endif
