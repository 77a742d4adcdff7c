#include <stdlib.h>

#include "core/file.h"
#include "core/trace.h"
#include "models/language/transformer_state.h"

/* ---- passes ------------------------------------------------------------------------------------------- */

/* The output of a layer is the next one's input. */
static struct tensor *layer_output(struct transformer *model, int64_t layer)
{
    struct batch_activations *const batch = &model->activations;
    return layer + 1 < model->settings.layers ? &batch->layer[layer + 1].input : &batch->last;
}

static void forward_layer(struct transformer *model, const struct layer_pass *pass, int64_t layer)
{
    struct batch_activations *const batch = &model->activations;
    layer_forward(pass, layer, &batch->layer[layer], &model->scratch, &model->inputs.positions,
                  &model->inputs.starts, layer_output(model, layer));
}

/* pass NULL: computes nothing, and takes part in what ranks exchange meanwhile. So it is with backward(). */
static bool forward(struct transformer *model, const struct layer_pass *pass, struct error *error)
{
    struct batch_activations *const batch = &model->activations;
    if (pass)
        model_embed(pass, &batch->layer[0].input, &model->inputs.tokens);
    for (int64_t layer = 0; layer < model->settings.layers; layer++) {
        if (!transformer_bring_layer(model, layer, layer + 1, error))
            return false;
        if (pass)
            forward_layer(model, pass, layer);
    }
    return true;
}

/* A span of the trace, up to where all that is queued is done. */
static void trace_pass(const struct transformer *model, double begun, const char *what, int64_t layer)
{
    if (!trace_is_on(model->backend->trace))
        return;
    model->backend->wait(model->backend);
    if (layer < 0)
        trace_add(model->backend->trace, TRACE_COMPUTES, begun, -1, "%s", what);
    else
        trace_add(model->backend->trace, TRACE_COMPUTES, begun, -1, "%s, layer %lld", what, (long long)layer);
}

static void backward_layer(struct transformer *model, const struct layer_pass *pass, int64_t layer)
{
    struct batch_activations *const batch = &model->activations;
    const double begun = clock_seconds();
    const bool input_wanted = layer > 0 || model->gradients.embedding.rank > 0;
    if (model->settings.recompute && layer + 1 < model->settings.layers)
        forward_layer(model, pass, layer);
    layer_backward(pass, layer, &batch->layer[layer], &model->scratch, &model->inputs.positions,
                   &model->inputs.starts, &batch->d_x, input_wanted);
    trace_pass(model, begun, "backward", layer);
}

static void backward_embedding(struct transformer *model, const struct layer_pass *pass)
{
    const double begun = clock_seconds();
    if (model->gradients.embedding.rank > 0)
        model_embed_backward(pass, &model->activations.d_x,
                             transformer_trains_added(model) ? &model->inputs.added : &model->inputs.tokens);
    trace_pass(model, begun, "backward, embedding", -1);
}

/* From the gradient of the last layer's output in d_x down to the embedding. In the last batch of a step
 * the ranks begin to sum what is complete. */
static bool backward(struct transformer *model, const struct layer_pass *pass, bool last_of_step,
                     struct error *error)
{
    const int64_t layers = model->settings.layers;
    if (last_of_step && !transformer_begin_sums(model, layers + 1, error))
        return false;
    for (int64_t layer = layers - 1; layer >= 0; layer--) {
        if (!transformer_bring_layer(model, layer, layer - 1, error))
            return false;
        if (pass)
            backward_layer(model, pass, layer);
        if (last_of_step && !transformer_begin_sums(model, layer + 1, error))
            return false;
    }
    if (pass)
        backward_embedding(model, pass);
    return !last_of_step || transformer_begin_sums(model, 0, error);
}

/* Forward, losses and backward of a batch that has been sent. */
static bool pass_batch(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
                       struct error *error)
{
    const double begun = clock_seconds();
    if (!forward(model, pass, error))
        return false;
    trace_pass(model, begun, "forward", -1);
    const double passed = clock_seconds();
    loss_run(model, pass, batch, &model->activations.last, &model->activations.d_x);
    trace_pass(model, passed, "loss and its backward", -1);
    return backward(model, pass, batch->last, error);
}

bool transformer_accompany(struct transformer *model, bool last_of_step, struct error *error)
{
    return !transformer_base_is_sharded(model) ||
           (forward(model, NULL, error) && backward(model, NULL, last_of_step, error));
}

bool transformer_attend(struct transformer *model, struct error *error)
{
    bool any = true;
    if (!transformer_base_is_sharded(model))
        return true;
    while (any)
        if (!transformer_ask(model, false, &any, error) || (any && !forward(model, NULL, error)))
            return false;
    return true;
}

/* A forward pass of a batch that is not trained. */
static bool ask(struct transformer *model, const struct layer_pass *pass, struct error *error)
{
    bool any;
    return transformer_ask(model, true, &any, error) && forward(model, pass, error);
}

