#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "core/quantize.h"
#include "models/language/transformer_state.h"

/* Takes a parameter and, when it is trained, its gradient and moments from the arenas; columns 0: a
 * vector. */
static void add_parameter(struct transformer *model, struct tensor *value, struct tensor *gradient,
                          bool trained, int64_t rows, int64_t columns, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

static struct tensor shaped(void *data, enum dtype dtype, enum device_kind device, int64_t rows,
                            int64_t columns)
{
    return columns > 0 ? tensor_2d(data, dtype, device, rows, columns) : tensor_1d(data, dtype, device, rows);
}

/* A part of a list or a table, which has no data while measuring; `offset` in elements. */
static struct tensor part(const struct tensor *list, int64_t offset, int64_t rows, int64_t columns)
{
    char *data = list->data;
    return shaped(data ? data + (size_t)offset * dtype_size(list->dtype) : NULL, list->dtype, list->device,
                  rows, columns);
}

int64_t transformer_table_rows(const struct backend *backend, int64_t rows)
{
    return backend->device == DEVICE_CPU ? rows : (rows + LOGIT_GROUP - 1) / LOGIT_GROUP * LOGIT_GROUP;
}

int64_t transformer_trained_room(const struct backend *backend, const struct tensor *value)
{
    const int64_t count = value->rank == 2
                              ? transformer_table_rows(backend, value->shape[0]) * value->shape[1]
                              : tensor_count(value);
    return (count + TRAINED_ALIGNMENT - 1) / TRAINED_ALIGNMENT * TRAINED_ALIGNMENT;
}

static void take_trained(struct transformer *model, struct parameter *parameter, int64_t rows,
                         int64_t columns)
{
    struct trained_parameters *const trained = &model->trained;
    const int64_t offset = trained->count;
    parameter->value = part(&trained->value, offset, rows, columns);
    parameter->working =
        trained->working.rank > 0 ? part(&trained->working, offset, rows, columns) : parameter->value;
    parameter->gradient = part(&trained->gradient, offset, rows, columns);
    if (!transformer_is_shared(model)) {
        parameter->first_moment = part(&trained->first_moment, offset, rows, columns);
        parameter->second_moment = part(&trained->second_moment, offset, rows, columns);
    }
    trained->count += transformer_trained_room(model->backend, &parameter->value);
}

/* Rows behind a matrix are room for the columns of logits; a quantised one is no such table. */
static void take_frozen(struct transformer *model, struct parameter *parameter, enum dtype storage,
                        int64_t rows, int64_t columns)
{
    struct arena *const arena = transformer_frozen_arena(model);
    const int64_t room = dtype_is_quantized(storage) ? rows : transformer_table_rows(model->backend, rows);
    parameter->value =
        columns > 0 ? arena_tensor_2d(arena, storage, room, columns) : arena_tensor_1d(arena, storage, rows);
    parameter->value.shape[0] = rows;
    parameter->working = parameter->value;
    parameter->shard = model->base.laid_out;
}

static void list(struct transformer *model, const struct parameter *parameter)
{
    if (model->parameters)
        model->parameters[model->parameter_count] = *parameter;
    model->parameter_count++;
}

/* `frozen`: how it is stored when it is not trained. */
static void add_named(struct transformer *model, struct tensor *value, struct tensor *gradient,
                      struct parameter *parameter, enum dtype frozen, int64_t rows, int64_t columns)
{
    parameter->decayed = columns > 0;
    if (parameter->trained)
        take_trained(model, parameter, rows, columns);
    else
        take_frozen(model, parameter, frozen, rows, columns);
    *value = parameter->working;
    *gradient = parameter->gradient;
    list(model, parameter);
}

static void add_parameter(struct transformer *model, struct tensor *value, struct tensor *gradient,
                          bool trained, int64_t rows, int64_t columns, const char *format, ...)
{
    struct parameter parameter = {.trained = trained};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parameter.name, sizeof parameter.name, format, arguments);
    va_end(arguments);
    add_named(model, value, gradient, &parameter, transformer_storage(&model->settings), rows, columns);
}

