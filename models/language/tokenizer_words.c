#include "models/language/tokenizer_words.h"

#include <stdlib.h>
#include <string.h>

/* Radford et al. 2019: contractions, letters, numbers, other characters, spaces except the one before a word. */
#define GPT2_EXPRESSION "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ---- parse -------------------------------------------------------------------------------------------- */

static bool parse_split(struct word_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    static const char *const behaviors[] = {[BEHAVIOR_REMOVED] = "Removed",
                                            [BEHAVIOR_ISOLATED] = "Isolated",
                                            [BEHAVIOR_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                            [BEHAVIOR_MERGED_WITH_NEXT] = "MergedWithNext",
                                            [BEHAVIOR_CONTIGUOUS] = "Contiguous"};
    const struct spot pattern = spot_key(spot, "pattern");
    const char *behavior;
    size_t length;
    step->kind = WORD_SPLIT;
    step->has_pattern = true;
    if (!spot_check_keys(spot, keys, error) || !spot_string(spot, "behavior", &behavior, &length, error) ||
        !spot_boolean(spot, "invert", &step->invert, error) ||
        !pattern_parse(&step->pattern, &pattern, error))
        return false;
    for (size_t index = 0; index < sizeof behaviors / sizeof *behaviors; index++)
        if (strcmp(behaviors[index], behavior) == 0) {
            step->behavior = (enum word_behavior)index;
            return true;
        }
    return spot_refuse_type(spot, "behavior", behavior, error);
}

static bool parse_metaspace(struct word_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {
        "type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep", NULL};
    const struct spot scheme = spot_key(spot, "prepend_scheme");
    const char *replacement, *name = "always";
    size_t length;
    bool prefix_space = true;
    step->kind = WORD_METASPACE;
    step->split = true;
    if (!spot_check_keys(spot, keys, error) ||
        !spot_string(spot, "replacement", &replacement, &length, error) ||
        !spot_boolean(spot, "split", &step->split, error) ||
        !spot_boolean(spot, "add_prefix_space", &prefix_space, error) ||
        (!spot_is_null(&scheme) && !spot_string(spot, "prepend_scheme", &name, &(size_t){0}, error)))
        return false;
    if (length == 0 || length != utf8_width(replacement[0]))
        return spot_refuse(spot, error, "the replacement is not one character; get the file anew");
    memcpy(step->replacement, replacement, length);
    if (strcmp(name, "always") == 0)
        step->prepend = PREPEND_ALWAYS;
    else if (strcmp(name, "first") == 0)
        step->prepend = PREPEND_FIRST;
    else if (strcmp(name, "never") == 0)
        step->prepend = PREPEND_NEVER;
    else
        return spot_refuse_type(&scheme, "scheme", name, error);
    if (!prefix_space && step->prepend != PREPEND_NEVER)
        return spot_refuse(spot, error,
                           "add_prefix_space and prepend_scheme contradict each other; get the file anew");
    return true;
}

static bool parse_byte_level(struct word_step *step, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool trim_offsets;
    step->kind = WORD_BYTE_LEVEL;
    step->has_pattern = true;
    step->behavior = BEHAVIOR_ISOLATED;
    step->prefix_space = true;
    if (!spot_check_keys(spot, keys, error) ||
        !spot_boolean(spot, "add_prefix_space", &step->prefix_space, error) ||
        !spot_boolean(spot, "trim_offsets", &trim_offsets, error) ||
        !spot_boolean(spot, "use_regex", &step->has_pattern, error))
        return false;
    return !step->has_pattern ||
           pattern_compile(&step->pattern, spot, GPT2_EXPRESSION, sizeof GPT2_EXPRESSION - 1, error);
}

static bool add_step(void *context, const struct spot *spot, const char *type, struct error *error)
{
    struct word_splitter *const splitter = context;
    static const char *const digit_keys[] = {"type", "individual_digits", NULL};
    if (splitter->count == WORD_STEPS || splitter->byte_level)
        return spot_refuse(spot, error, "%s is not supported; choose a model with another tokenizer",
                           splitter->byte_level ? "a step behind ByteLevel" : "such a long sequence");
    struct word_step *const step = &splitter->step[splitter->count++];
    if (strcmp(type, "Split") == 0)
        return parse_split(step, spot, error);
    if (strcmp(type, "Metaspace") == 0)
        return parse_metaspace(step, spot, error);
    if (strcmp(type, "ByteLevel") == 0) {
        splitter->byte_level = true;
        return parse_byte_level(step, spot, error);
    }
    if (strcmp(type, "Digits") == 0) {
        step->kind = WORD_DIGITS;
        return spot_check_keys(spot, digit_keys, error) &&
               spot_boolean(spot, "individual_digits", &step->individual, error);
    }
    return spot_refuse_type(spot, "pre-tokeniser", type, error);
}

bool word_splitter_parse(struct word_splitter *splitter, const struct spot *spot, struct error *error)
{
    *splitter = (struct word_splitter){0};
    return spot_is_null(spot) || spot_each(spot, "pretokenizers", add_step, splitter, error);
}

void word_splitter_free(struct word_splitter *splitter)
{
    for (int index = 0; index < splitter->count; index++)
        pattern_free(&splitter->step[index].pattern);
    *splitter = (struct word_splitter){0};
}

void word_scratch_free(struct word_scratch *scratch)
{
    for (int index = 0; index < WORD_STEPS; index++) {
        match_list_free(&scratch->matches[index]);
        text_free(&scratch->text[index]);
    }
}

/* ---- matches and what becomes of them ----------------------------------------------------------------- */

static bool cut_digits(const char *text, size_t length, struct match_list *list, struct error *error)
{
    size_t covered = 0;
    list->count = 0;
    for (size_t place = 0; place < length;) {
        const size_t end = place + utf8_width(text[place]);
        if (character_is_numeric(utf8_character(text + place))) {
            if ((covered < place && !match_list_append(list, covered, place, false, error)) ||
                !match_list_append(list, place, end, true, error))
                return false;
            covered = end;
        }
        place = end;
    }
    return covered == length || match_list_append(list, covered, length, false, error);
}

static void invert(struct match_list *list)
{
    for (size_t index = 0; index < list->count; index++)
        list->item[index].found = !list->item[index].found;
}

static void remove_found(struct match_list *list)
{
    size_t kept = 0;
    for (size_t index = 0; index < list->count; index++)
        if (!list->item[index].found)
            list->item[kept++] = list->item[index];
    list->count = kept;
}

/* Joins each match that has no match before it to the part before it. */
static void merge_with_previous(struct match_list *list)
{
    size_t kept = 0;
    bool previous = false;
    for (size_t index = 0; index < list->count; index++) {
        const struct match match = list->item[index];
        if (match.found && !previous && kept > 0)
            list->item[kept - 1].end = match.end;
        else
            list->item[kept++] = match;
        previous = match.found;
    }
    list->count = kept;
}

/* Joins each match that has no match behind it to the part behind it. */
static void merge_with_next(struct match_list *list)
{
    size_t kept = list->count;
    bool next = false;
    for (size_t index = list->count; index-- > 0;) {
        const struct match match = list->item[index];
        if (match.found && !next && kept < list->count)
            list->item[kept].start = match.start;
        else
            list->item[--kept] = match;
        next = match.found;
    }
    memmove(list->item, list->item + kept, (list->count - kept) * sizeof *list->item);
    list->count -= kept;
}

static void join_neighbours(struct match_list *list)
{
    size_t kept = 0;
    bool previous = false;
    for (size_t index = 0; index < list->count; index++) {
        const struct match match = list->item[index];
        if (kept > 0 && match.found == previous)
            list->item[kept - 1].end = match.end;
        else
            list->item[kept++] = match;
        previous = match.found;
    }
    list->count = kept;
}

static void behave(enum word_behavior behavior, struct match_list *list)
{
    switch (behavior) {
    case BEHAVIOR_REMOVED:
        remove_found(list);
        break;
    case BEHAVIOR_MERGED_WITH_PREVIOUS:
        merge_with_previous(list);
        break;
    case BEHAVIOR_MERGED_WITH_NEXT:
        merge_with_next(list);
        break;
    case BEHAVIOR_CONTIGUOUS:
        join_neighbours(list);
        break;
    case BEHAVIOR_ISOLATED:
        break;
    }
}

/* ---- the steps, each calling the next with its words ---------------------------------------------------- */

struct cutter {
    const struct word_splitter *splitter;
    struct word_scratch *scratch;
    struct word_sink sink;
    bool continues;
};

static bool cut(const struct cutter *cutter, int index, const char *text, size_t length, bool first,
                struct error *error);

static bool pass_parts(const struct cutter *cutter, int index, const char *text, bool first,
                       struct error *error)
{
    const struct match_list *const list = &cutter->scratch->matches[index];
    for (size_t part = 0; part < list->count; part++) {
        const struct match match = list->item[part];
        if (match.start < match.end && !cut(cutter, index + 1, text + match.start, match.end - match.start,
                                            first && match.start == 0, error))
            return false;
    }
    return true;
}

/* Puts `prefix` before *text, which moves into the step's scratch. */
static bool prepend(const struct cutter *cutter, int index, const char *prefix, const char **text,
                    size_t *length, struct error *error)
{
    struct text *const scratch = &cutter->scratch->text[index];
    scratch->length = 0;
    if (!text_append(scratch, prefix, strlen(prefix), error) || !text_append(scratch, *text, *length, error))
        return false;
    *text = scratch->bytes;
    *length = scratch->length;
    return true;
}

static bool cut_metaspace(const struct cutter *cutter, int index, const char *text, size_t length, bool first,
                          struct error *error)
{
    const struct word_step *const step = &cutter->splitter->step[index];
    struct text *const marked = &cutter->scratch->text[index];
    struct match_list *const list = &cutter->scratch->matches[index];
    const size_t width = strlen(step->replacement);
    const bool begins_marked =
        text[0] == ' ' || (length >= width && memcmp(text, step->replacement, width) == 0);
    marked->length = 0;
    if (!begins_marked && !(first && cutter->continues) &&
        (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && first)) &&
        !text_append(marked, step->replacement, width, error))
        return false;
    for (size_t place = 0; place < length;) {
        const char *const blank = memchr(text + place, ' ', length - place);
        const size_t end = blank ? (size_t)(blank - text) : length;
        if (!text_append(marked, text + place, end - place, error) ||
            (blank && !text_append(marked, step->replacement, width, error)))
            return false;
        place = end + 1;
    }
    if (!step->split)
        return cut(cutter, index + 1, marked->bytes, marked->length, first, error);
    size_t start = 0;
    list->count = 0;
    while (start < marked->length) {
        const char *const next =
            memmem(marked->bytes + start + 1, marked->length - start - 1, step->replacement, width);
        const size_t end = next ? (size_t)(next - marked->bytes) : marked->length;
        if (!match_list_append(list, start, end, false, error))
            return false;
        start = end;
    }
    return pass_parts(cutter, index, marked->bytes, first, error);
}

