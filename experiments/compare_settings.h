/* compare_settings.h: in what the configurations of several runs differ. */
#ifndef IDREC_EXPERIMENTS_COMPARE_SETTINGS_H
#define IDREC_EXPERIMENTS_COMPARE_SETTINGS_H

#include <jansson.h>

#include "core/config.h"

/* *differences becomes [{"key": "finetune.rank", "values": ["4", "8"]}]: the values as YAML, null where a configuration has no
 * such key. An entry that some lists have and others have not ("recommenders[1]") stands as one key, its value is what it is
 * called. Names and folders of the runs are left out. */
bool compare_settings(json_t **differences, const struct config *const *configs, int count,
                      struct error *error);

#endif
