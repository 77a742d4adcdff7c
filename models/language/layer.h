/*
 * layer.h: the pieces that a pass through the transformer is made of. Training over packed sequences and
 * decoding over a cache (cache.h) call the same functions and differ only in the attention between them:
 *
 *   model_embed
 *   each layer:  layer_attention_input   input -> normed, q, k, v (turned by their positions)
 *                op_attention_forward, or op_cache_store and op_attention_decode: q, k, v -> attended
 *                layer_attention_output  middle = input + attended Wo^T
 *                layer_feed_forward      output = middle + swiglu(rmsnorm(middle)) Wdown^T
 *   model_logits
 */
#ifndef IDREC_MODELS_LANGUAGE_LAYER_H
#define IDREC_MODELS_LANGUAGE_LAYER_H

#include "models/language/transformer.h"

/* Rows (outputs) and columns (inputs) of a linear's weight. */
struct linear_shape {
    int64_t out, in;
};
struct linear_shape linear_shape(const struct transformer_settings *settings, enum linear linear);
bool linear_has_bias(const struct transformer_settings *settings, enum linear linear);
/* "self_attn.q_proj", ...: the linear's name in Hugging Face's Llama. */
const char *linear_module(enum linear linear);

/* What all layers of one pass share. */
struct layer_pass {
    struct backend *backend;
    const struct transformer_settings *settings;
    const struct lora_settings *lora;
    const struct transformer_weights *weights;
    const struct transformer_weights *gradients; /* rank 0: frozen; NULL at inference */
    const struct tensor *frequencies;            /* [head_width / 2], of the rotary positions */
    float residual_dropout, lora_dropout;        /* 0 at inference */
    uint64_t seed, step;                         /* key the dropout */
    int64_t first_row;                           /* the number of the first row, for the dropout */
};

/* A pass without dropout and gradients. */
struct layer_pass transformer_inference_pass(const struct transformer *model);

/* What a layer makes of its input, and what its backward needs. */
struct layer_activations {
    struct tensor input;                     /* [rows, width] */
    struct tensor attention_inverse_rms;     /* [rows] */
    struct tensor attention_normed;          /* [rows, width] */
    struct tensor q;                         /* [rows, query_heads * head_width] */
    struct tensor k, v;                      /* [rows, key_heads * head_width] */
    struct tensor plain_q, plain_k;          /* like q, k: before their norms; rank 0 without head_norm */
    struct tensor q_inverse_rms;             /* [rows * query_heads] */
    struct tensor k_inverse_rms;             /* [rows * key_heads] */
    struct tensor log_sum_exp;               /* [query_heads, rows] */
    struct tensor attended;                  /* like q */
    struct tensor middle;                    /* [rows, width] */
    struct tensor feed_inverse_rms;          /* [rows] */
    struct tensor feed_normed;               /* [rows, width] */
    struct tensor gate, up, product;         /* [rows, hidden] */
    struct tensor lora_hidden[LINEAR_COUNT]; /* [rows, rank]; rank 0: no adapter there */
};

/* What any layer may overwrite. All but the first three are laid out only for a backward. */
struct layer_scratch {
    struct tensor branch;        /* [rows, width]: a residual branch, or its gradient */
    struct tensor dropped;       /* [rows * the widest linear's input]; rank 0 without LoRA dropout */
    struct tensor weight;        /* [elements of the largest linear]; rank 0 unless linears are quantised */
    struct tensor d_lora_hidden; /* [rows, rank]; rank 0 without LoRA */
    struct tensor d_normed;      /* [rows, width] */
    struct tensor d_q, d_k, d_v, d_attended;
    struct tensor d_plain_q, d_plain_k;    /* rank 0 without head_norm */
    struct tensor d_gate, d_up, d_product; /* [rows, hidden] */
};

/* Takes everything but `input` from the arena. */
void layer_activations_lay_out(struct layer_activations *activations, struct arena *arena,
                               const struct transformer_settings *settings, const struct lora_settings *lora,
                               int64_t rows);
void layer_scratch_lay_out(struct layer_scratch *scratch, struct arena *arena,
                           const struct transformer_settings *settings, const struct lora_settings *lora,
                           int64_t rows, bool backward);

/* x [rows, width] = embedding[tokens], with dropout. */
void model_embed(const struct layer_pass *pass, struct tensor *x,
                 const struct tensor *tokens /* i32 [rows] */);

/* Adds to the rows `tokens` of the embedding's gradient, -1: to none; d_x [rows, width] is overwritten. */
void model_embed_backward(const struct layer_pass *pass, struct tensor *d_x, const struct tensor *tokens);

void layer_attention_input(const struct layer_pass *pass, int64_t layer,
                           struct layer_activations *activations, struct layer_scratch *scratch,
                           const struct tensor *positions /* i32 [rows] */);
void layer_attention_output(const struct layer_pass *pass, int64_t layer,
                            struct layer_activations *activations, struct layer_scratch *scratch);
/* `output` may be activations->input. */
void layer_feed_forward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                        struct layer_scratch *scratch, struct tensor *output);

/* normed [rows, width] = rmsnorm(x); logits [rows, columns] = normed Wout[0 .. columns - 1]^T, with at most
 * transformer_logit_columns() or as many columns as there are tokens. */
void model_final_norm(const struct layer_pass *pass, struct tensor *normed, struct tensor *inverse_rms,
                      const struct tensor *x);
void model_logits(const struct layer_pass *pass, struct tensor *logits, const struct tensor *normed);
/* d_normed is overwritten, the output table's gradient added to; d_logits is 0 in columns that are no class. Where that
 * gradient is of the table's last rows alone, d_added [rows, at least so many] becomes d_logits of them. */
void model_logits_backward(const struct layer_pass *pass, struct tensor *d_normed, struct tensor *d_added,
                           const struct tensor *d_logits, const struct tensor *normed);
/* d_x += */
void model_final_norm_backward(const struct layer_pass *pass, struct tensor *d_x,
                               const struct tensor *d_normed, const struct tensor *x,
                               const struct tensor *inverse_rms);

/* A whole layer over packed sequences, and its mirror: d_x, the gradient of the layer's output, becomes that
 * of its input; input_wanted false: nothing below is trained and d_x is left undefined. */
void layer_forward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                   struct layer_scratch *scratch, const struct tensor *positions, const struct tensor *starts,
                   struct tensor *output);
void layer_backward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                    struct layer_scratch *scratch, const struct tensor *positions,
                    const struct tensor *starts, struct tensor *d_x, bool input_wanted);

#endif