/* Adds the losses of all batches under way. */
static bool take_losses(struct transformer *model, double *sum, struct error *error)
{
    while (transformer_batches_under_way(model) > 0) {
        double loss;
        if (!transformer_take_loss(model, &loss, error))
            return false;
        *sum += loss;
    }
    return true;
}

bool transformer_accumulate(struct transformer *model, const struct batch *batch, double residual_dropout,
                            uint64_t seed, uint64_t dropout_step, double *sum, struct error *error)
{
    if (model->mode == TRAIN_NOTHING)
        return error_set(error, ERROR_RUN, "the model was made for inference and has no gradients");
    if (!transformer_check_sequences(model, batch, error) || !transformer_check_targets(model, batch, error))
        return false;
    struct layer_pass pass = transformer_inference_pass(model);
    pass.gradients = &model->gradients;
    pass.residual_dropout = (float)residual_dropout;
    pass.lora_dropout = (float)model->lora.dropout;
    pass.seed = seed;
    pass.step = dropout_step;
    pass.first_row = batch->first_token;
    struct batch_slot *const slot = transformer_send_batch(model, batch, error);
    if (!slot)
        return false;
    if (slot->counted > 0 ? !pass_batch(model, &pass, batch, error)
                          : !transformer_accompany(model, batch->last, error))
        return false;
    transformer_return_losses(model, slot);
    return sum ? take_losses(model, sum, error) : backend_check(model->backend, error);
}

bool transformer_loss(struct transformer *model, const struct batch *batch, double *sum, struct error *error)
{
    const struct layer_pass pass = transformer_inference_pass(model);
    if (transformer_batches_under_way(model) > 0)
        return error_set(error, ERROR_RUN, "a loss is measured while a batch is under way");
    if (!transformer_check_sequences(model, batch, error) || !transformer_check_targets(model, batch, error))
        return false;
    struct batch_slot *const slot = transformer_send_batch(model, batch, error);
    if (!slot)
        return false;
    if (slot->counted > 0) {
        if (!ask(model, &pass, error))
            return false;
        loss_measure(model, &pass, batch, &model->activations.last);
    }
    transformer_return_losses(model, slot);
    return take_losses(model, sum, error);
}

/* ---- logits ------------------------------------------------------------------------------------------- */

/* The logits of the rows first .. first + count - 1 that were asked for, as floats on the host; `values` has room for
 * them as the device computes them. */
static void download_logits(struct transformer *model, const struct layer_pass *pass, int64_t first,
                            int64_t count, real *values, float *logits)
{
    struct loss_activations *const loss = &model->loss;
    const int64_t vocabulary = model->settings.vocabulary;
    loss_lay_out(model, count);
    struct tensor chunk = tensor_2d(loss->logits, DTYPE_REAL, model->backend->device, count, vocabulary);
    const struct tensor rows = tensor_rows(&model->inputs.rows, first, count);
    op_gather(model->backend, &loss->selected, &model->activations.last, &rows);
    model_final_norm(pass, &loss->normed, &loss->inverse_rms, &loss->selected);
    model_logits(pass, &chunk, &loss->normed);
    tensor_download(model->backend, values, &chunk);
    for (int64_t index = 0; index < count * vocabulary; index++)
        logits[index] = (float)values[index];
}

bool transformer_logits(struct transformer *model, const struct batch *batch, const int32_t *rows,
                        int64_t row_count, float *logits, struct error *error)
{
    if (!transformer_check_sequences(model, batch, error))
        return false;
    for (int64_t row = 0; row < row_count; row++)
        if (rows[row] < 0 || rows[row] >= batch->tokens)
            return error_set(error, ERROR_RUN, "row %d was asked for in a batch of %lld tokens", rows[row],
                             (long long)batch->tokens);
    const int64_t vocabulary = model->settings.vocabulary;
    int64_t chunk = loss_chunk_rows(model, DTYPE_REAL, vocabulary);
    chunk = chunk < model->tokens_maximum ? chunk : model->tokens_maximum;
    real *values = malloc((size_t)(chunk * vocabulary) * sizeof *values);
    if (!values)
        return error_memory(error, "a chunk of logits", (size_t)(chunk * vocabulary) * sizeof *values, NULL);
    const struct layer_pass pass = transformer_inference_pass(model);
    const bool sent =
        transformer_send_question(model, batch, rows, row_count, error) && ask(model, &pass, error);
    const size_t activations_mark = arena_mark(&model->activations_arena);
    const size_t scratch_mark = arena_mark(&model->scratch_arena);
    for (int64_t first = 0; sent && first < row_count; first += chunk) {
        const int64_t count = row_count - first < chunk ? row_count - first : chunk;
        arena_return(&model->activations_arena, activations_mark);
        arena_return(&model->scratch_arena, scratch_mark);
        download_logits(model, &pass, first, count, values, logits + first * vocabulary);
    }
    free(values);
    return sent && backend_synchronize(model->backend, error);
}
