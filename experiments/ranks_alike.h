/*
 * ranks_alike.h: whether the ranks of a job were started alike. A rank with other settings, or one that sees another folder
 * under the run's path, would exchange what does not fit together, or wait for files that never come.
 */
#ifndef IDREC_EXPERIMENTS_RANKS_ALIKE_H
#define IDREC_EXPERIMENTS_RANKS_ALIKE_H

#include "core/comm.h"
#include "core/config.h"

/* All ranks call both. Every setting but `threads` and `device`, which are each rank's own, must be that of rank 0. */
bool ranks_check_settings(struct communicator *communicator, const struct config *config,
                          struct error *error);
/* `folder` must be there at rank 0. The others look for a file that it makes there and removes. */
bool ranks_check_folder(struct communicator *communicator, const char *folder, struct error *error);

#endif
