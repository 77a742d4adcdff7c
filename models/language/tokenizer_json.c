#include "models/language/tokenizer_json.h"

#include <stdarg.h>
#include <string.h>

enum { NESTING_MAXIMUM = 16 }; /* sequences in sequences: more is no tokenizer */

bool spot_refuse(const struct spot *spot, struct error *error, const char *format, ...)
{
    char reason[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return error_at(error, ERROR_RUN, spot->file, 0, "%s%s%s", spot->path, spot->path[0] ? ": " : "", reason);
}

struct spot spot_key(const struct spot *object, const char *key)
{
    struct spot spot = {.file = object->file, .value = json_object_get(object->value, key)};
    snprintf(spot.path, sizeof spot.path, "%.110s%s%.40s", object->path, object->path[0] ? "." : "", key);
    return spot;
}

struct spot spot_element(const struct spot *array, size_t index)
{
    struct spot spot = {.file = array->file, .value = json_array_get(array->value, index)};
    snprintf(spot.path, sizeof spot.path, "%.120s[%zu]", array->path, index);
    return spot;
}

bool spot_is_null(const struct spot *spot)
{
    return !spot->value || json_is_null(spot->value);
}

bool spot_check_keys(const struct spot *object, const char *const *known, struct error *error)
{
    if (!json_is_object(object->value))
        return spot_refuse(object, error, "is no JSON object; get the file anew");
    void *iterator = json_object_iter((json_t *)object->value);
    for (; iterator; iterator = json_object_iter_next((json_t *)object->value, iterator)) {
        const char *const key = json_object_iter_key(iterator);
        int index = 0;
        while (known[index] && strcmp(known[index], key) != 0)
            index++;
        if (!known[index])
            return spot_refuse(object, error,
                               "the key '%.60s' is not known here; choose a model with another tokenizer",
                               key);
    }
    return true;
}

bool spot_type(const struct spot *object, const char **type, struct error *error)
{
    size_t length;
    if (!json_is_object(object->value))
        return spot_refuse(object, error, "is no JSON object; get the file anew");
    return spot_string(object, "type", type, &length, error);
}

/* `depth`: sequences that this one is in. */
static bool each_below(const struct spot *component, const char *key, int depth, spot_take *take,
                       void *context, struct error *error)
{
    const char *const keys[] = {"type", key, NULL};
    const char *type;
    if (!spot_type(component, &type, error))
        return false;
    if (strcmp(type, "Sequence") != 0)
        return take(context, component, type, error);
    const struct spot list = spot_key(component, key);
    if (!spot_check_keys(component, keys, error))
        return false;
    if (!json_is_array(list.value) || depth == NESTING_MAXIMUM)
        return spot_refuse(&list, error, "is no list, or too deep within others; get the file anew");
    for (size_t index = 0; index < json_array_size(list.value); index++) {
        const struct spot element = spot_element(&list, index);
        if (!each_below(&element, key, depth + 1, take, context, error))
            return false;
    }
    return true;
}

bool spot_each(const struct spot *component, const char *key, spot_take *take, void *context,
               struct error *error)
{
    return each_below(component, key, 0, take, context, error);
}

bool spot_refuse_type(const struct spot *object, const char *kind, const char *type, struct error *error)
{
    return spot_refuse(object, error,
                       "the %s '%.60s' is not supported; choose a model with another tokenizer", kind, type);
}

bool spot_string(const struct spot *object, const char *key, const char **text, size_t *length,
                 struct error *error)
{
    const struct spot spot = spot_key(object, key);
    if (!json_is_string(spot.value))
        return spot_refuse(&spot, error, "is missing or no text; get the file anew");
    *text = json_string_value(spot.value);
    *length = json_string_length(spot.value);
    return true;
}

bool spot_copy(const struct spot *object, const char *key, char **text, size_t *length, struct error *error)
{
    const char *found = NULL;
    if (!spot_string(object, key, &found, length, error))
        return false;
    *text = strdup(found);
    return *text || error_memory(error, object->path, *length, NULL);
}

bool spot_number(const struct spot *object, const char *key, int64_t most, int64_t *number,
                 struct error *error)
{
    const struct spot spot = spot_key(object, key);
    if (!json_is_integer(spot.value) || json_integer_value(spot.value) < 0 ||
        json_integer_value(spot.value) > most)
        return spot_refuse(&spot, error, "is missing or no whole number from 0 to %lld; get the file anew",
                           (long long)most);
    *number = json_integer_value(spot.value);
    return true;
}

bool spot_boolean(const struct spot *object, const char *key, bool *value, struct error *error)
{
    const struct spot spot = spot_key(object, key);
    if (spot_is_null(&spot))
        return true;
    if (!json_is_boolean(spot.value))
        return spot_refuse(&spot, error, "is neither true nor false; get the file anew");
    *value = json_is_true(spot.value);
    return true;
}
