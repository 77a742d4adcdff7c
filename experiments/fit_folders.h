/*
 * fit_folders.h: which folders below recommenders/, or another folder of fits, belong to the experiment as it is planned
 * now. Those of arms, seeds and recommenders that are not planned any more go; the others are kept with what is done in
 * them.
 */
#ifndef IDREC_EXPERIMENTS_FIT_FOLDERS_H
#define IDREC_EXPERIMENTS_FIT_FOLDERS_H

#include <jansson.h>

#include "experiments/run.h"

/* Adds LABEL/ARM/seed-N to `planned`, a JSON object that begins empty. */
bool fit_folders_plan(json_t *planned, const char *label, const char *arm, uint64_t seed,
                      struct error *error);
/* Adds a file or folder of the folder of a recommender. */
bool fit_folders_plan_file(json_t *planned, const char *label, const char *name, struct error *error);
/* Removes what is below `folder` of the run, and neither planned nor below something planned. Recommenders that go are
 * told before. */
bool fit_folders_remove_others(const json_t *planned, const struct run *run, const char *folder,
                               struct error *error);

#endif
