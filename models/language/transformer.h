/*
 * transformer.h: a decoder of the Llama family (Touvron et al. 2023), to which Mistral, Qwen2 and Qwen3 belong: RMSNorm,
 * rotary positions, grouped-query attention, SwiGLU; optional biases, norms of queries and keys, tied output; LoRA on
 * any of the seven linears.
 *
 *   x = embedding[token]
 *   each layer:
 *     h = rmsnorm(x);  q, k, v = h Wq^T, h Wk^T, h Wv^T
 *     (with head_norm: each head of q, k = rmsnorm of it);  rope(q, k);  x += attention(q, k, v) Wo^T
 *     h = rmsnorm(x);  x += (silu(h Wgate^T) * (h Wup^T)) Wdown^T
 *   logits = rmsnorm(x) Wout^T   (Wout = embedding when tied)
 *
 * Training batches are packed: sequences one after another without padding, attention bounded by `starts`.
 * The output layer and loss run over chunks of rows, so the logits of a batch are never held whole.
 */
#ifndef IDREC_MODELS_LANGUAGE_TRANSFORMER_H
#define IDREC_MODELS_LANGUAGE_TRANSFORMER_H

#include "core/arena.h"
#include "core/backend.h"
#include "core/ops.h"

/* How what flows through a model is stored: activations, their gradients and the weights that are read. bf16 only on a
 * GPU. Trained parameters then have f32 masters and a bf16 copy that is read; frozen ones are stored once. Losses,
 * parameters' gradients and their moments are f32 always. */
enum precision { PRECISION_F32, PRECISION_BF16 };

/* How the weights of the seven linears are stored where they are frozen: like what flows through the model, or quantised
 * (core/quantize.h), to be read right before each product into scratch memory that all linears share (Dettmers et al. 2023,
 * "QLoRA"). Embedding, norms, biases, output table and adapters stay as they are. */
enum frozen_storage { FROZEN_PRECISION, FROZEN_INT8, FROZEN_NF4 };
const char *frozen_storage_name(enum frozen_storage storage); /* as in the config's finetune.base */

/* Scaled rotary positions, as Hugging Face's rope_type names them. Frequency i, theta^(-2 i / head_width), is
 *   linear: divided by `factor` (Chen et al. 2023, position interpolation);
 *   llama3: divided by `factor` where its wave is longer than original_positions / low_frequency_factor, as it is where
 *           the wave is shorter than original_positions / high_frequency_factor, and in between a mean of the two whose
 *           weight goes linearly with original_positions / wave (Grattafiori et al. 2024). */
enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 };
struct rope_scaling {
    enum rope_type type;
    double factor, low_frequency_factor, high_frequency_factor; /* the last two for llama3 */
    int64_t original_positions;                                 /* for llama3 */
};

struct transformer_settings {
    int64_t vocabulary, width, layers, query_heads, key_heads, head_width, hidden; /* hidden: of the SwiGLU */
    /* The last `added` tokens are new to the base: their rows of embedding and output table are an adapter's or, where
     * everything is trained, rows like the others. */
    int64_t added;
    int64_t classes;    /* only the first `classes` tokens can be predicted (ids: users never are); 0: all */
    int32_t begin, end; /* the tokens that begin and end a text, for config.json alone; -1: none */
    int64_t sequence_maximum; /* tokens of the longest sequence that the model may see, 0: any */
    float norm_epsilon, rope_theta;
    struct rope_scaling rope_scaling;
    bool positions; /* false: no rotary embedding, the model sees sets in causal order */
    bool tied;      /* the output table is the embedding */
    bool attention_bias, output_bias, feed_bias; /* on q, k, v; on o; on gate, up, down */
    bool head_norm; /* RMSNorm over each head of q and of k, before the rotary positions (Qwen3) */
    bool recompute; /* keep only each layer's input, run its forward again in backward */
    enum precision precision;
    enum frozen_storage frozen; /* quantised only where the linears are not trained */
    /* With several ranks each keeps its part of every frozen layer, and passes gather a layer ahead. Only where an adapter alone
     * is trained. Embedding and output table are whole everywhere. */
    bool shard_base;
};
/* The same with so many more new tokens. Fails where only a part of the tokens can be predicted. */
bool transformer_settings_grow(struct transformer_settings *settings, int64_t added, struct error *error);
/* Hugging Face's model_type for such biases and norms: "llama", "qwen2", "qwen3"; NULL: no family has them so. */
const char *transformer_family(const struct transformer_settings *settings);
enum dtype transformer_storage(const struct transformer_settings *settings);

