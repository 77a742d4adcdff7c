/*
 * tune_settings.h: the section `tune:` of the configuration.
 */
#ifndef IDREC_EXPERIMENTS_TUNE_SETTINGS_H
#define IDREC_EXPERIMENTS_TUNE_SETTINGS_H

#include "experiments/halving.h"
#include "experiments/search_space.h"
#include "experiments/study.h"

struct tune_settings {
    bool use, halving;
    int trials, reduction;
    int64_t first_epochs;
    int arm_count; /* without repeats, original first */
    enum arm arms[ARM_COUNT];
    struct search_space space; /* of all recommenders */
};

/* Reads and checks them; `study` has its settings, and outlives the result. */
bool tune_settings_read(struct tune_settings *settings, const struct study *study, struct error *error);
/* What of the space is searched for one recommender; without a dimension it is not tuned. */
struct search_space tune_space(const struct tune_settings *settings, const struct study *study,
                               int contestant);
bool tune_has_arm(const struct tune_settings *settings, enum arm arm);

/* Fills pauses [returned number of rungs]: the epoch at which each rung ends; 0: not before the fit does, which is the last.
 * Random search, and a model that is fitted at once, have that one alone. */
int tune_rungs(int64_t pauses[RUNGS_MAXIMUM], const struct tune_settings *settings,
               const struct recommender_settings *recommender);

#endif
