/*
 * transformer_batch.c: the way of a batch to the device in one copy, and of its losses back.
 */
#include <math.h>
#include <string.h>

#include "models/language/transformer_state.h"

/* Room that is set aside for the targets of a batch of sets; it grows when a batch has more. */
enum { SET_TARGETS_A_TOKEN = 32 };

#define ADVICE_INPUTS "lower the tokens of a batch"

/* ---- checks ------------------------------------------------------------------------------------------- */

bool transformer_check_sequences(const struct transformer *model, const struct batch *batch,
                                 struct error *error)
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
    const int64_t longest = model->settings.sequence_maximum;
    for (int64_t token = 0; longest > 0 && token < batch->tokens; token++)
        if (batch->position[token] >= longest)
            return error_set(
                error, ERROR_RUN,
                "a sequence of the batch has more than %lld tokens, which is all that the checkpoint "
                "was made for; shorten the prompts",
                (long long)longest);
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

bool transformer_check_targets(const struct transformer *model, const struct batch *batch,
                               struct error *error)
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

/* ---- memory ------------------------------------------------------------------------------------------- */

/* Of what a batch brings; set_targets -1: it is not of sets. */
struct input_sizes {
    int64_t tokens, sequences, rows, set_targets;
    bool added;
};

static void lay_out_inputs(struct batch_inputs *inputs, struct arena *arena, const struct input_sizes *sizes)
{
    arena_return(arena, 0);
    inputs->tokens = arena_tensor_1d(arena, DTYPE_I32, sizes->tokens);
    inputs->positions = arena_tensor_1d(arena, DTYPE_I32, sizes->tokens);
    if (sizes->added)
        inputs->added = arena_tensor_1d(arena, DTYPE_I32, sizes->tokens);
    inputs->starts = arena_tensor_1d(arena, DTYPE_I32, sizes->sequences + 1);
    inputs->rows = arena_tensor_1d(arena, DTYPE_I32, sizes->rows);
    inputs->places = arena_tensor_1d(arena, DTYPE_I32, sizes->tokens);
    inputs->begins = arena_tensor_1d(arena, DTYPE_I32, sizes->rows);
    inputs->targets = arena_tensor_1d(arena, DTYPE_I32, sizes->rows);
    inputs->weights = arena_tensor_1d(arena, DTYPE_REAL, sizes->rows);
    if (sizes->set_targets >= 0) {
        inputs->set_starts = arena_tensor_1d(arena, DTYPE_I64, sizes->rows + 1);
        inputs->set_targets = arena_tensor_1d(arena, DTYPE_I32, sizes->set_targets);
    }
}

void transformer_measure_inputs(struct transformer *model)
{
    const struct input_sizes largest = {.tokens = model->tokens_maximum,
                                        .sequences = model->sequences_maximum,
                                        .rows = model->tokens_maximum,
                                        .set_targets = SET_TARGETS_A_TOKEN * model->tokens_maximum,
                                        .added = transformer_trains_added(model)};
    lay_out_inputs(&model->inputs, &model->inputs_arena, &largest);
}

bool transformer_reserve_slots(struct transformer *model, struct error *error)
{
    struct backend *const backend = model->backend;
    const size_t losses = (size_t)model->tokens_maximum * sizeof(real);
    for (int index = 0; index < BATCHES_UNDER_WAY; index++) {
        struct batch_slot *const slot = &model->slots[index];
        slot->losses = backend->allocate_host(backend, losses);
        slot->square_sum = backend->allocate_host(backend, sizeof *slot->square_sum);
        if (!slot->losses || !slot->square_sum)
            return error_memory(error, "the losses of a batch", losses, ADVICE_INPUTS);
    }
    return true;
}

void transformer_release_slots(struct transformer *model)
{
    struct backend *const backend = model->backend;
    backend->wait(backend);
    for (int index = 0; index < BATCHES_UNDER_WAY; index++) {
        struct batch_slot *const slot = &model->slots[index];
        void *const memory[] = {slot->inputs, slot->losses, slot->square_sum};
        for (int part = 0; part < 3; part++)
            if (memory[part])
                backend->release_host(backend, memory[part]);
    }
}

