/*
 * sweep_reference.h: the trials of a study held against its reference trial, user by user and seed by seed.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_REFERENCE_H
#define IDREC_EXPERIMENTS_SWEEP_REFERENCE_H

#include <jansson.h>

#include "experiments/sweep.h"

/* Appends to "comparisons" of the results, without questions and families, and to "not_compared" (sweep_compare.h).
 * `trial_results` [trial_count]: NULL: the trial is not done. A trial whose files cannot be read is listed there, and is no
 * error. */
bool sweep_compare_with_reference(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                                  struct error *error);

#endif
