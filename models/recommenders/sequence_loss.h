/*
 * sequence_loss.h: what a sequential model learns from: states [predictions, width], each of which is to score its target
 * above the other items by dot products with the items' table. Internal to models/recommenders and its tests.
 *
 *   cross_entropy    softmax over all items, but those of the user's row of training_set.excluded which he does not have
 *   sampled_softmax  softmax over the target and `negatives` items, without correction: they are drawn uniformly
 *   binary           softplus(-s_target) + sum over the negatives of softplus(s)  (Kang and McAuley 2018)
 *   gbce             beta softplus(-s_target) + the same sum (Petrov and Macdonald, "gSASRec", RecSys 2023), where
 *                    alpha = negatives / (items - 1) and beta = alpha (calibration (1 - 1 / alpha) + 1 / alpha)
 * In the last two s is the dot product + log(beta / negatives), with beta = 1 for binary: where all dot products are 0, this
 * constant has the least loss. Without it all items are first pushed down together, by gradients so large that Adam, whose
 * second moments remember them, takes tens of passes over the data to begin to tell items apart.
 * Negatives are uniform, with replacement, over the items that are neither the user's nor excluded for him. A
 * prediction's loss has the weight of its target's row of the training set; the loss is the mean over the batch's
 * predictions.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_LOSS_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_LOSS_H

#include "core/ops.h"
#include "models/recommenders/model.h"
#include "models/recommenders/sequence_batches.h"

enum sequence_loss_kind { LOSS_CROSS_ENTROPY, LOSS_SAMPLED_SOFTMAX, LOSS_BINARY, LOSS_GBCE };

struct sequence_loss {
    struct backend *backend;
    enum sequence_loss_kind kind;
    int64_t items, columns; /* columns: of a prediction's logits */
    float positive_power;   /* binary: 1; gbce: beta */
    uint64_t seed;
    /* Predictions at a time, so that the logits stay small, and most chunks of a batch: of a whole one, whatever part of it
     * this rank has, since negatives are drawn chunk by chunk. */
    int64_t chunk, chunks;
    struct csr forbidden; /* cross_entropy: out of the softmax; else what is no negative; rows 0: none */
    struct arena arena;
    struct tensor starts, columns_out; /* forbidden on the device */
    struct tensor logits;              /* [chunk, columns] */
    struct tensor candidates;          /* i32 [chunk, columns], target first; rank 0 for cross_entropy */
    struct tensor zeros;               /* i32 [chunk] */
    struct tensor prior;               /* [columns], of binary and gbce: what is added to each dot product */
    /* Fills candidates, a view of the first rows, for the predictions first .. of the batch; tests put in their own. */
    void (*draw)(struct sequence_loss *loss, struct tensor *candidates, const struct sequence_batch *batch,
                 int64_t first, uint64_t step);
    void *draw_context;
};

bool sequence_loss_open(struct sequence_loss *loss, struct backend *backend,
                        const struct recommender_settings *settings, const struct training_set *data,
                        int64_t predictions_maximum, uint64_t seed, struct error *error);
void sequence_loss_close(struct sequence_loss *loss);

/* Whether the user has a negative left, where the loss needs one. */
bool sequence_loss_covers(const struct sequence_loss *loss, int64_t user);

/* A table of items with, or without (rank 0), a bias each, and their gradients. */
struct scored_items {
    const struct tensor *items, *bias; /* [items, width], [items] or NULL */
    struct tensor *d_items, *d_bias;   /* += */
};
/* batch->losses are written, d_states is overwritten. */
void sequence_loss_backward(struct sequence_loss *loss, struct tensor *d_states, const struct tensor *states,
                            const struct scored_items *scored, struct sequence_batch *batch, uint64_t step);

#endif
