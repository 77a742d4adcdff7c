/* study_folder.h: what commands that take the folder of a run say of that of a study, or of a trial that failed. */
#ifndef IDREC_EXPERIMENTS_STUDY_FOLDER_H
#define IDREC_EXPERIMENTS_STUDY_FOLDER_H

#include <jansson.h>

#include "core/error.h"

bool folder_is_study(const char *folder);
/* False, with an error that names its trials, for the folder of a study. */
bool folder_check_run(const char *folder, struct error *error);
/* False, with an error that says why, for the folder of a trial that failed in `stage` or before it: what is there may be of
 * another configuration. */
bool folder_check_trial(const char *folder, const char *stage, struct error *error);
/* {"state": "done"} or {"state": "failed", "stage", "reason"} of the folder of a trial; NULL: it is none, or has not ended. */
json_t *folder_trial_json(const char *folder);
/* {"kind": "study", "trials": {NAME: as above, or {"state": "not ended"}}}; NULL: no memory, or the folder cannot be read. */
json_t *folder_study_json(const char *folder);

#endif
