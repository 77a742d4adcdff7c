#include "experiments/grouping.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/name_index.h"

/* A piece of the text of a file. */
struct field {
    const char *text;
    size_t length;
};

/* A file of attributes that is being read. */
struct attribute_file {
    const struct config *config;
    char entry[40]; /* "evaluate.attributes[0]" */
    char *path, *text;
    char separator;
    int id, column; /* numbers of the columns */
};

/* Field `number` of a line; false: it has fewer. A field may stand in double quotes. */
static bool find_field(struct field *field, const char *line, char separator, int number)
{
    const char *end = line + strcspn(line, "\r\n");
    for (int place = 0;; place++) {
        const bool quoted = line < end && *line == '"';
        const char *start = line + quoted, *stop = start;
        while (stop < end && *stop != (quoted ? '"' : separator))
            stop++;
        *field = (struct field){start, (size_t)(stop - start)};
        if (place == number)
            return true;
        while (stop < end && *stop != separator)
            stop++;
        if (stop == end)
            return false;
        line = stop + 1;
    }
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return *line == '\n' ? line + 1 : line;
}

static bool is_number(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 5;
}

/* The number of a column that is given by its number, or by its name in the first line. */
static bool find_column(int *column, const struct attribute_file *file, const char *key, struct error *error)
{
    char path[64];
    snprintf(path, sizeof path, "%s.%s", file->entry, key);
    const char *wanted = config_string(file->config, "%s", path);
    struct field field;
    if (is_number(wanted)) {
        *column = atoi(wanted);
        return true;
    }
    for (*column = 0; find_field(&field, file->text, file->separator, *column); (*column)++)
        if (name_compare(wanted, field.text, field.length) == 0 ||
            (field.length > strlen(wanted) && strncmp(field.text, wanted, strlen(wanted)) == 0 &&
             field.text[strlen(wanted)] == ':'))
            return true;
    return config_complain(file->config, path, error, "%s has no column '%s' in its first line", file->path,
                           wanted);
}

static char find_separator(const char *text)
{
    const size_t length = strcspn(text, "\n");
    return memchr(text, '\t', length) ? '\t' : memchr(text, '|', length) ? '|' : ',';
}

/* The group of a value, which is added when it is new; -1: there are too many, or it is too long. */
static int find_group(struct groups *groups, struct field value)
{
    for (int group = 0; group < groups->count; group++)
        if (name_compare(groups->name[group], value.text, value.length) == 0)
            return group;
    if (groups->count == GROUPS_MAXIMUM || value.length >= GROUP_NAME_SIZE)
        return -1;
    memcpy(groups->name[groups->count], value.text, value.length);
    groups->name[groups->count][value.length] = '\0';
    return groups->count++;
}

static bool read_line(struct groups *groups, const struct attribute_file *file, const struct name_index *ids,
                      const char *line, long number, struct error *error)
{
    struct field id, value;
    if (!find_field(&id, line, file->separator, file->id) ||
        !find_field(&value, line, file->separator, file->column))
        return error_at(error, ERROR_RUN, file->path, number,
                        "has no field %d; correct the line or the columns of %s",
                        file->id > file->column ? file->id : file->column, file->entry);
    const int32_t member = name_index_find(ids, id.text, id.length);
    if (member < 0)
        return true;
    if (groups->of[member] >= 0)
        return error_at(error, ERROR_RUN, file->path, number, "'%.*s' has a line before; keep one of them",
                        (int)id.length, id.text);
    groups->of[member] = find_group(groups, value);
    return groups->of[member] >= 0 ||
           error_at(error, ERROR_RUN, file->path, number,
                    "'%.*s' is longer than %d bytes or one of more than %d values; name a column of groups",
                    value.length < 80 ? (int)value.length : 80, value.text, GROUP_NAME_SIZE - 1,
                    GROUPS_MAXIMUM);
}

static bool read_lines(struct groups *groups, const struct attribute_file *file, const struct id_map *map,
                       struct error *error)
{
    struct name_index ids;
    if (!name_index_open(&ids, map, error))
        return false;
    bool done = true;
    long number = 1;
    for (const char *line = file->text; done && *line != '\0'; line = next_line(line), number++)
        done = line[strspn(line, " \r")] == '\n' || read_line(groups, file, &ids, line, number, error);
    name_index_close(&ids);
    return done && (groups->count > 0 ||
                    error_at(error, ERROR_RUN, file->path, 0,
                             "holds no id of the data; correct %s.id, or give another file", file->entry));
}

/* The column's name where it has one, else "user column 3". */
static void name_grouping(struct grouping *grouping, const struct config *config, const char *entry)
{
    const char *column = config_string(config, "%s.column", entry);
    if (is_number(column))
        snprintf(grouping->name, sizeof grouping->name, "%s column %s", grouping->of_items ? "item" : "user",
                 column);
    else
        snprintf(grouping->name, sizeof grouping->name, "%s", column);
}

bool grouping_read(struct grouping *grouping, const struct config *config, int index,
                   const struct dataset *dataset, struct error *error)
{
    struct attribute_file file = {.config = config};
    char path[64];
    size_t length;
    snprintf(file.entry, sizeof file.entry, "evaluate.attributes[%d]", index);
    snprintf(path, sizeof path, "%s.path", file.entry);
    *grouping =
        (struct grouping){.of_items = strcmp(config_string(config, "%s.of", file.entry), "item") == 0};
    name_grouping(grouping, config, file.entry);
    const struct id_map *map = grouping->of_items ? &dataset->item_ids : &dataset->user_ids;
    struct groups *groups = &grouping->groups;
    *groups = (struct groups){.members = map->count};
    groups->of = malloc((size_t)(map->count + 1) * sizeof *groups->of);
    for (int64_t member = 0; groups->of && member < map->count; member++)
        groups->of[member] = -1;
    file.path = config_data_path(config, path);
    bool done = groups->of ? file_read(file.path, &file.text, &length, error)
                           : error_memory(error, "groups", (size_t)map->count * sizeof *groups->of, NULL);
    if (done) {
        file.separator = find_separator(file.text);
        done = find_column(&file.id, &file, "id", error) &&
               find_column(&file.column, &file, "column", error) && read_lines(groups, &file, map, error);
    }
    free(file.text);
    free(file.path);
    return done;
}

bool groupings_check(const struct config *config, struct error *error)
{
    const int count = (int)config_length(config, "evaluate.attributes");
    if (count > GROUPINGS_MAXIMUM - 2)
        return config_complain(config, "evaluate.attributes", error, "at most %d attributes can be given",
                               GROUPINGS_MAXIMUM - 2);
    for (int i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "evaluate.attributes[%d].path", i);
        if (config_is_null(config, "%s", key))
            return config_complain(config, key, error, "is missing; name the file with the attribute");
        char *path = config_data_path(config, key);
        const bool there = path_exists(path);
        if (!there)
            config_complain(config, key, error, "%s does not exist", path);
        free(path);
        if (!there)
            return false;
    }
    return true;
}
