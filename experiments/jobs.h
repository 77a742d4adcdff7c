/*
 * jobs.h: independent pieces of work, several at a time, each on a backend of its own.
 */
#ifndef IDREC_EXPERIMENTS_JOBS_H
#define IDREC_EXPERIMENTS_JOBS_H

#include "core/progress.h"
#include "experiments/run.h"

/* Does piece `index`; called from several threads at once. */
typedef bool (*job_function)(void *context, int64_t index, struct backend *backend, struct error *error);

/* Does pieces 0 .. count - 1, `parallel` at a time (1, or an HDF5 for one thread only: on run->backend, one after
 * the other). On a GPU the backends are streams of one device, whose memory they share; what they take at most
 * counts as taken by run->backend, and what they do as done by it. The first error ends all; pieces under way stop at their next safe point when
 * it was a signal. */
bool jobs_run(const struct run *run, int parallel, int64_t count, job_function work, void *context,
              const char *stage, const char *unit, struct error *error);

/* The same for a stage that is done by ranks: all of them call it with the same pieces, and take them in turns, each with
 * `parallel` of them at a time. What pieces leave in files all ranks see afterwards. */
bool jobs_run_by_ranks(const struct run *run, int parallel, int64_t count, job_function work, void *context,
                       const char *stage, const char *unit, struct error *error);

/* The same, but every piece is done by all ranks together, on run->backend with its fit_ranks, one piece after another. A
 * signal to one ends all between two pieces, and where the work itself sees to it. */
bool jobs_run_together(const struct run *run, int64_t count, job_function work, void *context,
                       const char *stage, const char *unit, struct error *error);

/* experiment.parallel, where 0 stands for the number of threads, and on a GPU for a few: enough to fill the gaps
 * between the small kernels of one fit, and to sample for one while another computes. */
int jobs_parallel(const struct run *run);

/* Of a stage that does nothing but jobs_run() with jobs_parallel(), once it is done or interrupted. */
struct stage_cost jobs_cost(const struct run *run);
/* The same of a stage that is done by ranks, once it is done: what all of them have computed. */
bool jobs_cost_by_ranks(struct stage_cost *cost, const struct run *run, struct error *error);

#endif
