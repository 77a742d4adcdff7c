/*
 * sweep_results.h: what a study ends with: results.json, and what sweep_report.h makes of it, in its folder. results.json holds
 * nothing that depends on who did which trial when.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_RESULTS_H
#define IDREC_EXPERIMENTS_SWEEP_RESULTS_H

#include <stdio.h>
#include <time.h>

#include "experiments/sweep.h"

/* config.yaml of the study. Waits for other processes that write into the study's folder, as the next does. */
bool sweep_config_write(const struct sweep *sweep, struct error *error);
/* results.json: {"study", "trials": [{"trial", "folder", "settings", "state", "recommenders": [{"recommender", "arm", "seeds",
 * "validation": {METRIC: mean over the seeds}, "test": {...}, "test_deviation": {...}}]}],
 * and what sweep_compare.h adds}, and the report. A failed trial has a "reason" and no recommenders, as has one whose own
 * results.json cannot be read. Nothing is done where another worker has written them since every trial ended and this process
 * began: at `since`, by the clock of the folder's server. */
bool sweep_results_write(const struct sweep *sweep, const struct timespec *since, struct error *error);
/* cost.json: {"trials", "wall_seconds", "rows": [{"stage", "seconds", "tokens", "flops", "trials"}]}, sums over the trials'
 * cost.json (cost.h) of what each spent itself. Without joules: trials at a time have the same counters. */
bool sweep_cost_write(const struct sweep *sweep, struct error *error);
/* The table of the report, from results.json. */
bool sweep_results_print(const struct sweep *sweep, FILE *stream, struct error *error);
/* Whether the results that were written have all of the trials that are done; what is missing of them, or damaged, is told, and
 * what to do. */
bool sweep_results_check(const struct sweep *sweep, struct error *error);

#endif