/* Lays the inputs out on the device, and takes memory for them on the host. */
static bool make_room(struct transformer *model, struct batch_slot *slot, const struct input_sizes *sizes,
                      struct error *error)
{
    struct backend *const backend = model->backend;
    struct arena *const arena = &model->inputs_arena;
    struct arena needed = arena_measure(backend, arena->name);
    lay_out_inputs(&model->inputs, &needed, sizes);
    if (needed.used > arena->capacity) {
        backend->wait(backend);
        arena_release(arena);
        if (!arena_reserve(arena, needed.used + needed.used / 2, ADVICE_INPUTS, error))
            return false;
    }
    if (needed.used > slot->input_bytes) {
        if (slot->inputs)
            backend->release_host(backend, slot->inputs);
        slot->input_bytes = 0;
        slot->inputs = backend->allocate_host(backend, arena->capacity);
        if (!slot->inputs)
            return error_memory(error, "the inputs of a batch", arena->capacity, ADVICE_INPUTS);
        slot->input_bytes = arena->capacity;
    }
    lay_out_inputs(&model->inputs, arena, sizes);
    return true;
}

/* ---- to the device ------------------------------------------------------------------------------------ */

/* Where the host writes what `tensor` is to hold. */
static void *host_side(const struct transformer *model, const struct batch_slot *slot,
                       const struct tensor *tensor)
{
    return slot->inputs + ((char *)tensor->data - model->inputs_arena.base);
}

static void write_sequences(const struct transformer *model, const struct batch_slot *slot,
                            const struct batch *batch)
{
    const struct batch_inputs *const inputs = &model->inputs;
    memcpy(host_side(model, slot, &inputs->tokens), batch->token, tensor_bytes(&inputs->tokens));
    memcpy(host_side(model, slot, &inputs->positions), batch->position, tensor_bytes(&inputs->positions));
    memcpy(host_side(model, slot, &inputs->starts), batch->starts, tensor_bytes(&inputs->starts));
    if (!transformer_trains_added(model))
        return;
    const int64_t first = model->settings.vocabulary - model->settings.added;
    int32_t *const added = host_side(model, slot, &inputs->added);
    for (int64_t token = 0; token < batch->tokens; token++)
        added[token] = batch->token[token] >= first ? (int32_t)(batch->token[token] - first) : -1;
}

static bool counts(const struct batch *batch, int64_t token)
{
    const bool learns = batch->target_starts ? batch->target_starts[token + 1] > batch->target_starts[token]
                                             : batch->target[token] >= 0;
    return learns && batch->weight[token] > 0.0f;
}

static struct input_sizes sizes_of(const struct transformer *model, const struct batch *batch)
{
    struct input_sizes sizes = {.tokens = batch->tokens,
                                .sequences = batch->sequences,
                                .set_targets = batch->target_starts ? 0 : -1,
                                .added = transformer_trains_added(model)};
    for (int64_t token = 0; token < batch->tokens; token++) {
        if (!counts(batch, token))
            continue;
        sizes.rows++;
        if (batch->target_starts)
            sizes.set_targets += batch->target_starts[token + 1] - batch->target_starts[token];
    }
    return sizes;
}

static void write_set(const struct transformer *model, const struct batch_slot *slot,
                      const struct batch *batch, int64_t token, int64_t row)
{
    int64_t *const starts = host_side(model, slot, &model->inputs.set_starts);
    int32_t *const targets = host_side(model, slot, &model->inputs.set_targets);
    const int64_t begin = batch->target_starts[token], count = batch->target_starts[token + 1] - begin;
    memcpy(targets + starts[row], batch->target_items + begin, (size_t)count * sizeof *targets);
    starts[row + 1] = starts[row] + count;
}

