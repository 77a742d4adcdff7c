/*
 * fit_checkpoint.h: the state of a fit between two epochs, on disk. A checkpoint carries a fingerprint of
 * everything that decides the fit (settings, data, watch, seed, device); one with another fingerprint is not
 * used.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_FIT_CHECKPOINT_H
#define IDREC_MODELS_RECOMMENDERS_FIT_CHECKPOINT_H

#include "models/recommenders/model.h"

/* Where a fit stands. */
struct fit_progress {
    int64_t epoch, best_epoch; /* epochs done; the epoch of the best score, 0: none yet */
    double best_score, seconds;
};

struct fit_fingerprint {
    char digits[33];
};
bool fit_fingerprint_compute(struct fit_fingerprint *fingerprint, const struct backend *backend,
                             const struct recommender_settings *settings, const struct training_set *data,
                             const struct fit_watch *watch, uint64_t seed, struct error *error);

/* `best` is what scored best, at best_epoch; it is neither written nor read while best_epoch is 0. Of ranks that do a fit
 * together all call it; rank 0 gathers what they have and writes. */
bool fit_checkpoint_save(const char *path, const struct fit_fingerprint *fingerprint, struct backend *backend,
                         const struct training_state *state, const struct tensor *best,
                         const struct fit_progress *progress, struct error *error);

/* *own: whether a checkpoint of this very fit is there. */
bool fit_checkpoint_is_own(bool *own, const char *path, const struct fit_fingerprint *fingerprint,
                           struct error *error);
/* *found: whether a checkpoint of this very fit was there and has been read. Each rank reads for itself. */
bool fit_checkpoint_load(const char *path, const struct fit_fingerprint *fingerprint, struct backend *backend,
                         const struct training_state *state, struct tensor *best,
                         struct fit_progress *progress, bool *found, struct error *error);

#endif
