/*
 * train.h: the part of the stage `train` that tuning needs as well.
 */
#ifndef IDREC_EXPERIMENTS_TRAIN_H
#define IDREC_EXPERIMENTS_TRAIN_H

#include "experiments/selection.h"

/* The choice for each recommender, selections [contestants]: fits the candidates where they are chosen on validation, and
 * of a study with candidates_only nothing else. */
bool train_candidates(struct selection *selections, const struct study *study, struct error *error);

/* A fit that the stage does; copies are none. */
struct expected_fit {
    int contestant;
    enum arm arm;
    int choice; /* on trial, an index of study->choices; -1: none is */
    uint64_t seed;
    bool certain; /* false: only where a choice is adopted */
};
/* All of them, for a study with its settings alone; the caller frees the list. */
bool train_expected_fits(struct expected_fit **fits, int64_t *count, const struct study *study,
                         struct error *error);

#endif
