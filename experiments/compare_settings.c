#include "experiments/compare_settings.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/recommenders/settings.h"

/* What every configuration has, [{path: YAML}]. */
struct settings {
    json_t *all;
    int count;
};

static void collect(void *object, const char *path, const char *value)
{
    if (strcmp(path, "name") != 0 && strcmp(path, "output") != 0)
        json_object_set_new(object, path, json_string(value));
}

/* The value of a configuration; NULL: none. */
static const json_t *value_of(const struct settings *settings, int number, const char *key)
{
    return json_object_get(json_array_get(settings->all, (size_t)number), key);
}

static bool everyone_has(const struct settings *settings, const char *key)
{
    for (int i = 0; i < settings->count; i++)
        if (!value_of(settings, i, key))
            return false;
    return true;
}

static bool is_equal_in_all(const struct settings *settings, const char *key)
{
    for (int i = 1; i < settings->count; i++)
        if (!json_equal(value_of(settings, i, key), value_of(settings, 0, key)))
            return false;
    return true;
}

/* What an entry of a list is called: its model, name or path. */
static json_t *name_of_entry(const json_t *values, const char *entry)
{
    static const char *const keys[] = {"model", "name", "key", "path"};
    json_t *name = NULL;
    for (size_t i = 0; !name && i < sizeof keys / sizeof *keys; i++) {
        char *path = path_format("%s.%s", entry, keys[i]);
        name = json_object_get(values, path);
        free(path);
    }
    return name;
}

/* An entry of a list that some configurations have not; nothing where all have it. */
static bool add_entry(json_t *differences, const struct settings *settings, const char *entry)
{
    json_t *values = json_array();
    bool missing = false;
    for (int i = 0; i < settings->count; i++) {
        json_t *name = name_of_entry(json_array_get(settings->all, (size_t)i), entry);
        missing = missing || !name;
        json_array_append_new(values, name ? json_incref(name) : json_null());
    }
    if (missing)
        return json_object_set_new(differences, entry, values) == 0;
    json_decref(values);
    return true;
}

static bool add_difference(json_t *differences, const struct settings *settings, const char *key)
{
    const char *bracket = strrchr(key, ']');
    if (bracket && !everyone_has(settings, key)) {
        char *entry = path_format("%.*s", (int)(bracket + 1 - key), key);
        const bool done = json_object_get(differences, entry) || add_entry(differences, settings, entry);
        free(entry);
        return done;
    }
    json_t *values = json_array();
    for (int i = 0; i < settings->count; i++) {
        const json_t *value = value_of(settings, i, key);
        json_array_append_new(values, value ? json_copy((json_t *)value) : json_null());
    }
    return json_object_set_new(differences, key, values) == 0;
}

static bool find_differences(json_t *found, const struct settings *settings)
{
    bool done = true;
    for (int i = 0; i < settings->count; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(settings->all, (size_t)i), key, value)
        {
            if (done && !json_object_get(found, key) && !is_equal_in_all(settings, key))
                done = add_difference(found, settings, key);
        }
    }
    return done;
}

bool compare_settings(json_t **differences, const struct config *const *configs, int count,
                      struct error *error)
{
    struct settings settings = {.all = json_array(), .count = count};
    json_t *found = json_object();
    *differences = json_array();
    for (int i = 0; i < count; i++) {
        json_t *values = json_object();
        config_visit(configs[i], recommender_reads_setting, collect, values);
        json_array_append_new(settings.all, values);
    }
    bool done = find_differences(found, &settings);
    const char *key;
    json_t *values;
    json_object_foreach(found, key, values)
    {
        done = done && json_array_append_new(*differences,
                                             json_pack("{s:s, s:O}", "key", key, "values", values)) == 0;
    }
    json_decref(found);
    json_decref(settings.all);
    return done || error_memory(error, "the differences of configurations", 0, NULL);
}
