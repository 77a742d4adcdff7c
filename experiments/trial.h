/*
 * trial.h: the training of one trial of a search, and its folder
 *   tune/LABEL/ARM/trial-N/{metrics.json, metrics.jsonl, checkpoint.h5}
 * metrics.json is there from the start. It has an entry for each rung that the trial has reached, and the hash of what
 * decides its figures: what is there of the same inputs is not trained again. While the trial may go on, the checkpoint is
 * where from.
 */
#ifndef IDREC_EXPERIMENTS_TRIAL_H
#define IDREC_EXPERIMENTS_TRIAL_H

#include "models/recommenders/recommender.h"

struct trial_task {
    const char *folder;
    const struct recommender_settings *settings;
    const struct training_set *data;
    struct fit_watch watch; /* on validation; without a pause */
    uint64_t seed;
    int rung_count, rung;  /* of all; the one to train to */
    const int64_t *pauses; /* [rung_count]: the epochs at which the rungs end; 0: when the fit does */
};

struct trial_result {
    int64_t epochs, best_epoch; /* trained so far; of the score */
    double score, seconds;      /* the watched metric; since the trial began */
    char failure[256];          /* why it has no score; "": it has one */
};

/* Trains to the end of the rung. A fit that fails, of settings that do not work, is a result like others, and is tried again
 * when it is asked for again. */
bool trial_train(struct trial_result *result, const struct trial_task *task, struct backend *backend,
                 struct error *error);
/* For a trial that trains no further. */
bool trial_drop_checkpoint(const char *folder, struct error *error);

#endif
