#include "models/recommenders/sequence_encoder.h"

#include <math.h>

static const float causal_epsilon = 1e-8f, bidirectional_epsilon = 1e-12f;

/* Sites of dropout: 0 is the embedding; then, for each block, its two branches. */
enum { SITE_ATTENTION = 1, SITE_FEED, SITES_PER_BLOCK = 2 };

static uint64_t dropout_site(int64_t block, int site)
{
    return (uint64_t)(block * SITES_PER_BLOCK + site);
}

static float epsilon_of(const struct encoder_pass *pass)
{
    return pass->shape->kind == ENCODER_CAUSAL ? causal_epsilon : bidirectional_epsilon;
}

static float scale_of(const struct encoder_pass *pass)
{
    return pass->shape->kind == ENCODER_CAUSAL ? sqrtf((float)pass->shape->width) : 1.0f;
}

static struct attention_shape attention_of(const struct encoder_shape *shape)
{
    return (struct attention_shape){.query_heads = shape->heads,
                                    .key_heads = shape->heads,
                                    .head_width = shape->width / shape->heads,
                                    .bidirectional = shape->kind == ENCODER_BIDIRECTIONAL};
}

static enum activation activation_of(const struct encoder_shape *shape)
{
    return shape->kind == ENCODER_CAUSAL ? ACTIVATION_RELU : ACTIVATION_GELU;
}

static void lay_out_block(struct block_activations *block, struct arena *arena,
                          const struct encoder_shape *shape, int64_t tokens)
{
    const int64_t width = shape->width;
    struct tensor *const rows[] = {&block->input,    &block->q,      &block->k,         &block->v,
                                   &block->attended, &block->middle, &block->feed_input};
    for (size_t place = 0; place < sizeof rows / sizeof *rows; place++)
        *rows[place] = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    if (shape->kind == ENCODER_CAUSAL) {
        block->query_input = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    } else {
        block->query_input = block->input;
        block->feed_output = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    }
    block->up = arena_tensor_2d(arena, DTYPE_REAL, tokens, shape->hidden);
    block->active = arena_tensor_2d(arena, DTYPE_REAL, tokens, shape->hidden);
    block->log_sum_exp = arena_tensor_2d(arena, DTYPE_REAL, shape->heads, tokens);
    struct tensor *const lists[] = {&block->attention_mean, &block->attention_deviation, &block->feed_mean,
                                    &block->feed_deviation};
    for (size_t place = 0; place < sizeof lists / sizeof *lists; place++)
        *lists[place] = arena_tensor_1d(arena, DTYPE_REAL, tokens);
}

void encoder_activations_lay_out(struct encoder_activations *activations, struct arena *arena,
                                 const struct encoder_shape *shape, int64_t tokens, bool backward)
{
    const int64_t width = shape->width;
    for (int64_t layer = 0; layer < shape->layers; layer++)
        if (layer == 0 || backward)
            lay_out_block(&activations->block[layer], arena, shape, tokens);
        else
            activations->block[layer] = activations->block[0];
    if (shape->kind == ENCODER_BIDIRECTIONAL)
        activations->embedded = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    activations->top = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    activations->mean = arena_tensor_1d(arena, DTYPE_REAL, tokens);
    activations->deviation = arena_tensor_1d(arena, DTYPE_REAL, tokens);
    activations->output =
        shape->kind == ENCODER_CAUSAL ? arena_tensor_2d(arena, DTYPE_REAL, tokens, width) : activations->top;
    activations->branch = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    if (!backward)
        return;
    struct tensor *const rows[] = {&activations->d_middle, &activations->d_q, &activations->d_k,
                                   &activations->d_v, &activations->d_attended};
    for (size_t place = 0; place < sizeof rows / sizeof *rows; place++)
        *rows[place] = arena_tensor_2d(arena, DTYPE_REAL, tokens, width);
    activations->d_active = arena_tensor_2d(arena, DTYPE_REAL, tokens, shape->hidden);
}

