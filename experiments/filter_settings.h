/* filter_settings.h: augment.filters of the configuration. */
#ifndef IDREC_EXPERIMENTS_FILTER_SETTINGS_H
#define IDREC_EXPERIMENTS_FILTER_SETTINGS_H

#include "core/config.h"
#include "experiments/filters.h"

enum { FILTERS_MAXIMUM = 64 };

/* Refuses a list that does not begin with the catalogue, that lacks a filter without which rows would be no
 * interactions or stand twice, or that holds one that cannot apply. */
bool filter_settings_read(struct filter filters[FILTERS_MAXIMUM], int *count, const struct config *config,
                          struct error *error);

#endif
