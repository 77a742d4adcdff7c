#include "models/recommenders/sequence_loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/recommenders/sequence_data.h"

/* What the logits of a chunk may take. All items': on a CPU what its caches hold, on a GPU enough to fill it. Those of
 * candidates are cut alike on every device, since what is drawn depends on the cut. */
static const int64_t host_logit_bytes = INT64_C(8) << 20, device_logit_bytes = INT64_C(256) << 20,
                     candidate_logit_bytes = INT64_C(64) << 20;

static bool read_kind(struct sequence_loss *loss, const struct recommender_settings *settings,
                      struct error *error)
{
    static const char *const names[] = {"cross_entropy", "sampled_softmax", "binary", "gbce"};
    /* bert4rec has one loss. */
    const char *wanted = strcmp(settings->model, "bert4rec") == 0 ? names[0] : settings->loss;
    for (int kind = LOSS_CROSS_ENTROPY; kind <= LOSS_GBCE; kind++)
        if (strcmp(wanted, names[kind]) == 0) {
            loss->kind = (enum sequence_loss_kind)kind;
            return true;
        }
    return error_set(error, ERROR_USAGE, "%s: loss '%s' is not known; use %s, %s, %s or %s", settings->model,
                     wanted, names[0], names[1], names[2], names[3]);
}

/* Drawn with replacement, as many negatives as items calibrate as if all were there. */
static double gbce_power(const struct recommender_settings *settings, int64_t items)
{
    const double drawn = items > 1 ? (double)settings->negatives / (double)(items - 1) : 1.0;
    const double alpha = drawn < 1.0 ? drawn : 1.0;
    return alpha * (settings->calibration * (1.0 - 1.0 / alpha) + 1.0 / alpha);
}

static bool list_forbidden(struct sequence_loss *loss, const struct training_set *data, struct error *error)
{
    if (loss->kind == LOSS_CROSS_ENTROPY)
        return !data->excluded || rows_without(&loss->forbidden, data->excluded, data->positives, error);
    return data->excluded ? csr_union(&loss->forbidden, data->positives, data->excluded, error)
                          : csr_copy(&loss->forbidden, data->positives, error);
}

static void draw_negatives(struct sequence_loss *loss, struct tensor *candidates,
                           const struct sequence_batch *batch, int64_t first, uint64_t step)
{
    const int64_t count = candidates->shape[0], number = batch->first_prediction + first;
    const struct tensor targets = tensor_rows(&batch->targets, first, count);
    const struct tensor users = tensor_rows(&batch->users, first, count);
    op_sample_negatives(loss->backend, candidates,
                        (struct negative_source){.positives = &targets,
                                                 .owners = &users,
                                                 .starts = &loss->starts,
                                                 .excluded = &loss->columns_out,
                                                 .items = loss->items,
                                                 .first_row = number % loss->chunk},
                        loss->seed, step * (uint64_t)loss->chunks + (uint64_t)(number / loss->chunk));
}

static void lay_out(struct sequence_loss *loss)
{
    struct arena *arena = &loss->arena;
    if (loss->forbidden.rows > 0) {
        loss->starts = arena_tensor_1d(arena, DTYPE_I64, loss->forbidden.rows + 1);
        loss->columns_out = arena_tensor_1d(arena, DTYPE_I32, csr_count(&loss->forbidden));
    }
    loss->logits = arena_tensor_2d(arena, DTYPE_REAL, loss->chunk, loss->columns);
    if (loss->kind == LOSS_CROSS_ENTROPY)
        return;
    loss->candidates = arena_tensor_2d(arena, DTYPE_I32, loss->chunk, loss->columns);
    loss->zeros = arena_tensor_1d(arena, DTYPE_I32, loss->chunk);
    if (loss->kind != LOSS_SAMPLED_SOFTMAX)
        loss->prior = arena_tensor_1d(arena, DTYPE_REAL, loss->columns);
}

static bool upload_prior(struct sequence_loss *loss, struct error *error)
{
    if (loss->prior.rank == 0)
        return true;
    real *prior = malloc((size_t)loss->columns * sizeof *prior);
    if (!prior)
        return error_memory(error, "the prior of scores", (size_t)loss->columns * sizeof *prior, NULL);
    for (int64_t column = 0; column < loss->columns; column++)
        prior[column] = (real)log((double)loss->positive_power / (double)(loss->columns - 1));
    tensor_upload(loss->backend, &loss->prior, prior);
    const bool done = backend_synchronize(loss->backend, error);
    free(prior);
    return done;
}

static int64_t chunk_of(const struct sequence_loss *loss, int64_t predictions_maximum)
{
    const int64_t bytes = loss->kind != LOSS_CROSS_ENTROPY      ? candidate_logit_bytes
                          : loss->backend->device == DEVICE_CPU ? host_logit_bytes
                                                                : device_logit_bytes;
    const int64_t fitting = bytes / ((int64_t)sizeof(real) * loss->columns) / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
    const int64_t chunk = fitting > GEMM_ROW_BLOCK ? fitting : GEMM_ROW_BLOCK;
    return chunk < predictions_maximum ? chunk : predictions_maximum;
}