/* ---- pieces ------------------------------------------------------------------------------------------- */

static void linear_forward(const struct encoder_pass *pass, struct tensor *y, const struct tensor *x,
                           const struct linear_parameters *linear)
{
    op_linear_forward(pass->backend, y, x, &linear->weight, &linear->bias, NULL);
}

static void linear_backward(const struct encoder_pass *pass, struct tensor *d_x, bool accumulate,
                            struct linear_parameters gradient, const struct tensor *d_y,
                            const struct tensor *x, const struct linear_parameters *linear)
{
    op_linear_backward(pass->backend, d_x, accumulate, &gradient.weight, &gradient.bias, d_y, x,
                       &linear->weight, NULL);
}

static void norm_forward(const struct encoder_pass *pass, struct tensor *out, struct tensor *mean,
                         struct tensor *deviation, const struct tensor *x, const struct norm_parameters *norm)
{
    op_layernorm_forward(pass->backend, out, mean, deviation, x, &norm->weight, &norm->bias,
                         epsilon_of(pass));
}

/* d_x += */
static void norm_backward(const struct encoder_pass *pass, struct tensor *d_x,
                          struct norm_parameters gradient, const struct tensor *d_out, const struct tensor *x,
                          const struct norm_parameters *norm, const struct tensor *mean,
                          const struct tensor *deviation)
{
    op_layernorm_backward(pass->backend, d_x, &gradient.weight, &gradient.bias, d_out, x, &norm->weight, mean,
                          deviation);
}

/* out = x + drop(branch); branch is overwritten. */
static void add_branch(const struct encoder_pass *pass, struct tensor *out, const struct tensor *x,
                       struct tensor *branch, uint64_t site)
{
    if (pass->dropout > 0.0f)
        op_dropout(pass->backend, branch, branch, pass->dropout, pass->seed, pass->step, site,
                   pass->first_token);
    op_add(pass->backend, out, x, branch);
}

/* The gradient of a branch: d_x itself, or its dropout in activations->branch. */
static const struct tensor *branch_gradient(const struct encoder_pass *pass,
                                            struct encoder_activations *activations, const struct tensor *d_x,
                                            uint64_t site)
{
    if (pass->dropout <= 0.0f)
        return d_x;
    op_dropout(pass->backend, &activations->branch, d_x, pass->dropout, pass->seed, pass->step, site,
               pass->first_token);
    return &activations->branch;
}

/* branch = attention(query_input Wq, input Wk, input Wv) Wo */
static void attention_branch(const struct encoder_pass *pass, int64_t layer, struct block_activations *block,
                             struct tensor *branch, const struct packed_sequences *sequences)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer];
    linear_forward(pass, &block->q, &block->query_input, &parameters->query);
    linear_forward(pass, &block->k, &block->input, &parameters->key);
    linear_forward(pass, &block->v, &block->input, &parameters->value);
    op_attention_forward(pass->backend, &block->attended, &block->log_sum_exp, &block->q, &block->k,
                         &block->v, sequences->starts, attention_of(pass->shape));
    linear_forward(pass, branch, &block->attended, &parameters->attended);
}

/* From the gradient of the branch to those of q, k and v. */
static void attention_branch_backward(const struct encoder_pass *pass, int64_t layer,
                                      struct encoder_activations *activations, const struct tensor *d_branch,
                                      const struct packed_sequences *sequences)
{
    struct block_activations *block = &activations->block[layer];
    linear_backward(pass, &activations->d_attended, false, pass->gradients->block[layer].attended, d_branch,
                    &block->attended, &pass->parameters->block[layer].attended);
    op_attention_backward(pass->backend, &activations->d_q, &activations->d_k, &activations->d_v,
                          &activations->d_attended, &block->attended, &block->log_sum_exp, &block->q,
                          &block->k, &block->v, sequences->starts, attention_of(pass->shape));
}

