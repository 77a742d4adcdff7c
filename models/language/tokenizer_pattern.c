#include "models/language/tokenizer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "core/array.h"

#define JIT_STACK_FIRST ((size_t)32 << 10)
#define JIT_STACK_MOST ((size_t)16 << 20)

/* ---- from Oniguruma's syntax to PCRE2's ------------------------------------------------------------------- */

/* White_Space. PCRE2's own \s has U+180E too. */
#define SPACES "\\t-\\r\\x{85}\\p{Z}"

struct translation {
    const struct spot *spot;
    const char *place, *end;
    bool in_class;
    struct text result;
    struct error *error;
};

static bool put(struct translation *work, const char *bytes, size_t length)
{
    return text_append(&work->result, bytes, length, work->error);
}

static bool put_string(struct translation *work, const char *string)
{
    return put(work, string, strlen(string));
}

static bool refuse(const struct translation *work, const char *what, const char *place, size_t length)
{
    const size_t left = (size_t)(work->end - place);
    return spot_refuse(work->spot, work->error,
                       "%s '%.*s' in an expression is not supported; choose a model with another tokenizer",
                       what, (int)(length < left ? length : left), place);
}

static bool is_ascii_letter_or_digit(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

/* \p{L}, \p{Lu}, \P{N}: categories. \p{Han}: the script itself, where PCRE2 would add its extensions. */
static bool translate_property(struct translation *work)
{
    const char *const start = work->place, *name = start + 3;
    const char *const close = memchr(start, '}', (size_t)(work->end - start));
    if (work->end - start < 5 || start[2] != '{' || !close || close - name > 40)
        return refuse(work, "the property", start, 12);
    const bool negated = *name == '^';
    for (const char *byte = name + negated; byte < close; byte++)
        if (!is_ascii_letter_or_digit(*byte) && *byte != '_')
            return refuse(work, "the property", start, 12);
    work->place = close + 1;
    return put(work, start, 3) && (!negated || put(work, "^", 1)) &&
           (close - name - negated <= 2 || put_string(work, "sc:")) &&
           put(work, name + negated, (size_t)(close - name - negated) + 1);
}

/* \xHH below 80, \x{H...}, \uHHHH. */
static bool translate_number(struct translation *work)
{
    const char *const start = work->place;
    const size_t left = (size_t)(work->end - start);
    const bool braces = start[1] == 'x' && left > 2 && start[2] == '{';
    const char *digits = start + 2 + braces;
    const size_t most = braces ? 8 : start[1] == 'x' ? 2 : 4;
    size_t count = 0;
    while (digits + count < work->end && count < most && strchr("0123456789abcdefABCDEF", digits[count]) &&
           digits[count])
        count++;
    const bool closed = !braces || (digits + count < work->end && digits[count] == '}');
    const bool byte = start[1] == 'x' && !braces;
    if (count == 0 || !closed || (!braces && count != most) || (byte && digits[0] > '7'))
        return refuse(work, "the escape", start, 6);
    work->place = digits + count + braces;
    return put_string(work, "\\x{") && put(work, digits, count) && put_string(work, "}");
}

static bool translate_escape(struct translation *work)
{
    const char *const start = work->place;
    if (work->end - start < 2)
        return refuse(work, "the unfinished escape", start, 1);
    const char name = start[1];
    if (name == 'p' || name == 'P')
        return translate_property(work);
    if (name == 'x' || name == 'u')
        return translate_number(work);
    work->place += 2;
    if (name == 's')
        return put_string(work, work->in_class ? SPACES : "[" SPACES "]");
    if (name == 'S' && !work->in_class)
        return put_string(work, "[^" SPACES "]");
    if (is_ascii_letter_or_digit(name) && !strchr("dDrntfa", name))
        return refuse(work, "the escape", start, 2);
    if ((unsigned char)name >= 0x80) {
        work->place -= 1;
        return true;
    }
    return put(work, start, 2);
}

static bool translate_class(struct translation *work)
{
    const char *const start = work->place++;
    bool done = put(work, "[", 1);
    work->in_class = true;
    if (done && work->place < work->end && *work->place == '^') {
        done = put(work, "^", 1);
        work->place++;
    }
    if (work->place < work->end && *work->place == ']')
        return refuse(work, "the class", start, 4);
    while (done && work->place < work->end && *work->place != ']') {
        const char *const place = work->place;
        if (*place == '[' || (*place == '&' && work->end - place > 1 && place[1] == '&'))
            return refuse(work, "a class within a class", place, 2);
        if (*place == '\\') {
            done = translate_escape(work);
        } else {
            done = put(work, place, 1);
            work->place++;
        }
    }
    work->in_class = false;
    if (!done)
        return false;
    if (work->place == work->end)
        return refuse(work, "the unfinished class", start, 12);
    work->place++;
    return put(work, "]", 1);
}

static bool translate_group(struct translation *work)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    const char *const start = work->place;
    if (work->end - start < 2 || start[1] != '?') {
        work->place++;
        return put(work, "(", 1);
    }
    for (size_t index = 0; index < sizeof known / sizeof *known; index++) {
        const size_t length = strlen(known[index]);
        if ((size_t)(work->end - start) >= length && memcmp(start, known[index], length) == 0) {
            work->place += length;
            return put(work, known[index], length);
        }
    }
    return refuse(work, "the group", start, 5);
}

