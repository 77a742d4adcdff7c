/*
 * reproduction.h: a recipe run and compared: the experiment is run as by `idrec run`, the figures of its arm `original`
 * are held against the published ones, and RUN/reproduction.json says how they compare.
 */
#ifndef IDREC_EXPERIMENTS_REPRODUCTION_H
#define IDREC_EXPERIMENTS_REPRODUCTION_H

#include <jansson.h>

#include "experiments/document.h"
#include "experiments/recipe.h"

/* Checks a recipe without running it: its configuration, its section `recipe`; *folder (malloc'ed) is where it runs. */
bool reproduction_check(char **folder, const char *file, int override_count, char *const *overrides,
                        struct error *error);
/* Whether a configuration has figures to compare with. */
bool reproduction_has_figures(bool *has_figures, const char *file, struct error *error);
/* Runs what is not done yet, compares and writes reproduction.json, which *record is:
 *   {"recipe": file, "run": folder, "recommender", "protocol", "published_protocol", "source", "overrides": [...],
 *    "seeds", "device", "seconds", "minutes_expected", "machine", "reached": true,
 *    "figures": [{"metric", "published", "tolerance", "reached", "difference": relative, "state"}]} */
bool reproduction_run(json_t **record, const char *file, int override_count, char *const *overrides,
                      struct error *error);
/* The table of an array of records, and below it what was published how and what was overridden. */
void reproduction_print(const json_t *records, const struct document *document);
/* Figures of an array of records that were missed. */
int reproduction_missed(const json_t *records);

/* What recipes there are: an array of records as above, of a file or of every *.yaml of a folder that has a section
 * `recipe`, with "measured" (null: not measured) instead of "reached" and without what a run adds. Adds to `records`. */
bool recipes_list(json_t *records, const char *path, struct error *error);
void recipes_print(const json_t *records, const struct document *document);

#endif
