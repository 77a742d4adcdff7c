#include "models/language/tokenizer_decoder.h"

#include <stdlib.h>
#include <string.h>

#include "core/array.h"

#define REPLACEMENT_CHARACTER "\xEF\xBF\xBD"

/* ---- parse -------------------------------------------------------------------------------------------- */

static bool copy_character(struct decoder_step *step, const struct spot *spot, const char *key,
                           struct error *error)
{
    if (!spot_copy(spot, key, &step->content, &step->content_length, error))
        return false;
    return (step->content_length > 0 && step->content_length == utf8_width(step->content[0])) ||
           spot_refuse(spot, error, "'%s' is not one character; get the file anew", key);
}

static bool parse_replace(struct decoder_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"type", "pattern", "content", NULL};
    const struct spot pattern = spot_key(spot, "pattern");
    step->kind = DECODER_REPLACE;
    return spot_check_keys(spot, keys, error) &&
           spot_copy(spot, "content", &step->content, &step->content_length, error) &&
           pattern_parse(&step->pattern, &pattern, error);
}

static bool parse_strip(struct decoder_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"type", "content", "start", "stop", NULL};
    step->kind = DECODER_STRIP;
    return spot_check_keys(spot, keys, error) && copy_character(step, spot, "content", error) &&
           spot_number(spot, "start", INT32_MAX, &step->start, error) &&
           spot_number(spot, "stop", INT32_MAX, &step->stop, error);
}

static bool parse_metaspace(struct decoder_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {
        "type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep", NULL};
    const struct spot scheme = spot_key(spot, "prepend_scheme");
    bool prefix_space = true;
    step->kind = DECODER_METASPACE;
    if (!spot_check_keys(spot, keys, error) || !copy_character(step, spot, "replacement", error) ||
        !spot_boolean(spot, "add_prefix_space", &prefix_space, error))
        return false;
    step->drops_first = prefix_space && !(json_is_string(scheme.value) &&
                                          strcmp(json_string_value(scheme.value), "never") == 0);
    return true;
}

static bool parse_step(struct decoder_step *step, const struct spot *spot, const char *type,
                       struct error *error)
{
    static const char *const plain_keys[] = {"type", NULL};
    static const char *const byte_level_keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                                  NULL};
    if (strcmp(type, "Replace") == 0)
        return parse_replace(step, spot, error);
    if (strcmp(type, "Strip") == 0)
        return parse_strip(step, spot, error);
    if (strcmp(type, "Metaspace") == 0)
        return parse_metaspace(step, spot, error);
    if (strcmp(type, "ByteLevel") == 0) {
        step->kind = DECODER_BYTE_LEVEL;
        return spot_check_keys(spot, byte_level_keys, error);
    }
    step->kind = strcmp(type, "Fuse") == 0 ? DECODER_FUSE : DECODER_BYTE_FALLBACK;
    if (step->kind != DECODER_FUSE && strcmp(type, "ByteFallback") != 0)
        return spot_refuse_type(spot, "decoder", type, error);
    return spot_check_keys(spot, plain_keys, error);
}

static bool add_step(void *context, const struct spot *spot, const char *type, struct error *error)
{
    struct decoder *const decoder = context;
    if (decoder->count == DECODER_STEPS)
        return spot_refuse(spot, error,
                           "more than %d decoders are not supported; choose a model with another tokenizer",
                           DECODER_STEPS);
    return parse_step(&decoder->step[decoder->count++], spot, type, error);
}

bool decoder_parse(struct decoder *decoder, const struct spot *spot, struct error *error)
{
    *decoder = (struct decoder){.given = !spot_is_null(spot)};
    return !decoder->given || spot_each(spot, "decoders", add_step, decoder, error);
}

void decoder_free(struct decoder *decoder)
{
    for (int index = 0; index < decoder->count; index++) {
        pattern_free(&decoder->step[index].pattern);
        free(decoder->step[index].content);
    }
    *decoder = (struct decoder){0};
}

/* ---- lists of strings --------------------------------------------------------------------------------- */

/* Ends the last string where the bytes end. */
static bool end_string(struct string_list *list, struct error *error)
{
    size_t *grown =
        array_room(list->end, (size_t)list->count, &list->capacity, sizeof *grown, "text of tokens", error);
    if (!grown)
        return false;
    list->end = grown;
    list->end[list->count++] = list->bytes.length;
    return true;
}

bool string_list_append(struct string_list *list, const char *bytes, size_t length, struct error *error)
{
    return text_append(&list->bytes, bytes, length, error) && end_string(list, error);
}

void string_list_free(struct string_list *list)
{
    text_free(&list->bytes);
    free(list->end);
    *list = (struct string_list){0};
}

static const char *string_at(const struct string_list *list, int64_t index, size_t *length)
{
    const size_t start = index > 0 ? list->end[index - 1] : 0;
    *length = list->end[index] - start;
    return *length > 0 ? list->bytes.bytes + start : "";
}

/* ---- the steps: from one list to another ---------------------------------------------------------------- */

/* Appends the bytes with U+FFFD for what is no UTF-8. */
static bool append_lossy(struct text *text, const char *bytes, size_t length, struct error *error)
{
    for (size_t place = 0; place < length;) {
        const size_t good = utf8_valid_prefix(bytes + place, length - place);
        if (!text_append(text, bytes + place, good, error))
            return false;
        place += good;
        if (place < length) {
            bool valid;
            place += utf8_step(bytes + place, length - place, &valid);
            if (!text_append(text, REPLACEMENT_CHARACTER, 3, error))
                return false;
        }
    }
    return true;
}

