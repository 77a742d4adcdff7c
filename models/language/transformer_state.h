/* transformer_state.h: what a transformer consists of; only transformer*.c and loss.c include it. */
#ifndef IDREC_MODELS_LANGUAGE_TRANSFORMER_STATE_H
#define IDREC_MODELS_LANGUAGE_TRANSFORMER_STATE_H

#include "models/language/layer.h"

/* The trained parameters, one after another in the order of the list. Between them is room, all zeros, for
 * transformer_table_rows() of a matrix, and so that each begins at a multiple of TRAINED_ALIGNMENT elements: what concerns
 * all of them is one operator call. */
enum { TRAINED_ALIGNMENT = 128 };
struct trained_parameters {
    int64_t count;                             /* elements, with the room between */
    struct tensor value, working, gradient;    /* [count]; working rank 0 in f32 */
    struct tensor first_moment, second_moment; /* [kept]: one process keeps all */
    /* In the order of the list: the embedding, each layer, the rest. */
    struct trained_bucket *buckets;
    int64_t bucket_count, kept;
    int64_t begun; /* buckets, from the last one on, whose gradients the ranks have begun to sum */
};

/* What ranks exchange at a time. Each updates its part of every bucket, and keeps its moments. */
struct trained_bucket {
    int64_t first, count;   /* elements of the list */
    int64_t own, own_count; /* those of this rank, as elements of the list */
    int64_t kept;           /* where they are among those that this rank keeps */
};

/* What this rank keeps of the frozen layers, and where whole ones are gathered; nothing unless the base is sharded. */
enum { BASE_SHARD_PLACES = 2 };
struct base_shards {
    struct arena kept_arena, places_arena;
    struct tensor kept;                     /* i32 [layers, own_count] */
    struct tensor place[BASE_SHARD_PLACES]; /* i32 [words] */
    int64_t words;                          /* of a layer, with the room between and behind its weights */
    int64_t own, own_count;                 /* this rank's part, as elements of a place */
    int64_t held[BASE_SHARD_PLACES];     /* the layer that a place has, or that is coming there; -1: none */
    int64_t exchange[BASE_SHARD_PLACES]; /* what brings it, for comm_await(); 0: it is there */
    int64_t laid_out;                    /* 1 + the layer that is being laid out; 0: none is */
};

/* What a batch brings to the device, in one copy. */
struct batch_inputs {
    struct tensor tokens, positions; /* i32 [tokens] */
    struct tensor starts;            /* i32 [sequences + 1] */
    struct tensor rows;              /* i32 [counted], the tokens whose loss or logits are wanted */
    struct tensor places;            /* i32 [tokens], a token's place among `rows`, -1: none */
    struct tensor begins;            /* i32 [counted], the first token of the row's sequence */
    struct tensor targets;           /* i32 [counted] */
    struct tensor weights;           /* [counted] */
    struct tensor set_starts;        /* i64 [counted + 1] */
    struct tensor set_targets;       /* i32 */
    /* i32 [tokens], a token's place among the new ones, -1: none; rank 0 unless an adapter trains these. */
    struct tensor added;
};

/* The forward's results over a batch. */
struct batch_activations {
    struct layer_activations *layer; /* [layers]; all but `input` shared when the layers are recomputed */
    struct tensor last;              /* [tokens, width], the last layer's output */
    struct tensor d_x;               /* [tokens, width]; rank 0 when nothing is trained */
};

/* The rows that count, and a chunk of the logits. */
struct loss_activations {
    struct tensor losses;           /* [counted] */
    struct tensor selected, normed; /* [counted, width] */
    struct tensor inverse_rms;      /* [counted] */
    struct tensor d_normed;         /* [counted, width]; then of `selected`; rank 0 when nothing is trained */
    struct tensor d_selected;
    void *logits; /* room for one chunk */
    /* [rows of a chunk, at least the new tokens]: d_logits of these; rank 0 unless an adapter trains them. */
    struct tensor d_added;
};

/* The host's side of a batch under way. Its memory is the backend's to copy from and to. */
struct batch_slot {
    char *inputs; /* as the arena of inputs holds them */
    size_t input_bytes;
    real *losses;          /* [tokens_maximum] */
    double *square_sum;    /* [1], of the gradient of the step right behind the batch */
    const real *weights;   /* [counted], among the inputs */
    int64_t counted, step; /* step 0: none came behind the batch */
    uint64_t mark;
};

struct transformer {
    struct backend *backend;
    struct transformer_settings settings;
    struct lora_settings lora;
    enum train_mode mode;
    int64_t tokens_maximum, sequences_maximum;

