/*
 * fits.h: one fit of one recommender on one training set, and its folder
 *   recommenders/LABEL/ARM/seed-N/{model.h5, top_k.tsv, metrics.json, metrics.jsonl, validation.h5}
 * metrics.json is written last: a folder that has one of the same inputs is complete and is not fitted again;
 * where only the cuts or the data to judge on are others, its model is judged again. A fit that was interrupted
 * goes on from its checkpoint. Where the backend has fit_ranks() they do the fit together, and rank 0 alone writes.
 */
#ifndef IDREC_EXPERIMENTS_FITS_H
#define IDREC_EXPERIMENTS_FITS_H

#include <jansson.h>

#include "experiments/shared_fits.h"
#include "experiments/study.h"

struct fit_task {
    const struct study *study;
    int contestant;
    const struct recommender_settings *settings; /* what is fitted */
    char arm[CHOICE_NAME_SIZE + 16];             /* the folder: an arm's name or that of a choice on trial */
    uint64_t seed;
    const struct given_ranking *rankings; /* of a model that is given some */
    int ranking_count;
    const json_t
        *fusion; /* of control.fusion: the choice of fused_rankings.h, kept in metrics.json; else NULL */
    bool trial;  /* only the score of the choice is wanted: no model.h5, no top_k.tsv, test is not read */
};

/* In a trial of a study a fit that another trial has done is taken, and one that another trains is not done: then `awaited` is
 * its name among the shared ones (shared_fits.h), else "". */
bool fit_run(char awaited[SHARED_FIT_NAME_SIZE], const struct fit_task *task, const struct arm_rows *rows,
             struct backend *backend, struct error *error);

/* Makes the folder of an arm from that of another fit that has the same result: the source's contestant, arm and seed.
 * Settings are not read. */
bool fit_copy(const struct fit_task *task, const struct fit_task *source, struct error *error);

/* metrics.json of a complete fit; a new reference. */
bool fit_metrics_load(json_t **metrics, const struct study *study, int contestant, const char *arm,
                      uint64_t seed, struct error *error);

/* The metric of the choice, for each user of study->validation_users; malloc'ed. */
bool fit_user_scores_load(double **scores, const struct study *study, int contestant, const char *arm,
                          uint64_t seed, struct error *error);

/* "recall@20"; the size suffices for every metric and cut. */
enum { METRIC_NAME_SIZE = 32 };
void metric_label(char name[METRIC_NAME_SIZE], enum metric metric, int64_t cut);

#endif
