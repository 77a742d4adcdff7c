/*
 * sequence_batches.h: an epoch of packed sequences without padding, written on the host, uploaded once, and read batch
 * by batch as views: no step waits for the host. Internal to models/recommenders and its tests.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_BATCHES_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_BATCHES_H

#include "core/arena.h"
#include "core/interactions.h"

/* Counts, of all batches together or up to one of them. */
struct sequence_counts {
    int64_t batches, tokens, sequences, predictions, contrasts;
};

/* Its lists of integers. */
enum {
    EPOCH_TOKENS,
    EPOCH_POSITIONS,
    EPOCH_STARTS,
    EPOCH_ROWS,
    EPOCH_TARGETS,
    EPOCH_USERS,
    EPOCH_BEGIN,
    EPOCH_LAST,
    EPOCH_CONTRASTS,
    EPOCH_LISTS
};

/* Ranks that do a fit together write all sequences, and each keeps those of its part of every batch, which begin and end
 * where the tokens are about equal. */
struct sequence_epoch {
    struct backend *backend;
    struct communicator *ranks; /* NULL: one process, which keeps all */
    struct sequence_counts capacity, written;
    int64_t length;                 /* positions that the encoder has */
    const struct csr *excluded;     /* out of the softmax; NULL: none */
    struct sequence_counts *before; /* [capacity.batches + 1]: what lies before each batch */
    struct sequence_counts
        *ahead; /* [capacity.batches]: what other ranks keep of each batch ahead of this one's part */
    int64_t predictions_of_all; /* of the epoch, of all ranks */
    struct arena arena;
    struct tensor tokens, positions; /* i32 [tokens] */
    struct tensor starts;            /* i32 [sequences + batches]: of each batch from 0 */
    struct tensor rows;              /* i32 [predictions]: the token of the batch that predicts */
    struct tensor targets, users;    /* i32 [predictions] */
    struct tensor begin, last;       /* i32 [predictions]: the user's row of `excluded` */
    struct tensor weights, losses;   /* [predictions] */
    struct tensor contrasts;         /* i32 [contrasts]: tokens of the batch, two views of a user in a row */
    struct tensor contrast_losses;   /* [contrasts] */
    int32_t *host[EPOCH_LISTS];      /* of the i32 tensors above */
    real *host_weights, *host_losses;
};

bool sequence_epoch_open(struct sequence_epoch *epoch, struct backend *backend,
                         struct sequence_counts capacity, int64_t length, const struct csr *excluded,
                         struct error *error);
void sequence_epoch_close(struct sequence_epoch *epoch);

/* ---- writing: batch by batch, sequence by sequence ---------------------------------------------------- */

void epoch_begin(struct sequence_epoch *epoch);
/* The row in its batch of the token that comes next. */
int64_t epoch_next_row(const struct sequence_epoch *epoch);
/* Appends a sequence of `count` entries to the batch, 1 <= count <= length; returns its first token's row. */
int64_t epoch_sequence(struct sequence_epoch *epoch, const int32_t *entries, int64_t count);
/* Token `row` of the batch is to predict `target`. */
void epoch_prediction(struct sequence_epoch *epoch, int64_t row, int32_t target, int32_t user, real weight);
/* Tokens `first` and `second` of the batch stand for two views of one user. */
void epoch_contrast(struct sequence_epoch *epoch, int64_t first, int64_t second);
/* Weights become shares of the batch: its loss is a mean over predictions. A rank keeps its part. */
void epoch_end_batch(struct sequence_epoch *epoch);
void epoch_upload(struct sequence_epoch *epoch);

/* ---- reading ------------------------------------------------------------------------------------------ */

/* Views of one batch, or this rank's part of it; its excluded rows only where there are such. */
struct sequence_batch {
    int64_t first_token, first_prediction; /* their numbers in the whole batch */
    struct tensor tokens, positions, starts;
    struct tensor rows, targets, users, begin, last, weights, losses;
    struct tensor contrasts, contrast_losses;
};
struct sequence_batch epoch_batch(const struct sequence_epoch *epoch, int64_t number);

/* The means of the losses that the steps have left, of predictions plus contrast_weight times that of contrasts;
 * *bad: the first batch with one that is not a number, -1: none. Of ranks all call it, and get the same. False: the
 * backend's error, or that of the exchange. */
bool epoch_mean_loss(struct sequence_epoch *epoch, double contrast_weight, double *loss, int64_t *bad,
                     struct error *error);

#endif
