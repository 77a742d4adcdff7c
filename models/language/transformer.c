#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "models/language/transformer_state.h"

#define ADVICE_WEIGHTS "lower language_model.width or language_model.layers"
#define ADVICE_BATCH "lower the tokens of a batch, or set recompute: true"

enum dtype transformer_storage(const struct transformer_settings *settings)
{
    return settings->precision == PRECISION_BF16 ? DTYPE_BF16 : DTYPE_REAL;
}

const char *frozen_storage_name(enum frozen_storage storage)
{
    static const char *const names[] = {"precision", "int8", "nf4"};
    return names[storage];
}

/* ---- settings ----------------------------------------------------------------------------------------- */

static bool check_size(const char *name, int64_t value, int64_t most, struct error *error)
{
    if (value >= 1 && value <= most)
        return true;
    return error_set(error, ERROR_USAGE, "the transformer's %s is %lld; choose at least 1 and at most %lld",
                     name, (long long)value, (long long)most);
}

const char *transformer_family(const struct transformer_settings *settings)
{
    const bool bias = settings->attention_bias, whole = bias == settings->output_bias;
    if (settings->head_norm)
        return whole && !settings->feed_bias ? "qwen3" : NULL;
    if (whole)
        return "llama";
    return bias && !settings->feed_bias ? "qwen2" : NULL;
}

bool transformer_settings_grow(struct transformer_settings *settings, int64_t added, struct error *error)
{
    const bool all = settings->classes == 0 || settings->classes == settings->vocabulary;
    if (added > 0 && !all)
        return error_set(error, ERROR_RUN,
                         "%lld new tokens for a model that can predict only %lld of its %lld; choose a model "
                         "that can predict all",
                         (long long)added, (long long)settings->classes, (long long)settings->vocabulary);
    if (added < 0 || added > INT32_MAX - settings->vocabulary)
        return error_set(error, ERROR_RUN,
                         "%lld new tokens for a vocabulary of %lld; at most %d in all are possible",
                         (long long)added, (long long)settings->vocabulary, INT32_MAX);
    settings->vocabulary += added;
    settings->added += added;
    settings->classes = added > 0 ? 0 : settings->classes;
    return true;
}

static bool check_scaling(const struct rope_scaling *scaling, struct error *error)
{
    if (scaling->type == ROPE_DEFAULT)
        return true;
    if (!(scaling->factor > 0.0) || !isfinite(scaling->factor))
        return error_set(error, ERROR_USAGE, "rotary positions scaled by %g; choose a factor greater than 0",
                         scaling->factor);
    if (scaling->type == ROPE_LLAMA3 &&
        (scaling->original_positions < 1 || !(scaling->low_frequency_factor > 0.0) ||
         !(scaling->high_frequency_factor > scaling->low_frequency_factor)))
        return error_set(
            error, ERROR_USAGE,
            "rotary positions scaled as in Llama 3 from %lld positions between %g and %g; choose at "
            "least 1, and factors greater than 0, the lower first",
            (long long)scaling->original_positions, scaling->low_frequency_factor,
            scaling->high_frequency_factor);
    return true;
}

