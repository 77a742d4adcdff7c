/*
 * counting.h: a backend that computes nothing. It hands out addresses without memory behind them, drops what is uploaded,
 * gives zeros for what is downloaded, and its operators do nothing but be counted. Whatever runs on it needs no device, no
 * memory and next to no time, and backend->counters and backend->memory tell afterwards what it would have taken.
 *
 * What depends on values cannot run on it: here lists of the sampler would never end, and no sum is more than zero.
 */
#ifndef IDREC_CORE_COUNTING_H
#define IDREC_CORE_COUNTING_H

#include "core/backend.h"

/* Counts what `device` would do: padding and sizes of blocks depend on it. */
struct backend *counting_backend_open(enum device_kind device, int threads, struct error *error);
/* Lets it have so many bytes, of which free_memory() tells the rest; until then, how many it has is not known. More than
 * that are handed out all the same. */
void counting_backend_set_memory(struct backend *backend, size_t bytes);

#endif
