/* quality_pairs.h: what synthetic rows hold in common: with train, and with each other. */
#ifndef IDREC_EXPERIMENTS_QUALITY_PAIRS_H
#define IDREC_EXPERIMENTS_QUALITY_PAIRS_H

#include "core/interactions.h"

/* Of the pairs of a synthetic item of a user and a train item of the same user: how many never stand together in any user's
 * train items; and how many synthetic rows are so with all of them. Rows of `train` and `audience`, its transpose, ascend;
 * `receivers` is the transpose of the synthetic rows. */
struct pair_counts {
    int64_t pairs, new_pairs, rows, unconnected_rows;
};
bool count_new_pairs(struct pair_counts *counts, const struct csr *receivers, const struct csr *train,
                     const struct csr *audience, struct error *error);

/* Users who have the very items of another user, in any order. */
bool count_identical_lists(int64_t *users, const struct csr *rows, struct error *error);

#endif
