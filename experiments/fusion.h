/*
 * fusion.h: weighted reciprocal rank fusion of rankings (Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms
 * Condorcet and individual rank learning methods", SIGIR 2009; there without weights, and with the constant 60):
 *   score(item) = sum over lists of weight / (constant + rank in the list)
 * Ranks begin at 1, and a list that does not hold an item adds nothing to its score.
 */
#ifndef IDREC_EXPERIMENTS_FUSION_H
#define IDREC_EXPERIMENTS_FUSION_H

#include "core/evaluate.h"
#include "core/interactions.h"

struct fusion {
    double constant;
    int64_t depth; /* ranks beyond are not read */
};

/* Each user's items, best first and without repeats. */
struct fusion_list {
    const struct csr *items; /* [users, items] */
    double weight;           /* 0: the list is left out */
};

struct fused_lists {
    struct csr items; /* [users, items]; a row is best first: score descending, item ascending */
    float *scores;    /* one an index; they decide the order as they are, in single precision */
    int32_t *votes;   /* one an index: the lists that hold the item */
};

/* `lists` [count], of the same shape, at least one. At most `kept` items a user. */
bool fusion_rank(struct fused_lists *fused, const struct fusion_list *lists, int count,
                 const struct fusion *fusion, int64_t kept, struct error *error);
void fused_lists_free(struct fused_lists *fused);

/* By what fused lists are judged. */
struct fusion_judge {
    const struct csr *validation; /* [users, items] */
    const int32_t *users;         /* [user_count]: those with a validation row */
    int64_t user_count;
    enum metric metric;
    int64_t cut;
};

/* The metric of the fused lists, which end at the fusion's depth where the cut lies beyond. */
bool fusion_score(double *score, const struct fusion_list *lists, int count, const struct fusion *fusion,
                  const struct fusion_judge *judge, struct error *error);

#endif
