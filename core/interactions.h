/*
 * interactions.h: who interacted with what, in memory: id maps, a list of rows as read, and the frozen data
 * set.
 */
#ifndef IDREC_CORE_INTERACTIONS_H
#define IDREC_CORE_INTERACTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* Raw ids as strings, in order of first appearance: id i is bytes[offsets[i] .. offsets[i + 1] - 2],
 * NUL-ended. */
struct id_map {
    int64_t count;
    int64_t *offsets; /* [count + 1] */
    char *bytes;
};
const char *id_map_name(const struct id_map *map, int64_t index);
void id_map_free(struct id_map *map);

/* Compressed rows: row r holds indices[starts[r] .. starts[r + 1] - 1]. */
struct csr {
    int64_t rows, columns;
    int64_t *starts;  /* [rows + 1] */
    int32_t *indices; /* [starts[rows]] */
};
int64_t csr_count(const struct csr *matrix);
int64_t csr_row_length(const struct csr *matrix, int64_t row);
/* Of all rows; 0 without any. */
int64_t csr_longest_row(const struct csr *matrix);
/* Binary search; the row must ascend. */
bool csr_contains_sorted(const struct csr *matrix, int64_t row, int32_t column);
/* A copy whose rows ascend. */
bool csr_sorted(struct csr *sorted, const struct csr *matrix, struct error *error);
/* columns x rows; rows of the result ascend. */
bool csr_transpose(struct csr *transposed, const struct csr *matrix, struct error *error);
/* Row-wise union of two matrices of the same shape whose rows ascend; the result ascends. */
bool csr_union(struct csr *result, const struct csr *a, const struct csr *b, struct error *error);
/* Row-wise one behind the other, for two matrices of the same shape. */
bool csr_append(struct csr *result, const struct csr *a, const struct csr *b, struct error *error);
bool csr_copy(struct csr *copy, const struct csr *matrix, struct error *error);
void csr_free(struct csr *matrix);

/* The rows of an input file, in file order, ids already mapped to 0 .. count - 1. */
struct interactions {
    int64_t count;
    int32_t *users, *items;
    float *ratings; /* NULL: the file has none */
    int64_t *times; /* NULL: the file has none; its order is then taken for the order in time */
    struct id_map user_ids, item_ids;
};
void interactions_free(struct interactions *interactions);

/* What became of the rows of the input on the way to a data set. */
struct preparation_counts {
    int64_t rows_read;
    int64_t below_rating; /* rating under the threshold */
    int64_t duplicates;   /* later rows of the same user and item, within a part of the split */
    int64_t overlaps;     /* rows of a provided validation or test part that an earlier part holds as well */
    int64_t not_drawn;    /* of users beyond data.users */
    int64_t below_core;   /* refused by the k-core */
};

/* The frozen data set of a run: id maps, split and mask of every arm. Within a row, items stand in order of
 * time (of the file where no times are known). The three parts of a user are disjoint. */
struct dataset {
    char *name;
    struct id_map user_ids, item_ids;
    struct csr train, validation, test; /* [users, items] */
    int64_t *train_times;               /* one an index of train; NULL: not known */
    struct preparation_counts counts;
};
void dataset_free(struct dataset *dataset);

/* The leak check: no pair of user and item in two parts, nor twice in one. The error names the pair. */
bool dataset_check_disjoint(const struct dataset *dataset, struct error *error);

/* dataset.h5 (layout: docs/data-formats.md). */
bool dataset_save(const struct dataset *dataset, const char *path, struct error *error);
bool dataset_load(struct dataset *dataset, const char *path, struct error *error);

#endif
