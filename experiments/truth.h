/*
 * truth.h: for artificial data, whose file has a PATH.truth.h5 beside it: how many synthetic rows the users
 * truly prefer.
 */
#ifndef IDREC_EXPERIMENTS_TRUTH_H
#define IDREC_EXPERIMENTS_TRUTH_H

#include "experiments/study.h"

/* [{"recommender", "choice", "rows", "preferred": share, "control_random": share, "control_popularity":
 * share}]; NULL where the data set has no known truth. New reference. */
bool truth_json(json_t **record, const struct study *study, const json_t *selections, struct error *error);

/* What the users truly prefer, in the numbers of dataset.h5; rows ascend. preferred->starts stays NULL where there is no
 * known truth. */
bool truth_load(struct csr *preferred, const struct study *study, struct error *error);

/* PATH.truth.h5, malloc'ed; NULL where there is none. */
char *truth_path(const struct config *config);

#endif
