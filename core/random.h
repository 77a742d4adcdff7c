/*
 * random.h: counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (seed, purpose, step, index): the same on every device, at any number of
 * threads or ranks, in any order of evaluation. `purpose` keeps streams apart that share a seed.
 */
#ifndef IDREC_CORE_RANDOM_H
#define IDREC_CORE_RANDOM_H

#include "core/random_stream.h"

/* Uniform on [0, 1), 53 bits. */
double random_double(struct random_stream *stream);

/* Standard normal (Box and Muller, double precision inside). */
double random_normal(struct random_stream *stream);

/* Fisher and Yates' shuffle. */
void random_shuffle(struct random_stream *stream, int32_t *values, int64_t count);

#endif