static enum dtype linear_storage(const struct transformer_settings *settings)
{
    switch (settings->frozen) {
    case FROZEN_PRECISION:
        break;
    case FROZEN_INT8:
        return DTYPE_INT8;
    case FROZEN_NF4:
        return DTYPE_NF4;
    }
    return transformer_storage(settings);
}

static void add_linear_weight(struct transformer *model, int64_t layer, enum linear linear)
{
    const struct linear_shape shape = linear_shape(&model->settings, linear);
    struct parameter parameter = {.trained = model->mode == TRAIN_ALL};
    snprintf(parameter.name, sizeof parameter.name, "model.layers.%lld.%s.weight", (long long)layer,
             linear_module(linear));
    add_named(model, &model->weights.layer[layer].linear[linear],
              &model->gradients.layer[layer].linear[linear], &parameter, linear_storage(&model->settings),
              shape.out, shape.in);
}

static void add_linear(struct transformer *model, int64_t layer, enum linear linear)
{
    const struct linear_shape shape = linear_shape(&model->settings, linear);
    const bool base = model->mode == TRAIN_ALL, adapter = model->mode != TRAIN_NOTHING;
    struct layer_weights *const weights = &model->weights.layer[layer];
    struct layer_weights *const gradients = &model->gradients.layer[layer];
    const long long number = (long long)layer;
    const char *module = linear_module(linear);
    add_linear_weight(model, layer, linear);
    if (linear_has_bias(&model->settings, linear))
        add_parameter(model, &weights->bias[linear], &gradients->bias[linear], base, shape.out, 0,
                      "model.layers.%lld.%s.bias", number, module);
    if (model->lora.rank > 0 && model->lora.targets[linear]) {
        add_parameter(model, &weights->lora_a[linear], &gradients->lora_a[linear], adapter, model->lora.rank,
                      shape.in, "base_model.model.model.layers.%lld.%s.lora_A.weight", number, module);
        add_parameter(model, &weights->lora_b[linear], &gradients->lora_b[linear], adapter, shape.out,
                      model->lora.rank, "base_model.model.model.layers.%lld.%s.lora_B.weight", number,
                      module);
    }
}

static void add_layer(struct transformer *model, int64_t layer)
{
    const int64_t width = model->settings.width;
    const bool base = model->mode == TRAIN_ALL;
    struct layer_weights *const weights = &model->weights.layer[layer];
    struct layer_weights *const gradients = &model->gradients.layer[layer];
    add_parameter(model, &weights->attention_norm, &gradients->attention_norm, base, width, 0,
                  "model.layers.%lld.input_layernorm.weight", (long long)layer);
    add_parameter(model, &weights->feed_norm, &gradients->feed_norm, base, width, 0,
                  "model.layers.%lld.post_attention_layernorm.weight", (long long)layer);
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        add_linear(model, layer, (enum linear)linear);
    if (!model->settings.head_norm)
        return;
    add_parameter(model, &weights->query_norm, &gradients->query_norm, base, model->settings.head_width, 0,
                  "model.layers.%lld.self_attn.q_norm.weight", (long long)layer);
    add_parameter(model, &weights->key_norm, &gradients->key_norm, base, model->settings.head_width, 0,
                  "model.layers.%lld.self_attn.k_norm.weight", (long long)layer);
}

/* The frozen base's rows, and behind them the new tokens' as a parameter of the adapter. */
static void add_grown_table(struct transformer *model, struct tensor *table, struct tensor *gradient,
                            const char *module)
{
    const struct transformer_settings *const settings = &model->settings;
    const int64_t width = settings->width, added = settings->added, first = settings->vocabulary - added;
    struct parameter base = {.decayed = true};
    struct parameter rows = {.decayed = true, .added = true, .trained = model->mode == TRAIN_LORA};
    snprintf(base.name, sizeof base.name, "%s.weight", module);
    snprintf(rows.name, sizeof rows.name, ADDED_ROWS_NAME, module);
    take_frozen(model, &base, transformer_storage(settings), settings->vocabulary, width);
    *table = base.value;
    base.value = base.working = part(table, 0, first, width);
    list(model, &base);
    if (rows.trained)
        take_trained(model, &rows, added, width);
    rows.working = part(table, first * width, added, width);
    if (!rows.trained)
        rows.value = rows.working;
    *gradient = rows.gradient;
    list(model, &rows);
}

