#include "models/language/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/added_tokens.h"
#include "models/language/checkpoint_adapter.h"
#include "models/language/checkpoint_config.h"
#include "models/language/checkpoint_folder.h"
#include "models/language/checkpoint_tokens.h"
#include "models/language/checkpoint_weights.h"
#include "models/language/safetensors.h"

/* ---- models ------------------------------------------------------------------------------------------- */

static bool write_parameters(struct transformer *model, bool adapter, const char *folder, const char *file,
                             struct error *error)
{
    int64_t count, chosen = 0;
    const struct parameter *const parameters = transformer_parameters(model, &count);
    struct named_tensor *tensors = calloc((size_t)count, sizeof *tensors);
    if (!tensors)
        return error_memory(error, "the list of tensors", (size_t)count * sizeof *tensors, NULL);
    for (int64_t index = 0; index < count; index++) {
        if (parameter_is_adapter(&parameters[index]) != adapter)
            continue;
        snprintf(tensors[chosen].name, sizeof tensors[chosen].name, "%s", parameters[index].name);
        tensors[chosen++].tensor = parameters[index].value;
    }
    char *path = path_format("%s/%s", folder, file);
    const bool written = safetensors_write(path, transformer_backend(model), tensors, chosen, error);
    free(path);
    free(tensors);
    return written;
}

/* New tokens belong to the base where they are rows of its tables like the others. */
static struct transformer_settings base_settings(struct transformer *model)
{
    struct transformer_settings settings = *transformer_settings_of(model);
    settings.vocabulary = transformer_parameter(model, "model.embed_tokens.weight")->value.shape[0];
    settings.classes = settings.classes < settings.vocabulary ? settings.classes : settings.vocabulary;
    return settings;
}

bool checkpoint_save_base(struct transformer *model, const char *folder, struct error *error)
{
    const struct transformer_settings settings = base_settings(model);
    int64_t count;
    char *fresh;
    if (transformer_base_is_sharded(model))
        return error_at(error, ERROR_RUN, folder, 0,
                        "this rank has only its part of the base; write it from a model that is not sharded");
    if (settings.frozen != FROZEN_PRECISION)
        return error_at(error, ERROR_RUN, folder, 0,
                        "the base is held in %s, from which its weights cannot be had back; load it with "
                        "finetune.base: precision to write it",
                        frozen_storage_name(settings.frozen));
    if (!checkpoint_folder_begin(&fresh, folder, error))
        return false;
    const enum dtype dtype = transformer_parameters(model, &count)->value.dtype;
    const bool saved = checkpoint_config_write(&settings, dtype, fresh, error) &&
                       write_parameters(model, false, fresh, "model.safetensors", error) &&
                       checkpoint_folder_commit(folder, error);
    free(fresh);
    return saved;
}

bool checkpoint_save_adapter(struct transformer *model, const char *folder, struct error *error)
{
    char *fresh;
    if (!checkpoint_folder_begin(&fresh, folder, error))
        return false;
    const bool saved = checkpoint_adapter_config_write(transformer_lora_of(model),
                                                       transformer_settings_of(model), fresh, error) &&
                       write_parameters(model, true, fresh, "adapter_model.safetensors", error) &&
                       checkpoint_folder_commit(folder, error);
    free(fresh);
    return saved;
}

/* What a base folder may hold besides the parameters: tables that follow from config.json, an output table that the
 * embedding stands for. */
static bool is_left_out(const struct transformer *model, const char *name)
{
    static const char frequencies[] = "rotary_emb.inv_freq";
    const size_t length = strlen(name), end = sizeof frequencies - 1;
    return (length >= end && strcmp(name + length - end, frequencies) == 0) ||
           (transformer_settings_of(model)->tied && strcmp(name, "lm_head.weight") == 0);
}

static bool refuse(const struct weights *weights, const char *name, const char *whole, const char *file,
                   struct error *error)
{
    return error_at(
        error, ERROR_RUN, weights_path(weights), 0,
        "tensor '%.120s' is not part of a %s as %s has it, and is not supported; choose another %s", name,
        whole, file, strcmp(whole, "model") == 0 ? whole : "adapter");
}

static bool refuse_unknown_of_base(struct transformer *model, const struct weights *base, struct error *error)
{
    for (int64_t index = 0; index < weights_count(base); index++) {
        const char *name = weights_at(base, index)->name;
        const struct parameter *parameter = transformer_parameter(model, name);
        if (parameter ? parameter_is_adapter(parameter) : !is_left_out(model, name))
            return refuse(base, name, "model", "config.json", error);
    }
    return true;
}

