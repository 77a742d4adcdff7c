/* filter.h: which rows of the input stay: the rating threshold, one row a pair, a sample of users, the k-core. */
#ifndef IDREC_CORE_FILTER_H
#define IDREC_CORE_FILTER_H

#include "core/interactions.h"

struct filter_settings {
    double min_rating; /* rows rated lower are dropped; 0: no threshold */
    int64_t users;     /* most users, drawn at random with `seed` among those with a row left; 0: all */
    int64_t k_core;    /* every user and item keeps at least as many rows; 0 or 1: off */
    uint64_t seed;
};

/* Drops rows in place, in this order: rating, duplicates (the first in time of a user and item stays; with
 * `parts`, the one of the lowest part), users not drawn, k-core to its fixed point. Ids without a row left are removed, the
 * others keep their order. parts [count] (NULL: none) goes along. An error when nothing is left. */
bool interactions_filter(struct interactions *interactions, uint8_t *parts, struct filter_settings settings,
                         struct preparation_counts *counts, struct error *error);

#endif
