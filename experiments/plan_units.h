/*
 * plan_units.h: figures of a plan for people and for programs.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_UNITS_H
#define IDREC_EXPERIMENTS_PLAN_UNITS_H

#include "experiments/plan.h"

/* "3.1 GB": powers of 1000, three figures. */
const char *plan_bytes_text(char text[32], double bytes);
/* "41 min" */
const char *plan_seconds_text(char text[32], double seconds);
/* Whether a range is more than what rounding hides. */
bool plan_is_wide(struct plan_range range);
/* "27 s", "5 min to 22 min" */
const char *plan_range_text(char text[72], struct plan_range range);
/* [low, high]; a new reference. */
json_t *plan_range_json(struct plan_range range);

#endif