/* An adapter's file may hold more than low-rank pairs and new tokens: whole tables or biases that were trained too. */
static bool refuse_unknown_of_adapter(struct transformer *model, const struct weights *adapter,
                                      const struct weights *base, struct error *error)
{
    for (int64_t index = 0; index < weights_count(adapter); index++) {
        const struct safetensors_entry *const entry = weights_at(adapter, index);
        const struct parameter *parameter = transformer_parameter(model, entry->name);
        bool copy;
        if (parameter && parameter_is_adapter(parameter))
            continue;
        if (!checkpoint_tokens_copy(&copy, entry, adapter, base, transformer_settings_of(model), error))
            return false;
        if (!copy)
            return refuse(adapter, entry->name, "low-rank adapter", "adapter_config.json", error);
    }
    return true;
}

/* What a file holds of a parameter: of a table that is trained with new tokens the rows of the others. */
static struct tensor stored_part(const struct transformer *model, const struct parameter *parameter)
{
    const struct transformer_settings *const settings = transformer_settings_of(model);
    const bool table = strcmp(parameter->name, "model.embed_tokens.weight") == 0 ||
                       strcmp(parameter->name, "lm_head.weight") == 0;
    struct tensor part = parameter->value;
    if (table && part.shape[0] == settings->vocabulary)
        part.shape[0] -= settings->added;
    return part;
}

/* The files hold what the model wants; nothing of the data is read. */
static bool check_weights(struct transformer *model, bool adapter, const struct weights *weights,
                          struct error *error)
{
    int64_t count;
    const struct parameter *const parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        const struct tensor part = stored_part(model, &parameters[index]);
        if (parameter_is_adapter(&parameters[index]) == adapter &&
            !weights_check(weights, parameters[index].name, &part, error))
            return false;
    }
    return true;
}

static bool read_weights(struct transformer *model, bool adapter, const struct weights *weights,
                         struct error *error)
{
    int64_t count;
    struct parameter *const parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        struct tensor part = stored_part(model, &parameters[index]);
        if (parameter_is_adapter(&parameters[index]) == adapter &&
            !weights_read(weights, parameters[index].name, transformer_backend(model), &part, error))
            return false;
        if (parameter_is_adapter(&parameters[index]) == adapter)
            transformer_keep_part(model, &parameters[index]);
    }
    return true;
}

static bool start_adapter(struct transformer *model, uint64_t seed, struct error *error)
{
    return transformer_settings_of(model)->added == 0 || added_tokens_start(model, seed, error);
}

/* All files are checked before a measured model takes its memory. */
static bool fill(struct transformer *model, const char *base, const char *adapter, uint64_t seed,
                 struct error *error)
{
    struct weights *base_weights = NULL, *adapter_weights = NULL;
    const bool filled =
        weights_open(&base_weights, base, "model", error) &&
        check_weights(model, false, base_weights, error) &&
        refuse_unknown_of_base(model, base_weights, error) &&
        (!adapter || (weights_open(&adapter_weights, adapter, "adapter_model", error) &&
                      check_weights(model, true, adapter_weights, error) &&
                      refuse_unknown_of_adapter(model, adapter_weights, base_weights, error))) &&
        transformer_allocate(model, seed, false, error) && read_weights(model, false, base_weights, error) &&
        (adapter ? read_weights(model, true, adapter_weights, error) : start_adapter(model, seed, error));
    weights_close(base_weights);
    weights_close(adapter_weights);
    if (filled)
        transformer_values_changed(model);
    return filled;
}

bool checkpoint_settings(struct transformer_settings *settings, struct lora_settings *lora, const char *base,
                         const char *adapter, struct error *error)
{
    *lora = (struct lora_settings){.rank = 0};
    return checkpoint_config_read(settings, base, error) &&
           (!adapter || checkpoint_adapter_config_read(lora, settings, adapter, error));
}

/* New tokens have to be somebody's rows. */
static bool add_tokens(struct transformer_settings *settings, const char *adapter, int64_t added,
                       enum train_mode mode, struct error *error)
{
    if (adapter && settings->added > 0 && mode == TRAIN_ALL)
        return error_at(
            error, ERROR_RUN, adapter, 0,
            "has new tokens, which cannot be trained together with the base's; merge it into the base "
            "first (idrec merge)");
    if (added > 0 && (adapter || mode == TRAIN_NOTHING))
        return error_set(
            error, ERROR_RUN,
            "%lld tokens are new to the base and nothing trains them; train the model, or an adapter",
            (long long)added);
    return transformer_settings_grow(settings, added, error);
}

bool checkpoint_load(struct transformer **model, struct backend *backend, const char *base,
                     const char *adapter, const struct lora_settings *lora, int64_t added,
                     enum train_mode mode, bool recompute, enum precision precision,
                     enum frozen_storage frozen, bool shard_base, int64_t tokens_maximum,
                     int64_t sequences_maximum, uint64_t seed, struct error *error)
{
    struct transformer_settings settings;
    struct lora_settings stored;
    *model = NULL;
    if (!checkpoint_settings(&settings, &stored, base, adapter, error) ||
        !add_tokens(&settings, adapter, added, mode, error))
        return false;
    settings.recompute = recompute;
    settings.precision = precision;
    settings.frozen = frozen;
    settings.shard_base = shard_base;
    const struct lora_settings *chosen = adapter ? &stored : mode == TRAIN_LORA ? lora : NULL;
    if (transformer_measure(model, backend, &settings, chosen, mode, tokens_maximum, sequences_maximum,
                            error) &&
        fill(*model, base, adapter, seed, error))
        return true;
    transformer_free(*model);
    *model = NULL;
    return false;
}

