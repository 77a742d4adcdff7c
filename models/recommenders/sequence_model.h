/*
 * sequence_model.h: a fitted sequential model: its encoder, the histories it scores from, and their file. Internal to
 * models/recommenders and its tests.
 *
 * A user's scores are the dot products of the items' embeddings with the encoder's state behind the latest `length` items
 * of his sequence. A user without any item is scored by the items' counts in the training sequences, unless the kind can
 * encode him (mask_behind).
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_MODEL_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_MODEL_H

#include "models/recommenders/model.h"
#include "models/recommenders/sequence_batches.h"
#include "models/recommenders/sequence_data.h"
#include "models/recommenders/sequence_encoder.h"

struct sequence_training;

/* What tells one sequential model from another. */
struct sequence_kind {
    struct encoder_shape (*shape)(const struct recommender_settings *settings, int64_t items);
    bool mask_behind; /* scores come from a masked token behind the items */

    int64_t shortest; /* items of a sequence that can be trained on; all but shortest - 1 of them are read */
    int64_t views;    /* sequences as long as the first that a user adds to a batch besides it */
    /* Writes a batch of so many users into training->epoch, up to its end. */
    void (*write_batch)(struct sequence_training *training, const int32_t *users, int64_t count,
                        int64_t epoch);
    /* One step, from the gradient's zeros to the parameters. Errors are the backend's. */
    void (*step)(struct sequence_training *training, struct sequence_batch *batch);
};
extern const struct sequence_kind sasrec_kind, bert4rec_kind, cl4srec_kind;

struct sequence_model {
    struct backend *backend;
    const struct sequence_kind *kind;
    struct encoder_shape shape;
    char position[16];             /* synthetic_position */
    uint64_t seed;                 /* of the synthetic rows' places */
    struct csr history, synthetic; /* the training set's; synthetic.rows 0: none */
    struct csr sequences;          /* what users are scored from now */
    struct arena arena;
    struct tensor table;      /* [encoder_rows(), width] */
    struct tensor popularity; /* [1, items] */
    struct encoder_parameters parameters;

    /* Users at a time are encoded by as many as fit into these. */
    struct arena scratch, states_scratch;
    int64_t scratch_tokens, scratch_states;
    struct encoder_activations activations;
    struct tensor tokens, positions, starts, rows; /* i32 */
    struct tensor states;                          /* [scratch_states, width]; with shape.head: its output */
    struct encoder_head head;
    int32_t *host_tokens, *host_positions, *host_starts, *host_rows;
};

/* Its synthetic rows and where they go. */
struct synthetic_rows sequence_model_synthetic(const struct sequence_model *model);

/* For training_open(): a model without parameters yet, with histories of its own. */
bool sequence_model_create(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                           struct error *error);

/* Members of recommender_model. */
bool sequence_settings_check(const struct recommender_settings *settings, struct error *error);
struct tensor *sequence_published(struct recommender *recommender);
bool sequence_set_history(struct recommender *recommender, const struct csr *history, struct error *error);
bool sequence_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                    struct error *error);
/* A user whom the kind cannot encode has a vector of zeros, not one of the items' counts. */
extern const struct recommender_vectors sequence_vectors;
bool sequence_save(const struct recommender *recommender, struct store *store, struct error *error);
bool sequence_load(struct recommender *recommender, struct store *store, struct error *error);
void sequence_release(void *parameters);

#endif