/* The bounds keep every size in bytes far from overflow. */
static bool check_settings(const struct transformer_settings *settings, const struct backend *backend,
                           struct error *error)
{
    const int64_t million = 1 << 20;
    if (!check_size("vocabulary", settings->vocabulary, INT32_MAX, error) ||
        !check_size("width", settings->width, million, error) ||
        !check_size("number of layers", settings->layers, 4096, error) ||
        !check_size("number of heads", settings->query_heads, 4096, error) ||
        !check_size("number of key heads", settings->key_heads, 4096, error) ||
        !check_size("head width", settings->head_width, 4096, error) ||
        !check_size("hidden width", settings->hidden, million, error))
        return false;
    if (settings->query_heads % settings->key_heads != 0)
        return error_set(error, ERROR_USAGE,
                         "%lld query heads cannot share %lld key heads evenly; choose a divisor",
                         (long long)settings->query_heads, (long long)settings->key_heads);
    if (settings->positions && settings->head_width % 2 != 0)
        return error_set(error, ERROR_USAGE,
                         "rotary positions need an even head width, not %lld; choose width and "
                         "heads so, or set positions: false",
                         (long long)settings->head_width);
    if (!transformer_family(settings))
        return error_set(error, ERROR_USAGE,
                         "biases or norms of queries and keys in other places than Llama, Qwen2 and Qwen3 "
                         "have them; choose those of one of these families");
    if (!check_scaling(&settings->rope_scaling, error))
        return false;
    if (settings->precision == PRECISION_BF16 && backend->device == DEVICE_CPU)
        return error_set(error, ERROR_USAGE, "bf16 is only for GPUs; set language_model.precision: f32");
    if (settings->sequence_maximum < 0)
        return error_set(error, ERROR_USAGE,
                         "sequences of up to %lld tokens; choose at least 1, or 0 for any",
                         (long long)settings->sequence_maximum);
    if (settings->classes < 0 || settings->classes > settings->vocabulary)
        return error_set(error, ERROR_USAGE, "%lld classes in a vocabulary of %lld; choose at most that many",
                         (long long)settings->classes, (long long)settings->vocabulary);
    if (settings->added < 0 || settings->added >= settings->vocabulary ||
        (settings->added > 0 && settings->classes > 0 && settings->classes < settings->vocabulary))
        return error_set(
            error, ERROR_USAGE,
            "%lld new tokens in a vocabulary of %lld with %lld classes; choose fewer, and all classes",
            (long long)settings->added, (long long)settings->vocabulary, (long long)settings->classes);
    return true;
}

static bool check_frozen(enum frozen_storage frozen, enum train_mode mode, struct error *error)
{
    if (frozen == FROZEN_PRECISION || mode != TRAIN_ALL)
        return true;
    return error_set(
        error, ERROR_USAGE,
        "weights that are to be trained cannot be stored in %s; set finetune.base: precision, or "
        "finetune.method: lora",
        frozen_storage_name(frozen));
}

static bool check_shards(const struct transformer_settings *settings, enum train_mode mode,
                         struct error *error)
{
    return !settings->shard_base || mode == TRAIN_LORA ||
           error_set(
               error, ERROR_USAGE,
               "only the base of an adapter that is trained is sharded; set finetune.shard_base: false, or "
               "finetune.method: lora");
}

static bool check_adapter(const struct lora_settings *lora, enum train_mode mode, struct error *error)
{
    bool any = false;
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        any = any || lora->targets[linear];
    if (lora->rank < 0 || lora->dropout < 0.0 || lora->dropout >= 1.0)
        return error_set(error, ERROR_USAGE,
                         "an adapter of rank %lld with dropout %g; the rank must not be negative "
                         "and the dropout below 1",
                         (long long)lora->rank, lora->dropout);
    if (mode == TRAIN_LORA && (lora->rank == 0 || !any))
        return error_set(error, ERROR_USAGE,
                         "an adapter of rank %lld with %s targets has nothing to train; set rank "
                         "and targets",
                         (long long)lora->rank, any ? "some" : "no");
    return true;
}

/* ---- memory ------------------------------------------------------------------------------------------- */

void transformer_lay_out_batch(struct transformer *model, int64_t tokens)
{
    struct arena *const arena = &model->activations_arena;
    struct batch_activations *const batch = &model->activations;
    const enum dtype storage = transformer_storage(&model->settings);
    const int64_t layers = model->settings.layers, width = model->settings.width;
    const bool backward = model->mode != TRAIN_NOTHING;
    const bool shared = model->settings.recompute || !backward;
    arena_return(arena, 0);
    arena_return(&model->scratch_arena, 0);
    for (int64_t layer = 0; layer < layers; layer++) {
        struct layer_activations *activations = &batch->layer[layer];
        if (layer > 0 && shared)
            *activations = batch->layer[0];
        else
            layer_activations_lay_out(activations, arena, &model->settings, &model->lora, tokens);
        activations->input = arena_tensor_2d(arena, storage, tokens, width);
    }
    batch->last = arena_tensor_2d(arena, storage, tokens, width);
    if (backward)
        batch->d_x = arena_tensor_2d(arena, storage, tokens, width);
    layer_scratch_lay_out(&model->scratch, &model->scratch_arena, &model->settings, &model->lora, tokens,
                          backward);
}

