/*
 * compared_run.h: one of the runs that are compared: its folder, opened to be read and no more, and how its data are those of
 * the first run, which may be itself.
 */
#ifndef IDREC_EXPERIMENTS_COMPARED_RUN_H
#define IDREC_EXPERIMENTS_COMPARED_RUN_H

#include <jansson.h>

#include "experiments/name_index.h"
#include "experiments/same_data.h"

struct compared_run {
    struct run run;
    struct study study;
    struct name_index items;
    struct same_data same;
};

/* A run whose training is not done, that was tested otherwise than `first`, or that has not the arm or the metric that are asked
 * for (NULL: none is) is an error that tells what there is. Needs compared_run_close() as well where it fails; `member` is
 * zero before. */
bool compared_run_open(struct compared_run *member, const struct compared_run *first, const char *folder,
                       const char *arm, const char *metric, struct error *error);
void compared_run_close(struct compared_run *member);

/* The entry of "runs" (compare.h), with what a reader has to know of the pairing with the first run. */
bool compared_run_json(json_t **record, const struct compared_run *member, const struct compared_run *first,
                       struct error *error);

#endif