static void write_rows(const struct transformer *model, const struct batch_slot *slot,
                       const struct batch *batch)
{
    const struct batch_inputs *const inputs = &model->inputs;
    int32_t *const rows = host_side(model, slot, &inputs->rows);
    int32_t *const places = host_side(model, slot, &inputs->places);
    int32_t *const begins = host_side(model, slot, &inputs->begins);
    int32_t *const targets = host_side(model, slot, &inputs->targets);
    real *const weights = host_side(model, slot, &inputs->weights);
    if (batch->target_starts)
        *(int64_t *)host_side(model, slot, &inputs->set_starts) = 0;
    for (int64_t token = 0, sequence = 0, row = 0; token < batch->tokens; token++) {
        while (batch->starts[sequence + 1] <= token)
            sequence++;
        places[token] = -1;
        if (!counts(batch, token))
            continue;
        places[token] = (int32_t)row;
        rows[row] = (int32_t)token;
        begins[row] = batch->starts[sequence];
        targets[row] = batch->target_starts ? -1 : batch->target[token];
        weights[row] = (real)batch->weight[token];
        if (batch->target_starts)
            write_set(model, slot, batch, token, row);
        row++;
    }
}

static struct batch_slot *free_slot(struct transformer *model, struct error *error)
{
    if (transformer_batches_under_way(model) < BATCHES_UNDER_WAY)
        return &model->slots[model->batches_begun % BATCHES_UNDER_WAY];
    error_set(error, ERROR_RUN, "%d batches are under way; take the loss of one before the next",
              BATCHES_UNDER_WAY);
    return NULL;
}

static void send(struct transformer *model, const struct batch_slot *slot)
{
    model->backend->queue_upload(model->backend, model->inputs_arena.base, slot->inputs,
                                 arena_mark(&model->inputs_arena));
}

struct batch_slot *transformer_send_batch(struct transformer *model, const struct batch *batch,
                                          struct error *error)
{
    const struct input_sizes sizes = sizes_of(model, batch);
    struct batch_slot *const slot = free_slot(model, error);
    if (!slot || !make_room(model, slot, &sizes, error))
        return NULL;
    write_sequences(model, slot, batch);
    write_rows(model, slot, batch);
    slot->weights = host_side(model, slot, &model->inputs.weights);
    slot->counted = sizes.rows;
    slot->step = 0;
    send(model, slot);
    transformer_lay_out_batch(model, batch->tokens);
    loss_lay_out(model, sizes.rows);
    model->batches_begun++;
    return slot;
}

bool transformer_send_question(struct transformer *model, const struct batch *batch, const int32_t *rows,
                               int64_t count, struct error *error)
{
    const struct input_sizes sizes = {batch->tokens, batch->sequences, count, -1,
                                      transformer_trains_added(model)};
    struct batch_slot *const slot = free_slot(model, error);
    if (!slot || !make_room(model, slot, &sizes, error))
        return false;
    write_sequences(model, slot, batch);
    memcpy(host_side(model, slot, &model->inputs.rows), rows, (size_t)count * sizeof *rows);
    send(model, slot);
    transformer_lay_out_batch(model, batch->tokens);
    return true;
}

/* ---- back to the host --------------------------------------------------------------------------------- */

void transformer_return_losses(struct transformer *model, struct batch_slot *slot)
{
    struct backend *const backend = model->backend;
    if (slot->counted > 0)
        backend->queue_download(backend, slot->losses, model->loss.losses.data,
                                tensor_bytes(&model->loss.losses));
    slot->mark = backend->mark(backend);
}

int64_t transformer_batches_under_way(const struct transformer *model)
{
    return model->batches_begun - model->batches_taken;
}

bool transformer_take_loss(struct transformer *model, double *loss, struct error *error)
{
    struct backend *const backend = model->backend;
    const struct batch_slot *const slot = &model->slots[model->batches_taken % BATCHES_UNDER_WAY];
    *loss = 0.0;
    if (transformer_batches_under_way(model) == 0)
        return error_set(error, ERROR_RUN, "no batch is under way whose loss could be taken");
    backend->wait_for(backend, slot->mark);
    if (!backend_check(backend, error))
        return false;
    model->batches_taken++;
    for (int64_t row = 0; row < slot->counted; row++)
        *loss += (double)slot->weights[row] * (double)slot->losses[row];
    return slot->step == 0 || !isfinite(*loss) ||
           transformer_check_step(*slot->square_sum, slot->step, error);
}