static void feed_branch(const struct encoder_pass *pass, int64_t layer, struct block_activations *block,
                        struct tensor *branch)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer];
    linear_forward(pass, &block->up, &block->feed_input, &parameters->up);
    op_activation_forward(pass->backend, &block->active, &block->up, activation_of(pass->shape));
    linear_forward(pass, branch, &block->active, &parameters->down);
}

/* d_feed_input += */
static void feed_branch_backward(const struct encoder_pass *pass, int64_t layer,
                                 struct encoder_activations *activations, struct tensor *d_feed_input,
                                 const struct tensor *d_branch)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer],
                               *gradients = &pass->gradients->block[layer];
    struct block_activations *block = &activations->block[layer];
    linear_backward(pass, &activations->d_active, false, gradients->down, d_branch, &block->active,
                    &parameters->down);
    op_activation_backward(pass->backend, &activations->d_active, &activations->d_active, &block->up,
                           activation_of(pass->shape));
    linear_backward(pass, d_feed_input, true, gradients->up, &activations->d_active, &block->feed_input,
                    &parameters->up);
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

static void causal_forward(const struct encoder_pass *pass, int64_t layer,
                           struct encoder_activations *activations, struct tensor *output,
                           const struct packed_sequences *sequences)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer];
    struct block_activations *block = &activations->block[layer];
    struct tensor *branch = &activations->branch;
    norm_forward(pass, &block->query_input, &block->attention_mean, &block->attention_deviation,
                 &block->input, &parameters->attention_norm);
    attention_branch(pass, layer, block, branch, sequences);
    add_branch(pass, &block->middle, &block->query_input, branch, dropout_site(layer, SITE_ATTENTION));
    norm_forward(pass, &block->feed_input, &block->feed_mean, &block->feed_deviation, &block->middle,
                 &parameters->feed_norm);
    feed_branch(pass, layer, block, branch);
    add_branch(pass, output, &block->feed_input, branch, dropout_site(layer, SITE_FEED));
}

/* d_x, the gradient of the block's output, becomes that of its input. */
static void causal_backward(const struct encoder_pass *pass, int64_t layer,
                            struct encoder_activations *activations, struct tensor *d_x,
                            const struct packed_sequences *sequences)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer],
                               *gradients = &pass->gradients->block[layer];
    struct block_activations *block = &activations->block[layer];
    struct tensor *d_middle = &activations->d_middle;
    feed_branch_backward(pass, layer, activations, d_x,
                         branch_gradient(pass, activations, d_x, dropout_site(layer, SITE_FEED)));
    tensor_zero(pass->backend, d_middle);
    norm_backward(pass, d_middle, gradients->feed_norm, d_x, &block->middle, &parameters->feed_norm,
                  &block->feed_mean, &block->feed_deviation);
    attention_branch_backward(
        pass, layer, activations,
        branch_gradient(pass, activations, d_middle, dropout_site(layer, SITE_ATTENTION)), sequences);
    linear_backward(pass, d_middle, true, gradients->query, &activations->d_q, &block->query_input,
                    &parameters->query);
    linear_backward(pass, d_x, false, gradients->key, &activations->d_k, &block->input, &parameters->key);
    linear_backward(pass, d_x, true, gradients->value, &activations->d_v, &block->input, &parameters->value);
    norm_backward(pass, d_x, gradients->attention_norm, d_middle, &block->input, &parameters->attention_norm,
                  &block->attention_mean, &block->attention_deviation);
}

