/*
 * cost.h: what a run has cost, over all processes that have worked on it: a row for each stage and for what lies between
 * them, which add up to the wall clock. The figures are kept in manifest.json ("cost" of a stage's record, and "clock"), and
 * written out as cost.json when a process that worked on a stage ends.
 *
 * Rows: the stages in their order, then, where there is any of it,
 *   waiting   for another trial of the study, which computed a stage that both need
 *   replaced  stages for settings or data that are no longer those of the run
 *   other     start and end of processes, checks, hashing of inputs, start of the device
 * A stage that was taken from another trial is marked "reused": its time is that of the trial that computed it, and is no
 * part of the wall clock. Of one that another trial began, "elsewhere" is what that one spent on it.
 */
#ifndef IDREC_EXPERIMENTS_COST_H
#define IDREC_EXPERIMENTS_COST_H

#include "experiments/meter.h"
#include "experiments/run.h"

/* From here on the time of this process counts. What a process that was killed in this folder has spent is added. `started`:
 * clock_seconds() when the process turned to the run. */
bool cost_open(struct run *run, double started, struct error *error);
/* Writes manifest.json and cost.json when a stage was worked on. */
void cost_close(struct run *run);

/* A stage's work begins; ends, done or not: adds to its record, and returns the seconds of this attempt. The caller saves
 * the manifest. */
void cost_begin(struct run *run, const char *stage);
double cost_end(struct run *run, json_t *record, const char *stage, struct stage_cost done);
/* Brings the manifest's clock up to date; before the manifest is saved. */
void cost_settle(const struct run *run);
/* The record of a stage is about to be replaced by another. */
void cost_replace(const struct run *run, const char *stage);
/* The record is that of a stage which another trial began: what it has cost by now is no time of this folder. */
void cost_take_over(json_t *record);
/* Since the meter read `from` the process has waited for another. */
void cost_waited(const struct run *run, struct spent from);

/* What this folder's processes spent of a row; NULL: nothing. */
struct spent cost_own_part(const json_t *row);
/* {"wall_seconds", "energy_joules", "energy_source", "processes", "killed", "rows": [{"stage", "seconds", ...}]}, as it is now; a
 * new reference, NULL without memory. The stage under way has a row with "under_way": true. */
json_t *cost_json(const struct run *run);

#endif
