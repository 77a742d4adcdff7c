#include <math.h>

#include "core/comm.h"
#include "core/file.h"
#include "core/trace.h"
#include "models/language/shares.h"
#include "models/language/transformer_state.h"

struct tensor transformer_trained_values(const struct transformer *model)
{
    return model->trained.value;
}

struct tensor transformer_trained_gradients(const struct transformer *model)
{
    return model->trained.gradient;
}

/* Elements first .. first + count - 1, whose moments are `kept` and what follows. */
static void update_run(struct transformer *model, int64_t first, int64_t count, int64_t kept,
                       struct adamw settings)
{
    const struct trained_parameters *const trained = &model->trained;
    struct tensor value = tensor_rows(&trained->value, first, count);
    const struct tensor gradient = tensor_rows(&trained->gradient, first, count);
    struct tensor first_moment = tensor_rows(&trained->first_moment, kept, count);
    struct tensor second_moment = tensor_rows(&trained->second_moment, kept, count);
    op_adamw(model->backend, &value, &gradient, &first_moment, &second_moment, &model->clip_scale, settings);
}

/* What this rank keeps of elements first .. end - 1. */
static void update(struct transformer *model, int64_t first, int64_t end, struct adamw settings)
{
    const struct trained_parameters *const trained = &model->trained;
    if (!transformer_is_shared(model)) {
        update_run(model, first, end - first, first, settings);
        return;
    }
    for (int64_t index = 0; index < trained->bucket_count; index++) {
        const struct trained_bucket *const bucket = &trained->buckets[index];
        const int64_t own_end = bucket->own + bucket->own_count;
        const int64_t from = first > bucket->own ? first : bucket->own, to = end < own_end ? end : own_end;
        if (from < to)
            update_run(model, from, to - from, bucket->kept + from - bucket->own, settings);
    }
}

/* Neighbours that decay alike are updated together. */
static void update_all(struct transformer *model, struct adamw settings)
{
    const float decay = settings.weight_decay;
    int64_t first = 0, count = 0;
    bool decayed = false;
    for (int64_t index = 0; index < model->parameter_count; index++) {
        const struct parameter *const parameter = &model->parameters[index];
        if (!parameter->trained)
            continue;
        if (count > 0 && parameter->decayed != decayed) {
            settings.weight_decay = decayed ? decay : 0.0f;
            update(model, first, first + count, settings);
            first += count;
            count = 0;
        }
        decayed = parameter->decayed;
        count += transformer_trained_room(model->backend, &parameter->value);
    }
    settings.weight_decay = decayed ? decay : 0.0f;
    update(model, first, first + count, settings);
}

/* Of the gradient of all ranks, which each has the sums of its parts of. */
static bool sum_squares(struct transformer *model, struct error *error)
{
    struct backend *const backend = model->backend;
    const struct trained_parameters *const trained = &model->trained;
    tensor_zero(backend, &model->square_sum);
    if (!transformer_is_shared(model)) {
        op_sum_of_squares(backend, &model->square_sum, &trained->gradient);
        return true;
    }
    for (int64_t index = 0; index < trained->bucket_count; index++) {
        const struct trained_bucket *const bucket = &trained->buckets[index];
        const struct tensor own = tensor_rows(&trained->gradient, bucket->own, bucket->own_count);
        if (bucket->own_count > 0)
            op_sum_of_squares(backend, &model->square_sum, &own);
    }
    return backend->counts_only ||
           comm_all_reduce(backend->communicator, &model->square_sum, COMM_SUM, error);
}

void transformer_values_changed(struct transformer *model)
{
    if (model->trained.working.rank > 0)
        op_convert(model->backend, &model->trained.working, &model->trained.value);
    for (int64_t index = 0; index < model->parameter_count; index++) {
        struct parameter *const parameter = &model->parameters[index];
        if (parameter->added && parameter->trained)
            op_convert(model->backend, &parameter->working, &parameter->value);
    }
}

bool transformer_check_step(double square_sum, int64_t step, struct error *error)
{
    return isfinite(square_sum) ||
           error_set(error, ERROR_RUN, "the gradient is not finite at step %lld; lower the learning rate",
                     (long long)step);
}

/* The newest batch, when it is under way and brings no other step's sum of squares. */
static struct batch_slot *slot_before_step(struct transformer *model)
{
    if (transformer_batches_under_way(model) == 0)
        return NULL;
    struct batch_slot *const slot = &model->slots[(model->batches_begun - 1) % BATCHES_UNDER_WAY];
    return slot->step == 0 ? slot : NULL;
}

static bool check_later(struct transformer *model, struct batch_slot *slot, int64_t step, struct error *error)
{
    struct backend *const backend = model->backend;
    backend->queue_download(backend, slot->square_sum, model->square_sum.data, sizeof *slot->square_sum);
    slot->step = step;
    slot->mark = backend->mark(backend);
    return backend_check(backend, error);
}

/* On a GPU the span ends when the update is done. */
static void trace_step(const struct transformer *model, double begun)
{
    if (!trace_is_on(model->backend->trace))
        return;
    model->backend->wait(model->backend);
    trace_add(model->backend->trace, TRACE_COMPUTES, begun, -1, "update");
}

bool transformer_step(struct transformer *model, struct adamw settings, double clip_norm, double *norm,
                      struct error *error)
{
    struct backend *const backend = model->backend;
    const double begun = clock_seconds();
    if (!transformer_finish_sums(model, error))
        return false;
    const double summed = clock_seconds();
    trace_add(backend->trace, TRACE_COMPUTES, begun, -1, "wait for gradients");
    if (!sum_squares(model, error))
        return false;
    op_clip_scale(backend, &model->clip_scale, &model->square_sum, (float)clip_norm);
    update_all(model, settings);
    tensor_zero(backend, &model->trained.gradient);
    trace_step(model, summed);
    if (!shares_gather(model, &model->trained.value, error))
        return false;
    transformer_values_changed(model);
    struct batch_slot *const slot = norm ? NULL : slot_before_step(model);
    if (slot)
        return check_later(model, slot, settings.step, error);
    if (!backend_synchronize(backend, error))
        return false;
    double square_sum = 0.0;
    tensor_download(backend, &square_sum, &model->square_sum);
    if (norm)
        *norm = sqrt(square_sum);
    return transformer_check_step(square_sum, settings.step, error);
}