/* All strings become one. Those that are not made of bytes' characters stay as they are. */
static bool decode_byte_level(const struct string_list *from, struct string_list *to, struct error *error)
{
    struct text bytes = {0};
    bool done = true;
    for (int64_t index = 0; done && index < from->count; index++) {
        size_t length;
        bool mapped;
        const char *const string = string_at(from, index, &length);
        done = append_character_bytes(&bytes, string, length, &mapped, error) &&
               (mapped || text_append(&bytes, string, length, error));
    }
    done = done && append_lossy(&to->bytes, bytes.bytes, bytes.length, error) && end_string(to, error);
    text_free(&bytes);
    return done;
}

static int digit_of(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* <0x61> is 0x61; -1: another string. A sign before one digit counts as in the `tokenizers` library. */
static int byte_of(const char *string, size_t length)
{
    if (length != 6 || memcmp(string, "<0x", 3) != 0 || string[5] != '>')
        return -1;
    const int high = string[3] == '+' ? 0 : digit_of(string[3]), low = digit_of(string[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* Ends a run of bytes: one string when they are UTF-8, else a U+FFFD for each. */
static bool end_bytes(struct text *bytes, struct string_list *to, struct error *error)
{
    const bool valid = utf8_valid_prefix(bytes->bytes, bytes->length) == bytes->length;
    bool done = true;
    if (bytes->length > 0 && valid)
        done = string_list_append(to, bytes->bytes, bytes->length, error);
    for (size_t byte = 0; done && !valid && byte < bytes->length; byte++)
        done = string_list_append(to, REPLACEMENT_CHARACTER, 3, error);
    bytes->length = 0;
    return done;
}

static bool decode_byte_fallback(const struct string_list *from, struct string_list *to, struct error *error)
{
    struct text bytes = {0};
    bool done = true;
    for (int64_t index = 0; done && index < from->count; index++) {
        size_t length;
        const char *const string = string_at(from, index, &length);
        const int byte = byte_of(string, length);
        const char one = (char)byte;
        done = byte >= 0 ? text_append(&bytes, &one, 1, error)
                         : end_bytes(&bytes, to, error) && string_list_append(to, string, length, error);
    }
    done = done && end_bytes(&bytes, to, error);
    text_free(&bytes);
    return done;
}

static bool decode_replace(const struct decoder_step *step, const struct string_list *from,
                           struct string_list *to, struct error *error)
{
    struct match_list matches = {0};
    bool done = true;
    for (int64_t index = 0; done && index < from->count; index++) {
        size_t length;
        const char *const string = string_at(from, index, &length);
        done = (length == 0 || pattern_replace(&step->pattern, string, length, step->content,
                                               step->content_length, &matches, &to->bytes, error)) &&
               end_string(to, error);
    }
    match_list_free(&matches);
    return done;
}

static bool is_at(const struct decoder_step *step, const char *string, size_t length, size_t place)
{
    return place + step->content_length <= length &&
           memcmp(string + place, step->content, step->content_length) == 0;
}

static bool decode_strip(const struct decoder_step *step, const struct string_list *from,
                         struct string_list *to, struct error *error)
{
    const size_t width = step->content_length;
    for (int64_t index = 0; index < from->count; index++) {
        size_t length, start = 0;
        const char *const string = string_at(from, index, &length);
        for (int64_t cut = 0; cut < step->start && is_at(step, string, length, start); cut++)
            start += width;
        for (int64_t cut = 0;
             cut < step->stop && length >= start + width && is_at(step, string, length, length - width);
             cut++)
            length -= width;
        if (!string_list_append(to, string + start, length - start, error))
            return false;
    }
    return true;
}

static bool decode_metaspace(const struct decoder_step *step, const struct string_list *from,
                             struct string_list *to, struct error *error)
{
    for (int64_t index = 0; index < from->count; index++) {
        size_t length;
        const char *const string = string_at(from, index, &length);
        for (size_t place = 0, width; place < length; place += width) {
            width = utf8_width(string[place]);
            const bool marked = is_at(step, string, length, place);
            const bool dropped = marked && index == 0 && step->drops_first;
            if (!dropped &&
                !text_append(&to->bytes, marked ? " " : string + place, marked ? 1 : width, error))
                return false;
        }
        if (!end_string(to, error))
            return false;
    }
    return true;
}

static bool apply_step(const struct decoder_step *step, const struct string_list *from,
                       struct string_list *to, struct error *error)
{
    switch (step->kind) {
    case DECODER_BYTE_LEVEL:
        return decode_byte_level(from, to, error);
    case DECODER_BYTE_FALLBACK:
        return decode_byte_fallback(from, to, error);
    case DECODER_REPLACE:
        return decode_replace(step, from, to, error);
    case DECODER_STRIP:
        return decode_strip(step, from, to, error);
    case DECODER_METASPACE:
        return decode_metaspace(step, from, to, error);
    case DECODER_FUSE:
        break;
    }
    return string_list_append(to, from->bytes.bytes, from->bytes.length, error);
}

static bool join_by_blanks(const struct string_list *from, struct string_list *to, struct error *error)
{
    for (int64_t index = 0; index < from->count; index++) {
        size_t length;
        const char *const string = string_at(from, index, &length);
        if ((index > 0 && !text_append(&to->bytes, " ", 1, error)) ||
            !string_list_append(to, string, length, error))
            return false;
    }
    return true;
}

bool decoder_apply(const struct decoder *decoder, struct string_list *list, struct error *error)
{
    struct string_list other = {0};
    bool done = true;
    const int steps = decoder->given ? decoder->count : 1;
    for (int index = 0; done && index < steps; index++) {
        other.count = 0;
        other.bytes.length = 0;
        done = decoder->given ? apply_step(&decoder->step[index], list, &other, error)
                              : join_by_blanks(list, &other, error);
        const struct string_list spare = *list;
        *list = other;
        other = spare;
    }
    string_list_free(&other);
    return done;
}
