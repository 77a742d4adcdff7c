/*
 * loss.c: the output layer and the loss, over the rows that count and a chunk of their logits at a time.
 */
#include "models/language/transformer_state.h"

#define CHUNK_BYTES ((int64_t)32 << 20)

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t loss_chunk_rows(int64_t columns)
{
    const int64_t rows = CHUNK_BYTES / (columns * (int64_t)sizeof(real));
    return rows >= GEMM_ROW_BLOCK ? rows / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK : rows > 0 ? rows : 1;
}

static int64_t chunk_elements(int64_t counted, int64_t columns)
{
    return smaller(counted, loss_chunk_rows(columns)) * columns;
}

void loss_lay_out(struct transformer *model, int64_t counted)
{
    struct arena *const arena = &model->activations_arena, *const scratch = &model->scratch_arena;
    struct loss_activations *const loss = &model->loss;
    const struct transformer_settings *settings = &model->settings;
    const int64_t width = settings->width;
    const int64_t trained = chunk_elements(counted, settings->classes);
    const int64_t full = chunk_elements(counted, settings->vocabulary);
    loss->rows = arena_tensor_1d(arena, DTYPE_I32, counted);
    loss->begins = arena_tensor_1d(arena, DTYPE_I32, counted);
    loss->targets = arena_tensor_1d(arena, DTYPE_I32, counted);
    loss->weights = arena_tensor_1d(arena, DTYPE_REAL, counted);
    loss->losses = arena_tensor_1d(arena, DTYPE_REAL, counted);
    loss->selected = arena_tensor_2d(arena, DTYPE_REAL, counted, width);
    loss->normed = arena_tensor_2d(arena, DTYPE_REAL, counted, width);
    loss->inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, counted);
    if (model->mode != TRAIN_NOTHING) {
        loss->d_normed = arena_tensor_2d(scratch, DTYPE_REAL, counted, width);
        loss->d_selected = arena_tensor_2d(scratch, DTYPE_REAL, counted, width);
    }
    loss->logits = arena_tensor_1d(scratch, DTYPE_REAL, full > trained ? full : trained);
    loss->set_starts = arena_tensor_1d(scratch, DTYPE_I64, counted + 1);
    loss->set_targets = arena_tensor_1d(scratch, DTYPE_I32, trained);
}

void loss_select_rows(struct transformer *model, const struct batch *batch)
{
    struct counted_rows *const counted = &model->counted;
    counted->count = 0;
    for (int64_t token = 0, sequence = 0; token < batch->tokens; token++) {
        while (batch->starts[sequence + 1] <= token)
            sequence++;
        const bool learns = batch->target_starts
                                ? batch->target_starts[token + 1] > batch->target_starts[token]
                                : batch->target[token] >= 0;
        if (!learns || !(batch->weight[token] > 0.0f))
            continue;
        counted->row[counted->count] = (int32_t)token;
        counted->begin[counted->count] = batch->starts[sequence];
        counted->target[counted->count] = batch->target_starts ? -1 : batch->target[token];
        counted->weight[counted->count] = (real)batch->weight[token];
        counted->count++;
    }
    loss_lay_out(model, counted->count);
    tensor_upload(model->backend, &model->loss.rows, counted->row);
    tensor_upload(model->backend, &model->loss.begins, counted->begin);
    tensor_upload(model->backend, &model->loss.targets, counted->target);
    tensor_upload(model->backend, &model->loss.weights, counted->weight);
}

/* Brings the sets of the counted rows first .. first + rows - 1 to the device, a run of neighbours at a time;
 * returns their items. */
