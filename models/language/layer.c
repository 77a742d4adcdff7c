#include "models/language/layer.h"

#include "core/quantize.h"

/* Sites of dropout: 0 is the embedding; then, for each layer, its linears' adapters and its two branches. */
enum { SITE_ATTENTION_BRANCH = LINEAR_COUNT, SITE_FEED_BRANCH, SITES_PER_LAYER };

static uint64_t dropout_site(int64_t layer, int site)
{
    return (uint64_t)(1 + layer * SITES_PER_LAYER + site);
}

static int64_t query_width(const struct transformer_settings *settings)
{
    return settings->query_heads * settings->head_width;
}

static int64_t key_width(const struct transformer_settings *settings)
{
    return settings->key_heads * settings->head_width;
}

static struct attention_shape attention_shape(const struct transformer_settings *settings)
{
    return (struct attention_shape){settings->query_heads, settings->key_heads, settings->head_width,
                                    .bidirectional = false};
}

void layer_activations_lay_out(struct layer_activations *activations, struct arena *arena,
                               const struct transformer_settings *settings, const struct lora_settings *lora,
                               int64_t rows)
{
    const int64_t width = settings->width, hidden = settings->hidden;
    const enum dtype storage = transformer_storage(settings);
    activations->attention_inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows);
    activations->attention_normed = arena_tensor_2d(arena, storage, rows, width);
    activations->q = arena_tensor_2d(arena, storage, rows, query_width(settings));
    activations->k = arena_tensor_2d(arena, storage, rows, key_width(settings));
    activations->v = arena_tensor_2d(arena, storage, rows, key_width(settings));
    if (settings->head_norm) {
        activations->plain_q = arena_tensor_2d(arena, storage, rows, query_width(settings));
        activations->plain_k = arena_tensor_2d(arena, storage, rows, key_width(settings));
        activations->q_inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows * settings->query_heads);
        activations->k_inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows * settings->key_heads);
    }
    activations->log_sum_exp = arena_tensor_2d(arena, DTYPE_REAL, settings->query_heads, rows);
    activations->attended = arena_tensor_2d(arena, storage, rows, query_width(settings));
    activations->middle = arena_tensor_2d(arena, storage, rows, width);
    activations->feed_inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows);
    activations->feed_normed = arena_tensor_2d(arena, storage, rows, width);
    activations->gate = arena_tensor_2d(arena, storage, rows, hidden);
    activations->up = arena_tensor_2d(arena, storage, rows, hidden);
    activations->product = arena_tensor_2d(arena, storage, rows, hidden);
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        if (lora->rank > 0 && lora->targets[linear])
            activations->lora_hidden[linear] = arena_tensor_2d(arena, storage, rows, lora->rank);
}

static int64_t widest_input(const struct transformer_settings *settings)
{
    int64_t widest = 0;
    for (int linear = 0; linear < LINEAR_COUNT; linear++) {
        const int64_t in = linear_shape(settings, (enum linear)linear).in;
        widest = in > widest ? in : widest;
    }
    return widest;
}

static int64_t largest_linear(const struct transformer_settings *settings)
{
    int64_t largest = 0;
    for (int linear = 0; linear < LINEAR_COUNT; linear++) {
        const struct linear_shape shape = linear_shape(settings, (enum linear)linear);
        largest = shape.out * shape.in > largest ? shape.out * shape.in : largest;
    }
    return largest;
}

void layer_scratch_lay_out(struct layer_scratch *scratch, struct arena *arena,
                           const struct transformer_settings *settings, const struct lora_settings *lora,
                           int64_t rows, bool backward)
{
    const enum dtype storage = transformer_storage(settings);
    scratch->branch = arena_tensor_2d(arena, storage, rows, settings->width);
    if (lora->rank > 0 && lora->dropout > 0.0)
        scratch->dropped = arena_tensor_1d(arena, storage, rows * widest_input(settings));
    if (settings->frozen != FROZEN_PRECISION)
        scratch->weight = arena_tensor_1d(arena, storage, largest_linear(settings));
    if (!backward)
        return;
    if (lora->rank > 0)
        scratch->d_lora_hidden = arena_tensor_2d(arena, storage, rows, lora->rank);
    scratch->d_normed = arena_tensor_2d(arena, storage, rows, settings->width);
    scratch->d_q = arena_tensor_2d(arena, storage, rows, query_width(settings));
    scratch->d_k = arena_tensor_2d(arena, storage, rows, key_width(settings));
    scratch->d_v = arena_tensor_2d(arena, storage, rows, key_width(settings));
    scratch->d_attended = arena_tensor_2d(arena, storage, rows, query_width(settings));
    if (settings->head_norm) {
        scratch->d_plain_q = arena_tensor_2d(arena, storage, rows, query_width(settings));
        scratch->d_plain_k = arena_tensor_2d(arena, storage, rows, key_width(settings));
    }
    scratch->d_gate = arena_tensor_2d(arena, storage, rows, settings->hidden);
    scratch->d_up = arena_tensor_2d(arena, storage, rows, settings->hidden);
    scratch->d_product = arena_tensor_2d(arena, storage, rows, settings->hidden);
}