/* Embedding or output table. */
static void add_table(struct transformer *model, struct tensor *table, struct tensor *gradient,
                      const char *module)
{
    const bool base = model->mode == TRAIN_ALL;
    if (model->settings.added > 0 && !base)
        add_grown_table(model, table, gradient, module);
    else
        add_parameter(model, table, gradient, base, model->settings.vocabulary, model->settings.width,
                      "%s.weight", module);
}

/* As many elements as the last laying out has counted. */
static void lay_out_trained(struct transformer *model)
{
    struct trained_parameters *const trained = &model->trained;
    const int64_t count = trained->count;
    trained->value = arena_tensor_1d(&model->weights_arena, DTYPE_REAL, count);
    if (model->settings.precision == PRECISION_BF16)
        trained->working = arena_tensor_1d(&model->weights_arena, DTYPE_BF16, count);
    trained->gradient = arena_tensor_1d(&model->gradients_arena, DTYPE_REAL, count);
    trained->first_moment = arena_tensor_1d(&model->optimizer_arena, DTYPE_REAL, trained->kept);
    trained->second_moment = arena_tensor_1d(&model->optimizer_arena, DTYPE_REAL, trained->kept);
    trained->count = trained->kept = trained->bucket_count = 0;
}

void transformer_end_bucket(struct transformer *model)
{
    struct trained_parameters *const trained = &model->trained;
    const struct trained_bucket *const before = trained->buckets + trained->bucket_count - 1;
    const int64_t first = trained->bucket_count > 0 ? before->first + before->count : 0;
    struct trained_bucket bucket = {first, trained->count - first, first, trained->count - first,
                                    trained->kept};
    if (transformer_is_shared(model)) {
        const struct communicator *const ranks = model->backend->communicator;
        const int64_t begin = comm_part(ranks, bucket.count, ranks->rank);
        bucket.own = first + begin;
        bucket.own_count = comm_part(ranks, bucket.count, ranks->rank + 1) - begin;
    }
    trained->buckets[trained->bucket_count++] = bucket;
    trained->kept += bucket.own_count;
}

void transformer_lay_out_parameters(struct transformer *model)
{
    const struct transformer_settings *settings = &model->settings;
    struct transformer_weights *const weights = &model->weights, *const gradients = &model->gradients;
    const bool base = model->mode == TRAIN_ALL;
    model->parameter_count = 0;
    lay_out_trained(model);
    add_table(model, &weights->embedding, &gradients->embedding, "model.embed_tokens");
    transformer_end_bucket(model);
    for (int64_t layer = 0; layer < settings->layers; layer++) {
        base_shards_begin_layer(model, layer);
        add_layer(model, layer);
        base_shards_end_layer(model, layer);
        transformer_end_bucket(model);
    }
    base_shards_lay_out(model);
    add_parameter(model, &weights->output_norm, &gradients->output_norm, base, settings->width, 0,
                  "model.norm.weight");
    if (settings->tied) {
        weights->output = weights->embedding;
        gradients->output = gradients->embedding;
    } else {
        add_table(model, &weights->output, &gradients->output, "lm_head");
    }
    transformer_end_bucket(model);
    model->frequencies = arena_tensor_1d(&model->weights_arena, DTYPE_REAL, (settings->head_width + 1) / 2);
    model->square_sum = arena_tensor_1d(&model->optimizer_arena, DTYPE_F64, 1);
    model->clip_scale = arena_tensor_1d(&model->optimizer_arena, DTYPE_F32, 1);
}