/* {n}, {n,} and {n,m}, with nothing behind them that the two read differently. */
static bool translate_interval(struct translation *work)
{
    const char *const start = work->place;
    const char *place = start + 1;
    size_t digits = 0, commas = 0;
    while (place < work->end &&
           ((*place >= '0' && *place <= '9') || (*place == ',' && digits > 0 && commas == 0))) {
        digits += *place != ',';
        commas += *place++ == ',';
    }
    if (place == work->end || *place != '}' || digits == 0)
        return refuse(work, "the interval", start, 6);
    place++;
    if (place < work->end && strchr("+*?{", *place))
        return refuse(work, "the interval", start, (size_t)(place - start) + 1);
    work->place = place;
    return put(work, start, (size_t)(place - start));
}

static bool translate(struct translation *work)
{
    bool done = true;
    while (done && work->place < work->end) {
        switch (*work->place) {
        case '\\':
            done = translate_escape(work);
            break;
        case '[':
            done = translate_class(work);
            break;
        case '(':
            done = translate_group(work);
            break;
        case '{':
            done = translate_interval(work);
            break;
        default:
            done = put(work, work->place++, 1);
        }
    }
    return done;
}

/* ---- compile ---------------------------------------------------------------------------------------------- */

bool pattern_compile(struct pattern *pattern, const struct spot *spot, const char *expression, size_t length,
                     struct error *error)
{
    struct translation work = {.spot = spot, .place = expression, .end = expression + length, .error = error};
    *pattern = (struct pattern){0};
    if (!translate(&work) || !text_append(&work.result, "", 1, error)) {
        text_free(&work.result);
        return false;
    }
    int code = 0;
    PCRE2_SIZE place = 0;
    pattern->code =
        pcre2_compile((PCRE2_SPTR)work.result.bytes, work.result.length - 1,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &place, NULL);
    text_free(&work.result);
    if (!pattern->code) {
        PCRE2_UCHAR reason[160] = {0};
        pcre2_get_error_message(code, reason, sizeof reason);
        return spot_refuse(spot, error, "no usable expression (%s); get the file anew", (const char *)reason);
    }
    /* Where no machine code can be made the expression is interpreted, with the same result. */
    pattern->compiled = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    return true;
}

bool pattern_parse(struct pattern *pattern, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"String", "Regex", NULL};
    *pattern = (struct pattern){0};
    if (!spot_check_keys(spot, keys, error))
        return false;
    const bool literal = json_object_get(spot->value, "String") != NULL;
    const char *text;
    size_t length;
    if (!spot_string(spot, literal ? "String" : "Regex", &text, &length, error))
        return false;
    if (length == 0)
        return spot_refuse(spot, error,
                           "an empty pattern is not supported; choose a model with another tokenizer");
    if (!literal)
        return pattern_compile(pattern, spot, text, length, error);
    pattern->literal = strdup(text);
    pattern->literal_length = length;
    return pattern->literal || error_memory(error, "a pattern", length, NULL);
}

void pattern_free(struct pattern *pattern)
{
    pcre2_code_free(pattern->code);
    free(pattern->literal);
    *pattern = (struct pattern){0};
}

/* ---- match ------------------------------------------------------------------------------------------------ */

void match_list_free(struct match_list *list)
{
    free(list->item);
    *list = (struct match_list){0};
}