static bool cut(const struct cutter *cutter, int index, const char *text, size_t length, bool first,
                struct error *error)
{
    if (index == cutter->splitter->count)
        return cutter->sink.take(cutter->sink.context, text, length, error);
    const struct word_step *const step = &cutter->splitter->step[index];
    struct match_list *const list = &cutter->scratch->matches[index];
    switch (step->kind) {
    case WORD_METASPACE:
        return cut_metaspace(cutter, index, text, length, first, error);
    case WORD_DIGITS:
        if (!cut_digits(text, length, list, error))
            return false;
        if (!step->individual)
            join_neighbours(list);
        break;
    case WORD_BYTE_LEVEL:
        if (step->prefix_space && text[0] != ' ' && !(first && cutter->continues) &&
            !prepend(cutter, index, " ", &text, &length, error))
            return false;
        if (!step->has_pattern)
            return cut(cutter, index + 1, text, length, first, error);
        if (!pattern_cut(&step->pattern, text, length, list, error))
            return false;
        break;
    case WORD_SPLIT:
        if (!pattern_cut(&step->pattern, text, length, list, error))
            return false;
        if (step->invert)
            invert(list);
        behave(step->behavior, list);
        break;
    }
    return pass_parts(cutter, index, text, first, error);
}

bool word_split(const struct word_splitter *splitter, const char *text, size_t length,
                struct word_place place, struct word_scratch *scratch, struct word_sink sink,
                struct error *error)
{
    const struct cutter cutter = {
        .splitter = splitter, .scratch = scratch, .sink = sink, .continues = place.continues};
    return length == 0 || cut(&cutter, 0, text, length, place.first, error);
}
