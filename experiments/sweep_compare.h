/*
 * sweep_compare.h: the comparisons of a study. In every trial the augmented arm is held against the original one and the
 * controls, as the trial's own results.json has it, and against the augmented arm of the reference trial
 * (experiment.reference), user by user and seed by seed; so is the original arm, where it is not the very same. All
 * comparisons of a metric in the study are one family of Holm's correction.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_COMPARE_H
#define IDREC_EXPERIMENTS_SWEEP_COMPARE_H

#include "experiments/sweep.h"

/* Adds to the results of a study
 *   "reference": "TRIAL"
 *   "comparisons": [{"trial", "recommender", "arm", "against", "against_trial", "metric", and what comparison.h adds}]
 *   "not_compared": [{"trial", "recommender", "reason"}]: what cannot be held against the reference
 * `trial_results` [trial_count]: results.json of every trial; NULL: the trial is not done. */
bool sweep_compare(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                   struct error *error);

#endif
