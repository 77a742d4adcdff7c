/*
 * comparison.h: one comparison of two arms on one metric, from the values of every seed and user. The arms may belong to one
 * run (comparisons.h), to two trials of a study, or to two runs.
 *
 *   seeds, users        how many of each
 *   mean, against_mean  over seeds and users, test part
 *   relative_gain       mean / against_mean - 1; ci95 is its 95 % interval: all that the crossed bootstrap of
 *                       core/resampling.h or Student's interval over the seeds' differences (in parts of against_mean) holds
 *   difference          mean - against_mean; difference_ci95 likewise
 *   effect_size         Cohen's d of the users' paired differences, each averaged over the seeds; effect_size_ci95 likewise,
 *                       Student's interval in parts of deviation_users
 *   deviation_seeds     standard deviation of the seeds' differences of means
 *   deviation_users     standard deviation of the users' differences, each averaged over the seeds
 *   p_seeds             paired t-test over the seeds' means; null where the arms have no spread over the seeds
 *   p_users             randomisation test over the users' differences, each averaged over the seeds
 *   p                   the larger of both: that there is a difference is claimed for other seeds and for other users, so both
 *                       must say so (an intersection-union test: Berger, 1982)
 *   flips               random signs drawn for p_users; 0: all ways were tried
 *   fingerprint         32 digits that are the same where all values of both arms are: the same fits held against each other
 *   same_results        whether both arms have the same value for every seed and user: there is nothing to test
 *   family, p_holm      the comparisons that are corrected together by Holm's method, and p corrected for them; of those with
 *                       the same fingerprint one is counted, that with the largest p, and all have its p_holm
 *   detectable_difference, detectable_relative_gain
 *                       the smallest that would be found with 80 % chance at 5 % / family, given the deviations: by the t-test
 *                       over the seeds, and over the users, the larger of both
 *
 * Nothing but the means is stated from a single seed or of the same results; `note` says why. Neither counts in a family.
 */
#ifndef IDREC_EXPERIMENTS_COMPARISON_H
#define IDREC_EXPERIMENTS_COMPARISON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "core/error.h"

/* Seed s of one arm is paired with seed s of the other, and each user with himself. */
struct compared {
    const double *values /* [seeds, users] */, *against /* [seeds, users] */;
    int64_t seeds, users;
    bool deterministic; /* of a recommender that is the same whatever the seed, as long as its rows are */
};

struct comparison_settings {
    int64_t resamples, flips; /* evaluate.resamples, evaluate.flips */
    uint64_t seed;            /* of the draws */
};
struct comparison_settings comparison_settings_read(const struct config *config, uint64_t seed);

/* Adds the fields above and, where there is something to say, `note` to `record`; without those that need the family. */
bool comparison_add(json_t *record, const struct compared *compared,
                    const struct comparison_settings *settings, struct error *error);

/* Adds those to every record of the array. A family is the records whose `key` is the same and that have a p, copies of an
 * earlier one left out; its size is `family` of all with that key. */
bool comparisons_correct(json_t *comparisons, const char *key, struct error *error);
/* Takes the correction from a record, to be corrected in another family. */
void comparison_forget_family(json_t *record);
/* How many standard deviations of the seeds' differences the mean difference must be for the first comparison of a family to
 * be significant in the t-test over the seeds; NaN below two seeds. */
double comparison_needed_deviations(int64_t family, int64_t seeds);

#endif
