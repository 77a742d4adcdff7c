/*
 * weighted_means.h: k-means of weighted points on the host (Lloyd, "Least squares quantization in PCM", 1982), in
 * double precision.
 */
#ifndef IDREC_CORE_WEIGHTED_MEANS_H
#define IDREC_CORE_WEIGHTED_MEANS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/random.h"

struct weighted_points {
    int64_t count, width;
    const double *points;  /* [count, width] */
    const double *weights; /* [count], at least 0 */
};

enum { WEIGHTED_MEANS_ROUNDS = 100 };

/* cluster [count] = of each point, the nearest of `clusters` means; of equally near ones the first. The first means
 * are points drawn with probability in proportion to weight times squared distance to the nearest drawn before
 * (k-means++; Arthur and Vassilvitskii, SODA 2007); they move until no point changes its cluster,
 * WEIGHTED_MEANS_ROUNDS times at most. Clusters may be empty, when points coincide say. The bits do not depend on
 * the number of threads. */
bool weighted_means(int32_t *cluster, const struct weighted_points *points, int64_t clusters,
                    struct random_stream *stream, int threads, struct error *error);

#endif
