#include "experiments/csv.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

void csv_write_text(FILE *stream, const char *text)
{
    const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    fputs(quoted ? "\"" : "", stream);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', stream);
        fputc(*text, stream);
    }
    fputs(quoted ? "\"" : "", stream);
}

void csv_write_number(FILE *stream, const json_t *value)
{
    if (json_is_integer(value))
        fprintf(stream, "%lld", (long long)json_integer_value(value));
    else if (json_is_number(value))
        fprintf(stream, "%.17g", json_number_value(value));
}

static bool is_interval(const json_t *value)
{
    return json_array_size(value) == 2 && json_is_number(json_array_get(value, 0)) &&
           json_is_number(json_array_get(value, 1));
}

/* The record without depth: {"KEY": value, "KEY.MEMBER": value, "KEY.low": ..., "KEY.high": ...}. */
static void flatten(json_t *flat, const char *prefix, const json_t *record)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value)
    {
        char *name = path_format("%s%s", prefix, key), *deeper = path_format("%s.", name);
        if (json_is_object(value)) {
            flatten(flat, deeper, value);
        } else if (is_interval(value)) {
            char *low = path_format("%s.low", name), *high = path_format("%s.high", name);
            json_object_set(flat, low, json_array_get(value, 0));
            json_object_set(flat, high, json_array_get(value, 1));
            free(low);
            free(high);
        } else if (!json_is_array(value)) {
            json_object_set(flat, name, value);
        }
        free(deeper);
        free(name);
    }
}

static void write_value(FILE *stream, const json_t *value)
{
    if (json_is_string(value))
        csv_write_text(stream, json_string_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "true" : "false", stream);
    else
        csv_write_number(stream, value);
}

static void write_lines(FILE *stream, const json_t *lines, const json_t *columns)
{
    const json_t *line;
    json_t *empty;
    const char *column;
    size_t index;
    bool first = true;
    json_object_foreach((json_t *)columns, column, empty)
    {
        fputs(first ? "" : ",", stream);
        csv_write_text(stream, column);
        first = false;
    }
    fputc('\n', stream);
    json_array_foreach(lines, index, line)
    {
        first = true;
        json_object_foreach((json_t *)columns, column, empty)
        {
            fputs(first ? "" : ",", stream);
            write_value(stream, json_object_get(line, column));
            first = false;
        }
        fputc('\n', stream);
    }
}

/* A null is a value as well: a column that has nothing else is not left out. */
static bool flatten_all(json_t *lines, json_t *columns, const json_t *records)
{
    const json_t *record;
    const char *key;
    json_t *value;
    size_t index;
    bool done = lines != NULL && columns != NULL;
    json_array_foreach(records, index, record)
    {
        json_t *flat = json_object();
        flatten(flat, "", record);
        json_object_foreach(flat, key, value) done =
            json_object_set_new(columns, key, json_null()) == 0 && done;
        done = json_array_append_new(lines, flat) == 0 && done;
    }
    return done;
}

bool csv_write_records(const char *path, const json_t *records, struct error *error)
{
    json_t *lines = json_array(), *columns = json_object();
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    bool done = flatten_all(lines, columns, records) && stream != NULL;
    if (done)
        write_lines(stream, lines, columns);
    done = (stream == NULL || fclose(stream) == 0) && done;
    done = done ? file_write(path, text, length, error) : error_memory(error, path, length, NULL);
    json_decref(lines);
    json_decref(columns);
    free(text);
    return done;
}
