/*
 * trace.h: what a process does when, for chrome://tracing and Perfetto: a file of JSON in the Trace Event Format, with a
 * process for each rank and two lines in it, what it computes and what it exchanges.
 *
 * Only the first steps of each training are recorded. A span of a GPU ends when the GPU is done: whoever records one waits
 * for it, so a traced step on a GPU is slower than others. Threads may add spans at the same time.
 */
#ifndef IDREC_CORE_TRACE_H
#define IDREC_CORE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

struct communicator;
struct trace;

enum trace_line { TRACE_COMPUTES, TRACE_EXCHANGES };

/* `path` is written by trace_write(); a folder that is missing is an error now. */
bool trace_open(struct trace **trace, const char *path, struct error *error);
void trace_close(struct trace *trace); /* NULL is fine */

/* Whether spans are recorded now. trace may be NULL everywhere below. */
bool trace_is_on(const struct trace *trace);
/* From here on spans are recorded, until trace_end_step() was called TRACE_STEPS times. */
enum { TRACE_STEPS = 4 };
void trace_begin_steps(struct trace *trace);
/* Returns true when the last step has ended. */
bool trace_end_step(struct trace *trace);

/* A span from `begun`, in clock_seconds(), until now. bytes -1: it is none of bytes. */
void trace_add(struct trace *trace, enum trace_line line, double begun, int64_t bytes, const char *format,
               ...) __attribute__((format(printf, 5, 6)));

/* All ranks call it, and rank 0 writes the spans of all (communicator NULL: one process). Times count from a barrier of
 * the ranks, so that machines whose clocks differ agree to within the time of a message. */
bool trace_write(struct trace *trace, struct communicator *communicator, struct error *error);

#endif
