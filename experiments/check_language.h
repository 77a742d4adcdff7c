/* check_language.h: what the sections of the language model and its prompts ask for together. */
#ifndef IDREC_EXPERIMENTS_CHECK_LANGUAGE_H
#define IDREC_EXPERIMENTS_CHECK_LANGUAGE_H

#include "core/config.h"

/* ERROR_USAGE with file and line where settings contradict each other or lack another one. */
bool check_language(const struct config *config, struct error *error);
/* The same where the files that a run reads besides its data are not there. A plan can do without. */
bool check_language_files(const struct config *config, struct error *error);

#endif
