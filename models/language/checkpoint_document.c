#include "models/language/checkpoint_document.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

bool document_write(json_t *object, const char *folder, const char *file, struct error *error)
{
    char *path = path_format("%s/%s", folder, file);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    const bool written =
        text ? file_write(path, text, strlen(text), error) : error_memory(error, path, 4096, NULL);
    free(text);
    free(path);
    json_decref(object);
    return written;
}

bool document_parse(struct document *document, const char *path, const char *text, size_t length,
                    struct error *error)
{
    json_error_t reason;
    document->path = path_format("%s", path);
    document->object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &reason);
    if (json_is_object(document->object))
        return true;
    return error_at(error, ERROR_RUN, document->path, document->object ? 0 : reason.line,
                    "is no JSON object (%s); get the file anew",
                    document->object ? "another value" : reason.text);
}

bool document_open(struct document *document, const char *folder, const char *file, struct error *error)
{
    char *text = NULL, *path = path_format("%s/%s", folder, file);
    size_t length = 0;
    *document = (struct document){.path = NULL};
    const bool opened =
        file_read(path, &text, &length, error) && document_parse(document, path, text, length, error);
    free(text);
    free(path);
    return opened;
}

void document_close(struct document *document)
{
    json_decref(document->object);
    free(document->path);
}

bool document_integer(const struct document *document, const char *key, int64_t *value, struct error *error)
{
    const json_t *found = json_object_get(document->object, key);
    if (!json_is_integer(found))
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' is missing or no whole number; get the file anew", key);
    *value = json_integer_value(found);
    return true;
}

bool document_number(const struct document *document, const json_t *object, const char *key, double *value,
                     struct error *error)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_number(found))
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' is missing or no number; get the file anew", key);
    *value = json_number_value(found);
    return true;
}

bool document_value_is_off(const json_t *found)
{
    return !found || json_is_null(found) || json_is_false(found) ||
           (json_is_object(found) && json_object_size(found) == 0) ||
           (json_is_array(found) && json_array_size(found) == 0) ||
           (json_is_string(found) && json_string_length(found) == 0);
}

bool document_is_off(const struct document *document, const char *key)
{
    return document_value_is_off(json_object_get(document->object, key));
}