static void bidirectional_forward(const struct encoder_pass *pass, int64_t layer,
                                  struct encoder_activations *activations, struct tensor *output,
                                  const struct packed_sequences *sequences)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer];
    struct block_activations *block = &activations->block[layer];
    struct tensor *branch = &activations->branch;
    attention_branch(pass, layer, block, branch, sequences);
    add_branch(pass, &block->middle, &block->input, branch, dropout_site(layer, SITE_ATTENTION));
    norm_forward(pass, &block->feed_input, &block->attention_mean, &block->attention_deviation,
                 &block->middle, &parameters->attention_norm);
    feed_branch(pass, layer, block, branch);
    add_branch(pass, &block->feed_output, &block->feed_input, branch, dropout_site(layer, SITE_FEED));
    norm_forward(pass, output, &block->feed_mean, &block->feed_deviation, &block->feed_output,
                 &parameters->feed_norm);
}

static void bidirectional_backward(const struct encoder_pass *pass, int64_t layer,
                                   struct encoder_activations *activations, struct tensor *d_x,
                                   const struct packed_sequences *sequences)
{
    const struct encoder_block *parameters = &pass->parameters->block[layer],
                               *gradients = &pass->gradients->block[layer];
    struct block_activations *block = &activations->block[layer];
    struct tensor *d_middle = &activations->d_middle;
    tensor_zero(pass->backend, d_middle);
    norm_backward(pass, d_middle, gradients->feed_norm, d_x, &block->feed_output, &parameters->feed_norm,
                  &block->feed_mean, &block->feed_deviation);
    feed_branch_backward(pass, layer, activations, d_middle,
                         branch_gradient(pass, activations, d_middle, dropout_site(layer, SITE_FEED)));
    tensor_zero(pass->backend, d_x);
    norm_backward(pass, d_x, gradients->attention_norm, d_middle, &block->middle, &parameters->attention_norm,
                  &block->attention_mean, &block->attention_deviation);
    attention_branch_backward(pass, layer, activations,
                              branch_gradient(pass, activations, d_x, dropout_site(layer, SITE_ATTENTION)),
                              sequences);
    linear_backward(pass, d_x, true, gradients->query, &activations->d_q, &block->input, &parameters->query);
    linear_backward(pass, d_x, true, gradients->key, &activations->d_k, &block->input, &parameters->key);
    linear_backward(pass, d_x, true, gradients->value, &activations->d_v, &block->input, &parameters->value);
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

/* x = drop(scale * E[i] + P[p]), bidirectional: drop(norm( ... )). */
static void embed(const struct encoder_pass *pass, struct encoder_activations *activations, struct tensor *x,
                  const struct packed_sequences *sequences)
{
    struct backend *backend = pass->backend;
    const bool normed = pass->shape->kind == ENCODER_BIDIRECTIONAL;
    struct tensor *sum = normed ? &activations->embedded : x;
    op_gather(backend, sum, &pass->parameters->positions, sequences->positions);
    op_gather(backend, &activations->branch, &pass->parameters->entries, sequences->tokens);
    op_axpby(backend, sum, scale_of(pass), &activations->branch, 1.0f);
    if (normed)
        norm_forward(pass, x, &activations->mean, &activations->deviation, sum, &pass->parameters->norm);
    if (pass->dropout > 0.0f)
        op_dropout(backend, x, x, pass->dropout, pass->seed, pass->step, 0, pass->first_token);
}

static void embed_backward(const struct encoder_pass *pass, struct encoder_activations *activations,
                           struct tensor *d_x, const struct packed_sequences *sequences)
{
    struct backend *backend = pass->backend;
    struct tensor d_positions = pass->gradients->positions, d_entries = pass->gradients->entries;
    struct tensor *d_sum = d_x;
    if (pass->dropout > 0.0f)
        op_dropout(backend, d_x, d_x, pass->dropout, pass->seed, pass->step, 0, pass->first_token);
    if (pass->shape->kind == ENCODER_BIDIRECTIONAL) {
        d_sum = &activations->d_middle;
        tensor_zero(backend, d_sum);
        norm_backward(pass, d_sum, pass->gradients->norm, d_x, &activations->embedded,
                      &pass->parameters->norm, &activations->mean, &activations->deviation);
    }
    op_scatter_add(backend, &d_positions, d_sum, sequences->positions);
    if (scale_of(pass) != 1.0f)
        op_axpby(backend, d_sum, scale_of(pass), d_sum, 0.0f);
    op_scatter_add(backend, &d_entries, d_sum, sequences->tokens);
}

void encoder_forward(const struct encoder_pass *pass, struct encoder_activations *activations,
                     const struct packed_sequences *sequences)
{
    const int64_t layers = pass->shape->layers;
    embed(pass, activations, layers > 0 ? &activations->block[0].input : &activations->top, sequences);
    for (int64_t layer = 0; layer < layers; layer++) {
        struct tensor *output = layer + 1 < layers ? &activations->block[layer + 1].input : &activations->top;
        if (pass->shape->kind == ENCODER_CAUSAL)
            causal_forward(pass, layer, activations, output, sequences);
        else
            bidirectional_forward(pass, layer, activations, output, sequences);
    }
    if (pass->shape->kind == ENCODER_CAUSAL)
        norm_forward(pass, &activations->output, &activations->mean, &activations->deviation,
                     &activations->top, &pass->parameters->norm);
}

void encoder_backward(const struct encoder_pass *pass, struct encoder_activations *activations,
                      const struct packed_sequences *sequences, struct tensor *d_x)
{
    if (pass->shape->kind == ENCODER_CAUSAL) {
        struct tensor *d_top = &activations->d_middle;
        tensor_zero(pass->backend, d_top);
        norm_backward(pass, d_top, pass->gradients->norm, d_x, &activations->top, &pass->parameters->norm,
                      &activations->mean, &activations->deviation);
        op_axpby(pass->backend, d_x, 1.0f, d_top, 0.0f);
    }
    for (int64_t layer = pass->shape->layers - 1; layer >= 0; layer--)
        if (pass->shape->kind == ENCODER_CAUSAL)
            causal_backward(pass, layer, activations, d_x, sequences);
        else
            bidirectional_backward(pass, layer, activations, d_x, sequences);
    embed_backward(pass, activations, d_x, sequences);
}

/* ---- the head ----------------------------------------------------------------------------------------- */

void encoder_head_lay_out(struct encoder_head *head, struct arena *arena, const struct encoder_shape *shape,
                          int64_t rows, bool backward)
{
    struct tensor *const tensors[] = {&head->projected, &head->active,   &head->output,  &head->states,
                                      &head->d_output,  &head->d_active, &head->d_states};
    const size_t count = backward ? sizeof tensors / sizeof *tensors : 3;
    for (size_t place = 0; place < count; place++)
        *tensors[place] = arena_tensor_2d(arena, DTYPE_REAL, rows, shape->width);
    head->mean = arena_tensor_1d(arena, DTYPE_REAL, rows);
    head->deviation = arena_tensor_1d(arena, DTYPE_REAL, rows);
}

void encoder_head_forward(const struct encoder_pass *pass, struct encoder_head *head,
                          const struct tensor *states)
{
    linear_forward(pass, &head->projected, states, &pass->parameters->project);
    op_activation_forward(pass->backend, &head->active, &head->projected, ACTIVATION_GELU);
    norm_forward(pass, &head->output, &head->mean, &head->deviation, &head->active,
                 &pass->parameters->project_norm);
}

void encoder_head_backward(const struct encoder_pass *pass, struct encoder_head *head)
{
    tensor_zero(pass->backend, &head->d_active);
    norm_backward(pass, &head->d_active, pass->gradients->project_norm, &head->d_output, &head->active,
                  &pass->parameters->project_norm, &head->mean, &head->deviation);
    op_activation_backward(pass->backend, &head->d_active, &head->d_active, &head->projected,
                           ACTIVATION_GELU);
    linear_backward(pass, &head->d_states, false, pass->gradients->project, &head->d_active, &head->states,
                    &pass->parameters->project);
}
