/*
 * shared_folder.h: what the folder holds that the trials of a study have in common (shared_stages.h), and what of it no trial
 * uses any more: entries of which no file is a trial's as well.
 */
#ifndef IDREC_EXPERIMENTS_SHARED_FOLDER_H
#define IDREC_EXPERIMENTS_SHARED_FOLDER_H

#include <stdint.h>

#include "core/error.h"

struct shared_amount {
    int64_t entries, bytes;
};

/* A missing folder holds nothing. Where the file system has no hard links, nothing is `unused`: it cannot be told. */
bool shared_folder_measure(struct shared_amount *all, struct shared_amount *unused, const char *folder,
                           struct error *error);
/* Removes what is unused, unless another process is about to; no worker may be in need of it. */
bool shared_folder_tidy(struct shared_amount *removed, const char *folder, struct error *error);

#endif