/* ---- linears with their adapters ---------------------------------------------------------------------- */

/* The views that one call of a linear's operators points to. */
struct linear_views {
    struct tensor weight, bias, lora_a, lora_b, hidden, dropped, d_hidden;
    struct tensor d_weight, d_bias, d_lora_a, d_lora_b;
    struct lora lora;
};

static struct tensor *present(struct tensor *tensor)
{
    return tensor->rank > 0 ? tensor : NULL;
}

static void linear_views(struct linear_views *views, const struct layer_pass *pass, int64_t layer,
                         enum linear linear, const struct layer_activations *activations,
                         const struct layer_scratch *scratch)
{
    const struct layer_weights *weights = &pass->weights->layer[layer];
    const int64_t rows = activations->input.shape[0];
    *views = (struct linear_views){.weight = weights->linear[linear],
                                   .bias = weights->bias[linear],
                                   .lora_a = weights->lora_a[linear],
                                   .lora_b = weights->lora_b[linear],
                                   .hidden = activations->lora_hidden[linear],
                                   .d_hidden = scratch->d_lora_hidden};
    if (pass->gradients) {
        const struct layer_weights *gradients = &pass->gradients->layer[layer];
        views->d_weight = gradients->linear[linear];
        views->d_bias = gradients->bias[linear];
        views->d_lora_a = gradients->lora_a[linear];
        views->d_lora_b = gradients->lora_b[linear];
    }
    if (scratch->dropped.rank > 0)
        views->dropped = tensor_2d(scratch->dropped.data, scratch->dropped.dtype, scratch->dropped.device,
                                   rows, linear_shape(pass->settings, linear).in);
    views->lora = (struct lora){.a = &views->lora_a,
                                .b = &views->lora_b,
                                .d_a = present(&views->d_lora_a),
                                .d_b = present(&views->d_lora_b),
                                .hidden = &views->hidden,
                                .dropped = present(&views->dropped),
                                .d_hidden = present(&views->d_hidden),
                                .scale = (float)lora_scale(pass->lora),
                                .dropout = pass->lora_dropout,
                                .seed = pass->seed,
                                .step = pass->step,
                                .site = dropout_site(layer, (int)linear),
                                .first_row = pass->first_row};
}

/* What the product reads in place of a quantised weight. */
static void dequantize_weight(const struct layer_pass *pass, struct linear_views *views,
                              const struct layer_scratch *scratch)
{
    const struct tensor stored = views->weight;
    if (!dtype_is_quantized(stored.dtype))
        return;
    views->weight = tensor_2d(scratch->weight.data, scratch->weight.dtype, scratch->weight.device,
                              stored.shape[0], stored.shape[1]);
    op_dequantize(pass->backend, &views->weight, &stored);
}

static void linear_forward(const struct layer_pass *pass, int64_t layer, enum linear linear,
                           struct layer_activations *activations, struct layer_scratch *scratch,
                           struct tensor *y, const struct tensor *x)
{
    struct linear_views views;
    linear_views(&views, pass, layer, linear, activations, scratch);
    dequantize_weight(pass, &views, scratch);
    op_linear_forward(pass->backend, y, x, &views.weight, present(&views.bias),
                      present(&views.lora_a) ? &views.lora : NULL);
}

static void linear_backward(const struct layer_pass *pass, int64_t layer, enum linear linear,
                            struct layer_activations *activations, struct layer_scratch *scratch,
                            struct tensor *d_x, bool accumulate, const struct tensor *d_y,
                            const struct tensor *x)
{
    struct linear_views views;
    linear_views(&views, pass, layer, linear, activations, scratch);
    if (d_x)
        dequantize_weight(pass, &views, scratch);
    op_linear_backward(pass->backend, d_x, accumulate, present(&views.d_weight), present(&views.d_bias), d_y,
                       x, &views.weight, present(&views.lora_a) ? &views.lora : NULL);
}

/* ---- residual branches -------------------------------------------------------------------------------- */

