/*
 * row_parts.h: a table of rows divided among the ranks that do one fit together. A rank has a range of the rows, and of each
 * of them what nobody else needs: Adam's moments, its edges. Of the rows that a batch looks up it gets those of its part of
 * the batch from the ranks that have them, and all ranks get the gradients of all parts. Internal to models/recommenders.
 *
 * One process has all rows, and nothing here does anything then. All ranks call the same functions in the same order; what
 * goes wrong is the backend's error, as with operators. Where a row comes from one rank, it has the bits that it has there.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_ROW_PARTS_H
#define IDREC_MODELS_RECOMMENDERS_ROW_PARTS_H

#include "core/comm.h"
#include "models/recommenders/recommender.h"

struct row_parts {
    struct backend *backend;
    struct communicator *ranks;  /* NULL: one process */
    int64_t rows, first, count;  /* of the table; those of this rank */
    int64_t *starts, *of_values; /* [ranks + 1]: the ranges of all; scratch. NULL: one process */
};

/* Ranges of about equal work, where rows 0 .. r - 1 are work[r]; NULL: of equal length. */
bool row_parts_open(struct row_parts *parts, struct backend *backend, int64_t rows,
                    const int64_t *work /* [rows + 1], ascending */, struct error *error);
void row_parts_close(struct row_parts *parts);

/* Rows of x [rows, width] as a view: those of this rank. */
struct tensor row_parts_own(const struct row_parts *parts, const struct tensor *x);
/* Every row of x [rows, width] comes from the rank that has it. */
void row_parts_gather(const struct row_parts *parts, struct tensor *x);
/* This rank's rows of x [rows, width] = their sum over the ranks; the others are not defined afterwards. */
void row_parts_sum(const struct row_parts *parts, struct tensor *x);

/* What this rank has of a batch: members first .. first + count - 1. */
struct batch_part {
    int64_t first, count;
};
struct batch_part batch_part_of(const struct row_parts *parts, int64_t batch);
/* This rank's part of x [batch, width] = its sum over the ranks: of each row one has the values and the others zeros. */
void batch_deal(const struct row_parts *parts, struct tensor *x);
/* Every part of x [batch, width] comes from its rank. */
void batch_gather(const struct row_parts *parts, struct tensor *x);
/* x = its sum over the ranks. */
void batch_sum(const struct row_parts *parts, struct tensor *x);

#endif
