#include "core/text_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/row_chunk.h"

const char *line_end(const char *line, const char *end, const char **next)
{
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    const char *stop = newline ? newline : end;
    *next = newline ? newline + 1 : end;
    return stop > line && stop[-1] == '\r' ? stop - 1 : stop;
}

/* The end of a field that starts behind an opening quote; NULL when it is not closed before a separator. */
static const char *closing_quote(const char *text, const char *end)
{
    const char *quote = memchr(text, '"', (size_t)(end - text));
    return quote && (quote + 1 == end || quote[1] == ',') ? quote : NULL;
}

static int split_blanks(struct text_field *fields, const char *line, const char *end)
{
    int count = 0;
    for (const char *cursor = line; cursor < end;) {
        while (cursor < end && (*cursor == ' ' || *cursor == '\t'))
            cursor++;
        const char *start = cursor;
        while (cursor < end && *cursor != ' ' && *cursor != '\t')
            cursor++;
        if (cursor == start)
            break;
        if (count == FIELDS_MAX)
            return FIELDS_MAX + 1;
        fields[count++] = (struct text_field){.text = start, .length = (size_t)(cursor - start)};
    }
    return count;
}

int split_fields(struct text_field fields[FIELDS_MAX], const char *line, const char *end,
                 enum text_separator separator)
{
    if (separator == SEPARATOR_BLANKS)
        return split_blanks(fields, line, end);
    if (line == end)
        return 0;
    const char byte = separator == SEPARATOR_TAB ? '\t' : separator == SEPARATOR_COMMA ? ',' : ':';
    const int width = separator == SEPARATOR_DOUBLE_COLON ? 2 : 1;
    int count = 0;
    for (const char *cursor = line;; cursor += width) {
        if (count == FIELDS_MAX)
            return FIELDS_MAX + 1;
        const char *start = cursor, *stop;
        if (separator == SEPARATOR_COMMA && cursor < end && *cursor == '"') {
            stop = closing_quote(++start, end);
            if (!stop)
                return -1;
            cursor = stop + 1;
        } else {
            while (cursor < end &&
                   !(*cursor == byte && (width == 1 || (cursor + 1 < end && cursor[1] == byte))))
                cursor++;
            stop = cursor;
        }
        fields[count++] = (struct text_field){.text = start, .length = (size_t)(stop - start)};
        if (cursor == end)
            return count;
    }
}

static bool field_is(struct text_field field, const char *text)
{
    return strlen(text) == field.length && strncasecmp(field.text, text, field.length) == 0;
}

static bool is_number(struct text_field field)
{
    double value;
    return parse_number(field.text, field.length, &value);
}

static int first_line(struct text_field fields[FIELDS_MAX], const struct text_source *source,
                      enum text_separator separator)
{
    const char *next;
    const char *end = line_end(source->text, source->text + source->length, &next);
    return split_fields(fields, source->text, end, separator);
}

static void describe(struct text_layout *layout, const char *format)
{
    const int places[] = {layout->user, layout->item, layout->rating, layout->time};
    const char *const names[] = {"user", "item", "rating", "time"};
    int used = snprintf(layout->description, sizeof layout->description, "%s (", format);
    for (int role = 0; role < 4; role++)
        if (places[role] >= 0)
            used += snprintf(layout->description + used, sizeof layout->description - (size_t)used, "%s%s %d",
                             role ? ", " : "", names[role], places[role]);
    snprintf(layout->description + used, sizeof layout->description - (size_t)used, ")");
}

/* ---- RecBole: name:type TAB name:type ... ------------------------------------------------------------- */

static int recbole_column(const struct text_field *fields, int count, const char *name)
{
    for (int field = 0; field < count; field++) {
        const char *colon = memchr(fields[field].text, ':', fields[field].length);
        if (colon &&
            field_is((struct text_field){fields[field].text, (size_t)(colon - fields[field].text)}, name))
            return field;
    }
    return -1;
}

