/*
 * train.h: the part of the stage `train` that tuning needs as well.
 */
#ifndef IDREC_EXPERIMENTS_TRAIN_H
#define IDREC_EXPERIMENTS_TRAIN_H

#include "experiments/selection.h"

/* The choice for each recommender, selections [contestants]: fits the candidates where they are chosen on validation, and
 * of a study with candidates_only nothing else. */
bool train_candidates(struct selection *selections, const struct study *study, struct error *error);

#endif
