#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config_parts.h"
#include "core/file.h"

/* A string as YAML: plain where that is read back as the same string, in quotes elsewhere. */
static void write_string(FILE *stream, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./";
    const size_t safe = strspn(text, plain);
    if (*text && text[safe] == '\0' && strcmp(text, "null") != 0) {
        fputs(text, stream);
        return;
    }
    fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n' || *text == '\t')
            fputc('\\', stream);
        fputc(*text == '\n' ? 'n' : *text == '\t' ? 't' : *text, stream);
    }
    fputc('"', stream);
}

static void write_number(FILE *stream, double number)
{
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    fputs(text, stream);
}

/* Files are named from the root, so that the resolved configuration can be read from any folder. */
static void write_path(FILE *stream, const struct value *value)
{
    char *path = config_beside(value->file, value->text), folder[PATH_MAX] = "";
    char *real_path = realpath(path, NULL);
    if (!real_path)
        real_path = *path == '/' || !getcwd(folder, sizeof folder) ? path_format("%s", path)
                                                                   : path_format("%s/%s", folder, path);
    write_string(stream, real_path);
    free(real_path);
    free(path);
}

static void write_value(FILE *stream, const struct value *value)
{
    if (value->is_null)
        fputs("null", stream);
    else if (value->entry->type == SCHEMA_BOOLEAN)
        fputs(value->boolean ? "true" : "false", stream);
    else if (value->entry->type == SCHEMA_INTEGER)
        fprintf(stream, "%" PRId64, value->integer);
    else if (value->entry->type == SCHEMA_NUMBER)
        write_number(stream, value->number);
    else if (value->entry->type == SCHEMA_PATH)
        write_path(stream, value);
    else if (value->entry->type == SCHEMA_VERBATIM)
        fputs(value->text, stream);
    else
        write_string(stream, value->text);
}

static void write_scalars(const struct config *config, FILE *stream, const struct value *list)
{
    fputc('[', stream);
    for (int64_t i = 0; i < list->length; i++) {
        char path[CONFIG_PATH_LENGTH + 32];
        snprintf(path, sizeof path, "%s[%" PRId64 "]", list->path, i);
        fputs(i > 0 ? ", " : "", stream);
        write_value(stream, config_find(config, path));
    }
    fputc(']', stream);
}

/* What is written, and where. */
struct writing {
    const struct config *config;
    config_reads *reads;
    FILE *stream;
};

static bool is_shown(const struct writing *writing, const struct schema_entry *entry, const char *path)
{
    static const char recommender[] = "recommenders[]";
    if (!writing->reads || !schema_is_child(recommender, entry->path))
        return true;
    char model[CONFIG_PATH_LENGTH];
    return writing->reads(config_find(writing->config, config_join(model, path, "model"))->text,
                          schema_key(entry->path));
}

static void write_section(const struct writing *writing, const char *pattern, const char *path, int indent,
                          bool dash);

static void write_elements(const struct writing *writing, const struct value *list, int indent)
{
    fputs(list->length == 0 ? " []\n" : "\n", writing->stream);
    for (int64_t i = 0; i < list->length; i++) {
        char element[CONFIG_PATH_LENGTH], pattern[CONFIG_PATH_LENGTH], index[24];
        snprintf(index, sizeof index, "[%" PRId64 "]", i);
        config_join(element, list->path, index);
        write_section(writing, config_join(pattern, list->entry->path, "[]"), element, indent + 4, true);
    }
}

/* Writes the keys below a section; `dash`: the first of them begins an element of a list. */
static void write_section(const struct writing *writing, const char *pattern, const char *path, int indent,
                          bool dash)
{
    FILE *stream = writing->stream;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_entry *entry = &schema[i];
        if (!schema_is_child(pattern, entry->path) || !is_shown(writing, entry, path))
            continue;
        char child[CONFIG_PATH_LENGTH];
        config_join(child, path, schema_key(entry->path));
        fprintf(stream, "%*s%s%s:", dash ? indent - 2 : indent, "", dash ? "- " : "",
                schema_key(entry->path));
        dash = false;
        const struct value *value = config_find(writing->config, child);
        if (entry->type == SCHEMA_SECTION) {
            fputc('\n', stream);
            write_section(writing, entry->path, child, indent + 2, false);
        } else if (entry->type == SCHEMA_MAPPINGS) {
            write_elements(writing, value, indent);
        } else if (value->is_list) {
            fputc(' ', stream);
            write_scalars(writing->config, stream, value);
            fputc('\n', stream);
        } else {
            fputc(' ', stream);
            write_value(stream, value);
            fputc('\n', stream);
        }
    }
}

bool config_write(const struct config *config, config_reads *reads, FILE *stream)
{
    write_section(&(struct writing){config, reads, stream}, "", "", 0, false);
    return fflush(stream) == 0 && !ferror(stream);
}

