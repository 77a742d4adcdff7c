/*
 * sequence_encoder.h: the transformers of the sequential recommenders, forward and backward over packed sequences
 * without padding. Internal to models/recommenders and its tests.
 *
 * Of a sequence's n tokens, the latest has position length - 1, the one before it length - 2, and so on: where other
 * programs pad on the left, positions are the same. A token of item i at position p starts as
 *   x = drop(scale * E[i] + P[p])
 * ENCODER_CAUSAL (Kang and McAuley, "SASRec", ICDM 2018, with the biases and the output map of PyTorch's attention):
 * scale = sqrt(width); a token sees those up to itself. Each block, whose residuals start from the normed input as in the
 * authors' code, and the end:
 *   q = norm(x);   h = q + drop(attention(q Wq, x Wk, x Wv) Wo)
 *   f = norm(h);   x = f + drop(relu(f W1) W2)            output = norm(x)
 * ENCODER_BIDIRECTIONAL (Sun et al., "BERT4Rec", CIKM 2019): scale = 1, and the sum is normed before it is dropped out, as
 * in the authors' code; a token sees all of its sequence. Normed after each branch, as in the paper; output = x:
 *   h = norm(x + drop(attention(x Wq, x Wk, x Wv) Wo))
 *   x = norm(h + drop(gelu(h W1) W2))
 * All maps have biases. Attention weights are not dropped out: the packed kernels never hold them.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SEQUENCE_ENCODER_H
#define IDREC_MODELS_RECOMMENDERS_SEQUENCE_ENCODER_H

#include "core/arena.h"
#include "core/ops.h"

enum encoder_kind { ENCODER_CAUSAL, ENCODER_BIDIRECTIONAL };
enum { ENCODER_LAYERS_MAXIMUM = 64 };

struct encoder_shape {
    enum encoder_kind kind;
    int64_t width, hidden; /* hidden: of the feed-forward branch, a multiple of width */
    int64_t heads;         /* divides width */
    int64_t layers, length;
    int64_t items;
    bool mask; /* the table has an entry behind the items for a masked one */
    bool
        head; /* scores come from norm(gelu(x Wp + bp)), and items have a bias (BERT4Rec, as in the authors' code) */
};

struct linear_parameters {
    struct tensor weight, bias; /* [out, in], [out] */
};
struct norm_parameters {
    struct tensor weight, bias; /* [width] */
};
struct encoder_block {
    struct linear_parameters query, key, value, attended, up, down;
    struct norm_parameters attention_norm, feed_norm;
};
struct encoder_parameters {
    struct tensor items;     /* [items, width] */
    struct tensor entries;   /* [items, or one more with the mask's, width] */
    struct tensor positions; /* [length, width] */
    struct encoder_block block[ENCODER_LAYERS_MAXIMUM];
    struct norm_parameters norm;         /* causal: of the output; bidirectional: of the embeddings */
    struct linear_parameters project;    /* with shape.head */
    struct norm_parameters project_norm; /* the same */
    struct tensor item_bias;             /* the same: [items] */
};

/* All parameters lie in one table [encoder_rows(), width], each from the start of a row. */
int64_t encoder_rows(const struct encoder_shape *shape);
void encoder_parameters_lay_out(struct encoder_parameters *parameters, const struct encoder_shape *shape,
                                const struct tensor *table);

/* Calls `visit` for every parameter, in the order of the table. */
enum parameter_start { START_NORMAL, START_ONE, START_ZERO };
struct named_parameter {
    char name[64]; /* as in model.h5: "/items/embedding", "/block-0/query/weight", ... */
    struct tensor tensor;
    enum parameter_start start;
};
typedef bool visit_parameter(void *context, const struct named_parameter *parameter);
bool encoder_parameters_visit(const struct encoder_shape *shape, const struct tensor *table,
                              visit_parameter *visit, void *context);

/* Initial values into a table on the host: normal of `deviation`, drawn from (seed, RANDOM_INITIALIZE, row of the
 * table), but 1 for weights of norms and 0 for all biases. */
void encoder_initialize(const struct encoder_shape *shape, real *table, double deviation, uint64_t seed,
                        int threads);

struct block_activations {
    struct tensor input;                               /* [tokens, width] */
    struct tensor attention_mean, attention_deviation; /* [tokens] */
    struct tensor query_input;                         /* [tokens, width]; bidirectional: input */
    struct tensor q, k, v, attended, log_sum_exp;
    struct tensor middle;                                /* before its norm */
    struct tensor feed_mean, feed_deviation, feed_input; /* feed_input: middle, normed */
    struct tensor up, active;                            /* [tokens, hidden] */
    struct tensor feed_output;                           /* bidirectional: before its norm */
};

/* What encoding `tokens` tokens needs. */
struct encoder_activations {
    struct block_activations block[ENCODER_LAYERS_MAXIMUM];
    struct tensor embedded;             /* bidirectional: before its norm */
    struct tensor top, mean, deviation; /* mean, deviation: of parameters.norm */
    struct tensor output;               /* [tokens, width] */
    struct tensor branch;
    struct tensor d_middle, d_q, d_k, d_v, d_attended, d_active; /* only laid out for a backward */
};
/* Without `backward` the blocks share their memory. */
void encoder_activations_lay_out(struct encoder_activations *activations, struct arena *arena,
                                 const struct encoder_shape *shape, int64_t tokens, bool backward);

struct packed_sequences {
    const struct tensor *tokens;    /* i32 [tokens]: entries; -1: zeros */
    const struct tensor *positions; /* i32 [tokens] */
    const struct tensor *starts;    /* i32 [sequences + 1] */
};

struct encoder_pass {
    struct backend *backend;
    const struct encoder_shape *shape;
    const struct encoder_parameters *parameters;
    const struct encoder_parameters *gradients; /* NULL at inference */
    float dropout;                              /* 0 at inference */
    uint64_t seed, step;                        /* key the dropout */
    int64_t
        first_token; /* the number of the first of these tokens among those of the whole batch, for the dropout */
};

/* Fills activations->output. */
void encoder_forward(const struct encoder_pass *pass, struct encoder_activations *activations,
                     const struct packed_sequences *sequences);
/* d_x, the gradient of the output, is overwritten; gradients += . */
void encoder_backward(const struct encoder_pass *pass, struct encoder_activations *activations,
                      const struct packed_sequences *sequences, struct tensor *d_x);

/* What shape.head makes of some states. The last four are only laid out for a backward. */
struct encoder_head {
    struct tensor projected, active,
        output;                    /* [rows, width]: output = norm(active), active = gelu(projected) */
    struct tensor mean, deviation; /* [rows] */
    struct tensor states, d_output, d_active, d_states;
};
void encoder_head_lay_out(struct encoder_head *head, struct arena *arena, const struct encoder_shape *shape,
                          int64_t rows, bool backward);
/* Fills head->output; states may be head->output. */
void encoder_head_forward(const struct encoder_pass *pass, struct encoder_head *head,
                          const struct tensor *states);
/* From head->d_output, which is overwritten, to head->d_states, where the states were head->states; gradients += . */
void encoder_head_backward(const struct encoder_pass *pass, struct encoder_head *head);

#endif