static bool is_recbole(const struct text_source *source)
{
    struct text_field fields[FIELDS_MAX];
    const int count = first_line(fields, source, SEPARATOR_TAB);
    return count >= 2 && count <= FIELDS_MAX && recbole_column(fields, count, "user_id") >= 0;
}

static bool find_recbole(struct text_layout *layout, const struct text_source *source, struct error *error)
{
    struct text_field fields[FIELDS_MAX];
    const int count = first_line(fields, source, SEPARATOR_TAB);
    if (count > FIELDS_MAX)
        return error_at(error, ERROR_RUN, source->path, 1, "more than %d columns; remove those not needed",
                        FIELDS_MAX);
    *layout = (struct text_layout){.separator = SEPARATOR_TAB,
                                   .header = true,
                                   .fields = count,
                                   .user = recbole_column(fields, count, "user_id"),
                                   .item = recbole_column(fields, count, "item_id"),
                                   .rating = recbole_column(fields, count, "rating"),
                                   .time = recbole_column(fields, count, "timestamp")};
    describe(layout, "recbole");
    if (layout->user < 0 || layout->item < 0)
        return error_at(error, ERROR_RUN, source->path, 1,
                        "no user_id: and item_id: in the header of a recbole file; set data.format");
    return true;
}

/* ---- CSV and TSV -------------------------------------------------------------------------------------- */

static const char *const known_names[4][8] = {
    {"user", "user_id", "userid", "uid", "reviewerid", "visitorid"},
    {"item", "item_id", "itemid", "iid", "movieid", "movie_id", "asin"},
    {"rating", "ratings", "score", "stars", "overall"},
    {"time", "timestamp", "unixreviewtime", "unix_time"},
};

static int known_column(const struct text_field *fields, int count, int role)
{
    for (int field = 0; field < count; field++)
        for (int name = 0; name < 8 && known_names[role][name]; name++)
            if (field_is(fields[field], known_names[role][name]))
                return field;
    return -1;
}

static bool is_column_number(const char *text)
{
    return text && *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 4;
}

/* The field of one role, by number or by name of the header. */
static bool find_column(int *column, const char *wanted, const char *key, const struct text_field *fields,
                        int count, const char *path, struct error *error)
{
    *column = -1;
    if (!wanted)
        return true;
    if (is_column_number(wanted)) {
        *column = atoi(wanted);
        if (*column >= count)
            return error_at(
                error, ERROR_RUN, path, 1,
                "data.columns.%s is %d but the line has %d fields (numbered from 0); correct it, or null "
                "when the file has no such column",
                key, *column, count);
        return true;
    }
    for (int field = 0; field < count && *column < 0; field++)
        if (field_is(fields[field], wanted))
            *column = field;
    if (*column < 0)
        return error_at(error, ERROR_RUN, path, 1,
                        "no column '%s' in the header line; set data.columns.%s to a name there or a number",
                        wanted, key);
    return true;
}

/* With numbered columns, the first line is a header exactly when it has no number where one must stand, or
 * names well-known columns where the ids stand. */
static bool first_line_is_header(const struct text_layout *layout, const struct reader_settings *settings,
                                 const struct text_field *fields)
{
    const char *const wanted[] = {settings->user_column, settings->item_column, settings->rating_column,
                                  settings->time_column};
    for (int role = 0; role < 4; role++)
        if (wanted[role] && !is_column_number(wanted[role]))
            return true;
    if (known_column(fields, layout->fields, 0) == layout->user &&
        known_column(fields, layout->fields, 1) == layout->item)
        return true;
    return (layout->rating >= 0 && !is_number(fields[layout->rating])) ||
           (layout->time >= 0 && !is_number(fields[layout->time]));
}

