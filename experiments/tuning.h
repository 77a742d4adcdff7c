/*
 * tuning.h: what a search found, in tune/LABEL/ARM/ of the run's folder:
 *   trials.tsv   trial, rung, epochs, score, seconds and every setting drawn, best first
 *   best.yaml    `recommenders:` with the best settings, for `extends:` or to be copied
 *   tuning.json  what training, results.json and the report read
 * and its use in training.
 */
#ifndef IDREC_EXPERIMENTS_TUNING_H
#define IDREC_EXPERIMENTS_TUNING_H

#include <jansson.h>

#include "experiments/search.h"

/* Writes the three. A search in which every trial failed is an error. */
bool tuning_save(const struct search *search, const struct tune_settings *settings, struct error *error);
/* For an arm that trains on nothing but the original rows: what was found for original is found for it too. */
bool tuning_share(const struct study *study, int contestant, enum arm arm, struct error *error);

/* The best score so far against the seconds of the trainings until then, had one worker done them one after the other in the
 * order of halving.h: [{"seconds", "trial", "score"}] at each that was better than all before, the configuration as written
 * first. A new array; NULL: an error. */
json_t *tuning_curve(const struct search *search, struct error *error);

/* LABEL/ARM/NAME below tune/; malloc'ed. */
char *tuning_path(const struct study *study, int contestant, enum arm arm, const char *name);
/* tuning.json; a new reference. */
bool tuning_load(json_t **record, const struct study *study, int contestant, enum arm arm,
                 struct error *error);

/* All arms that train on rows do so with what was found for original. */
bool tuning_use_original(struct study *study, int contestant, struct error *error);
/* Every arm trains with what was found for it; one that was not tuned, with what was found for original. Recommenders of
 * which nothing was searched stay as written. */
bool tuning_use(struct study *study, const struct tune_settings *settings, struct error *error);
/* tuning.json of all recommenders and arms tuned; a new array. */
bool tuning_json(json_t **list, const struct study *study, const struct tune_settings *settings,
                 struct error *error);
/* tuning_print.c: the best ten trials of each search, and how far the configuration as written is behind. */
bool tuning_print(const struct run *run, FILE *stream, struct error *error);

#endif
