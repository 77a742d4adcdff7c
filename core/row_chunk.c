#include "core/row_chunk.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fail(struct row_chunk *chunk, const char *line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct row_chunk *chunk, const char *line, const char *format, ...)
{
    if (chunk->message[0] && chunk->bad_line && (!line || line >= chunk->bad_line))
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(chunk->message, sizeof chunk->message, format, arguments);
    va_end(arguments);
    chunk->bad_line = line;
    return false;
}

/* Digits with at most one point, no more than 15 of them: exact in double. */
static bool parse_plain_number(const char *text, size_t length, double *value)
{
    static const double powers[] = {1.0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    int64_t digits = 0;
    size_t position = 0, point = length;
    if (length < 1 || length > 15)
        return false;
    for (; position < length; position++) {
        const char character = text[position];
        if (character >= '0' && character <= '9')
            digits = digits * 10 + (character - '0');
        else if (character == '.' && point == length && length > 1)
            point = position;
        else
            return false;
    }
    *value = point == length ? (double)digits : (double)digits / powers[length - point - 1];
    return true;
}

bool parse_number(const char *text, size_t length, double *value)
{
    if (parse_plain_number(text, length, value))
        return true;
    char copy[64];
    if (length == 0 || length >= sizeof copy || !strchr("+-.0123456789", text[0]) ||
        memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *end;
    *value = strtod(copy, &end);
    return end == copy + length && isfinite(*value);
}

bool parse_time(const char *text, size_t length, int64_t *value)
{
    size_t position = length > 1 && text[0] == '-';
    int64_t digits = 0;
    for (; position < length && position < 18 && text[position] >= '0' && text[position] <= '9'; position++)
        digits = digits * 10 + (text[position] - '0');
    if (length > 0 && position == length) {
        *value = text[0] == '-' ? -digits : digits;
        return true;
    }
    double number;
    if (!parse_number(text, length, &number) || fabs(number) > 0x1p53)
        return false;
    *value = (int64_t)floor(number);
    return true;
}

static bool grow(struct row_chunk *chunk)
{
    const int64_t capacity = chunk->capacity ? chunk->capacity * 2 : 4096;
    const size_t count = (size_t)capacity;
    void *user = realloc(chunk->user, count * sizeof *chunk->user);
    chunk->user = user ? user : chunk->user;
    void *item = realloc(chunk->item, count * sizeof *chunk->item);
    chunk->item = item ? item : chunk->item;
    void *rating = chunk->has_rating ? realloc(chunk->rating, count * sizeof *chunk->rating) : NULL;
    chunk->rating = rating ? rating : chunk->rating;
    void *time = chunk->has_time ? realloc(chunk->time, count * sizeof *chunk->time) : NULL;
    chunk->time = time ? time : chunk->time;
    if (!user || !item || (chunk->has_rating && !rating) || (chunk->has_time && !time))
        return false;
    chunk->capacity = capacity;
    return true;
}

bool row_chunk_append(struct row_chunk *chunk, int32_t user, int32_t item, float rating, int64_t time)
{
    if (chunk->count == chunk->capacity && !grow(chunk))
        return fail(chunk, NULL, "out of memory after %lld rows", (long long)chunk->count);
    chunk->user[chunk->count] = user;
    chunk->item[chunk->count] = item;
    if (chunk->has_rating)
        chunk->rating[chunk->count] = rating;
    if (chunk->has_time)
        chunk->time[chunk->count] = time;
    chunk->count++;
    return true;
}

static bool add_id(struct row_chunk *chunk, struct id_table *table, struct id_key key, struct text_field id,
                   const char *what, const char *line, int32_t *index)
{
    const int64_t known = table->map.count;
    if (id.length == 0)
        return fail(chunk, line, "the %s id is empty; correct or remove the line", what);
    if (id.length > ID_LENGTH_MAX)
        return fail(chunk, line, "a %s id of %zu bytes; set data.format to the file's format", what,
                    id.length);
    *index = id_table_add(table, key, id.text, id.length);
    if (*index < 0)
        return fail(chunk, NULL, "out of memory after %lld different %ss", (long long)known, what);
    if (table->map.count == known)
        return true;
    for (size_t position = 0; position < id.length; position++)
        if ((unsigned char)id.text[position] < ' ')
            return fail(chunk, line,
                        "byte 0x%02x in a %s id; the file is not plain text in the format expected",
                        (unsigned char)id.text[position], what);
    return true;
}

static bool parse_values(struct row_chunk *chunk, const struct text_layout *layout,
                         const struct text_field *fields, const char *line, double *rating, int64_t *time)
{
    *rating = 0;
    *time = 0;
    if (layout->rating >= 0) {
        const struct text_field field = fields[layout->rating];
        if (!parse_number(field.text, field.length, rating) || fabs(*rating) > 1e30)
            return fail(chunk, line,
                        "rating '%.*s' is not a number; correct the line or set data.columns.rating",
                        (int)(field.length < 40 ? field.length : 40), field.text);
    }
    if (layout->time >= 0) {
        const struct text_field field = fields[layout->time];
        if (!parse_time(field.text, field.length, time))
            return fail(chunk, line,
                        "time '%.*s' is not a number of seconds; correct the line or set data.columns.time",
                        (int)(field.length < 40 ? field.length : 40), field.text);
    }
    return true;
}

#define ROWS_AHEAD 16

/* Rows whose ids are on their way from memory. */
struct pending_rows {
    int count;
    struct {
        const char *line;
        struct text_field user, item;
        struct id_key user_key, item_key;
        float rating;
        int64_t time;
    } rows[ROWS_AHEAD];
};

static bool append_pending(struct row_chunk *chunk, struct pending_rows *pending)
{
    for (int index = 0; index < pending->count; index++) {
        int32_t user = -1, item = -1;
        if (!add_id(chunk, &chunk->users, pending->rows[index].user_key, pending->rows[index].user, "user",
                    pending->rows[index].line, &user) ||
            !add_id(chunk, &chunk->items, pending->rows[index].item_key, pending->rows[index].item, "item",
                    pending->rows[index].line, &item) ||
            !row_chunk_append(chunk, user, item, pending->rows[index].rating, pending->rows[index].time))
            return false;
    }
    pending->count = 0;
    return true;
}

static bool parse_row(struct row_chunk *chunk, struct pending_rows *pending, const struct text_layout *layout,
                      const char *line, const char *end)
{
    struct text_field fields[FIELDS_MAX];
    const int count = split_fields(fields, line, end, layout->separator);
    if (count < 0)
        return fail(chunk, line, "a quoted field is not closed or holds a quote; remove the quotes");
    if (count == 0)
        return fail(chunk, line, "the line is blank; remove it");
    if (count != layout->fields)
        return fail(chunk, line, "%d field%s instead of %d for %s; correct the line or set data.format",
                    count, count == 1 ? "" : "s", layout->fields, layout->description);
    double rating;
    int64_t time;
    if (!parse_values(chunk, layout, fields, line, &rating, &time))
        return false;
    const struct text_field user = fields[layout->user], item = fields[layout->item];
    const struct id_key user_key = id_key_of(user.text, user.length),
                        item_key = id_key_of(item.text, item.length);
    id_table_prefetch(&chunk->users, user_key);
    id_table_prefetch(&chunk->items, item_key);
    const int index = pending->count++;
    pending->rows[index].line = line;
    pending->rows[index].user = user;
    pending->rows[index].item = item;
    pending->rows[index].user_key = user_key;
    pending->rows[index].item_key = item_key;
    pending->rows[index].rating = (float)rating;
    pending->rows[index].time = time;
    return pending->count < ROWS_AHEAD || append_pending(chunk, pending);
}

/* Rows of one interaction a line. Of two malformed lines the first is reported, so what waits is added before
 * a failure stands. */
static bool parse_rows(struct row_chunk *chunk, const struct text_layout *layout)
{
    struct pending_rows pending = {.count = 0};
    const char *next;
    for (const char *line = chunk->begin; line < chunk->end; line = next) {
        const char *end = line_end(line, chunk->end, &next);
        if (!parse_row(chunk, &pending, layout, line, end))
            break;
    }
    return append_pending(chunk, &pending) && !chunk->message[0];
}

/* The next run of bytes that are not blank, from *cursor on; length 0 at the end. */
static struct text_field next_word(const char **cursor, const char *end)
{
    const char *start = *cursor;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    const char *stop = start;
    while (stop < end && *stop != ' ' && *stop != '\t')
        stop++;
    *cursor = stop;
    return (struct text_field){.text = start, .length = (size_t)(stop - start)};
}

/* `user item item ...`; with layout->colon, `user:item item ...`. A user without items adds nothing. */
static bool parse_list(struct row_chunk *chunk, const struct text_layout *layout, const char *line,
                       const char *end)
{
    const char *cursor = line;
    struct text_field word = next_word(&cursor, end);
    if (word.length == 0)
        return fail(chunk, line, "the line is blank; remove it");
    if (layout->colon) {
        const char *colon = memchr(word.text, ':', word.length);
        if (!colon)
            return fail(chunk, line, "no ':' after the user; expected %s", layout->description);
        word.length = (size_t)(colon - word.text);
        cursor = colon + 1;
    }
    int32_t user = -1, item;
    for (struct text_field id = next_word(&cursor, end); id.length > 0; id = next_word(&cursor, end)) {
        if (user < 0 &&
            !add_id(chunk, &chunk->users, id_key_of(word.text, word.length), word, "user", line, &user))
            return false;
        if (!add_id(chunk, &chunk->items, id_key_of(id.text, id.length), id, "item", line, &item) ||
            !row_chunk_append(chunk, user, item, 0, 0))
            return false;
    }
    return true;
}

bool row_chunk_parse(struct row_chunk *chunk, const struct text_layout *layout)
{
    chunk->has_rating = !layout->lists && layout->rating >= 0;
    chunk->has_time = !layout->lists && layout->time >= 0;
    if (!layout->lists)
        return parse_rows(chunk, layout);
    const char *next;
    for (const char *line = chunk->begin; line < chunk->end; line = next) {
        const char *end = line_end(line, chunk->end, &next);
        if (!parse_list(chunk, layout, line, end))
            return false;
    }
    return true;
}

void row_chunk_free(struct row_chunk *chunk)
{
    id_table_free(&chunk->users);
    id_table_free(&chunk->items);
    free(chunk->user);
    free(chunk->item);
    free(chunk->rating);
    free(chunk->time);
    *chunk = (struct row_chunk){0};
}