static void measure_again(struct transformer *model)
{
    arena_return(&model->weights_arena, 0);
    arena_return(&model->gradients_arena, 0);
    arena_return(&model->optimizer_arena, 0);
    transformer_lay_out_parameters(model);
}

static bool measure_parameters(struct transformer *model, struct error *error)
{
    const size_t layers = (size_t)model->settings.layers;
    model->weights.layer = calloc(layers, sizeof *model->weights.layer);
    model->gradients.layer = calloc(layers, sizeof *model->gradients.layer);
    model->activations.layer = calloc(layers, sizeof *model->activations.layer);
    model->trained.buckets = calloc(layers + 2, sizeof *model->trained.buckets);
    if (!model->weights.layer || !model->gradients.layer || !model->activations.layer ||
        !model->trained.buckets)
        return error_memory(error, "the list of layers", layers * sizeof *model->weights.layer,
                            ADVICE_WEIGHTS);
    transformer_lay_out_parameters(model);
    measure_again(model);
    model->parameters = calloc((size_t)model->parameter_count, sizeof *model->parameters);
    if (!model->parameters)
        return error_memory(error, "the list of parameters",
                            (size_t)model->parameter_count * sizeof *model->parameters, ADVICE_WEIGHTS);
    measure_again(model);
    return true;
}

static void measure_batch(struct transformer *model)
{
    transformer_measure_inputs(model);
    transformer_lay_out_batch(model, model->tokens_maximum);
    loss_lay_out(model, model->tokens_maximum);
}

/* Those of parameters, and behind them BATCH_ARENAS of batches; how many there are. */
enum { ARENAS_MOST = 8, BATCH_ARENAS = 3 };
static int list_arenas(struct transformer *model, struct arena *arenas[ARENAS_MOST])
{
    struct arena *const all[] = {
        &model->weights_arena,   &model->base.kept_arena, &model->base.places_arena, &model->gradients_arena,
        &model->optimizer_arena, &model->inputs_arena,    &model->activations_arena, &model->scratch_arena};
    const bool sharded = transformer_base_is_sharded(model);
    int count = 0;
    for (int index = 0; index < ARENAS_MOST; index++)
        if (sharded || (all[index] != &model->base.kept_arena && all[index] != &model->base.places_arena))
            arenas[count++] = all[index];
    return count;
}

/* Batches are laid out as they come, the parameters here. */
static bool reserve(struct transformer *model, struct error *error)
{
    struct arena *arenas[ARENAS_MOST];
    const char *lower[ARENAS_MOST];
    const bool batches = model->tokens_maximum > 0;
    const int count = list_arenas(model, arenas);
    for (int index = 0; index < count; index++)
        lower[index] = index < count - BATCH_ARENAS ? ADVICE_WEIGHTS : ADVICE_BATCH;
    if (!arena_reserve_all(arenas, lower, batches ? count : count - BATCH_ARENAS, error))
        return false;
    transformer_lay_out_parameters(model);
    return !batches || transformer_reserve_slots(model, error);
}

bool transformer_measure(struct transformer **model, struct backend *backend,
                         const struct transformer_settings *settings, const struct lora_settings *lora,
                         enum train_mode mode, int64_t tokens_maximum, int64_t sequences_maximum,
                         struct error *error)
{
    *model = NULL;
    if (!check_settings(settings, backend, error) || !check_frozen(settings->frozen, mode, error) ||
        !check_shards(settings, mode, error) || (lora && !check_adapter(lora, mode, error)))
        return false;
    if (!lora && mode == TRAIN_LORA)
        return error_set(error, ERROR_USAGE, "training an adapter needs its settings; set rank and targets");
    struct transformer *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "the transformer", sizeof *made, NULL);
    made->backend = backend;
    made->settings = *settings;
    if (settings->classes == 0)
        made->settings.classes = settings->vocabulary;
    if (lora)
        made->lora = *lora;
    made->mode = mode;
    made->tokens_maximum = tokens_maximum;
    made->sequences_maximum = sequences_maximum;
    made->weights_arena = arena_measure(backend, "weights");
    made->base.kept_arena = arena_measure(backend, "its base");
    made->base.places_arena = arena_measure(backend, "two layers");
    made->gradients_arena = arena_measure(backend, "gradients");
    made->optimizer_arena =
        arena_measure(backend, transformer_is_shared(made) ? "its optimizer" : "optimizer");
    made->inputs_arena = arena_measure(backend, "batch");
    made->activations_arena = arena_measure(backend, "activations");
    made->scratch_arena = arena_measure(backend, "scratch");
    if (!measure_parameters(made, error)) {
        transformer_free(made);
        return false;
    }
    if (tokens_maximum > 0)
        measure_batch(made);
    *model = made;
    return true;
}

