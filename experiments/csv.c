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

static void set_column(json_t *flat, const char *key, const char *part, json_t *value)
{
    char *name = path_format("%s.%s", key, part);
    json_object_set(flat, name, value);
    free(name);
}

/* By its name, for it may be null. */
static bool is_interval(const char *key)
{
    static const char ending[] = "ci95";
    const size_t length = strlen(key), ending_length = sizeof ending - 1;
    return length >= ending_length && strcmp(key + length - ending_length, ending) == 0;
}

static void add_interval(json_t *flat, const char *key, const json_t *interval)
{
    static const char *const ends[] = {"low", "high"};
    for (size_t i = 0; i < 2; i++) {
        json_t *end = json_array_get(interval, i);
        set_column(flat, key, ends[i], end ? end : json_null());
    }
}

static void add_numbers(json_t *flat, const char *key, const json_t *numbers)
{
    size_t index;
    json_t *number;
    json_array_foreach(numbers, index, number)
    {
        char place[24];
        snprintf(place, sizeof place, "%zu", index + 1);
        if (json_is_number(number))
            set_column(flat, key, place, number);
    }
}

/* The record without depth: {"KEY": value, "KEY.MEMBER": value, "KEY.low": ..., "KEY.high": ..., "KEY.1": ...}. */
static void flatten(json_t *flat, const char *prefix, const json_t *record)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value)
    {
        char *name = path_format("%s%s", prefix, key), *deeper = path_format("%s.", name);
        if (json_is_object(value))
            flatten(flat, deeper, value);
        else if (is_interval(key))
            add_interval(flat, name, value);
        else if (json_is_array(value))
            add_numbers(flat, name, value);
        else
            json_object_set(flat, name, value);
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

/* Puts the members of an object, "metrics." say, which any line has, behind the columns so far. */
static bool order_members(json_t *columns, const json_t *found, const char *prefix)
{
    char *text = json_dumps(found, JSON_SORT_KEYS);
    json_t *sorted = text ? json_loads(text, 0, NULL) : NULL, *empty;
    const char *column;
    bool done = sorted != NULL;
    json_object_foreach(sorted, column, empty)
    {
        if (strncmp(column, prefix, strlen(prefix)) == 0)
            done = json_object_set_new(columns, column, json_null()) == 0 && done;
    }
    json_decref(sorted);
    free(text);
    return done;
}

/* `columns`: those of `order`, then those that are left of `found`. A trial's name is no column of a run. */
static bool order_columns(json_t *columns, const json_t *found, const char *const *order)
{
    bool done = columns != NULL;
    for (int i = 0; done && order[i]; i++) {
        const char *name = order[i];
        if (strcmp(name, "trial") == 0 || strcmp(name, "against_trial") == 0) {
            if (json_object_get(found, name))
                done = json_object_set_new(columns, name, json_null()) == 0;
        } else if (name[strlen(name) - 1] == '.') {
            done = order_members(columns, found, name);
        } else if (is_interval(name)) {
            add_interval(columns, name, NULL);
        } else {
            done = json_object_set_new(columns, name, json_null()) == 0;
        }
    }
    return done && json_object_update_missing(columns, (json_t *)found) == 0;
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

bool csv_write_records(const char *path, const json_t *records, const char *const *order, struct error *error)
{
    json_t *lines = json_array(), *found = json_object(), *columns = json_object();
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    bool done = flatten_all(lines, found, records) && order_columns(columns, found, order) && stream != NULL;
    if (done)
        write_lines(stream, lines, columns);
    done = (stream == NULL || fclose(stream) == 0) && done;
    done = done ? file_write(path, text, length, error) : error_memory(error, path, length, NULL);
    json_decref(lines);
    json_decref(found);
    json_decref(columns);
    free(text);
    return done;
}
