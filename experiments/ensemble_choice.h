/*
 * ensemble_choice.h: which lists of an ensemble are fused: forward selection on validation, without repeats (Caruana,
 * Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004).
 */
#ifndef IDREC_EXPERIMENTS_ENSEMBLE_CHOICE_H
#define IDREC_EXPERIMENTS_ENSEMBLE_CHOICE_H

#include "experiments/fusion.h"

/* Sets the weight of each list to 1 or 0: begins with `lists[0]` alone, or, with `from_best`, with the list that is best by
 * itself, and adds the one that makes the fused list best, as long as one makes it better. `score`: of what is chosen. */
bool lists_choose(struct fusion_list *lists, int count, bool from_best, const struct fusion *fusion,
                  const struct fusion_judge *judge, double *score, struct error *error);

#endif
