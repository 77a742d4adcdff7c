#include "models/language/checkpoint_tokens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/safetensors_values.h"

/* A table that was rounded to bf16 and back is the same one. */
#define ROUNDING 0x1.0p-8
enum { BLOCK_NUMBERS = 1024 };

static const char *const modules[] = {"model.embed_tokens", "lm_head"};

/* ---- adapter_config.json ------------------------------------------------------------------------------ */

static json_t *token_list(const struct transformer_settings *settings)
{
    json_t *list = json_array();
    for (int64_t token = settings->vocabulary - settings->added; token < settings->vocabulary; token++)
        json_array_append_new(list, json_integer((json_int_t)token));
    return list;
}

json_t *checkpoint_tokens_value(const struct transformer_settings *settings)
{
    return settings->tied ? token_list(settings)
                          : json_pack("{s:o, s:o}", "embed_tokens", token_list(settings), "lm_head",
                                      token_list(settings));
}

static bool check_list(const struct document *document, const json_t *list, int64_t first,
                       struct error *error)
{
    size_t index;
    json_t *token;
    json_array_foreach((json_t *)list, index, token)
    {
        const int64_t expected = first + (int64_t)index;
        if (!json_is_integer(token) || json_integer_value(token) != (json_int_t)expected)
            return error_at(
                error, ERROR_RUN, document->path, 0,
                "'trainable_token_indices' does not have %lld at place %zu; only tokens that are new to "
                "the base's %lld are supported, all of them and in order",
                (long long)expected, index, (long long)first);
    }
    return true;
}

/* Of the embedding, and of an output table of its own; NULL: there is none. */
static bool find_lists(const struct document *document, const json_t *lists[2], struct error *error)
{
    const json_t *const value = json_object_get(document->object, "trainable_token_indices");
    const char *key;
    json_t *list;
    lists[0] = lists[1] = NULL;
    if (json_is_array(value))
        lists[0] = value;
    json_object_foreach((json_t *)value, key, list)
    {
        const bool output = strcmp(key, "lm_head") == 0;
        if (!json_is_array(list) ||
            (!output && strcmp(key, "embed_tokens") != 0 && strcmp(key, "model.embed_tokens") != 0))
            return error_at(
                error, ERROR_RUN, document->path, 0,
                "'trainable_token_indices' has '%.80s', which is no list of tokens of embed_tokens or "
                "lm_head",
                key);
        lists[output] = list;
    }
    return lists[0] || error_at(error, ERROR_RUN, document->path, 0,
                                "'trainable_token_indices' has no list of tokens of embed_tokens");
}

bool checkpoint_tokens_read(const struct document *document, struct transformer_settings *settings,
                            struct error *error)
{
    const json_t *lists[2];
    const int64_t first = settings->vocabulary;
    if (document_is_off(document, "trainable_token_indices"))
        return true;
    if (!find_lists(document, lists, error) || !check_list(document, lists[0], first, error) ||
        !check_list(document, lists[1], first, error))
        return false;
    const size_t added = json_array_size(lists[0]);
    if ((lists[1] || !settings->tied) && json_array_size(lists[1]) != added)
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "'trainable_token_indices' has %zu tokens of embed_tokens and %zu of lm_head; the base's "
            "output table is its own, and has to have the same new tokens",
            added, json_array_size(lists[1]));
    return transformer_settings_grow(settings, (int64_t)added, error);
}

/* ---- tensors besides ---------------------------------------------------------------------------------- */

static bool has_shape(const struct safetensors_entry *entry, int64_t rows, int64_t columns)
{
    return entry && entry->rank == 2 && entry->shape[0] == rows && entry->shape[1] == columns &&
           safetensors_type_is_float(entry->type);
}

/* Whether the first `count` numbers of both are the same but for rounding. */
static bool are_alike(const struct safetensors_entry *one, const struct safetensors_entry *other,
                      int64_t count)
{
    real ones[BLOCK_NUMBERS], others[BLOCK_NUMBERS];
    for (int64_t first = 0; first < count; first += BLOCK_NUMBERS) {
        const int64_t rest = count - first < BLOCK_NUMBERS ? count - first : BLOCK_NUMBERS;
        safetensors_values(ones, one, first, rest);
        safetensors_values(others, other, first, rest);
        for (int64_t index = 0; index < rest; index++) {
            const double a = (double)ones[index], b = (double)others[index];
            if (!(fabs(a - b) <= ROUNDING * fmax(fabs(a), fabs(b)) + 1e-7))
                return false;
        }
    }
    return true;
}

static bool check_table(const struct safetensors_entry *entry, const struct weights *adapter,
                        const struct safetensors_entry *table, const struct transformer_settings *settings,
                        struct error *error)
{
    const int64_t rows = settings->vocabulary - settings->added, width = settings->width;
    return (has_shape(entry, settings->vocabulary, width) && has_shape(table, rows, width) &&
            are_alike(entry, table, rows * width)) ||
           error_at(error, ERROR_RUN, weights_path(adapter), 0,
                    "tensor '%.120s' is not the base's table with %lld new tokens behind it; base and "
                    "adapter do not "
                    "belong together, or the table was trained as a whole, which is not supported",
                    entry->name, (long long)settings->added);
}

static bool check_rows(const struct safetensors_entry *entry, const struct weights *adapter,
                       const struct safetensors_entry *rows, const struct transformer_settings *settings,
                       struct error *error)
{
    return (has_shape(entry, settings->added, settings->width) &&
            has_shape(rows, settings->added, settings->width) && are_alike(entry, rows, rows->count)) ||
           error_at(error, ERROR_RUN, weights_path(adapter), 0,
                    "tensor '%.120s' is not that of the embedding, to which the base's output table is tied",
                    entry->name);
}

bool checkpoint_tokens_copy(bool *copy, const struct safetensors_entry *entry, const struct weights *adapter,
                            const struct weights *base, const struct transformer_settings *settings,
                            struct error *error)
{
    char name[144];
    *copy = false;
    for (int module = 0; settings->added > 0 && module < 2; module++) {
        const int source = settings->tied ? 0 : module;
        snprintf(name, sizeof name, "base_model.model.%s.token_adapter.base_layer.weight", modules[module]);
        if (strcmp(entry->name, name) == 0) {
            *copy = true;
            snprintf(name, sizeof name, "%s.weight", modules[source]);
            return check_table(entry, adapter, weights_find(base, name), settings, error);
        }
        snprintf(name, sizeof name, ADDED_ROWS_NAME, modules[module]);
        if (source != module && strcmp(entry->name, name) == 0) {
            *copy = true;
            snprintf(name, sizeof name, ADDED_ROWS_NAME, modules[source]);
            return check_rows(entry, adapter, weights_find(adapter, name), settings, error);
        }
    }
    return true;
}
