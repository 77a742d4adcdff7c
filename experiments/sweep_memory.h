/*
 * sweep_memory.h: how many trials of a study fit into the memory together. A trial is taken to need what its plan says (plan.h),
 * or as much as the largest one so far, whichever is more.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_MEMORY_H
#define IDREC_EXPERIMENTS_SWEEP_MEMORY_H

#include "experiments/sweep.h"

struct sweep_memory;

/* `bytes`: that all trials may take together; 0: what is free now. threads: of each trial on the CPU, for which it is planned; 0:
 * trials are not planned, as on a GPU whose memory is another. */
bool sweep_memory_open(struct sweep_memory **memory, const struct sweep *sweep, int64_t bytes, int threads,
                       struct error *error);
void sweep_memory_close(struct sweep_memory *memory);

/* What a process of a trial took at its peak. */
void sweep_memory_learn(struct sweep_memory *memory, int64_t peak);
/* Whether a trial fits beside those that run, [count] numbers of trials. One alone always does. Where nothing is known, no
 * other runs beside one until it, or its shared stages, have ended. */
bool sweep_memory_fits(struct sweep_memory *memory, int trial, const int *running, int count);

#endif
