/*
 * fusion.h: weighted reciprocal rank fusion of two rankings (Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms
 * Condorcet and individual rank learning methods", SIGIR 2009; there without weights, and with the constant 60):
 *   score(item) = weight / (constant + rank in the first) + (1 - weight) / (constant + rank in the second)
 * Ranks begin at 1, and a list that does not hold an item adds nothing to its score.
 */
#ifndef IDREC_EXPERIMENTS_FUSION_H
#define IDREC_EXPERIMENTS_FUSION_H

#include "core/interactions.h"

struct fusion {
    double weight; /* of the first list, 0 to 1; a list of weight 0 is left out */
    double constant;
    int64_t depth; /* ranks beyond are not read */
};

struct fused_lists {
    struct csr items; /* [users, items]; a row is best first: score descending, item ascending */
    float *scores;    /* one an index; they decide the order as they are, in single precision */
};

/* `first`, `second` [users, items]: each user's items, best first and without repeats. At most `kept` items a user. */
bool fusion_rank(struct fused_lists *fused, const struct csr *first, const struct csr *second,
                 const struct fusion *fusion, int64_t kept, struct error *error);
void fused_lists_free(struct fused_lists *fused);

#endif
