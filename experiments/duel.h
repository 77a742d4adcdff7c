/*
 * duel.h: an arm of a recommender held against an arm of it, of the same run, of another trial or of another run: one
 * comparison (comparison.h) for each metric at each cut. Seed s of one is paired with seed s of the other, each user with
 * himself.
 */
#ifndef IDREC_EXPERIMENTS_DUEL_H
#define IDREC_EXPERIMENTS_DUEL_H

#include "experiments/comparisons.h"

struct duel_side {
    const struct study *study;
    int contestant;
    enum arm arm;
    const struct user_values *values;
    int place; /* of the arm in `values` */
    const int64_t
        *users; /* [users]: those of the second side among this one's; NULL: they have the same order */
};

struct duel {
    struct duel_side sides[2]; /* the second is what the first is held against */
    int64_t seeds;             /* of each that are paired: both have so many, or more */
    double *gathered[2];       /* [seeds, users] of one metric, users in the order of the second side */
};

/* Of sides and seeds. Needs duel_close() as well where it fails; the values stay the caller's. */
bool duel_open(struct duel *duel, struct error *error);
void duel_close(struct duel *duel);

/* Whether every user has the same values at every seed in both, by all metrics of the second side; the first has them too. */
bool duel_is_same(struct duel *duel);
/* Adds "recommender", "arm", "against", "metric" and what comparison.h says, without the family, to `record`. Both sides have
 * the metric. Draws are those of the second side's configuration. */
bool duel_compare(json_t *record, struct duel *duel, const char *metric, struct error *error);

#endif
