/*
 * language_rankings.h: what the recommender `language_model`, and the arms control.generator and control.fusion, are given:
 * rankings by the finished language model of the run.
 *
 * A ranking follows what a user has in train, in the order that prompts have. Where they are in order of time
 * (prompts.shuffle: false), users are tested after train and validation, as sequential models are: a second ranking follows
 * these. Each is a file recommenders/LABEL/after-PART.h5 as generated.h describes, made in parts, so a killed run goes on.
 */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_RANKINGS_H
#define IDREC_EXPERIMENTS_LANGUAGE_RANKINGS_H

#include <jansson.h>

#include "experiments/study.h"

struct language_rankings {
    int count;
    struct given_ranking given[RANKINGS_MAXIMUM];
    struct ranked_lists lists[RANKINGS_MAXIMUM]; /* what `given` points to */
};

/* Makes those of every recommender that is given some, and of study->generator, or loads them where they are made. */
bool language_rankings_make(struct study *study, struct error *error);
void language_rankings_free(struct language_rankings *rankings);
/* Adds the files to what belongs to the experiment; see fit_folders.h. */
bool language_rankings_plan(json_t *planned, const struct study *study, struct error *error);

/* Whether the experiment has such a recommender, or an arm that is a ranking, and so a language model. */
bool language_rankings_wanted(const struct config *config);

#endif