bool transformer_allocate(struct transformer *model, uint64_t seed, bool base_values, struct error *error)
{
    return reserve(model, error) && (model->backend->counts_only ||
                                     transformer_initialize_parameters(model, seed, base_values, error));
}

bool transformer_create(struct transformer **model, struct backend *backend,
                        const struct transformer_settings *settings, const struct lora_settings *lora,
                        enum train_mode mode, int64_t tokens_maximum, int64_t sequences_maximum,
                        uint64_t seed, struct error *error)
{
    if (transformer_measure(model, backend, settings, lora, mode, tokens_maximum, sequences_maximum, error) &&
        transformer_allocate(*model, seed, true, error))
        return true;
    transformer_free(*model);
    *model = NULL;
    return false;
}

void transformer_free(struct transformer *model)
{
    if (!model)
        return;
    struct error ignored = ERROR_INITIALIZER; /* what has begun ends before the memory goes */
    if (transformer_is_shared(model))
        comm_finish(model->backend->communicator, &ignored);
    transformer_release_slots(model);
    struct arena *arenas[ARENAS_MOST];
    const int count = list_arenas(model, arenas);
    for (int index = 0; index < count; index++)
        arena_release(arenas[index]);
    free(model->weights.layer);
    free(model->gradients.layer);
    free(model->activations.layer);
    free(model->trained.buckets);
    free(model->parameters);
    free(model);
}

/* ---- accessors ---------------------------------------------------------------------------------------- */

const struct transformer_settings *transformer_settings_of(const struct transformer *model)
{
    return &model->settings;
}

const struct lora_settings *transformer_lora_of(const struct transformer *model)
{
    return &model->lora;
}

const struct transformer_weights *transformer_weights_of(const struct transformer *model)
{
    return &model->weights;
}

struct backend *transformer_backend(const struct transformer *model)
{
    return model->backend;
}

bool transformer_trains_added(const struct transformer *model)
{
    return model->mode == TRAIN_LORA && model->settings.added > 0;
}

int64_t transformer_logit_columns(const struct transformer *model)
{
    return transformer_table_rows(model->backend, model->settings.classes);
}

struct parameter *transformer_parameters(struct transformer *model, int64_t *count)
{
    *count = model->parameter_count;
    return model->parameters;
}

bool parameter_is_adapter(const struct parameter *parameter)
{
    return strncmp(parameter->name, "base_model.", strlen("base_model.")) == 0;
}

struct parameter *transformer_parameter(struct transformer *model, const char *name)
{
    for (int64_t index = 0; index < model->parameter_count; index++)
        if (strcmp(model->parameters[index].name, name) == 0)
            return &model->parameters[index];
    return NULL;
}

struct layer_pass transformer_inference_pass(const struct transformer *model)
{
    return (struct layer_pass){.backend = model->backend,
                               .settings = &model->settings,
                               .lora = &model->lora,
                               .weights = &model->weights,
                               .frequencies = &model->frequencies};
}

const struct arena *transformer_arena(const struct transformer *model, int index)
{
    struct arena *arenas[ARENAS_MOST];
    const int count = list_arenas((struct transformer *)model, arenas);
    return index >= 0 && index < count ? arenas[index] : NULL;
}

void transformer_print_memory(const struct transformer *model, FILE *stream)
{
    const struct arena *arenas[ARENAS_MOST + 1];
    int count = 0;
    while ((arenas[count] = transformer_arena(model, count)) != NULL)
        count++;
    arena_print_table(stream, "memory of the language model", arenas, count);
}
