/*
 * evaluate.h: full-ranking evaluation. Every item is scored for every user tested; the items of the mask are
 * hidden; scores of a block of users are turned into top-K lists before the next block is scored, so users x
 * items are never held at once.
 *
 * Definitions, per user, averaged in double over the users with at least one truth item. h(r) = 1 when rank r
 * (from 1) is a hit, T the number of truth items:
 *   recall@K     sum h / T                        precision@K  sum h / K           hit@K  1 when any h
 *   ndcg@K       sum h(r) / log2(r + 1) over r <= K, divided by sum_{r=1}^{min(K,T)} 1 / log2(r + 1)
 *   mrr@K        1 / rank of the first hit        map@K        sum h(r) * precision@r / min(K, T)
 * Ties: score descending, item id ascending.
 */
#ifndef IDREC_CORE_EVALUATE_H
#define IDREC_CORE_EVALUATE_H

#include "core/backend.h"
#include "core/interactions.h"

enum metric {
    METRIC_RECALL,
    METRIC_NDCG,
    METRIC_PRECISION,
    METRIC_HIT,
    METRIC_MRR,
    METRIC_MAP,
    METRIC_COUNT
};
const char *metric_name(enum metric metric);
/* METRIC_COUNT when unknown. */
enum metric metric_from_name(const char *name);

/* Something that scores users against all items. */
struct scorer {
    void *context;
    int64_t items;
    /* Ranks that all score alike and rank the same users: each ranks a part of them, and all get all lists. NULL: the
     * caller ranks alone. Borrowed. */
    struct communicator *ranks;
    /* An item with -infinity is never listed. Fills scores [count rows used of scores->shape[0], items] on the backend. `count` <=
     * scores->shape[0]. */
    bool (*score)(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error);
};

/* Top-K lists of the users given, best first: items i32 [users, k] (-1: none left), scores f32 [users, k]. They do not
 * depend on the number of ranks.
 * Signals wait until the lists are done: the training that is judged by them has its state to save. */
struct top_k {
    int64_t users, k;
    int32_t *user; /* [users] */
    int32_t *items;
    float *scores;
    int64_t ties; /* users whose k-th and (k+1)-th scores are equal */
};
bool top_k_rank(struct top_k *top, struct backend *backend, const struct scorer *scorer, const int32_t *users,
                int64_t user_count, int64_t k, const struct csr *mask /* rows ascend */, struct error *error);
void top_k_free(struct top_k *top);

/* Metrics at each k, and, when per_user is not NULL, of each user: per_user[(m * k_count + j) * users + u],
 * NaN for a user without truth items. Every k is at most top->k. */
struct evaluation {
    int64_t users_tested;
    int k_count;
    int64_t k[8];
    double value[METRIC_COUNT][8];
};
void evaluate_top_k(struct evaluation *result, const struct top_k *top, const struct csr *truth,
                    const int64_t *k, int k_count, double *per_user);

/* The users with at least one truth item, ascending; malloc'ed. */
bool users_with_truth(int32_t **users, int64_t *count, const struct csr *truth, struct error *error);

#endif
