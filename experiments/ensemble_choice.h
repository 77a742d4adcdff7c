/*
 * ensemble_choice.h: which lists of an ensemble are fused: forward selection on validation, without repeats (Caruana,
 * Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004).
 */
#ifndef IDREC_EXPERIMENTS_ENSEMBLE_CHOICE_H
#define IDREC_EXPERIMENTS_ENSEMBLE_CHOICE_H

#include "core/evaluate.h"
#include "experiments/fusion.h"

struct list_judge {
    const struct csr *validation; /* [users, items] */
    const int32_t *users;         /* [user_count] those with a validation row */
    int64_t user_count;
    enum metric metric;
    int64_t cut;
};

/* Sets the weight of each list to 1 or 0: begins with `lists[0]` alone, or, with `from_best`, with the list that is best by itself,
 * and adds the one that makes the fused list best, as long as one makes it better. As they are used, fused lists end at the
 * fusion's depth. `score`: of what is chosen. */
bool lists_choose(struct fusion_list *lists, int count, bool from_best, const struct fusion *fusion,
                  const struct list_judge *judge, double *score, struct error *error);

/* The first `cut` items of the lists of `users`; -1 where a list is shorter. */
bool lists_top(struct top_k *top, const struct csr *lists, const int32_t *users, int64_t user_count,
               int64_t cut, struct error *error);

#endif