bool match_list_append(struct match_list *list, size_t start, size_t end, bool found, struct error *error)
{
    struct match *grown =
        array_room(list->item, list->count, &list->capacity, sizeof *grown, "matches of a pattern", error);
    if (!grown)
        return false;
    list->item = grown;
    list->item[list->count++] = (struct match){.start = start, .end = end, .found = found};
    return true;
}

/* Adds a match with what lies between it and the one before. */
static bool append_found(struct match_list *list, size_t *covered, size_t start, size_t end,
                         struct error *error)
{
    if (*covered < start && !match_list_append(list, *covered, start, false, error))
        return false;
    *covered = end;
    return match_list_append(list, start, end, true, error);
}

/* A search in one text. */
struct search {
    pcre2_match_data *data;
    pcre2_match_context *context; /* NULL, or with a larger stack than the thread's own */
    pcre2_jit_stack *stack;
};

static bool enlarge_stack(struct search *search)
{
    if (search->context)
        return false;
    search->context = pcre2_match_context_create(NULL);
    search->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
    if (!search->context || !search->stack)
        return false;
    pcre2_jit_stack_assign(search->context, NULL, search->stack);
    return true;
}

static int search_from(const struct pattern *pattern, struct search *search, const char *text, size_t length,
                       size_t from)
{
    if (!pattern->compiled)
        return pcre2_match(pattern->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK, search->data,
                           NULL);
    int found = pcre2_jit_match(pattern->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                                search->data, search->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && enlarge_stack(search))
        found = pcre2_jit_match(pattern->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                                search->data, search->context);
    return found;
}

static bool cut_by_expression(const struct pattern *pattern, struct search *search, const char *text,
                              size_t length, struct match_list *list, struct error *error)
{
    size_t covered = 0, from = 0;
    bool behind_match = false; /* a match ends at `from` */
    const size_t *const bounds = pcre2_get_ovector_pointer(search->data);
    while (from <= length) {
        const int found = search_from(pattern, search, text, length, from);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0) {
            PCRE2_UCHAR reason[160] = {0};
            pcre2_get_error_message(found, reason, sizeof reason);
            return error_set(error, ERROR_RUN,
                             "an expression of the tokenizer fails on a text of %zu bytes: %s", length,
                             (const char *)reason);
        }
        const size_t start = bounds[0], end = bounds[1];
        if (start == end && behind_match && end == covered) {
            from = from < length ? from + utf8_width(text[from]) : length + 1;
            continue;
        }
        if (!append_found(list, &covered, start, end, error))
            return false;
        from = end;
        behind_match = true;
    }
    return covered == length || match_list_append(list, covered, length, false, error);
}

static bool cut_by_literal(const struct pattern *pattern, const char *text, size_t length,
                           struct match_list *list, struct error *error)
{
    size_t covered = 0;
    const char *found;
    while (covered < length &&
           (found = memmem(text + covered, length - covered, pattern->literal, pattern->literal_length))) {
        const size_t start = (size_t)(found - text);
        if (!append_found(list, &covered, start, start + pattern->literal_length, error))
            return false;
    }
    return covered == length || match_list_append(list, covered, length, false, error);
}

bool pattern_cut(const struct pattern *pattern, const char *text, size_t length, struct match_list *list,
                 struct error *error)
{
    list->count = 0;
    if (!pattern->code)
        return cut_by_literal(pattern, text, length, list, error);
    struct search search = {.data = pcre2_match_data_create(1, NULL)};
    if (!search.data)
        return error_memory(error, "a search", 64, NULL);
    const bool done = cut_by_expression(pattern, &search, text, length, list, error);
    pcre2_match_data_free(search.data);
    pcre2_match_context_free(search.context);
    pcre2_jit_stack_free(search.stack);
    return done;
}

bool pattern_replace(const struct pattern *pattern, const char *text, size_t length, const char *content,
                     size_t content_length, struct match_list *scratch, struct text *result,
                     struct error *error)
{
    if (!pattern_cut(pattern, text, length, scratch, error))
        return false;
    for (size_t index = 0; index < scratch->count; index++) {
        const struct match *const match = &scratch->item[index];
        const bool done = match->found
                              ? text_append(result, content, content_length, error)
                              : text_append(result, text + match->start, match->end - match->start, error);
        if (!done)
            return false;
    }
    return true;
}