/* ---- initial values ----------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* A normal number takes one block of the stream: any thread can draw any of them. */
static void fill_normal(real *values, int64_t count, double deviation, const struct random_stream *stream,
                        int threads)
{
    const int64_t block = 4096;
#pragma omp parallel for num_threads(threads) if (count > block)
    for (int64_t first = 0; first < count; first += block) {
        struct random_stream own = *stream;
        own.counter[0] += (uint32_t)first;
        for (int64_t index = first; index < count && index < first + block; index++)
            values[index] = (real)(deviation * random_normal(&own));
    }
}

static void fill_parameter(const struct transformer *model, const struct parameter *parameter,
                           struct random_stream *stream, real *values)
{
    const int64_t count = tensor_count(&parameter->value);
    const bool branch_output =
        ends_with(parameter->name, "o_proj.weight") || ends_with(parameter->name, "down_proj.weight");
    const double deviation = branch_output ? 0.02 / sqrt(2.0 * (double)model->settings.layers) : 0.02;
    if (ends_with(parameter->name, "norm.weight")) {
        for (int64_t index = 0; index < count; index++)
            values[index] = 1;
    } else if (ends_with(parameter->name, "bias") || ends_with(parameter->name, "lora_B.weight")) {
        memset(values, 0, (size_t)count * sizeof *values);
    } else if (ends_with(parameter->name, "lora_A.weight")) {
        const double bound = 1.0 / sqrt((double)parameter->value.shape[1]);
        for (int64_t index = 0; index < count; index++)
            values[index] = (real)(bound * (2.0 * random_double(stream) - 1.0));
    } else {
        fill_normal(values, count, deviation, stream, model->backend->threads);
    }
}

static double llama3_frequency(const struct rope_scaling *scaling, double frequency)
{
    const double turns = (double)scaling->original_positions * frequency / (2.0 * M_PI);
    const double low = scaling->low_frequency_factor, high = scaling->high_frequency_factor;
    const double whole = turns > high ? 1.0 : turns < low ? 0.0 : (turns - low) / (high - low);
    return whole * frequency + (1.0 - whole) * frequency / scaling->factor;
}

/* The angle by which a step of one position turns dimensions `index` and `index` + head_width / 2 of a head. */
static double frequency(const struct transformer_settings *settings, int64_t index)
{
    const double plain =
        pow((double)settings->rope_theta, -2.0 * (double)index / (double)settings->head_width);
    switch (settings->rope_scaling.type) {
    case ROPE_DEFAULT:
        break;
    case ROPE_LINEAR:
        return plain / settings->rope_scaling.factor;
    case ROPE_LLAMA3:
        return llama3_frequency(&settings->rope_scaling, plain);
    }
    return plain;
}

bool transformer_initialize_parameters(struct transformer *model, uint64_t seed, bool base_values,
                                       struct error *error)
{
    int64_t largest = tensor_count(&model->frequencies);
    for (int64_t index = 0; index < model->parameter_count; index++) {
        const struct parameter *parameter = &model->parameters[index];
        const int64_t count = tensor_count(&parameter->value);
        if (count > largest && (base_values || parameter_is_adapter(parameter)))
            largest = count;
    }
    real *values = malloc((size_t)largest * sizeof *values);
    if (!values)
        return error_memory(error, "a parameter's initial values", (size_t)largest * sizeof *values,
                            "lower language_model.width");
    bool done = true;
    for (int64_t index = 0; done && index < model->parameter_count; index++) {
        struct parameter *parameter = &model->parameters[index];
        if (!base_values && !parameter_is_adapter(parameter))
            continue;
        struct random_stream stream = random_stream_open(seed, RANDOM_INITIALIZE, 0, (uint64_t)index);
        fill_parameter(model, parameter, &stream, values);
        done = tensor_upload_rounded(model->backend, &parameter->value, values, error);
        if (done)
            transformer_keep_part(model, parameter);
    }
    for (int64_t index = 0; index < tensor_count(&model->frequencies); index++)
        values[index] = (real)frequency(&model->settings, index);
    tensor_upload(model->backend, &model->frequencies, values);
    transformer_values_changed(model);
    free(values);
    return done;
}
