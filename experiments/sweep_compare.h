/*
 * sweep_compare.h: the comparisons of a study. In every trial the augmented arm is held against the original one and the
 * controls, as the trial's own results.json has it, and against the augmented arm of the reference trial
 * (experiment.reference), user by user and seed by seed; so is the original arm, where it is not the very same.
 *
 * Three questions are asked, and the comparisons of a question and a metric are one family of Holm's correction:
 *   "original"   is every trial's augmented arm better than its own original one?
 *   "controls"   is it better than its controls?
 *   "reference"  is it other than the reference's, or the original arm other than the reference's original?
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_COMPARE_H
#define IDREC_EXPERIMENTS_SWEEP_COMPARE_H

#include "experiments/sweep.h"

enum question { QUESTION_ORIGINAL, QUESTION_CONTROLS, QUESTION_REFERENCE, QUESTION_COUNT };
const char *question_name(enum question question);

/* Adds to the results of a study
 *   "reference": "TRIAL"
 *   "comparisons": [{"trial", "recommender", "arm", "against", "against_trial", "metric", "question",
 *                    "family_name": "METRIC, QUESTION", and what comparison.h adds; where the trials have another protocol,
 *                    mask or train part, "rules" tells so}]
 *   "families": [{"name", "question", "metric", "size": comparisons that are counted, "comparisons": all of that name}]
 *   "not_compared": [{"trial", "recommender", "reason", "failed"}]: what cannot be held against the reference; "failed" is
 *                    true, and else not there, where files of the trial are missing or damaged, "recommender" "" where all are
 *                    concerned
 * `trial_results` [trial_count]: results.json of every trial; NULL: the trial is not done. */
bool sweep_compare(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                   struct error *error);

#endif
