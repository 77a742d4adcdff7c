/*
 * groups.h: users or items divided into groups, and how well a ranking serves each group.
 *
 * Lists are rows of a CSR matrix [users, items], best first; the first k items of a row count. Users are tested who
 * have truth items; the rows of `truth` ascend. Formulas and sources: docs/metrics.md.
 */
#ifndef IDREC_CORE_GROUPS_H
#define IDREC_CORE_GROUPS_H

#include "core/interactions.h"

enum { GROUPS_MAXIMUM = 64, GROUP_NAME_SIZE = 64 };

struct groups {
    int64_t members;
    int32_t *of; /* [members]: the member's group, -1: in none; NULL: all are in group 0 */
    int count;
    char name[GROUPS_MAXIMUM][GROUP_NAME_SIZE];
};
int32_t group_of(const struct groups *groups, int64_t member);
void groups_free(struct groups *groups);
int64_t groups_size(const struct groups *groups, int group);

/* Users by the number of their train rows, in at most `wanted` groups with about as many of the users given, shortest
 * first. Boundary b of G is the smallest length that at least b / G of those users do not exceed; users of one length stay
 * together, so that there are fewer groups where many have the same. Everyone is in a group, by his length. */
bool groups_by_history(struct groups *groups, const struct csr *train, const int32_t *users,
                       int64_t user_count, int wanted, struct error *error);
/* order [items]: the most popular first, of equals the lower number. */
bool order_by_popularity(int32_t *order, const int64_t *popularity /* [items] */, int64_t items,
                         struct error *error);
/* Items in `wanted` groups of equal size, the most popular first; items of equal popularity by number. */
bool groups_by_popularity(struct groups *groups, const int64_t *popularity /* [items] */, int64_t items,
                          int wanted, struct error *error);

struct group_metrics {
    int64_t users;       /* that the means are over */
    double recall, ndcg; /* at k; NaN without users */
};
/* Means over the tested users of each group; metrics [groups->count]. */
void user_group_metrics(struct group_metrics *metrics, const struct csr *lists, const struct csr *truth,
                        int64_t k, const struct groups *users);
/* With nothing but the truth items of the group counted, means over the users who have any; metrics [groups->count]. */
void item_group_metrics(struct group_metrics *metrics, const struct csr *lists, const struct csr *truth,
                        int64_t k, const struct groups *items);

/* The lowest of several groups' values, NaN being none, and how far the highest lies above it. */
struct group_spread {
    int worst; /* -1: all are NaN */
    double lowest, gap;
};
struct group_spread group_spread(const double *values, int count);

#endif