    struct arena weights_arena, gradients_arena, optimizer_arena, inputs_arena, activations_arena,
        scratch_arena;
    struct transformer_weights weights, gradients;
    struct parameter *parameters;
    int64_t parameter_count;
    struct trained_parameters trained;
    struct base_shards base;
    struct tensor frequencies;

    struct batch_inputs inputs;
    struct batch_activations activations;
    struct loss_activations loss;
    struct layer_scratch scratch;
    struct tensor square_sum; /* f64 [1] */
    struct tensor clip_scale; /* f32 [1] */

    struct batch_slot slots[BATCHES_UNDER_WAY]; /* batch number i's is i % BATCHES_UNDER_WAY */
    int64_t batches_begun, batches_taken;
};

/* Whether new tokens' rows are trained beside a frozen base. */
bool transformer_trains_added(const struct transformer *model);
/* Lays the parameters out over the arenas, and lists them in model->parameters unless that is NULL; sets
 * parameter_count and trained.count, which the next laying out needs. */
void transformer_lay_out_parameters(struct transformer *model);
bool transformer_initialize_parameters(struct transformer *model, uint64_t seed, bool base_values,
                                       struct error *error);
/* Rows of zeros follow a matrix on a GPU until they are so many: each may be the table behind the columns of logits. */
int64_t transformer_table_rows(const struct backend *backend, int64_t rows);
/* Elements that a trained parameter takes with the room behind it. */
int64_t transformer_trained_room(const struct backend *backend, const struct tensor *value);

/* Ends a bucket with the parameters that have been laid out since the last one. */
void transformer_end_bucket(struct transformer *model);
/* Whether other ranks train the same model. */
bool transformer_is_shared(const struct transformer *model);
/* The gradients of a bucket, and of those behind it, are complete: begins to sum them over the ranks. */
bool transformer_begin_sums(struct transformer *model, int64_t bucket, struct error *error);
/* Waits until this rank has the sums of its parts. */
bool transformer_finish_sums(struct transformer *model, struct error *error);

/* Unless the base is sharded, these do nothing. Frozen weights that are laid out between the two go to the layer's place; then the whole is laid out. */
void base_shards_begin_layer(struct transformer *model, int64_t layer);
void base_shards_end_layer(struct transformer *model, int64_t layer);
void base_shards_lay_out(struct transformer *model);
struct arena *transformer_frozen_arena(struct transformer *model);
/* Waits until the weights of a layer are here, and begins to bring those of the next one that the pass reads, if there is one: the
 * other place is free then. All ranks call it. */
bool transformer_bring_layer(struct transformer *model, int64_t layer, int64_t next, struct error *error);
/* *any: whether some rank is about to ask the model without training it. All ranks call it. */
bool transformer_ask(struct transformer *model, bool asks, bool *any, struct error *error);

/* Lays out everything that a batch needs besides its inputs, over the arenas of activations and scratch. */
void transformer_lay_out_batch(struct transformer *model, int64_t tokens);
/* Lays out what the loss over `counted` rows needs, behind the batch. */
void loss_lay_out(struct transformer *model, int64_t counted);
/* Rows of a chunk of logits of that type with so many columns. */
int64_t loss_chunk_rows(const struct transformer *model, enum dtype dtype, int64_t columns);

/* Measures the inputs of the largest batch; transformer_reserve_slots() takes the host's memory. */
void transformer_measure_inputs(struct transformer *model);
bool transformer_reserve_slots(struct transformer *model, struct error *error);
void transformer_release_slots(struct transformer *model);

bool transformer_check_sequences(const struct transformer *model, const struct batch *batch,
                                 struct error *error);
bool transformer_check_targets(const struct transformer *model, const struct batch *batch,
                               struct error *error);
/* Queue the copy of a batch to the device, into model->inputs, and lay out what it needs: to be trained, which begins
 * the batch (counted rows may be 0), or to be asked for the logits of `rows`. */
struct batch_slot *transformer_send_batch(struct transformer *model, const struct batch *batch,
                                          struct error *error);
bool transformer_send_question(struct transformer *model, const struct batch *batch, const int32_t *rows,
                               int64_t count, struct error *error);
/* Queues the copy of a batch's losses to the host. */
void transformer_return_losses(struct transformer *model, struct batch_slot *slot);

/* The losses of the rows sent, from x; where the pass has gradients, what loss_run() needs as well. */
void loss_measure(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
                  const struct tensor *x);
/* The losses of the rows sent, and d_x [tokens, width], overwritten, from x; the pass has gradients. */
void loss_run(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
              const struct tensor *x, struct tensor *d_x);

/* Fails when the sum of squares of the gradient is not finite. */
bool transformer_check_step(double square_sum, int64_t step, struct error *error);

#endif
