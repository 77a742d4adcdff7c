/*
 * quality.h: how good the generated rows are, before anything is trained on them: of the rows that passed the filters, each
 * user's in the order of rank. docs/metrics.md has the formulas.
 */
#ifndef IDREC_EXPERIMENTS_QUALITY_H
#define IDREC_EXPERIMENTS_QUALITY_H

#include "experiments/study.h"

/* The member `generation_quality` of results.json; the layout is in docs/data-formats.md. NULL for a study without
 * synthetic rows. New reference. */
bool quality_json(json_t **record, const struct study *study, struct error *error);

/* Ranks and votes are told apart in these ranges, numbered from 0: 1, 2, 3, 4, 5, 6 to 10, 11 to 20, 21 to 50, 51 to 100,
 * and above. */
enum { QUALITY_RANGES = 10 };
int quality_range(int64_t number);
int64_t quality_range_start(int range);

#endif
