/*
 * filters.h: which generated interactions may become training rows. Every filter is a pass over the
 * candidates that are still accepted, in the order of the config's list; a candidate keeps the first filter
 * that refused it.
 */
#ifndef IDREC_EXPERIMENTS_FILTERS_H
#define IDREC_EXPERIMENTS_FILTERS_H

#include "core/interactions.h"

enum filter_kind {
    FILTER_CATALOGUE, /* user and item are ids of the data set */
    FILTER_SEEN,      /* the pair is a real training row */
    FILTER_DUPLICATE, /* the pair was generated again: the most probable row stays */
    FILTER_INCOMPLETE_TAIL, /* the limit on tokens ended the text with the item, which may be the beginning of another */
    FILTER_CONFIDENCE,       /* log-probability or votes below the minimum */
    FILTER_CAP_USER,         /* beyond the user's best `maximum` rows */
    FILTER_CAP_ITEM,         /* beyond the item's best `maximum` rows */
    FILTER_HISTORY_QUANTILE, /* the user's history is longer than the quantile over all users */
    FILTER_COUNT
};
const char *filter_name(enum filter_kind kind);
/* FILTER_COUNT when unknown. */
enum filter_kind filter_from_name(const char *name);

/* An entry of the config's list; a kind uses the values that its comment names. */
struct filter {
    enum filter_kind kind;
    double minimum_log_probability;
    int64_t minimum_votes;
    int64_t maximum;
    double quantile;
};

enum { CANDIDATE_ACCEPTED = -1 };

/* One generated row. */
struct candidate {
    int32_t user, item, position;
    bool cut;      /* the limit on tokens ended the text with it */
    int32_t votes; /* lists of the user that hold the item */
    float log_probability;
    int32_t reason; /* CANDIDATE_ACCEPTED or the enum filter_kind that refused it */
    int32_t rank;   /* among the user's accepted rows, from 1; set by candidates_rank() */
};

/* Sets every candidate's reason. `train` has ascending rows; the list must begin with the catalogue, or hold
 * rows that are in range. */
bool filters_apply(struct candidate *candidates, int64_t count, const struct filter *filters,
                   int filter_count, const struct csr *train, struct error *error);

/* Sorts the candidates: accepted ones first, by user and then best first, which gives their ranks; then the
 * refused ones. Best: votes descending (with by_votes), log-probability descending, item ascending. */
void candidates_rank(struct candidate *candidates, int64_t count, bool by_votes);

#endif
