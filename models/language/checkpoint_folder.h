/*
 * checkpoint_folder.h: folders that are replaced whole. A folder is written as FOLDER.new, its DONE last,
 * then the older one is moved to FOLDER.old and the new one to FOLDER; after a kill at any moment
 * checkpoint_complete() finds one of the two complete and puts it in place. Only checkpoint*.c includes this.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_FOLDER_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_FOLDER_H

#include "models/language/checkpoint.h"

/* An empty FOLDER.new; *path is malloc'ed. */
bool checkpoint_folder_begin(char **path, const char *folder, struct error *error);
/* Writes DONE into FOLDER.new and swaps it in. */
bool checkpoint_folder_commit(const char *folder, struct error *error);

#endif
