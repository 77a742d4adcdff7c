/*
 * k_means.h: Lloyd's k-means on a device (Lloyd, "Least squares quantization in PCM", 1982): points go to the nearest
 * centroid in Euclidean distance, of equally near ones to the first, and a centroid is the mean of its points.
 *
 * The first centroids are distinct points drawn from (seed, RANDOM_CLUSTER, step, index). A centroid without points takes
 * one, drawn from the same stream, of a centroid that has several. K_MEANS_ITERATIONS rounds, and points are assigned once
 * more. The same bits at any number of threads.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_K_MEANS_H
#define IDREC_MODELS_RECOMMENDERS_K_MEANS_H

#include "core/arena.h"
#include "core/ops.h"

enum { K_MEANS_ITERATIONS = 10 };

struct k_means {
    struct backend *backend;
    int64_t points, clusters, width;
    struct arena arena;
    struct tensor centroids;                            /* [clusters, width] */
    struct tensor minus_half_squares;                   /* [clusters]: -|centroid|^2 / 2 */
    struct tensor numbers;                              /* i32 [clusters, 1]: 0, 1, 2, ... */
    struct tensor nearness;                             /* [block, clusters] */
    struct tensor nearest;                              /* i32 [points, 1] */
    struct tensor nearest_score;                        /* [block, 1] */
    struct tensor mask_rows, mask_starts, mask_indices; /* of op_topk_masked: nothing is masked */
    struct csr_tensor members;                          /* [clusters, points]: 1 / number of its points */

    int32_t *assignment;    /* [points], on the host: what each point belongs to */
    int64_t *starts, *next; /* [clusters + 1] */
    int32_t *indices;       /* [points] */
    real *values;           /* [points] */
};

/* 1 <= clusters <= points. */
bool k_means_open(struct k_means *k_means, struct backend *backend, int64_t points, int64_t clusters,
                  int64_t width, struct error *error);
void k_means_close(struct k_means *k_means);

/* Fills centroids and assignment. Waits for the device in every round. */
bool k_means_run(struct k_means *k_means, const struct tensor *points /* [points, width] */, uint64_t seed,
                 uint64_t step, uint64_t index, struct error *error);

#endif
