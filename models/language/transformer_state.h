/* transformer_state.h: what a transformer consists of; only transformer*.c and loss.c include it. */
#ifndef IDREC_MODELS_LANGUAGE_TRANSFORMER_STATE_H
#define IDREC_MODELS_LANGUAGE_TRANSFORMER_STATE_H

#include "models/language/layer.h"

/* A batch on the device, and the forward's results over it. */
struct batch_activations {
    struct tensor tokens, positions; /* i32 [tokens] */
    struct tensor starts;            /* i32 [sequences + 1] */
    struct layer_activations *layer; /* [layers]; all but `input` shared when the layers are recomputed */
    struct tensor last;              /* [tokens, width], the last layer's output */
    struct tensor d_x;               /* [tokens, width]; rank 0 when nothing is trained */
};

/* The rows that count, and a chunk of the logits. */
struct loss_activations {
    struct tensor rows;             /* i32 [counted] */
    struct tensor begins;           /* i32 [counted], the first token of the row's sequence */
    struct tensor targets;          /* i32 [counted] */
    struct tensor weights, losses;  /* [counted] */
    struct tensor selected, normed; /* [counted, width] */
    struct tensor inverse_rms;      /* [counted] */
    struct tensor d_normed;         /* [counted, width]; then of `selected`; rank 0 when nothing is trained */
    struct tensor d_selected;
    struct tensor logits;      /* [the elements of one chunk] */
    struct tensor set_starts;  /* i64 [chunk rows + 1] */
    struct tensor set_targets; /* i32 [the elements of one chunk] */
};

/* The rows of a batch that count, on the host; room for tokens_maximum. */
struct counted_rows {
    int64_t count;
    int32_t *row, *begin, *target;
    int64_t *set_starts;
    real *weight, *loss;
};

struct transformer {
    struct backend *backend;
    struct transformer_settings settings;
    struct lora_settings lora;
    enum train_mode mode;
    int64_t tokens_maximum, sequences_maximum;

    struct arena weights_arena, gradients_arena, optimizer_arena, activations_arena, scratch_arena;
    struct transformer_weights weights, gradients;
    struct parameter *parameters;
    int64_t parameter_count;
    struct tensor frequencies;

    struct batch_activations activations;
    struct loss_activations loss;
    struct layer_scratch scratch;
    struct counted_rows counted;
    struct tensor square_sum; /* f64 [1] */
    struct tensor clip_scale; /* f32 [1] */
};

/* Lays the parameters out over the arenas, and lists them in model->parameters unless that is NULL;
 * sets parameter_count. */
void transformer_lay_out_parameters(struct transformer *model);
bool transformer_initialize_parameters(struct transformer *model, uint64_t seed, struct error *error);

/* Lays out everything that a batch needs, over the arenas of activations and scratch. */
void transformer_lay_out_batch(struct transformer *model, int64_t tokens, int64_t sequences);
/* Lays out what the loss over `counted` rows needs, behind the batch. */
void loss_lay_out(struct transformer *model, int64_t counted);
/* Rows of a chunk of logits with so many columns. */
int64_t loss_chunk_rows(int64_t columns);

/* Chooses the batch's rows that count, lays out and uploads what belongs to them. */
void loss_select_rows(struct transformer *model, const struct batch *batch);
/* The losses of those rows of x [tokens, width], and d_x, overwritten; the pass has gradients. */
void loss_run(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
              const struct tensor *x, struct tensor *d_x);
/* Waits for the device; *sum += sum of weight * loss. */
bool loss_sum(struct transformer *model, double *sum, struct error *error);

#endif