enum linear { LINEAR_Q, LINEAR_K, LINEAR_V, LINEAR_O, LINEAR_GATE, LINEAR_UP, LINEAR_DOWN, LINEAR_COUNT };
const char *linear_name(enum linear linear); /* "q", ... as in the config's `targets` */

struct lora_settings {
    int64_t rank; /* 0: no adapter */
    double alpha, dropout;
    bool rank_stabilized;
    bool targets[LINEAR_COUNT];
};
/* What multiplies an adapter's output: alpha / rank (Hu et al. 2022), or, rank-stabilized, alpha / sqrt(rank)
 * (Kalajdzievski 2023); 0 without an adapter. */
double lora_scale(const struct lora_settings *lora);

struct layer_weights {
    struct tensor attention_norm, feed_norm; /* [width] */
    struct tensor query_norm, key_norm;      /* [head_width]; rank 0 without head_norm */
    struct tensor linear[LINEAR_COUNT];      /* [out, in] */
    struct tensor bias[LINEAR_COUNT];        /* [out]; rank 0: none */
    struct tensor lora_a[LINEAR_COUNT];      /* [rank, in]; rank 0: none */
    struct tensor lora_b[LINEAR_COUNT];      /* [out, rank] */
};

struct transformer_weights {
    struct tensor embedding;   /* [vocabulary, width]; its gradient may be of the last rows alone */
    struct tensor output;      /* likewise; the embedding itself when tied */
    struct tensor output_norm; /* [width] */
    struct layer_weights *layer;
};

/* A named parameter, its gradient and its optimizer state, for loops over all of them. The name is the one of
 * Hugging Face's Llama ("model.layers.0.self_attn.q_proj.weight"), or peft's for adapters. */
struct parameter {
    char name[112];
    struct tensor value; /* f32 when trained; may be quantised when frozen */
    int64_t
        shard; /* 1 + the layer of a sharded base that it is of: `value` is then only a place for it; 0: it is whole here */
    struct tensor working; /* what passes read: `value`, its bf16 copy, or its rows in a table */
    struct tensor gradient, first_moment,
        second_moment;     /* rank 0 when frozen; moments also when ranks share them */
    bool trained, decayed; /* decayed: weight decay applies (matrices, not norms and biases) */
    bool added; /* an adapter's rows of new tokens, the last ones of a table that passes read as a whole */
};

/* The name of such rows, of the table of "model.embed_tokens" or "lm_head". */
#define ADDED_ROWS_NAME "base_model.model.%s.token_adapter.trainable_tokens_delta"

enum train_mode { TRAIN_NOTHING, TRAIN_ALL, TRAIN_LORA };

struct transformer; /* settings, weights, arenas; see the accessors below */

/* Builds the model, initialised from `seed`: normal of deviation 0.02 (output projections of the two residual
 * branches scaled by 1 / sqrt(2 layers)), norms 1, biases 0, lora_a Kaiming-uniform as in peft, lora_b 0.
 * `tokens_maximum` and `sequences_maximum` bound a training batch (0: no training, inference only). */
bool transformer_create(struct transformer **model, struct backend *backend,
                        const struct transformer_settings *settings, const struct lora_settings *lora,
                        enum train_mode mode, int64_t tokens_maximum, int64_t sequences_maximum,
                        uint64_t seed, struct error *error);
/* The same in two steps. A measured model has no memory: its parameters have shapes, but no data, and the table of its
 * memory can be printed. base_values false: of the values only the adapter's are set; the caller is to set the others. */
bool transformer_measure(struct transformer **model, struct backend *backend,
                         const struct transformer_settings *settings, const struct lora_settings *lora,
                         enum train_mode mode, int64_t tokens_maximum, int64_t sequences_maximum,
                         struct error *error);
bool transformer_allocate(struct transformer *model, uint64_t seed, bool base_values, struct error *error);
void transformer_free(struct transformer *model);

const struct transformer_settings *transformer_settings_of(const struct transformer *model);
const struct lora_settings *transformer_lora_of(const struct transformer *model);
/* What passes read. */
const struct transformer_weights *transformer_weights_of(const struct transformer *model);
struct backend *transformer_backend(const struct transformer *model);
/* Columns of logits: as many as there are classes and, on a GPU, up to LOGIT_GROUP - 1 more, of no meaning, so that every
 * row begins at a multiple of 16 bytes, as matrix products by tensor cores want it. */