static bool find_separated(struct text_layout *layout, const struct text_source *source,
                           const struct reader_settings *settings, bool comma, struct error *error)
{
    struct text_field fields[FIELDS_MAX];
    const char *format = comma ? "csv" : "tsv", *path = source->path;
    *layout = (struct text_layout){.separator = comma ? SEPARATOR_COMMA : SEPARATOR_TAB};
    const int count = first_line(fields, source, layout->separator);
    if (count < 2 || count > FIELDS_MAX)
        return error_at(error, ERROR_RUN, path, 1, "%s; set data.format to the file's format",
                        count < 0   ? "a quoted field is not closed or holds a quote"
                        : count < 2 ? "only one column"
                                    : "more columns than can be told apart");
    layout->fields = count;
    if (!settings->user_column && !settings->item_column) {
        layout->user = known_column(fields, count, 0);
        layout->item = known_column(fields, count, 1);
        layout->rating = known_column(fields, count, 2);
        layout->time = known_column(fields, count, 3);
        layout->header = layout->user >= 0 && layout->item >= 0;
        if (!layout->header && count > 2)
            return error_at(error, ERROR_RUN, path, 1,
                            "which of the %d columns is what? set data.columns.user, item, rating and time",
                            count);
        if (!layout->header) {
            layout->user = 0;
            layout->item = 1;
            layout->rating = layout->time = -1;
        }
    } else {
        const char *user = settings->user_column ? settings->user_column : "0";
        const char *item = settings->item_column ? settings->item_column : "1";
        if (!find_column(&layout->user, user, "user", fields, count, path, error) ||
            !find_column(&layout->item, item, "item", fields, count, path, error) ||
            !find_column(&layout->rating, settings->rating_column, "rating", fields, count, path, error) ||
            !find_column(&layout->time, settings->time_column, "time", fields, count, path, error))
            return false;
        layout->header = first_line_is_header(layout, settings, fields);
    }
    if (layout->user == layout->item)
        return error_at(error, ERROR_RUN, path, 1,
                        "data.columns.user and data.columns.item are the same column");
    describe(layout, format);
    return true;
}

/* ---- formats without a header ------------------------------------------------------------------------- */

static void set_movielens(struct text_layout *layout, bool colons)
{
    *layout = (struct text_layout){.separator = colons ? SEPARATOR_DOUBLE_COLON : SEPARATOR_TAB,
                                   .fields = 4,
                                   .user = 0,
                                   .item = 1,
                                   .rating = 2,
                                   .time = 3};
    snprintf(layout->description, sizeof layout->description,
             "movielens (user, item, rating, time between %s)", colons ? "'::'" : "tabs");
}

static void set_pairs(struct text_layout *layout)
{
    *layout = (struct text_layout){
        .separator = SEPARATOR_BLANKS, .fields = 2, .user = 0, .item = 1, .rating = -1, .time = -1};
    strcpy(layout->description, "sequence (`user item` a line, oldest first)");
}

static void set_triples(struct text_layout *layout)
{
    *layout = (struct text_layout){
        .separator = SEPARATOR_BLANKS, .fields = 3, .user = 0, .item = 1, .rating = 2, .time = -1};
    strcpy(layout->description, "selfrec (`user item weight` a line)");
}

static void set_lists(struct text_layout *layout, bool colon)
{
    *layout = (struct text_layout){.separator = SEPARATOR_BLANKS,
                                   .lists = true,
                                   .colon = colon,
                                   .user = 0,
                                   .item = 1,
                                   .rating = -1,
                                   .time = -1};
    strcpy(layout->description,
           colon ? "selfrec (`user:item item ...` a line)" : "adjacency (`user item item ...` a line)");
}

#define LINES_SAMPLED 200

/* What the first lines have in common, split at blanks. */
struct sample {
    int lines, least, most; /* words of a line */
    bool colons;            /* every first word holds a ':' that is neither its first byte nor doubled */
    bool double_colons;     /* every line holds 4 fields between '::' */
    bool third_is_one;      /* the third word of every line is 1 */
    bool movielens;         /* numbers: a rating up to 10, then seconds since 1970 */
    bool commas, header;    /* any comma; the first line names known columns */
};

static bool has_list_colon(struct text_field word)
{
    const char *colon = memchr(word.text, ':', word.length);
    return colon && colon > word.text && (colon + 1 == word.text + word.length || colon[1] != ':');
}