/* ---- the state of training ---------------------------------------------------------------------------- */

/* Every tensor of a state of training, named; *count of them. NULL without memory. */
static struct named_tensor *state_tensors(struct transformer *model, const struct parameter *extra,
                                          int64_t extra_count, int64_t *count)
{
    int64_t parameter_count, used = 0;
    const struct parameter *const parameters = transformer_parameters(model, &parameter_count);
    struct named_tensor *tensors = calloc((size_t)(3 * parameter_count + extra_count), sizeof *tensors);
    for (int64_t index = 0; tensors && index < parameter_count; index++) {
        const struct parameter *const parameter = &parameters[index];
        if (!parameter->trained)
            continue;
        snprintf(tensors[used].name, sizeof tensors->name, "%s", parameter->name);
        tensors[used++].tensor = parameter->value;
        snprintf(tensors[used].name, sizeof tensors->name, "first_moment.%s", parameter->name);
        tensors[used++].tensor = parameter->first_moment;
        snprintf(tensors[used].name, sizeof tensors->name, "second_moment.%s", parameter->name);
        tensors[used++].tensor = parameter->second_moment;
    }
    for (int64_t index = 0; tensors && index < extra_count; index++) {
        snprintf(tensors[used].name, sizeof tensors->name, "extra.%" PRId64 ".%s", index, extra[index].name);
        tensors[used++].tensor = extra[index].value;
    }
    *count = used;
    return tensors;
}

static bool write_state(struct transformer *model, const struct parameter *extra, int64_t extra_count,
                        const char *counters_json, const char *folder, struct error *error)
{
    int64_t count;
    struct named_tensor *tensors = state_tensors(model, extra, extra_count, &count);
    if (!tensors)
        return error_memory(error, "the list of tensors", (size_t)extra_count * sizeof *tensors, NULL);
    char *path = path_format("%s/state.safetensors", folder);
    char *counters = path_format("%s/counters.json", folder);
    const bool written = safetensors_write(path, transformer_backend(model), tensors, count, error) &&
                         file_write(counters, counters_json, strlen(counters_json), error);
    free(counters);
    free(path);
    free(tensors);
    return written;
}

/* Where a file system is no longer mounted, there is still a folder that could be written to. */
static bool check_place(const char *folder, struct error *error)
{
    const char *end = strrchr(folder, '/');
    if (!end || end == folder)
        return true;
    char *place = path_format("%.*s", (int)(end - folder), folder);
    const bool there =
        path_exists(place) || error_system(error, place, "this folder is gone",
                                           "bring it back, or see that its file system is mounted");
    free(place);
    return there;
}

bool checkpoint_save_state(struct transformer *model, const struct parameter *extra, int64_t extra_count,
                           const char *counters_json, const char *folder, struct error *error)
{
    char *fresh;
    if (!check_place(folder, error) || !checkpoint_folder_begin(&fresh, folder, error))
        return false;
    const bool saved = write_state(model, extra, extra_count, counters_json, fresh, error) &&
                       checkpoint_folder_commit(folder, error);
    free(fresh);
    return saved;
}

static bool read_state(struct transformer *model, const struct parameter *extra, int64_t extra_count,
                       const char *path, struct error *error)
{
    int64_t count;
    struct safetensors *file = NULL;
    struct named_tensor *tensors = state_tensors(model, extra, extra_count, &count);
    if (!tensors)
        return error_memory(error, "the list of tensors", (size_t)extra_count * sizeof *tensors, NULL);
    bool read = safetensors_open(&file, path, error);
    for (int64_t index = 0; read && index < count; index++)
        read = safetensors_read(file, tensors[index].name, transformer_backend(model), &tensors[index].tensor,
                                error);
    safetensors_close(file);
    free(tensors);
    transformer_values_changed(model);
    return read;
}

static bool check_complete(const char *folder, struct error *error)
{
    return checkpoint_complete(folder) ||
           error_at(error, ERROR_RUN, folder, 0,
                    "is no complete state of training; remove the folder to start anew");
}

bool checkpoint_load_counters(char **counters_json, const char *folder, struct error *error)
{
    size_t length;
    *counters_json = NULL;
    if (!check_complete(folder, error))
        return false;
    char *path = path_format("%s/counters.json", folder);
    const bool read = file_read(path, counters_json, &length, error);
    free(path);
    return read;
}

bool checkpoint_load_state(struct transformer *model, struct parameter *extra, int64_t extra_count,
                           const char *folder, struct error *error)
{
    if (!check_complete(folder, error))
        return false;
    char *path = path_format("%s/state.safetensors", folder);
    const bool read = read_state(model, extra, extra_count, path, error);
    free(path);
    return read;
}
