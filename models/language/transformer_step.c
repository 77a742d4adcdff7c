#include <math.h>

#include "models/language/transformer_state.h"

bool transformer_step(struct transformer *model, struct adamw settings, double clip_norm, double *norm,
                      struct error *error)
{
    struct backend *const backend = model->backend;
    const float decay = settings.weight_decay;
    tensor_zero(backend, &model->square_sum);
    for (int64_t index = 0; index < model->parameter_count; index++)
        if (model->parameters[index].trained)
            op_sum_of_squares(backend, &model->square_sum, &model->parameters[index].gradient);
    op_clip_scale(backend, &model->clip_scale, &model->square_sum, (float)clip_norm);
    for (int64_t index = 0; index < model->parameter_count; index++) {
        struct parameter *const parameter = &model->parameters[index];
        if (!parameter->trained)
            continue;
        settings.weight_decay = parameter->decayed ? decay : 0.0f;
        op_adamw(backend, &parameter->value, &parameter->gradient, &parameter->first_moment,
                 &parameter->second_moment, &model->clip_scale, settings);
        tensor_zero(backend, &parameter->gradient);
    }
    if (!backend_synchronize(backend, error))
        return false;
    double square_sum = 0.0;
    tensor_download(backend, &square_sum, &model->square_sum);
    if (!isfinite(square_sum))
        return error_set(error, ERROR_RUN, "the gradient is not finite at step %lld; lower the learning rate",
                         (long long)settings.step);
    if (norm)
        *norm = sqrt(square_sum);
    return true;
}
