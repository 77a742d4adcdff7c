#include "core/weighted_means.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double square_distance(const double *a, const double *b, int64_t width)
{
    double sum = 0;
    for (int64_t j = 0; j < width; j++)
        sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sum;
}

/* A point by its weight times distance; where all are 0, any. */
static int64_t draw(const struct weighted_points *points, const double *distance,
                    struct random_stream *stream)
{
    double total = 0;
    for (int64_t i = 0; i < points->count; i++)
        total += points->weights[i] * distance[i];
    if (!(total > 0))
        return random_below(stream, (uint32_t)points->count);
    double left = random_double(stream) * total;
    int64_t last = 0;
    for (int64_t i = 0; i < points->count; i++) {
        const double share = points->weights[i] * distance[i];
        if (share > 0) {
            last = i;
            if (left < share)
                return i;
        }
        left -= share;
    }
    return last;
}

/* distance [points] is scratch. */
static void seed_means(double *means, const struct weighted_points *points, int64_t clusters,
                       double *distance, struct random_stream *stream)
{
    const int64_t width = points->width;
    for (int64_t i = 0; i < points->count; i++)
        distance[i] = 1;
    for (int64_t cluster = 0; cluster < clusters; cluster++) {
        double *mean = means + cluster * width;
        memcpy(mean, points->points + draw(points, distance, stream) * width, (size_t)width * sizeof *mean);
        for (int64_t i = 0; i < points->count; i++) {
            const double from_mean = square_distance(points->points + i * width, mean, width);
            distance[i] = cluster == 0 ? from_mean : fmin(distance[i], from_mean);
        }
    }
}

/* Returns how many points have changed their cluster. */
static int64_t assign(int32_t *cluster, const struct weighted_points *points, const double *means,
                      int64_t clusters, int threads)
{
    int64_t changed = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : changed)
    for (int64_t i = 0; i < points->count; i++) {
        int32_t nearest = 0;
        double least = INFINITY;
        for (int64_t c = 0; c < clusters; c++) {
            const double distance =
                square_distance(points->points + i * points->width, means + c * points->width, points->width);
            if (distance < least) {
                least = distance;
                nearest = (int32_t)c;
            }
        }
        changed += cluster[i] != nearest;
        cluster[i] = nearest;
    }
    return changed;
}

/* A cluster without weight keeps its mean. */
static void move_means(double *means, double *sums, double *weight, const int32_t *cluster,
                       const struct weighted_points *points, int64_t clusters)
{
    const int64_t width = points->width;
    memset(sums, 0, (size_t)(clusters * width) * sizeof *sums);
    memset(weight, 0, (size_t)clusters * sizeof *weight);
    for (int64_t i = 0; i < points->count; i++) {
        weight[cluster[i]] += points->weights[i];
        for (int64_t j = 0; j < width; j++)
            sums[cluster[i] * width + j] += points->weights[i] * points->points[i * width + j];
    }
    for (int64_t at = 0; at < clusters * width; at++)
        if (weight[at / width] > 0)
            means[at] = sums[at] / weight[at / width];
}

bool weighted_means(int32_t *cluster, const struct weighted_points *points, int64_t clusters,
                    struct random_stream *stream, int threads, struct error *error)
{
    const size_t means_bytes = (size_t)(clusters * points->width) * sizeof(double);
    const size_t distance_bytes = (size_t)points->count * sizeof(double);
    double *means = malloc(means_bytes + 1), *sums = malloc(means_bytes + 1);
    double *weight = malloc((size_t)clusters * sizeof *weight + 1), *distance = malloc(distance_bytes + 1);
    const bool allocated = means && sums && weight && distance;
    if (allocated) {
        seed_means(means, points, clusters, distance, stream);
        for (int64_t i = 0; i < points->count; i++)
            cluster[i] = -1;
        for (int round = 0; assign(cluster, points, means, clusters, threads) > 0; round++) {
            if (round == WEIGHTED_MEANS_ROUNDS)
                break;
            move_means(means, sums, weight, cluster, points, clusters);
        }
    } else {
        error_memory(error, "clusters", 2 * means_bytes + distance_bytes, NULL);
    }
    free(means);
    free(sums);
    free(weight);
    free(distance);
    return allocated;
}
