#include <math.h>

#include "models/language/transformer_state.h"

struct tensor transformer_trained_values(const struct transformer *model)
{
    return model->trained.value;
}

struct tensor transformer_trained_gradients(const struct transformer *model)
{
    return model->trained.gradient;
}

static void update(struct transformer *model, int64_t first, int64_t count, struct adamw settings)
{
    const struct trained_parameters *const trained = &model->trained;
    struct tensor value = tensor_rows(&trained->value, first, count);
    const struct tensor gradient = tensor_rows(&trained->gradient, first, count);
    struct tensor first_moment = tensor_rows(&trained->first_moment, first, count);
    struct tensor second_moment = tensor_rows(&trained->second_moment, first, count);
    op_adamw(model->backend, &value, &gradient, &first_moment, &second_moment, &model->clip_scale, settings);
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
            update(model, first, count, settings);
            first += count;
            count = 0;
        }
        decayed = parameter->decayed;
        count += transformer_trained_room(model->backend, &parameter->value);
    }
    settings.weight_decay = decayed ? decay : 0.0f;
    update(model, first, count, settings);
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

bool transformer_step(struct transformer *model, struct adamw settings, double clip_norm, double *norm,
                      struct error *error)
{
    struct backend *const backend = model->backend;
    tensor_zero(backend, &model->square_sum);
    op_sum_of_squares(backend, &model->square_sum, &model->trained.gradient);
    op_clip_scale(backend, &model->clip_scale, &model->square_sum, (float)clip_norm);
    update_all(model, settings);
    tensor_zero(backend, &model->trained.gradient);
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