static bool is_movielens(const struct text_field *fields)
{
    double rating, time;
    return parse_number(fields[2].text, fields[2].length, &rating) && rating >= 0 && rating <= 10 &&
           parse_number(fields[3].text, fields[3].length, &time) && time > 1e8;
}

static struct sample take_sample(const struct text_source *source)
{
    struct sample sample = {.least = FIELDS_MAX + 1,
                            .colons = true,
                            .double_colons = true,
                            .third_is_one = true,
                            .movielens = true};
    const char *end = source->text + source->length, *next;
    for (const char *line = source->text; line < end && sample.lines < LINES_SAMPLED;
         line = next, sample.lines++) {
        struct text_field fields[FIELDS_MAX];
        const char *stop = line_end(line, end, &next);
        sample.commas |= split_fields(fields, line, stop, SEPARATOR_COMMA) != 1;
        sample.double_colons &= split_fields(fields, line, stop, SEPARATOR_DOUBLE_COLON) == 4;
        const int count = split_fields(fields, line, stop, SEPARATOR_BLANKS);
        sample.least = count < sample.least ? count : sample.least;
        sample.most = count > sample.most ? count : sample.most;
        sample.colons &= count > 0 && has_list_colon(fields[0]);
        sample.third_is_one &= count >= 3 && (field_is(fields[2], "1") || field_is(fields[2], "1.0"));
        sample.movielens &= count == 4 && is_movielens(fields);
        if (sample.lines == 0)
            sample.header = known_column(fields, count < FIELDS_MAX ? count : FIELDS_MAX, 0) >= 0;
    }
    return sample;
}

static bool find_automatically(struct text_layout *layout, const struct text_source *source,
                               const struct reader_settings *settings, struct error *error)
{
    if (is_recbole(source))
        return find_recbole(layout, source, error);
    const struct sample sample = take_sample(source);
    if (sample.double_colons)
        set_movielens(layout, true);
    else if (sample.commas)
        return find_separated(layout, source, settings, true, error);
    else if (sample.header && sample.least == sample.most)
        return find_separated(layout, source, settings, false, error);
    else if (sample.movielens)
        set_movielens(layout, false);
    else if (sample.colons)
        set_lists(layout, true);
    else if (sample.least == 2 && sample.most == 2)
        set_pairs(layout);
    else if (sample.least == 3 && sample.most == 3 && sample.third_is_one)
        set_triples(layout);
    else if (sample.least < sample.most && sample.least > 0)
        set_lists(layout, false);
    else
        return error_at(error, ERROR_RUN, source->path, 1,
                        "the format is not clear from the first %d lines of %d to %d words; set data.format",
                        sample.lines, sample.least, sample.most);
    return true;
}

bool text_layout_find(struct text_layout *layout, const struct text_source *source,
                      const struct reader_settings *settings, struct error *error)
{
    const char *format = settings->format;
    if (source->length == 0)
        return error_at(error, ERROR_RUN, source->path, 0,
                        "the file holds no text; it should hold interactions");
    if (strcmp(format, "auto") == 0)
        return find_automatically(layout, source, settings, error);
    if (strcmp(format, "recbole") == 0)
        return find_recbole(layout, source, error);
    if (strcmp(format, "csv") == 0 || strcmp(format, "tsv") == 0)
        return find_separated(layout, source, settings, format[0] == 'c', error);
    const struct sample sample = take_sample(source);
    if (strcmp(format, "movielens") == 0)
        set_movielens(layout, sample.double_colons);
    else if (strcmp(format, "adjacency") == 0)
        set_lists(layout, false);
    else if (strcmp(format, "sequence") == 0)
        set_pairs(layout);
    else if (strcmp(format, "selfrec") == 0 && sample.colons)
        set_lists(layout, true);
    else if (strcmp(format, "selfrec") == 0)
        set_triples(layout);
    else
        return error_at(error, ERROR_USAGE, source->path, 0, "unknown data.format '%s'", format);
    return true;
}