bool sequence_loss_open(struct sequence_loss *loss, struct backend *backend,
                        const struct recommender_settings *settings, const struct training_set *data,
                        int64_t predictions_maximum, uint64_t seed, struct error *error)
{
    *loss = (struct sequence_loss){.backend = backend,
                                   .items = data->positives->columns,
                                   .seed = seed,
                                   .arena = arena_measure(backend, "scores of items"),
                                   .draw = draw_negatives};
    if (!read_kind(loss, settings, error) || !list_forbidden(loss, data, error))
        return false;
    loss->positive_power = loss->kind == LOSS_GBCE ? (float)gbce_power(settings, loss->items) : 1.0f;
    loss->columns = loss->kind == LOSS_CROSS_ENTROPY ? loss->items : 1 + settings->negatives;
    loss->chunk = chunk_of(loss, predictions_maximum);
    loss->chunks = (predictions_maximum - 1) / loss->chunk + 1;
    lay_out(loss);
    if (!arena_reserve(&loss->arena, 0, "lower recommenders.negatives or recommenders.sequences", error))
        return false;
    lay_out(loss);
    if (loss->forbidden.rows > 0) {
        tensor_upload(backend, &loss->starts, loss->forbidden.starts);
        tensor_upload(backend, &loss->columns_out, loss->forbidden.indices);
    }
    return upload_prior(loss, error) && backend_synchronize(backend, error);
}

void sequence_loss_close(struct sequence_loss *loss)
{
    csr_free(&loss->forbidden);
    if (loss->backend)
        arena_release(&loss->arena);
    *loss = (struct sequence_loss){0};
}

bool sequence_loss_covers(const struct sequence_loss *loss, int64_t user)
{
    return loss->kind == LOSS_CROSS_ENTROPY ||
           csr_row_length(&loss->forbidden, user) < loss->forbidden.columns;
}

/* ---- a chunk of predictions --------------------------------------------------------------------------- */

/* The parts of a batch that belong to one chunk. */
struct chunk {
    int64_t first, count;
    struct tensor states, d_states, logits, targets, weights, losses;
};

static void full_softmax(struct sequence_loss *loss, struct chunk *chunk, const struct scored_items *scored,
                         const struct sequence_batch *batch)
{
    struct backend *backend = loss->backend;
    struct tensor *logits = &chunk->logits;
    op_gemm(backend, logits, &chunk->states, PLAIN, scored->items, TRANSPOSED, 1.0f, 0.0f);
    if (scored->bias)
        op_bias_forward(backend, logits, scored->bias);
    if (batch->begin.rank > 0) {
        const struct tensor begin = tensor_rows(&batch->begin, chunk->first, chunk->count);
        const struct tensor last = tensor_rows(&batch->last, chunk->first, chunk->count);
        op_exclude(backend, logits, &begin, &last, &loss->columns_out);
    }
    op_cross_entropy(backend, logits, &chunk->losses, &chunk->targets, &chunk->weights, loss->items);
    op_gemm(backend, &chunk->d_states, logits, PLAIN, scored->items, PLAIN, 1.0f, 0.0f);
    op_gemm(backend, scored->d_items, logits, TRANSPOSED, &chunk->states, PLAIN, 1.0f, 1.0f);
    if (scored->bias)
        op_bias_backward(backend, scored->d_bias, logits);
}

static void against_candidates(struct sequence_loss *loss, struct chunk *chunk,
                               const struct scored_items *scored, const struct sequence_batch *batch,
                               uint64_t step)
{
    struct backend *backend = loss->backend;
    struct tensor candidates = tensor_rows(&loss->candidates, 0, chunk->count);
    loss->draw(loss, &candidates, batch, chunk->first, step);
    op_candidate_logits_forward(backend, &chunk->logits, &chunk->states, scored->items, &candidates);
    if (loss->kind == LOSS_SAMPLED_SOFTMAX) {
        const struct tensor target_columns = tensor_rows(&loss->zeros, 0, chunk->count);
        op_cross_entropy(backend, &chunk->logits, &chunk->losses, &target_columns, &chunk->weights,
                         loss->columns);
    } else {
        op_bias_forward(backend, &chunk->logits, &loss->prior);
        op_binary_cross_entropy(backend, &chunk->logits, &chunk->losses, &chunk->weights,
                                loss->positive_power);
    }
    op_candidate_logits_backward(backend, &chunk->d_states, scored->d_items, &chunk->logits, &chunk->states,
                                 scored->items, &candidates);
}

void sequence_loss_backward(struct sequence_loss *loss, struct tensor *d_states, const struct tensor *states,
                            const struct scored_items *scored, struct sequence_batch *batch, uint64_t step)
{
    const int64_t predictions = states->shape[0];
    for (int64_t first = 0, count; first < predictions; first += count) {
        const int64_t left = loss->chunk - (batch->first_prediction + first) % loss->chunk;
        count = first + left <= predictions ? left : predictions - first;
        struct chunk chunk = {.first = first,
                              .count = count,
                              .states = tensor_rows(states, first, count),
                              .d_states = tensor_rows(d_states, first, count),
                              .logits = tensor_rows(&loss->logits, 0, count),
                              .targets = tensor_rows(&batch->targets, first, count),
                              .weights = tensor_rows(&batch->weights, first, count),
                              .losses = tensor_rows(&batch->losses, first, count)};
        if (loss->kind == LOSS_CROSS_ENTROPY)
            full_softmax(loss, &chunk, scored, batch);
        else
            against_candidates(loss, &chunk, scored, batch, step);
    }
}
