/* interrupt.h: SIGINT, SIGTERM and SIGUSR1 (mpirun hands it on) end a run at the next safe point, with its state saved. */
#ifndef IDREC_CORE_INTERRUPT_H
#define IDREC_CORE_INTERRUPT_H

#include "core/error.h"

/* The handlers. A second signal ends the process at once. A file beyond the limit of its size is an error, not a signal. */
void interrupt_install(void);

/* As if a signal had arrived here: it has arrived at another rank. */
void interrupt_request(void);

/* True once a signal has arrived. Long loops ask at each safe point (a batch, an epoch). */
bool interrupt_requested(void);

/* Sets ERROR_INTERRUPTED and returns false when a signal has arrived, otherwise returns true. */
bool interrupt_check(struct error *error);

#endif
