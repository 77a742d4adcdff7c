/*
 * exposure.h: which items lists show, to whom, and how popular they are.
 *
 * Lists are rows of a CSR matrix [users, items], best first; the first k items of a row count, and users without any are
 * in no mean. The popularity of an item is its number of real train rows. Formulas, directions and sources, and where
 * RecBole and elliot differ: docs/metrics.md.
 */
#ifndef IDREC_CORE_EXPOSURE_H
#define IDREC_CORE_EXPOSURE_H

#include "core/groups.h"

enum exposure_metric {
    EXPOSURE_GINI,       /* of the items' numbers of places, over the whole catalogue */
    EXPOSURE_ENTROPY,    /* of the items' shares of places, in bits */
    EXPOSURE_COVERAGE,   /* share of the catalogue on any list */
    EXPOSURE_POPULARITY, /* ARP: mean over users of the mean popularity of the list */
    EXPOSURE_LIFT,       /* ARP over the same mean of the users' train items, minus 1 */
    EXPOSURE_NOVELTY,    /* mean over users of the mean of log2(users / popularity), popularity at least 1 */
    EXPOSURE_TAIL_SHARE, /* APLT: mean over users of the share of long-tail items */
    EXPOSURE_TAIL_COUNT, /* ACLT: mean over users of their number */
    EXPOSURE_TAIL_COVERAGE, /* share of the long-tail items on any list */
    EXPOSURE_OPPORTUNITY,   /* PopREO: deviation over mean of the recall of head and tail */
    EXPOSURE_PARITY,        /* PopRSP: the same of the share of candidates shown */
    EXPOSURE_COUNT
};
const char *exposure_name(enum exposure_metric metric); /* "gini", "entropy", ..., "pop_rsp" */

/* Inequality of n numbers that are not negative: 0 all alike, 1 - 1/n one has everything, NaN where all are 0. Sorts. */
double gini_index(int64_t *counts, int64_t n);
double entropy_bits(const int64_t *counts, int64_t n);
/* Standard deviation (divided by 2) over mean of two shares; NaN where a denominator or the mean is 0. */
double disparity(const int64_t numerators[2], const int64_t denominators[2]);

/* popularity [items] of the rows of train. */
void item_popularity(int64_t *popularity, const struct csr *train);
/* tail [items]: false for the most popular items (of equals the lower number first) that have together at least
 * `head_share` of all rows, true for the others. */
bool long_tail(bool *tail, const int64_t *popularity, int64_t items, double head_share, struct error *error);

/* What lists are held against. */
struct exposure_context {
    const struct csr *train;   /* the users' profiles; rows ascend */
    const struct csr *hidden;  /* what cannot be on a list; rows ascend */
    const struct csr *truth;   /* held-out items; rows ascend. NULL: no PopREO */
    const int64_t *popularity; /* [items] */
    const bool *tail;          /* [items] */
};
/* Values that are not defined are NaN. */
bool exposure_measure(double values[EXPOSURE_COUNT], const struct csr *lists, int64_t k,
                      const struct exposure_context *context, struct error *error);

/* Popularity lift of the users of each group; lifts [users->count]. */
void popularity_lifts(double *lifts, const struct csr *lists, int64_t k,
                      const struct exposure_context *context, const struct groups *users);
/* Share of all places that each group of items has; shares [items->count], NaN without places. */
void exposure_shares(double *shares, const struct csr *lists, int64_t k, const struct groups *items);

#endif