/* out = x + dropout(branch); branch is overwritten. */
static void add_branch(const struct layer_pass *pass, struct tensor *out, const struct tensor *x,
                       struct tensor *branch, uint64_t site)
{
    if (pass->residual_dropout > 0.0f)
        op_dropout(pass->backend, branch, branch, pass->residual_dropout, pass->seed, pass->step, site,
                   pass->first_row);
    op_add(pass->backend, out, x, branch);
}

/* The gradient of a branch: d_x itself, or its dropout in scratch->branch. */
static const struct tensor *branch_gradient(const struct layer_pass *pass, struct layer_scratch *scratch,
                                            const struct tensor *d_x, uint64_t site)
{
    if (pass->residual_dropout <= 0.0f)
        return d_x;
    op_dropout(pass->backend, &scratch->branch, d_x, pass->residual_dropout, pass->seed, pass->step, site,
               pass->first_row);
    return &scratch->branch;
}

/* ---- forward ------------------------------------------------------------------------------------------ */

void model_embed(const struct layer_pass *pass, struct tensor *x, const struct tensor *tokens)
{
    op_gather(pass->backend, x, &pass->weights->embedding, tokens);
    if (pass->residual_dropout > 0.0f)
        op_dropout(pass->backend, x, x, pass->residual_dropout, pass->seed, pass->step, 0, pass->first_row);
}

/* q or k with a row for each of its heads. */
static struct tensor heads_of(const struct tensor *tensor, int64_t head_width)
{
    return tensor_2d(tensor->data, tensor->dtype, tensor->device, tensor_count(tensor) / head_width,
                     head_width);
}

static void head_norm_forward(const struct layer_pass *pass, struct tensor *out, struct tensor *inverse_rms,
                              const struct tensor *plain, const struct tensor *weight)
{
    const int64_t head_width = pass->settings->head_width;
    const struct tensor plain_heads = heads_of(plain, head_width);
    struct tensor heads = heads_of(out, head_width);
    op_rmsnorm_forward(pass->backend, &heads, inverse_rms, &plain_heads, weight,
                       pass->settings->norm_epsilon);
}

static void queries_and_keys(const struct layer_pass *pass, int64_t layer, struct layer_activations *a,
                             struct layer_scratch *scratch)
{
    const struct layer_weights *const weights = &pass->weights->layer[layer];
    const bool norm = pass->settings->head_norm;
    linear_forward(pass, layer, LINEAR_Q, a, scratch, norm ? &a->plain_q : &a->q, &a->attention_normed);
    linear_forward(pass, layer, LINEAR_K, a, scratch, norm ? &a->plain_k : &a->k, &a->attention_normed);
    if (!norm)
        return;
    head_norm_forward(pass, &a->q, &a->q_inverse_rms, &a->plain_q, &weights->query_norm);
    head_norm_forward(pass, &a->k, &a->k_inverse_rms, &a->plain_k, &weights->key_norm);
}

void layer_attention_input(const struct layer_pass *pass, int64_t layer,
                           struct layer_activations *activations, struct layer_scratch *scratch,
                           const struct tensor *positions)
{
    const struct transformer_settings *settings = pass->settings;
    struct layer_activations *const a = activations;
    op_rmsnorm_forward(pass->backend, &a->attention_normed, &a->attention_inverse_rms, &a->input,
                       &pass->weights->layer[layer].attention_norm, settings->norm_epsilon);
    queries_and_keys(pass, layer, a, scratch);
    linear_forward(pass, layer, LINEAR_V, a, scratch, &a->v, &a->attention_normed);
    if (settings->positions) {
        op_rope_forward(pass->backend, &a->q, positions, pass->frequencies, settings->head_width);
        op_rope_forward(pass->backend, &a->k, positions, pass->frequencies, settings->head_width);
    }
}

void layer_attention_output(const struct layer_pass *pass, int64_t layer,
                            struct layer_activations *activations, struct layer_scratch *scratch)
{
    linear_forward(pass, layer, LINEAR_O, activations, scratch, &scratch->branch, &activations->attended);
    add_branch(pass, &activations->middle, &activations->input, &scratch->branch,
               dropout_site(layer, SITE_ATTENTION_BRANCH));
}

void layer_feed_forward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                        struct layer_scratch *scratch, struct tensor *output)
{
    struct layer_activations *const a = activations;
    op_rmsnorm_forward(pass->backend, &a->feed_normed, &a->feed_inverse_rms, &a->middle,
                       &pass->weights->layer[layer].feed_norm, pass->settings->norm_epsilon);
    linear_forward(pass, layer, LINEAR_GATE, a, scratch, &a->gate, &a->feed_normed);
    linear_forward(pass, layer, LINEAR_UP, a, scratch, &a->up, &a->feed_normed);
    op_swiglu_forward(pass->backend, &a->product, &a->gate, &a->up);
    linear_forward(pass, layer, LINEAR_DOWN, a, scratch, &scratch->branch, &a->product);
    add_branch(pass, output, &a->middle, &scratch->branch, dropout_site(layer, SITE_FEED_BRANCH));
}

