/*
 * comparison.h: one comparison of two arms on one metric, from the values of every seed and user. The arms may belong to one
 * run (comparisons.h), to two trials of a study, or to two runs.
 *
 *   mean, against_mean  over seeds and users, test part
 *   relative_gain       mean / against_mean - 1; ci95 is its interval, from the crossed bootstrap of
 *                       core/statistics.h
 *   difference          mean - against_mean; difference_ci95 likewise
 *   effect_size         Cohen's d of the users' paired differences, each averaged over the seeds
 *   p                   paired t-test over the seeds' means; p_holm corrects for the family
 *
 * Nothing but the means is stated from a single seed, or where an arm is a copy of the other; `note` says why.
 */
#ifndef IDREC_EXPERIMENTS_COMPARISON_H
#define IDREC_EXPERIMENTS_COMPARISON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* Seed s of one arm is paired with seed s of the other, and each user with himself. */
struct compared {
    const double *values /* [seeds, users] */, *against /* [seeds, users] */;
    int64_t seeds, users;
    bool copied;        /* one is a copy of the other */
    bool deterministic; /* of a recommender that is the same whatever the seed, as long as its rows are */
};

struct comparison_settings {
    int64_t resamples; /* evaluate.resamples */
    uint64_t seed;     /* of the resamples */
};

/* Adds the fields above, `seeds` and, where there is something to say, `note` to `record`; without p_holm. */
bool comparison_add(json_t *record, const struct compared *compared,
                    const struct comparison_settings *settings, struct error *error);

/* Sets p_holm of every record of the array, by Holm's correction; a family is the records whose `key` is the same. */
bool comparisons_correct(json_t *comparisons, const char *key, struct error *error);

#endif