/* Neither an element of a list of values, which its list has, nor a list of mappings, whose elements have keys. */
static bool is_visited(const struct writing *writing, const struct value *value)
{
    const size_t length = strlen(value->path);
    if (value->path[length - 1] == ']' || value->entry->type == SCHEMA_MAPPINGS)
        return false;
    char element[CONFIG_PATH_LENGTH];
    snprintf(element, sizeof element, "%s", value->path);
    char *key = strrchr(element, '.');
    if (key)
        *key = '\0';
    return is_shown(writing, value->entry, element);
}

void config_visit(const struct config *config, config_reads *reads, config_visitor *visit, void *context)
{
    const struct writing writing = {config, reads, NULL};
    for (size_t i = 0; i < config->value_count; i++) {
        const struct value *value = &config->values[i];
        char *text = NULL;
        size_t size = 0;
        if (!is_visited(&writing, value))
            continue;
        FILE *stream = open_memstream(&text, &size);
        if (!stream)
            abort();
        if (value->is_list)
            write_scalars(config, stream, value);
        else
            write_value(stream, value);
        fclose(stream);
        visit(context, value->path, text);
        free(text);
    }
}

char *config_canonical(const struct config *config, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        abort();
    const size_t length = strlen(path);
    for (size_t i = 0; i < config->value_count; i++) {
        const struct value *value = &config->values[i];
        const char end = strncmp(value->path, path, length) == 0 ? value->path[length] : 'x';
        if ((end != '\0' && end != '.' && end != '[') || value->entry->type == SCHEMA_PATH ||
            value->entry->type == SCHEMA_VERBATIM)
            continue;
        fprintf(stream, "%s=", value->path);
        if (value->is_list)
            fprintf(stream, "%" PRId64, value->length);
        else
            write_value(stream, value);
        fputc(';', stream);
    }
    fclose(stream);
    return text;
}

/* ---- the reference ------------------------------------------------------------------------------------- */

static void write_type(FILE *stream, const struct schema_entry *entry)
{
    static const char *const names[] = {"section", "list of mappings", "true, false", "integer",
                                        "number",  "string",           "path",        "YAML"};
    fprintf(stream, "%s%s", entry->list ? "list of: " : "", entry->choices ? "" : names[entry->type]);
    for (const char *choice = entry->choices; choice && *choice; choice++)
        if (*choice == '|')
            fputs(", ", stream);
        else
            fputc(*choice, stream);
    if (entry->type == SCHEMA_INTEGER || entry->type == SCHEMA_NUMBER)
        fprintf(stream, ", %.16g to %.16g", entry->minimum, entry->maximum);
}

static void write_key(FILE *stream, const struct schema_entry *entry)
{
    fprintf(stream, "| `%s` | ", schema_key(entry->path));
    schema_write_defaults(stream, entry);
    fputs(" | ", stream);
    write_type(stream, entry);
    fprintf(stream, " | %s |\n", entry->help);
}

/* A table of the keys directly below `pattern`, then those of the sections below it. */
static void write_table(FILE *stream, const char *pattern)
{
    fputs("\n| key | default | values | meaning |\n|---|---|---|---|\n", stream);
    for (size_t i = 0; i < schema_count; i++)
        if (schema_is_child(pattern, schema[i].path) && schema[i].type != SCHEMA_SECTION)
            write_key(stream, &schema[i]);
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_entry *entry = &schema[i];
        if (!schema_is_child(pattern, entry->path) ||
            (entry->type != SCHEMA_SECTION && entry->type != SCHEMA_MAPPINGS))
            continue;
        char keys[CONFIG_PATH_LENGTH];
        config_join(keys, entry->path, entry->type == SCHEMA_MAPPINGS ? "[]" : "");
        if (entry->type == SCHEMA_SECTION)
            keys[strlen(entry->path)] = '\0';
        fprintf(stream, "\n## `%s`\n\n%s\n", keys, entry->help);
        write_table(stream, keys);
    }
}

bool config_write_reference(FILE *stream)
{
    fputs("# Configuration\n\n"
          "This file is written by `idrec config --reference > docs/configuration.md` from the table in "
          "core/schema.c.\n\n"
          "One YAML file is one experiment. `extends: FILE` takes another file as its base, named from the "
          "folder of the\n"
          "file that says so; sections are merged key by key, lists are replaced. `key.path=value` on the "
          "command line\n"
          "wins over both: `generate.max_items=10`, `recommenders[0].epochs=3`, `recommenders=[{model: "
          "bpr_mf}]`. A single\n"
          "value is accepted where a list of values is expected. `idrec config CONFIG` prints every value in "
          "force.\n\n"
          "## Top level\n",
          stream);
    write_table(stream, "");
    return fflush(stream) == 0 && !ferror(stream);
}
