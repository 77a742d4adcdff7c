/* written_settings.h: the settings of a recommender as a bench's arguments have them. */
#ifndef IDREC_BENCH_WRITTEN_SETTINGS_H
#define IDREC_BENCH_WRITTEN_SETTINGS_H

#include "models/recommenders/recommender.h"

/* From `count` values "name=value", as in an entry of `recommenders:`; what is not given has its default. */
bool read_written_settings(struct recommender_settings *settings, int count, char **values,
                           struct error *error);

#endif