void layer_forward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                   struct layer_scratch *scratch, const struct tensor *positions, const struct tensor *starts,
                   struct tensor *output)
{
    layer_attention_input(pass, layer, activations, scratch, positions);
    op_attention_forward(pass->backend, &activations->attended, &activations->log_sum_exp, &activations->q,
                         &activations->k, &activations->v, starts, attention_shape(pass->settings));
    layer_attention_output(pass, layer, activations, scratch);
    layer_feed_forward(pass, layer, activations, scratch, output);
}

void model_final_norm(const struct layer_pass *pass, struct tensor *normed, struct tensor *inverse_rms,
                      const struct tensor *x)
{
    op_rmsnorm_forward(pass->backend, normed, inverse_rms, x, &pass->weights->output_norm,
                       pass->settings->norm_epsilon);
}

/* The first rows of the output table or its gradient, and of the room behind it. */
static struct tensor output_rows(const struct tensor *table, int64_t rows)
{
    struct tensor view = *table;
    view.shape[0] = rows;
    return view;
}

void model_logits(const struct layer_pass *pass, struct tensor *logits, const struct tensor *normed)
{
    const struct tensor output = output_rows(&pass->weights->output, logits->shape[1]);
    op_gemm(pass->backend, logits, normed, PLAIN, &output, TRANSPOSED, 1.0f, 0.0f);
}

/* ---- backward ----------------------------------------------------------------------------------------- */

void model_logits_backward(const struct layer_pass *pass, struct tensor *d_normed, struct tensor *d_added,
                           const struct tensor *d_logits, const struct tensor *normed)
{
    const int64_t columns = d_logits->shape[1];
    const struct tensor output = output_rows(&pass->weights->output, columns);
    op_gemm(pass->backend, d_normed, d_logits, PLAIN, &output, PLAIN, 1.0f, 0.0f);
    if (pass->gradients->output.rank == 0)
        return;
    const int64_t first = pass->weights->output.shape[0] - pass->gradients->output.shape[0];
    if (first > 0)
        op_columns(pass->backend, d_added, d_logits, first);
    const struct tensor *const d_trained = first > 0 ? d_added : d_logits;
    struct tensor d_output = output_rows(&pass->gradients->output, d_trained->shape[1]);
    op_gemm(pass->backend, &d_output, d_trained, TRANSPOSED, normed, PLAIN, 1.0f, 1.0f);
}

void model_final_norm_backward(const struct layer_pass *pass, struct tensor *d_x,
                               const struct tensor *d_normed, const struct tensor *x,
                               const struct tensor *inverse_rms)
{
    struct tensor d_norm = pass->gradients->output_norm;
    op_rmsnorm_backward(pass->backend, d_x, present(&d_norm), d_normed, x, &pass->weights->output_norm,
                        inverse_rms);
}

/* d_x: of the layer's output; becomes that of `middle`. */
static void feed_backward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                          struct layer_scratch *scratch, struct tensor *d_x)
{
    struct layer_activations *const a = activations;
    struct layer_scratch *const s = scratch;
    struct tensor d_norm = pass->gradients->layer[layer].feed_norm;
    const struct tensor *d_branch = branch_gradient(pass, s, d_x, dropout_site(layer, SITE_FEED_BRANCH));
    linear_backward(pass, layer, LINEAR_DOWN, a, s, &s->d_product, false, d_branch, &a->product);
    op_swiglu_backward(pass->backend, &s->d_gate, &s->d_up, &s->d_product, &a->gate, &a->up);
    linear_backward(pass, layer, LINEAR_UP, a, s, &s->d_normed, false, &s->d_up, &a->feed_normed);
    linear_backward(pass, layer, LINEAR_GATE, a, s, &s->d_normed, true, &s->d_gate, &a->feed_normed);
    op_rmsnorm_backward(pass->backend, d_x, present(&d_norm), &s->d_normed, &a->middle,
                        &pass->weights->layer[layer].feed_norm, &a->feed_inverse_rms);
}

