/*
 * sparse_matrix.h: sparse matrices with values on the host, for the models over pairs of items.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SPARSE_MATRIX_H
#define IDREC_MODELS_RECOMMENDERS_SPARSE_MATRIX_H

#include "core/store.h"
#include "models/recommenders/recommender.h"

/* Row r holds indices[starts[r] .. starts[r + 1] - 1] and their values. Zeroed, it is empty and may be freed. */
struct sparse_matrix {
    int64_t rows, columns;
    int64_t *starts; /* [rows + 1] */
    int32_t *indices;
    real *values;
};

/* Room for `count` values; starts are 0. What was allocated stays in the matrix after an error, for the caller to free. */
bool sparse_matrix_allocate(struct sparse_matrix *matrix, int64_t rows, int64_t columns, int64_t count,
                            struct error *error);
void sparse_matrix_free(struct sparse_matrix *matrix);
int64_t sparse_matrix_count(const struct sparse_matrix *matrix);

/* The training rows: of each user, his items and their weights. */
bool sparse_matrix_of_training(struct sparse_matrix *matrix, const struct training_set *data,
                               struct error *error);
/* columns x rows; rows of the result ascend. */
bool sparse_matrix_transpose(struct sparse_matrix *transposed, const struct sparse_matrix *matrix,
                             struct error *error);

/* sum[j] += (X^T X)_item,j for X = history [users, items], `audience` its transpose; sum [items]. */
void sparse_matrix_gram_row(double *sum, const struct sparse_matrix *history,
                            const struct sparse_matrix *audience, int64_t item);

/* All of it: X^T X [items, items], rows ascend. */
bool sparse_matrix_gram(struct sparse_matrix *gram, const struct sparse_matrix *history,
                        const struct sparse_matrix *audience, int threads, struct error *error);

/* As group NAME of the store, with the values in NAME/weight. Loading checks the shape. */
bool sparse_matrix_save(const struct sparse_matrix *matrix, struct store *store, const char *name,
                        struct error *error);
bool sparse_matrix_load(struct sparse_matrix *matrix, int64_t rows, int64_t columns, struct store *store,
                        const char *name, struct error *error);

#endif
