/* summary.h: the end of a run on a terminal: the arms' mean metrics and where the report is. */
#ifndef IDREC_EXPERIMENTS_SUMMARY_H
#define IDREC_EXPERIMENTS_SUMMARY_H

#include <stdio.h>

#include "experiments/run.h"

/* Reads the run's results.json. */
bool summary_print(const struct run *run, FILE *stream, struct error *error);

#endif
