/*
 * fused_rankings.h: what the arm control.fusion lists: the language model's ranking fused with that of the recommender, as it
 * was fitted in the original arm with the same seed. The language model's weight is the one of experiment.fusion.weights
 * whose lists are best on validation, by the metric of every choice (of equals the first); test is not read. What is hidden
 * from a user is left out of both rankings before ranks are counted.
 */
#ifndef IDREC_EXPERIMENTS_FUSED_RANKINGS_H
#define IDREC_EXPERIMENTS_FUSED_RANKINGS_H

#include <jansson.h>

#include "experiments/fusion.h"
#include "experiments/study.h"

struct fused_rankings {
    struct fused_lists validation, test; /* of validation's users; of all */
    int count;                           /* 1 where validation is empty: then there is only the second */
    struct given_ranking given[RANKINGS_MAXIMUM]; /* what follows train; what follows train and validation */
    json_t *choice; /* {"weight", "validation": [{"weight", "score"}, ...]}; no list without validation */
};

/* Needs the rankings of the language model and model.h5 of the original arm. */
bool fused_rankings_make(struct fused_rankings *rankings, const struct study *study, int contestant,
                         uint64_t seed, struct backend *backend, struct error *error);
void fused_rankings_free(struct fused_rankings *rankings);

#endif
