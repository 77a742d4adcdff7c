#include <stdlib.h>

#include "models/language/transformer_state.h"

/* ---- the batch ---------------------------------------------------------------------------------------- */

static bool check_sequences(const struct transformer *model, const struct batch *batch, struct error *error)
{
    if (batch->tokens < 1 || batch->tokens > model->tokens_maximum || batch->sequences < 1 ||
        batch->sequences > model->sequences_maximum)
        return error_set(
            error, ERROR_RUN,
            "a batch of %lld tokens in %lld sequences; the model was made for up to %lld in %lld",
            (long long)batch->tokens, (long long)batch->sequences, (long long)model->tokens_maximum,
            (long long)model->sequences_maximum);
    for (int64_t sequence = 0; sequence < batch->sequences; sequence++)
        if (batch->starts[sequence] >= batch->starts[sequence + 1])
            return error_set(error, ERROR_RUN, "sequence %lld of the batch is empty or out of order",
                             (long long)sequence);
    if (batch->starts[0] != 0 || batch->starts[batch->sequences] != batch->tokens)
        return error_set(error, ERROR_RUN, "the sequences of the batch do not cover its %lld tokens",
                         (long long)batch->tokens);
    for (int64_t token = 0; token < batch->tokens; token++)
        if (batch->token[token] < 0 || batch->token[token] >= model->settings.vocabulary ||
            batch->position[token] < 0)
            return error_set(error, ERROR_RUN,
                             "token %lld of the batch is %d at position %d; the vocabulary has %lld",
                             (long long)token, batch->token[token], batch->position[token],
                             (long long)model->settings.vocabulary);
    return true;
}

static bool check_set(const struct transformer *model, const struct batch *batch, int64_t token,
                      struct error *error)
{
    const int64_t begin = batch->target_starts[token], end = batch->target_starts[token + 1];
    if (begin < 0 || end < begin || end - begin > model->settings.classes)
        return error_set(error, ERROR_RUN, "token %lld of the batch has %lld targets; there are %lld classes",
                         (long long)token, (long long)(end - begin), (long long)model->settings.classes);
    for (int64_t index = begin; index < end; index++)
        if (batch->target_items[index] < 0 || batch->target_items[index] >= model->settings.classes)
            return error_set(
                error, ERROR_RUN, "token %lld of the batch has the target %d; there are %lld classes",
                (long long)token, batch->target_items[index], (long long)model->settings.classes);
    return true;
}

static bool check_targets(const struct transformer *model, const struct batch *batch, struct error *error)
{
    for (int64_t token = 0; token < batch->tokens; token++) {
        if (batch->target_starts && !check_set(model, batch, token, error))
            return false;
        if (!batch->target_starts && batch->target[token] >= model->settings.classes)
            return error_set(error, ERROR_RUN,
                             "token %lld of the batch has the target %d; there are %lld classes",
                             (long long)token, batch->target[token], (long long)model->settings.classes);
    }
    return true;
}

static void upload_batch(struct transformer *model, const struct batch *batch)
{
    transformer_lay_out_batch(model, batch->tokens, batch->sequences);
    tensor_upload(model->backend, &model->activations.tokens, batch->token);
    tensor_upload(model->backend, &model->activations.positions, batch->position);
    tensor_upload(model->backend, &model->activations.starts, batch->starts);
}

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
    layer_forward(pass, layer, &batch->layer[layer], &model->scratch, &batch->positions, &batch->starts,
                  layer_output(model, layer));
}

static void forward(struct transformer *model, const struct layer_pass *pass)
{
    struct batch_activations *const batch = &model->activations;
    model_embed(pass, &batch->layer[0].input, &batch->tokens);
    for (int64_t layer = 0; layer < model->settings.layers; layer++)
        forward_layer(model, pass, layer);
}

