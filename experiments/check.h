/* check.h: what a configuration must satisfy beyond the ranges of its single values. */
#ifndef IDREC_EXPERIMENTS_CHECK_H
#define IDREC_EXPERIMENTS_CHECK_H

#include "core/config.h"

/* Refuses, at the line to change, settings that do not fit together or that this version cannot do. */
bool check_config(const struct config *config, struct error *error);
/* Refuses cuts of the ranking above the number of items. */
bool check_cuts(const struct config *config, int64_t items, struct error *error);

#endif
