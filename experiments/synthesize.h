/*
 * synthesize.h: an artificial data set whose preferences are known.
 *
 * Users and items belong to blocks. A vector of `factors` numbers is its block's centre plus a personal part;
 * the affinity of a user and an item is their scaled inner product. A user draws items one after the other,
 * without replacement, with probability in proportion to
 *     popularity(item) * ((1 - noise) * exp(2 affinity) / mean over the items of exp(2 affinity) + noise),
 * where popularity(item) = rank^-skew over a random ranking of the items. A user truly prefers the share of
 * the items with the highest affinity, whether drawn or not: popularity and noise do not enter.
 */
#ifndef IDREC_EXPERIMENTS_SYNTHESIZE_H
#define IDREC_EXPERIMENTS_SYNTHESIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

struct synthesize_settings {
    int64_t users, items;
    double interactions_per_user; /* mean; a user's own number is log-normal, at least 5, at most half the
                                     items */
    int64_t factors, blocks;
    double noise;           /* 0 .. 1: how much of a choice ignores affinity */
    double popularity_skew; /* exponent of the ranks; 0: all items are equally popular */
    double preferred_share; /* of the items, for each user */
    uint64_t seed;
};
struct synthesize_settings synthesize_defaults(void);

/* Writes OUT_PATH, a RecBole file (user_id:token, item_id:token, timestamp:float; a user's draws in order of
 * time), and OUT_PATH.truth.h5: /users/id, /items/id, and /preferred, CSR [users, items]. Settings out of
 * range are ERROR_USAGE. */
bool synthesize(const char *out_path, const struct synthesize_settings *settings, struct error *error);

#endif
