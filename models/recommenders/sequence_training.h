/*
 * sequence_training.h: training of the sequential models: every user one example an epoch, `sequences` users a batch in an
 * order drawn from (seed, RANDOM_SHUFFLE, epoch), one step of Adam a batch. `regularization` is added to the loss as
 * regularization / 2 times the sum of all parameters' squares. Internal to models/recommenders and its tests.
 *
 * Ranks that do a fit together have a part of every batch's sequences each, with the random numbers that these have in one
 * process. Every rank has the whole table and its own gradient; of each range of rows (row_parts.h) one rank sums the
 * gradients, keeps Adam's moments and takes the step, and then all get it. So only the order of sums is another one.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_TRAINING_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_TRAINING_H

#include "models/recommenders/sequence_loss.h"
#include "models/recommenders/sequence_model.h"

struct sequence_training {
    struct backend *backend;
    const struct sequence_kind *kind;
    struct recommender_settings settings;
    struct sequence_model *model; /* the recommender's: what publish() fills */
    uint64_t seed;
    int64_t items;
    int64_t step; /* optimizer steps taken */

    struct csr sequences;      /* users' items with the synthetic ones among them */
    real *item_weights;        /* one an index of sequences */
    const struct csr *targets; /* synthetic items to be predicted behind the history; NULL: none */
    real *target_weights;      /* one an index of targets */
    int32_t *users;            /* [user_count]: those trained on */
    int32_t *order;            /* the same in the epoch's order */
    int32_t *entries;          /* [settings.length]: a sequence being written */
    int64_t user_count;
    int64_t tokens_maximum, predictions_maximum, contrasts_maximum; /* of this rank's part of a batch */

    struct row_parts parts; /* of the table's rows */

    struct arena arena;
    struct tensor table, gradient;                   /* [encoder_rows(), width] */
    struct tensor first_moment, second_moment;       /* [parts.count, width]: of this rank's rows */
    struct encoder_parameters parameters, gradients; /* views of table and gradient */
    struct tensor d_states;                          /* [tokens_maximum, width] */
    struct tensor read, d_read;     /* [predictions_maximum, width]: states that predict, with targets */
    struct tensor views, d_views;   /* [contrasts_maximum, width] */
    struct tensor contrast_logits;  /* [contrasts_maximum * contrasts_maximum] */
    struct tensor places, partners; /* i32 [contrasts_maximum]: 0, 1, 2, 3, ... and 1, 0, 3, 2, ... */
    struct tensor ones;             /* [contrasts_maximum] */

    struct arena activation_arena;
    struct encoder_activations activations; /* of the batch under way */
    struct encoder_head head;               /* the same, with shape.head */
    struct sequence_loss loss;
    struct sequence_epoch epoch;
};

/* The items that user's example may read, the latest settings.length + shortest - 1 of his sequence, and their weights. */
struct user_items {
    const int32_t *items;
    const real *weights;
    int64_t count;
};
struct user_items training_items(const struct sequence_training *training, int32_t user);
/* What is to be predicted behind them, the same for each of its tokens. */
struct user_items training_targets(const struct sequence_training *training, int32_t user);

/* ---- pieces of a step --------------------------------------------------------------------------------- */

/* Zeroes the gradient and encodes the batch: returns the states [tokens, width]. */
const struct tensor *training_encode(struct sequence_training *training, const struct sequence_batch *batch);
/* From the gradient of the states, which is overwritten, to Adam's step. */
void training_learn(struct sequence_training *training, const struct sequence_batch *batch,
                    struct tensor *d_states);
struct encoder_pass training_pass(struct sequence_training *training, const struct sequence_batch *batch);
/* Writes the user's items but the last as a sequence, each to predict the next; with targets, all his items, the last to
 * predict these. */
void training_write_next_items(struct sequence_training *training, int32_t user);
/* Token `row` of the batch is to predict each of the user's targets. */
void training_write_targets(struct sequence_training *training, int64_t row, int32_t user);
/* Their loss, and the gradient of the batch's states [tokens, width], which is overwritten. */
void training_next_items_backward(struct sequence_training *training, struct sequence_batch *batch,
                                  const struct tensor *states, struct tensor *d_states);

/* Members of recommender_model. */
bool sequence_training_open(void **training, struct recommender *recommender, const struct training_set *data,
                            uint64_t seed, struct error *error);
bool sequence_train_epoch(void *training, int64_t epoch, double *loss, struct error *error);
double sequence_epoch_bytes(const void *training);
bool sequence_publish(void *training, struct error *error);
struct training_state sequence_training_state(void *training);
void sequence_training_close(void *training);
/* A `divides`: whatever the settings. */
bool sequence_divides(const struct recommender_settings *settings);

/* A model of this folder's sequential kind; `divided_by` is its `divides`, and `checked_by` refuses settings. */
#define SEQUENTIAL_MODEL(label, divided_by, checked_by)                                                      \
    {                                                                                                        \
        .name = (label), .sequential = true, .divides = (divided_by), .epoch_bytes = sequence_epoch_bytes,   \
        .check = (checked_by), .training_open = sequence_training_open, .train_epoch = sequence_train_epoch, \
        .publish = sequence_publish, .training_state = sequence_training_state,                              \
        .training_close = sequence_training_close, .published = sequence_published,                          \
        .set_history = sequence_set_history, .score = sequence_score, .vectors = &sequence_vectors,          \
        .save = sequence_save, .load = sequence_load, .release = sequence_release                            \
    }

#endif
