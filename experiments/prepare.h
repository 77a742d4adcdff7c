/*
 * prepare.h: the data set of a configuration, in memory.
 */
#ifndef IDREC_EXPERIMENTS_PREPARE_H
#define IDREC_EXPERIMENTS_PREPARE_H

#include "core/interactions.h"
#include "experiments/run.h"

/* Reads the input, filters, splits and checks it, as `idrec prepare` does. */
bool prepare_dataset(struct dataset *dataset, const struct run *run, struct error *error);

#endif
