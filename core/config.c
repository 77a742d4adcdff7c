#include "core/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_parts.h"
#include "core/file.h"

static struct config *make_config(const char *file)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return NULL;
    config->file = path_format("%s", file);
    return config;
}

bool config_load(struct config **config, const char *path, int override_count, char *const *overrides,
                 struct error *error)
{
    return config_load_with(config, path, override_count, overrides, 0, NULL, error);
}

bool config_load_with(struct config **config, const char *path, int override_count, char *const *overrides,
                      int setting_count, const struct config_setting *settings, struct error *error)
{
    *config = make_config(path);
    if (!*config)
        return error_memory(error, "the configuration", sizeof **config, NULL);
    struct yaml_node *root = NULL;
    bool done = config_read_file(*config, &root, path, error);
    for (int i = 0; done && i < override_count; i++)
        done = config_override(root, overrides[i], error);
    for (int i = 0; done && i < setting_count; i++)
        done = config_put(*config, root, &settings[i], error);
    done = done && config_resolve(*config, root, error);
    yaml_tree_free(root);
    if (!done) {
        config_free(*config);
        *config = NULL;
    }
    return done;
}

bool config_parse(struct config **config, const char *name, const char *text, size_t length,
                  struct error *error)
{
    *config = make_config(name);
    if (!*config)
        return error_memory(error, "the configuration", sizeof **config, NULL);
    struct yaml_node *root = NULL;
    const bool done =
        config_read_text(*config, &root, name, text, length, error) && config_resolve(*config, root, error);
    yaml_tree_free(root);
    if (!done) {
        config_free(*config);
        *config = NULL;
    }
    return done;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->value_count; i++) {
        free(config->values[i].path);
        free(config->values[i].text);
    }
    for (size_t i = 0; i < config->file_count; i++)
        free(config->files[i]);
    free(config->values);
    free(config->files);
    free(config->file);
    free(config);
}

static const struct value *value_at(const struct config *config, const char *format, va_list arguments)
{
    char path[CONFIG_PATH_LENGTH];
    vsnprintf(path, sizeof path, format, arguments);
    const struct value *value = config_find(config, path);
    if (!value) {
        fprintf(stderr, "idrec: the program asks for the unknown configuration key %s; this is a defect\n",
                path);
        abort();
    }
    return value;
}

/* The value of a key, which must have the type wanted. */
#define FIND_VALUE(value, condition)                                                                         \
    va_list arguments;                                                                                       \
    va_start(arguments, path);                                                                               \
    const struct value *value = value_at(config, path, arguments);                                           \
    va_end(arguments);                                                                                       \
    if (!(condition)) {                                                                                      \
        fprintf(stderr, "idrec: the program asks for %s by a wrong type; this is a defect\n", value->path);  \
        abort();                                                                                             \
    }

bool config_is_null(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, true)
    return value->is_null;
}

bool config_boolean(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, value->entry->type == SCHEMA_BOOLEAN && !value->is_list)
    return value->boolean;
}

int64_t config_integer(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, value->entry->type == SCHEMA_INTEGER && !value->is_list)
    return value->integer;
}

double config_number(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, (value->entry->type == SCHEMA_NUMBER || value->entry->type == SCHEMA_INTEGER) &&
                          !value->is_list)
    return value->number;
}

const char *config_string(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, (value->entry->type == SCHEMA_STRING || value->entry->type == SCHEMA_PATH ||
                       value->entry->type == SCHEMA_VERBATIM) &&
                          !value->is_list)
    return value->text;
}

int64_t config_length(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, value->is_list)
    return value->length;
}

bool config_is_written(const struct config *config, const char *path, ...)
{
    FIND_VALUE(value, true)
    return value->file != NULL;
}

const char *config_place(const struct config *config, const char *path, long *line)
{
    const struct value *value = config_find(config, path);
    *line = value ? value->line : 0;
    return value ? value->file : NULL;
}

bool config_complain(const struct config *config, const char *path, struct error *error, const char *format,
                     ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const struct value *value = config_find(config, path);
    const bool written = value && value->file;
    return error_at(error, ERROR_USAGE, written ? value->file : config->file, written ? value->line : 0,
                    "%s: %s", path, text);
}

char *config_file_path(const struct config *config, const char *path)
{
    const struct value *value = config_find(config, path);
    if (!value || value->entry->type != SCHEMA_PATH) {
        fprintf(stderr, "idrec: the program asks for %s as a path; this is a defect\n", path);
        abort();
    }
    return value->text ? config_beside(value->file, value->text) : NULL;
}

char *config_data_path(const struct config *config, const char *path)
{
    char *place = config_file_path(config, path);
    const char *folder = getenv("IDREC_DATA");
    if (!place || !folder || path_exists(place))
        return place;
    const char *slash = strrchr(place, '/');
    char *shared = path_format("%s/%s", folder, slash ? slash + 1 : place);
    if (!path_exists(shared)) {
        free(shared);
        return place;
    }
    free(place);
    return shared;
}