static int64_t upload_sets(struct transformer *model, const struct batch *batch, int64_t first, int64_t rows)
{
    struct counted_rows *const counted = &model->counted;
    int32_t *const device_targets = model->loss.set_targets.data;
    int64_t total = 0, run = 0, run_begin = 0, run_end = 0;
    counted->set_starts[0] = 0;
    for (int64_t row = 0; row <= rows; row++) {
        const int64_t token = row < rows ? counted->row[first + row] : -1;
        const int64_t begin = row < rows ? batch->target_starts[token] : -1;
        if (begin != run_end) {
            model->backend->upload(model->backend, device_targets + run, batch->target_items + run_begin,
                                   (size_t)(run_end - run_begin) * sizeof *device_targets);
            run = total;
            run_begin = begin;
        }
        if (row < rows) {
            run_end = batch->target_starts[token + 1];
            total += run_end - begin;
            counted->set_starts[row + 1] = total;
        }
    }
    const struct tensor *const starts = &model->loss.set_starts;
    model->backend->upload(model->backend, starts->data, counted->set_starts,
                           (size_t)(rows + 1) * sizeof *counted->set_starts);
    return total;
}

/* Logits and losses of the counted rows first .. first + rows - 1, and the gradient of their normed
 * states. */
static void run_chunk(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
                      int64_t first, int64_t rows)
{
    struct loss_activations *const loss = &model->loss;
    const int64_t classes = model->settings.classes;
    const enum device_kind device = loss->logits.device;
    const struct tensor normed = tensor_rows(&loss->normed, first, rows);
    const struct tensor weights = tensor_rows(&loss->weights, first, rows);
    struct tensor losses = tensor_rows(&loss->losses, first, rows);
    struct tensor logits = tensor_2d(loss->logits.data, DTYPE_REAL, device, rows, classes);
    model_logits(pass, &logits, &normed);
    if (batch->exclude_shown) {
        const struct tensor begins = tensor_rows(&loss->begins, first, rows);
        const struct tensor last = tensor_rows(&loss->rows, first, rows);
        op_exclude(pass->backend, &logits, &begins, &last, &model->activations.tokens);
    }
    if (batch->target_starts) {
        const int64_t items = upload_sets(model, batch, first, rows);
        const struct tensor starts = tensor_rows(&loss->set_starts, 0, rows + 1);
        const struct tensor targets = tensor_rows(&loss->set_targets, 0, items);
        op_cross_entropy_set(pass->backend, &logits, &losses, &starts, &targets, &weights, classes);
    } else {
        const struct tensor targets = tensor_rows(&loss->targets, first, rows);
        op_cross_entropy(pass->backend, &logits, &losses, &targets, &weights, classes);
    }
    struct tensor d_normed = tensor_rows(&loss->d_normed, first, rows);
    model_logits_backward(pass, &d_normed, &logits, &normed);
}

void loss_run(struct transformer *model, const struct layer_pass *pass, const struct batch *batch,
              const struct tensor *x, struct tensor *d_x)
{
    struct loss_activations *const loss = &model->loss;
    const int64_t count = model->counted.count, chunk = loss_chunk_rows(model->settings.classes);
    op_gather(pass->backend, &loss->selected, x, &loss->rows);
    model_final_norm(pass, &loss->normed, &loss->inverse_rms, &loss->selected);
    for (int64_t first = 0; first < count; first += chunk)
        run_chunk(model, pass, batch, first, smaller(chunk, count - first));
    tensor_zero(pass->backend, &loss->d_selected);
    model_final_norm_backward(pass, &loss->d_selected, &loss->d_normed, &loss->selected, &loss->inverse_rms);
    tensor_zero(pass->backend, d_x);
    op_scatter_add(pass->backend, d_x, &loss->d_selected, &loss->rows);
}

bool loss_sum(struct transformer *model, double *sum, struct error *error)
{
    const struct counted_rows *const counted = &model->counted;
    if (!backend_synchronize(model->backend, error))
        return false;
    tensor_download(model->backend, counted->loss, &model->loss.losses);
    for (int64_t row = 0; row < counted->count; row++)
        *sum += (double)counted->weight[row] * (double)counted->loss[row];
    return true;
}
