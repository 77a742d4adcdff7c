#include "models/language/tokenizer_normalizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- parse -------------------------------------------------------------------------------------------- */

static bool parse_step(struct normalizer_step *step, const struct spot *spot, const char *type,
                       struct error *error)
{
    static const char *const nfc_keys[] = {"type", NULL};
    static const char *const prepend_keys[] = {"type", "prepend", NULL};
    static const char *const replace_keys[] = {"type", "pattern", "content", NULL};
    if (strcmp(type, "NFC") == 0) {
        step->kind = NORMALIZER_NFC;
        return spot_check_keys(spot, nfc_keys, error);
    }
    if (strcmp(type, "Prepend") == 0) {
        step->kind = NORMALIZER_PREPEND;
        return spot_check_keys(spot, prepend_keys, error) &&
               spot_copy(spot, "prepend", &step->content, &step->content_length, error);
    }
    if (strcmp(type, "Replace") == 0) {
        const struct spot pattern = spot_key(spot, "pattern");
        step->kind = NORMALIZER_REPLACE;
        return spot_check_keys(spot, replace_keys, error) &&
               spot_copy(spot, "content", &step->content, &step->content_length, error) &&
               pattern_parse(&step->pattern, &pattern, error);
    }
    return spot_refuse_type(spot, "normaliser", type, error);
}

static bool add_step(void *context, const struct spot *spot, const char *type, struct error *error)
{
    struct normalizer *const normalizer = context;
    if (normalizer->count == NORMALIZER_STEPS)
        return spot_refuse(
            spot, error, "more than %d normalisers are not supported; choose a model with another tokenizer",
            NORMALIZER_STEPS);
    return parse_step(&normalizer->step[normalizer->count++], spot, type, error);
}

bool normalizer_parse(struct normalizer *normalizer, const struct spot *spot, struct error *error)
{
    *normalizer = (struct normalizer){0};
    return spot_is_null(spot) || spot_each(spot, "normalizers", add_step, normalizer, error);
}

void normalizer_free(struct normalizer *normalizer)
{
    for (int index = 0; index < normalizer->count; index++) {
        pattern_free(&normalizer->step[index].pattern);
        free(normalizer->step[index].content);
    }
    *normalizer = (struct normalizer){0};
}

void normalizer_scratch_free(struct normalizer_scratch *scratch)
{
    text_free(&scratch->from);
    text_free(&scratch->to);
    match_list_free(&scratch->matches);
}

/* ---- apply -------------------------------------------------------------------------------------------- */

/* Text without a character from U+0300 on is its own NFC: Unicode Standard Annex 15, 9. Those begin with the byte CC. */
static bool is_surely_composed(const char *text, size_t length)
{
    for (size_t place = 0; place < length; place++)
        if ((uint8_t)text[place] >= 0xCC)
            return false;
    return true;
}

/* The marks of Unicode 10 to 15. The `tokenizers` library's tables are older: to it they neither move nor join others. */
static bool is_late_mark(int32_t character)
{
    static const int32_t ranges[][2] = {
        {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
        {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},
        {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
        {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
        {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
        {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
        {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
        {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};
    for (size_t range = 0; range < sizeof ranges / sizeof *ranges && character >= ranges[range][0]; range++)
        if (character <= ranges[range][1])
            return true;
    return false;
}

static bool compose_part(const char *text, size_t length, struct text *result, struct error *error)
{
    utf8proc_uint8_t *composed = NULL;
    const utf8proc_ssize_t bytes = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length,
                                                &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (bytes < 0)
        return error_set(error, ERROR_RUN, "a text of %zu bytes cannot be normalised: %s", length,
                         utf8proc_errmsg(bytes));
    const bool done = text_append(result, (const char *)composed, (size_t)bytes, error);
    free(composed);
    return done;
}

static bool compose(const char *text, size_t length, struct text *result, struct error *error)
{
    size_t start = 0;
    for (size_t place = 0, width; place < length; place += width) {
        width = utf8_width(text[place]);
        if ((uint8_t)text[place] < 0xDF || !is_late_mark(utf8_character(text + place)))
            continue;
        if (!compose_part(text + start, place - start, result, error) ||
            !text_append(result, text + place, width, error))
            return false;
        start = place + width;
    }
    return compose_part(text + start, length - start, result, error);
}

static bool needs_step(const struct normalizer_step *step, const char *text, size_t length, bool continues)
{
    switch (step->kind) {
    case NORMALIZER_NFC:
        return !is_surely_composed(text, length);
    case NORMALIZER_PREPEND:
        return length > 0 && !continues;
    default:
        return length > 0;
    }
}

static bool apply_step(const struct normalizer_step *step, const char *text, size_t length,
                       struct match_list *matches, struct text *result, struct error *error)
{
    switch (step->kind) {
    case NORMALIZER_NFC:
        return compose(text, length, result, error);
    case NORMALIZER_PREPEND:
        return text_append(result, step->content, step->content_length, error) &&
               text_append(result, text, length, error);
    default:
        return pattern_replace(&step->pattern, text, length, step->content, step->content_length, matches,
                               result, error);
    }
}

bool normalizer_apply(const struct normalizer *normalizer, const char *text, size_t length, bool continues,
                      struct normalizer_scratch *scratch, const char **result, size_t *result_length,
                      struct error *error)
{
    *result = text;
    *result_length = length;
    for (int index = 0; index < normalizer->count; index++) {
        const struct normalizer_step *const step = &normalizer->step[index];
        if (!needs_step(step, *result, *result_length, continues))
            continue;
        const struct text spare = scratch->to;
        scratch->to = scratch->from;
        scratch->from = spare; /* holds *result, unless that is the text itself */
        scratch->to.length = 0;
        if (!apply_step(step, *result, *result_length, &scratch->matches, &scratch->to, error))
            return false;
        *result = scratch->to.bytes;
        *result_length = scratch->to.length;
    }
    return true;
}
