/*
 * loss.c: the output layer and the loss, over the rows that count and a chunk of their logits at a time.
 */
#include "models/language/transformer_state.h"

/* The logits of a chunk: on a CPU what its caches may still hold a part of, on a GPU enough rows to fill it. */
#define CHUNK_BYTES_CPU ((int64_t)32 << 20)
#define CHUNK_BYTES_GPU ((int64_t)256 << 20)

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t loss_chunk_rows(const struct transformer *model, enum dtype dtype, int64_t columns)
{
    const int64_t bytes = model->backend->device == DEVICE_CPU ? CHUNK_BYTES_CPU : CHUNK_BYTES_GPU;
    const int64_t rows = bytes / (columns * (int64_t)dtype_size(dtype));
    return rows >= GEMM_ROW_BLOCK ? rows / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK : rows > 0 ? rows : 1;
}

static int64_t chunk_bytes(const struct transformer *model, int64_t counted, enum dtype dtype,
                           int64_t columns)
{
    return smaller(counted, loss_chunk_rows(model, dtype, columns)) * columns * (int64_t)dtype_size(dtype);
}

void loss_lay_out(struct transformer *model, int64_t counted)
{
    struct arena *const arena = &model->activations_arena, *const scratch = &model->scratch_arena;
    struct loss_activations *const loss = &model->loss;
    const struct transformer_settings *settings = &model->settings;
    const enum dtype storage = transformer_storage(settings);
    const int64_t width = settings->width;
    const int64_t trained = chunk_bytes(model, counted, storage, transformer_logit_columns(model));
    const int64_t asked = chunk_bytes(model, counted, DTYPE_REAL, settings->vocabulary);
    loss->losses = arena_tensor_1d(arena, DTYPE_REAL, counted);
    loss->selected = arena_tensor_2d(arena, storage, counted, width);
    loss->normed = arena_tensor_2d(arena, storage, counted, width);
    loss->inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, counted);
    if (model->mode != TRAIN_NOTHING) {
        loss->d_normed = arena_tensor_2d(scratch, storage, counted, width);
        loss->d_selected = arena_tensor_2d(scratch, storage, counted, width);
    }
    if (transformer_trains_added(model))
        loss->d_added = arena_tensor_2d(
            scratch, storage,
            smaller(counted, loss_chunk_rows(model, storage, transformer_logit_columns(model))),
            transformer_table_rows(model->backend, settings->added));
    const int64_t bytes = asked > trained ? asked : trained;
    loss->logits = arena_tensor_1d(scratch, DTYPE_BF16, (bytes + 1) / 2).data;
}

/* Losses of the counted rows first .. first + rows - 1, and, where the pass has gradients, that of their normed states. */
static void run_chunk(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
                      int64_t first, int64_t rows)
{
    struct loss_activations *const loss = &model->loss;
    const struct batch_inputs *const inputs = &model->inputs;
    const int64_t classes = model->settings.classes, columns = transformer_logit_columns(model);
    const struct tensor normed = tensor_rows(&loss->normed, first, rows);
    const struct tensor weights = tensor_rows(&inputs->weights, first, rows);
    struct tensor losses = tensor_rows(&loss->losses, first, rows);
    struct tensor logits = tensor_2d(loss->logits, normed.dtype, pass->backend->device, rows, columns);
    model_logits(pass, &logits, &normed);
    if (batch->exclude_shown) {
        const struct tensor begins = tensor_rows(&inputs->begins, first, rows);
        const struct tensor last = tensor_rows(&inputs->rows, first, rows);
        op_exclude(pass->backend, &logits, &begins, &last, &inputs->tokens);
    }
    if (batch->target_starts) {
        const struct tensor starts = tensor_rows(&inputs->set_starts, first, rows + 1);
        op_cross_entropy_set(pass->backend, &logits, &losses, &starts, &inputs->set_targets, &weights,
                             classes);
    } else {
        const struct tensor targets = tensor_rows(&inputs->targets, first, rows);
        op_cross_entropy(pass->backend, &logits, &losses, &targets, &weights, classes);
    }
    if (!pass->gradients)
        return;
    struct tensor d_normed = tensor_rows(&loss->d_normed, first, rows);
    struct tensor d_added = loss->d_added.rank > 0 ? tensor_rows(&loss->d_added, 0, rows) : loss->d_added;
    model_logits_backward(pass, &d_normed, &d_added, &logits, &normed);
}

void loss_measure(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
                  const struct tensor *x)
{
    struct loss_activations *const loss = &model->loss;
    const int64_t count = model->inputs.rows.shape[0];
    const int64_t chunk = loss_chunk_rows(model, x->dtype, transformer_logit_columns(model));
    op_gather(pass->backend, &loss->selected, x, &model->inputs.rows);
    model_final_norm(pass, &loss->normed, &loss->inverse_rms, &loss->selected);
    for (int64_t first = 0; first < count; first += chunk)
        run_chunk(model, pass, batch, first, smaller(chunk, count - first));
}

void loss_run(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
              const struct tensor *x, struct tensor *d_x)
{
    struct loss_activations *const loss = &model->loss;
    loss_measure(model, pass, batch, x);
    tensor_zero(pass->backend, &loss->d_selected);
    model_final_norm_backward(pass, &loss->d_selected, &loss->d_normed, &loss->selected, &loss->inverse_rms);
    op_gather(pass->backend, d_x, &loss->d_selected, &model->inputs.places);
}