/* From the gradient of the last layer's output in d_x down to the embedding. */
static void backward(struct transformer *model, const struct layer_pass *pass)
{
    struct batch_activations *const batch = &model->activations;
    const int64_t last = model->settings.layers - 1;
    const bool embedding_trained = model->gradients.embedding.rank > 0;
    for (int64_t layer = last; layer >= 0; layer--) {
        if (model->settings.recompute && layer < last)
            forward_layer(model, pass, layer);
        layer_backward(pass, layer, &batch->layer[layer], &model->scratch, &batch->positions, &batch->starts,
                       &batch->d_x, layer > 0 || embedding_trained);
    }
    if (embedding_trained)
        model_embed_backward(pass, &batch->d_x, &batch->tokens);
}

bool transformer_accumulate(struct transformer *model, const struct batch *batch, double residual_dropout,
                            uint64_t seed, uint64_t dropout_step, double *sum, struct error *error)
{
    if (model->mode == TRAIN_NOTHING)
        return error_set(error, ERROR_RUN, "the model was made for inference and has no gradients");
    if (!check_sequences(model, batch, error) || !check_targets(model, batch, error))
        return false;
    struct layer_pass pass = transformer_inference_pass(model);
    pass.gradients = &model->gradients;
    pass.residual_dropout = (float)residual_dropout;
    pass.lora_dropout = (float)model->lora.dropout;
    pass.seed = seed;
    pass.step = dropout_step;
    upload_batch(model, batch);
    loss_select_rows(model, batch);
    if (model->counted.count == 0)
        return true;
    forward(model, &pass);
    loss_run(model, &pass, batch, &model->activations.last, &model->activations.d_x);
    backward(model, &pass);
    return loss_sum(model, sum, error);
}

/* ---- logits ------------------------------------------------------------------------------------------- */

/* The logits of a few rows, as floats on the host; `values` has room for them as the device computes them. */
static void download_logits(struct transformer *model, const struct layer_pass *pass, const int32_t *rows,
                            int64_t count, real *values, float *logits)
{
    struct loss_activations *const loss = &model->loss;
    const int64_t vocabulary = model->settings.vocabulary;
    loss_lay_out(model, count);
    struct tensor chunk = tensor_2d(loss->logits.data, DTYPE_REAL, loss->logits.device, count, vocabulary);
    tensor_upload(model->backend, &loss->rows, rows);
    op_gather(model->backend, &loss->selected, &model->activations.last, &loss->rows);
    model_final_norm(pass, &loss->normed, &loss->inverse_rms, &loss->selected);
    model_logits(pass, &chunk, &loss->normed);
    tensor_download(model->backend, values, &chunk);
    for (int64_t index = 0; index < count * vocabulary; index++)
        logits[index] = (float)values[index];
}

bool transformer_logits(struct transformer *model, const struct batch *batch, const int32_t *rows,
                        int64_t row_count, float *logits, struct error *error)
{
    if (!check_sequences(model, batch, error))
        return false;
    for (int64_t row = 0; row < row_count; row++)
        if (rows[row] < 0 || rows[row] >= batch->tokens)
            return error_set(error, ERROR_RUN, "row %d was asked for in a batch of %lld tokens", rows[row],
                             (long long)batch->tokens);
    const int64_t vocabulary = model->settings.vocabulary;
    int64_t chunk = loss_chunk_rows(vocabulary);
    chunk = chunk < model->tokens_maximum ? chunk : model->tokens_maximum;
    real *values = malloc((size_t)(chunk * vocabulary) * sizeof *values);
    if (!values)
        return error_memory(error, "a chunk of logits", (size_t)(chunk * vocabulary) * sizeof *values, NULL);
    const struct layer_pass pass = transformer_inference_pass(model);
    upload_batch(model, batch);
    forward(model, &pass);
    const size_t activations_mark = arena_mark(&model->activations_arena);
    const size_t scratch_mark = arena_mark(&model->scratch_arena);
    for (int64_t first = 0; first < row_count; first += chunk) {
        const int64_t count = row_count - first < chunk ? row_count - first : chunk;
        arena_return(&model->activations_arena, activations_mark);
        arena_return(&model->scratch_arena, scratch_mark);
        download_logits(model, &pass, rows + first, count, values, logits + first * vocabulary);
    }
    free(values);
    return backend_synchronize(model->backend, error);
}