/* d_plain = the gradient of q or k before its norm, from d_out, the one after it. */
static void head_norm_backward(const struct layer_pass *pass, struct tensor *d_plain, struct tensor *d_weight,
                               const struct tensor *d_out, const struct tensor *plain,
                               const struct tensor *weight, const struct tensor *inverse_rms)
{
    const int64_t head_width = pass->settings->head_width;
    const struct tensor d_heads = heads_of(d_out, head_width), plain_heads = heads_of(plain, head_width);
    struct tensor d_plain_heads = heads_of(d_plain, head_width);
    tensor_zero(pass->backend, d_plain);
    op_rmsnorm_backward(pass->backend, &d_plain_heads, present(d_weight), &d_heads, &plain_heads, weight,
                        inverse_rms);
}

/* From d_q and d_k, of what the attention has read, to those of the two linears' results, wherever they are then. */
static void queries_and_keys_backward(const struct layer_pass *pass, int64_t layer,
                                      struct layer_activations *a, struct layer_scratch *s,
                                      const struct tensor *positions, struct tensor **d_q,
                                      struct tensor **d_k)
{
    const struct transformer_settings *const settings = pass->settings;
    const struct layer_weights *const weights = &pass->weights->layer[layer];
    struct tensor d_query_norm = pass->gradients->layer[layer].query_norm;
    struct tensor d_key_norm = pass->gradients->layer[layer].key_norm;
    *d_q = &s->d_q;
    *d_k = &s->d_k;
    if (settings->positions) {
        op_rope_backward(pass->backend, &s->d_k, positions, pass->frequencies, settings->head_width);
        op_rope_backward(pass->backend, &s->d_q, positions, pass->frequencies, settings->head_width);
    }
    if (!settings->head_norm)
        return;
    *d_q = &s->d_plain_q;
    *d_k = &s->d_plain_k;
    head_norm_backward(pass, *d_k, &d_key_norm, &s->d_k, &a->plain_k, &weights->key_norm, &a->k_inverse_rms);
    head_norm_backward(pass, *d_q, &d_query_norm, &s->d_q, &a->plain_q, &weights->query_norm,
                       &a->q_inverse_rms);
}

/* d_x: of `middle`; becomes that of the layer's input. */
static void attention_backward(const struct layer_pass *pass, int64_t layer,
                               struct layer_activations *activations, struct layer_scratch *scratch,
                               const struct tensor *positions, const struct tensor *starts,
                               struct tensor *d_x, bool input_wanted)
{
    struct layer_activations *const a = activations;
    struct layer_scratch *const s = scratch;
    struct tensor *d_q, *d_k, d_norm = pass->gradients->layer[layer].attention_norm;
    const struct tensor *d_branch = branch_gradient(pass, s, d_x, dropout_site(layer, SITE_ATTENTION_BRANCH));
    linear_backward(pass, layer, LINEAR_O, a, s, &s->d_attended, false, d_branch, &a->attended);
    op_attention_backward(pass->backend, &s->d_q, &s->d_k, &s->d_v, &s->d_attended, &a->attended,
                          &a->log_sum_exp, &a->q, &a->k, &a->v, starts, attention_shape(pass->settings));
    queries_and_keys_backward(pass, layer, a, s, positions, &d_q, &d_k);
    struct tensor *d_normed = input_wanted ? &s->d_normed : NULL;
    linear_backward(pass, layer, LINEAR_V, a, s, d_normed, false, &s->d_v, &a->attention_normed);
    linear_backward(pass, layer, LINEAR_K, a, s, d_normed, true, d_k, &a->attention_normed);
    linear_backward(pass, layer, LINEAR_Q, a, s, d_normed, true, d_q, &a->attention_normed);
    if (input_wanted)
        op_rmsnorm_backward(pass->backend, d_x, present(&d_norm), d_normed, &a->input,
                            &pass->weights->layer[layer].attention_norm, &a->attention_inverse_rms);
}

void model_embed_backward(const struct layer_pass *pass, struct tensor *d_x, const struct tensor *tokens)
{
    struct tensor d_embedding = pass->gradients->embedding;
    if (pass->residual_dropout > 0.0f)
        op_dropout(pass->backend, d_x, d_x, pass->residual_dropout, pass->seed, pass->step, 0,
                   pass->first_row);
    op_scatter_add(pass->backend, &d_embedding, d_x, tokens);
}

void layer_backward(const struct layer_pass *pass, int64_t layer, struct layer_activations *activations,
                    struct layer_scratch *scratch, const struct tensor *positions,
                    const struct tensor *starts, struct tensor *d_x, bool input_wanted)
{
    feed_backward(pass, layer, activations, scratch, d_x);
    attention_backward(pass, layer, activations, scratch, positions, starts, d_x, input_wanted);
}