enum { LOGIT_GROUP = 8 };
int64_t transformer_logit_columns(const struct transformer *model);
/* All parameters in a fixed order; *count of them. */
struct parameter *transformer_parameters(struct transformer *model, int64_t *count);
/* Whether it is of a low-rank adapter; the others are the base's. */
bool parameter_is_adapter(const struct parameter *parameter);
/* NULL when there is none of that name. */
struct parameter *transformer_parameter(struct transformer *model, const char *name);
/* To be called when a frozen value has been set: of a sharded base this rank keeps its part, and another layer's takes the
 * place. */
void transformer_keep_part(struct transformer *model, const struct parameter *parameter);
/* Renews the working copies. To be called when values have changed other than by transformer_step(). */
void transformer_values_changed(struct transformer *model);
void transformer_print_memory(const struct transformer *model, FILE *stream);
/* Its arenas, from 0 on; NULL: there are no more. */
const struct arena *transformer_arena(const struct transformer *model, int index);

/* A packed batch on the host. The targets say what each position learns: one token (target, -1 for nothing),
 * or, when target_starts is given, the set target_items[target_starts[t] .. target_starts[t + 1] - 1]. */
struct batch {
    int64_t tokens, sequences;
    int64_t first_token;     /* of a batch that ranks have divided: tokens before these, for the dropout */
    const int32_t *token;    /* [tokens] */
    const int32_t *position; /* [tokens] */
    const int32_t *starts;   /* [sequences + 1] */
    const int32_t *target;   /* [tokens], or NULL */
    const int64_t *target_starts; /* [tokens + 1], or NULL */
    const int32_t *target_items;
    bool last; /* of a step: ranks may sum a gradient as soon as this batch has added its part to it */
    bool exclude_shown;  /* a position's softmax leaves out the tokens of its sequence up to it */
    const float *weight; /* [tokens]: of each position's loss, 0: not counted (and not computed) */
};

/* Adds the gradients of sum_t weight[t] loss[t] to the parameters' gradients and *loss_sum += that sum.
 * dropout_step keys LoRA's and residual dropout. residual_dropout applies after attention, feed-forward and
 * embedding.
 *
 * With loss_sum NULL the host does not wait: the batch is under way until transformer_take_loss() has asked for its
 * loss, and up to BATCHES_UNDER_WAY can be. */
enum { BATCHES_UNDER_WAY = 8 };
bool transformer_accumulate(struct transformer *model, const struct batch *batch, double residual_dropout,
                            uint64_t seed, uint64_t dropout_step, double *loss_sum, struct error *error);
int64_t transformer_batches_under_way(const struct transformer *model);
/* Waits for the oldest batch under way: *loss is its sum. Where the loss is finite and a step came right behind the
 * batch, this makes the step's check of its gradient. */
bool transformer_take_loss(struct transformer *model, double *loss, struct error *error);
/* *loss_sum += sum_t weight[t] loss[t], without gradients and dropout. No batch may be under way. */
bool transformer_loss(struct transformer *model, const struct batch *batch, double *loss_sum,
                      struct error *error);
/* Ranks that share a sharded base go through its layers together. One that has no part of a batch that others have trains by
 * this; one that has asked all that it is to ask, by transformer_loss() and transformer_logits(), attends to the others until
 * none asks any more. Nothing is to be done for other models. */
bool transformer_accompany(struct transformer *model, bool last_of_step, struct error *error);
bool transformer_attend(struct transformer *model, struct error *error);
/* Whether that is so. */
bool transformer_base_is_sharded(const struct transformer *model);
/* What this rank is to send of a sharded base while so many batches are trained: its part of every layer, forward and backward, to
 * each of the others, but for the two layers that are there from one pass to the next. */
double transformer_gathered_bytes(const struct transformer *model, int64_t batches);
/* Final hidden states (after output_norm), then logits, of chosen rows: logits f32 [rows, vocabulary] on the
 * host. */
bool transformer_logits(struct transformer *model, const struct batch *batch, const int32_t *rows,
                        int64_t row_count, float *logits, struct error *error);

/* All trained parameters, one after another with zeros between: their values and their gradients [count].
 * transformer_values_changed() is to follow a change of the values. Ranks share the state of the optimizer (shares.h). */
struct tensor transformer_trained_values(const struct transformer *model);
struct tensor transformer_trained_gradients(const struct transformer *model);

/* One optimizer step over the trained parameters, with the sum of the gradients of all ranks, then gradients are zero. All
 * ranks call it. Clips by global norm; *norm (may be NULL) is the norm before clipping. A gradient that is not finite is an error: of this call, or, when batches are
 * under way and norm is NULL, of transformer_take_loss() for the last of them. */
bool transformer_step(struct transformer *model, struct adamw settings, double clip_norm, double *norm,
                      struct error *error);

#endif
