/*
 * sequence_data.h: each user's items in order of time, with the synthetic ones among them. Internal to
 * models/recommenders and its tests.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_DATA_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_DATA_H

#include "models/recommenders/recommender.h"

/* Synthetic rows, each user's best first, and where they go:
 *   prepended  before the history, the best next to it;
 *   appended   behind the history, the best next to it;
 *   inserted   each into a gap drawn uniformly from those of the training history, its two ends included, by (seed,
 *              RANDOM_PLACE, user): a history that goes on beyond the training history leaves them where they were;
 *   targets    not into the sequence: each of them is to be predicted behind the whole history, beside the others;
 *   none       nowhere. */
struct synthetic_rows {
    const struct csr *rows; /* NULL: none */
    const char *position;
    const struct csr *training_history;
    uint64_t seed;
};

/* Whether the rows are such targets. */
bool synthetic_rows_are_targets(const struct synthetic_rows *synthetic);

/* The users' sequences: `history`, in order of time, with the synthetic rows. An unknown position is an error. */
bool sequences_merge(struct csr *sequences, const struct csr *history, const struct synthetic_rows *synthetic,
                     struct error *error);

/* The weight of each index of `sequences`, or of targets, that of its row among data->positives; malloc'ed. */
bool sequences_weigh(real **weights, const struct csr *sequences, const struct training_set *data,
                     struct error *error);

/* The rows of `excluded` without those of `positives`; both ascend, as the result does. */
bool rows_without(struct csr *result, const struct csr *excluded, const struct csr *positives,
                  struct error *error);

#endif
