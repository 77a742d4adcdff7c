#include "models/language/answer_parser.h"

#include <stdlib.h>
#include <string.h>

struct answer_parser {
    const struct item_writer *writer;
    bool text;
    struct answer_format format;
    int32_t *by_name; /* [items]: the items in the order of their names */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b, void *context)
{
    const struct id_map *names = context;
    return strcmp(id_map_name(names, *(const int32_t *)a), id_map_name(names, *(const int32_t *)b));
}

static bool sort_names(struct answer_parser *parser, struct error *error)
{
    const int64_t count = parser->format.names->count;
    parser->by_name = malloc((size_t)count * sizeof *parser->by_name + 1);
    if (!parser->by_name)
        return error_memory(error, "the names of items", (size_t)count * sizeof *parser->by_name, NULL);
    for (int32_t item = 0; item < count; item++)
        parser->by_name[item] = item;
    qsort_r(parser->by_name, (size_t)count, sizeof *parser->by_name, compare_names,
            (void *)(uintptr_t)parser->format.names);
    return true;
}

bool answer_parser_create(struct answer_parser **parser, const struct item_writer *writer,
                          const struct answer_format *format, struct error *error)
{
    struct answer_parser *made = calloc(1, sizeof *made);
    *parser = NULL;
    if (!made)
        return error_memory(error, "the reader of answers", sizeof *made, NULL);
    made->writer = writer;
    made->text = format != NULL;
    if (format)
        made->format = *format;
    if (format && *format->separator == '\0' && *format->before == '\0') {
        answer_parser_free(made);
        return error_set(
            error, ERROR_USAGE,
            "neither a separator nor a text before its name parts an item from the next: an answer "
            "cannot be read; give one of them in the template of prompts");
    }
    if (format && !sort_names(made, error)) {
        answer_parser_free(made);
        return false;
    }
    *parser = made;
    return true;
}

void answer_parser_free(struct answer_parser *parser)
{
    if (parser)
        free(parser->by_name);
    free(parser);
}

void answer_free(struct answer *answer)
{
    free(answer->item);
    *answer = (struct answer){.count = 0};
}

static bool append(struct answer *answer, int32_t item, double log_probability, bool cut, struct error *error)
{
    if (answer->count == answer->capacity) {
        const int64_t capacity = answer->capacity > 0 ? 2 * answer->capacity : 32;
        struct answer_item *grown = realloc(answer->item, (size_t)capacity * sizeof *grown);
        if (!grown)
            return error_memory(error, "an answer", (size_t)capacity * sizeof *grown, NULL);
        answer->item = grown;
        answer->capacity = capacity;
    }
    answer->item[answer->count++] = (struct answer_item){item, log_probability, cut};
    return true;
}

/* ---- text --------------------------------------------------------------------------------------------- */

/* A part of a text, from `begin` to before `end`. */
struct span {
    const char *begin, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct span trimmed(struct span span)
{
    while (span.begin < span.end && is_blank(*span.begin))
        span.begin++;
    while (span.end > span.begin && is_blank(span.end[-1]))
        span.end--;
    return span;
}

static struct span span_of(const char *text)
{
    const char *const begin = text ? text : "";
    return (struct span){begin, begin + strlen(begin)};
}

/* The text without what may stand around a list. */
static struct span unframed(const struct answer_format *format, const char *text)
{
    struct span span = trimmed((struct span){text, text + strlen(text)});
    const struct span opening = trimmed(span_of(format->opening)),
                      closing = trimmed(span_of(format->closing));
    const size_t before = (size_t)(opening.end - opening.begin),
                 after = (size_t)(closing.end - closing.begin);
    if ((size_t)(span.end - span.begin) >= before && memcmp(span.begin, opening.begin, before) == 0)
        span.begin += before;
    if ((size_t)(span.end - span.begin) >= after && memcmp(span.end - after, closing.begin, after) == 0)
        span.end -= after;
    return span;
}

/* Takes `before` and `after` off a piece; false: they are not there, or nothing is between them. */
static bool take_name(struct span *span, const struct answer_format *format)
{
    const size_t before = strlen(format->before), after = strlen(format->after);
    if ((size_t)(span->end - span->begin) <= before + after ||
        memcmp(span->begin, format->before, before) != 0 ||
        memcmp(span->end - after, format->after, after) != 0)
        return false;
    span->begin += before;
    span->end -= after;
    return true;
}

static int compare_span(struct span span, const char *name)
{
    const size_t length = (size_t)(span.end - span.begin);
    const int order = strncmp(span.begin, name, length);
    return order != 0 ? order : name[length] != '\0' ? -1 : 0;
}

static int32_t find_name(const struct answer_parser *parser, struct span span)
{
    int64_t begin = 0, end = parser->format.names->count;
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        const int order = compare_span(span, id_map_name(parser->format.names, parser->by_name[middle]));
        if (order == 0)
            return parser->by_name[middle];
        if (order < 0)
            end = middle;
        else
            begin = middle + 1;
    }
    return -1;
}

/* Where the piece that begins at `from` ends. */
static const char *piece_end(const struct answer_format *format, const char *from, const char *end)
{
    const bool separated = *format->separator != '\0';
    const char *mark = separated ? format->separator : format->before;
    const size_t skipped = separated ? 0 : strlen(mark);
    const char *found = (size_t)(end - from) > skipped ? strstr(from + skipped, mark) : NULL;
    return found && found < end ? found : end;
}

/* The sum over the tokens that begin in a part of the text; *token goes on with the first behind it. */
static double sum_until(int64_t end, const int64_t *begins, const float *log_probability, int64_t count,
                        int64_t *token)
{
    double sum = 0.0;
    for (; *token < count && begins[*token] < end; ++*token)
        sum += (double)log_probability[*token];
    return sum;
}

static bool parse_text(struct answer *answer, const struct answer_parser *parser, const char *text,
                       const int64_t *begins, const float *log_probability, int64_t count, bool cut,
                       int64_t items_maximum, struct error *error)
{
    const struct answer_format *const format = &parser->format;
    const struct span list = unframed(format, text);
    const char *const end = list.end, *from = list.begin;
    int64_t token = 0;
    for (int64_t pieces = 0; from < end && pieces < items_maximum; pieces++) {
        const char *const stop = piece_end(format, from, end);
        struct span piece = trimmed((struct span){from, stop});
        const double sum = sum_until(stop - text, begins, log_probability, count, &token);
        const bool last = stop == end;
        from = last ? end : stop + strlen(format->separator);
        if (last && piece.begin == piece.end)
            break;
        const bool formed = take_name(&piece, format);
        const int32_t item = formed ? find_name(parser, piece) : -1;
        answer->incomplete += last && cut;
        if (item >= 0 ? !append(answer, item, sum, last && cut, error) : false)
            return false;
        if (item < 0 && !(last && cut))
            formed ? answer->unknown++ : answer->malformed++;
    }
    return true;
}

/* begins[i]: the bytes of text before token i. */
static bool find_begins(int64_t *begins, const struct answer_format *format, const int32_t *token,
                        int64_t count, struct error *error)
{
    begins[0] = 0;
    for (int64_t i = 1; i < count; i++) {
        char *text;
        if (!format->decode(format->decoder, token, i, &text, error))
            return false;
        const int64_t length = (int64_t)strlen(text);
        begins[i] = length > begins[i - 1] ? length : begins[i - 1];
        free(text);
    }
    return true;
}

static bool decode_and_parse(struct answer *answer, const struct answer_parser *parser, const int32_t *token,
                             const float *log_probability, int64_t count, bool cut, int64_t items_maximum,
                             struct error *error)
{
    int64_t *begins = malloc((size_t)count * sizeof *begins);
    char *text = NULL;
    if (!begins)
        return error_memory(error, "the places of tokens", (size_t)count * sizeof *begins, NULL);
    const bool parsed =
        find_begins(begins, &parser->format, token, count, error) &&
        parser->format.decode(parser->format.decoder, token, count, &text, error) &&
        parse_text(answer, parser, text, begins, log_probability, count, cut, items_maximum, error);
    free(text);
    free(begins);
    return parsed;
}

/* ---- tokens ------------------------------------------------------------------------------------------- */

/* An item on its way through the trie; a part that leads nowhere is skipped up to where an item can begin. */
struct walk {
    const struct item_trie *trie;
    int32_t node;
    bool lost;
    double log_probability;
    int64_t pieces;
};

/* The item, or the broken part, before the present token. */
static bool end_piece(struct walk *walk, struct answer *answer, struct error *error)
{
    const int32_t item = walk->lost ? -1 : walk->trie->item[walk->node];
    const double sum = walk->log_probability;
    const bool nothing = !walk->lost && walk->node == 0;
    walk->node = 0;
    walk->lost = false;
    walk->log_probability = 0.0;
    if (nothing)
        return true;
    walk->pieces++;
    if (item >= 0)
        return append(answer, item, sum, false, error);
    answer->malformed++;
    return true;
}

static bool walk_token(struct walk *walk, const struct item_writer *writer, int32_t token,
                       float log_probability, struct answer *answer, struct error *error)
{
    const int32_t child = walk->lost ? -1 : item_trie_child(walk->trie, walk->node, token);
    const int32_t begun = child < 0 ? item_trie_child(&writer->next, 0, token) : -1;
    if (child >= 0) {
        walk->node = child;
    } else if (begun >= 0) {
        if (!end_piece(walk, answer, error))
            return false;
        walk->trie = &writer->next;
        walk->node = begun;
    } else {
        if (!walk->lost && walk->trie->item[walk->node] >= 0 && !end_piece(walk, answer, error))
            return false;
        walk->lost = true;
    }
    walk->log_probability += (double)log_probability;
    if (walk->lost || walk->trie->item[walk->node] < 0 ||
        walk->trie->first_child[walk->node] < walk->trie->first_child[walk->node + 1])
        return true;
    const bool ended = end_piece(walk, answer, error);
    walk->trie = &writer->next;
    return ended;
}

static bool parse_tokens(struct answer *answer, const struct answer_parser *parser, const int32_t *token,
                         const float *log_probability, int64_t count, bool joined, bool cut,
                         int64_t items_maximum, struct error *error)
{
    const struct item_writer *const writer = parser->writer;
    struct walk walk = {.trie = joined ? &writer->next : &writer->first};
    for (int64_t i = 0; i < count && walk.pieces < items_maximum; i++)
        if (!walk_token(&walk, writer, token[i], log_probability[i], answer, error))
            return false;
    if (walk.pieces >= items_maximum)
        return true;
    const bool under_way = walk.lost || walk.node > 0;
    if (!cut || !under_way)
        return end_piece(&walk, answer, error);
    answer->incomplete++;
    const int32_t item = walk.lost ? -1 : walk.trie->item[walk.node];
    return item < 0 || append(answer, item, walk.log_probability, true, error);
}

bool answer_parse(struct answer *answer, const struct answer_parser *parser, const int32_t *token,
                  const float *log_probability, int64_t count, bool joined, bool cut, int64_t items_maximum,
                  struct error *error)
{
    answer->count = answer->malformed = answer->unknown = answer->incomplete = 0;
    if (count == 0)
        return true;
    if (parser->text)
        return decode_and_parse(answer, parser, token, log_probability, count, cut, items_maximum, error);
    return parse_tokens(answer, parser, token, log_probability, count, joined, cut, items_maximum, error);
}

/* ---- proposals ----------------------------------------------------------------------------------------- */

static int64_t *counter_of(struct proposal_list *list, const struct answer *answer, int64_t place,
                           const int32_t *had, int64_t had_count)
{
    const int32_t item = answer->item[place].item;
    for (int64_t i = 0; i < had_count; i++)
        if (had[i] == item)
            return &list->already_seen;
    for (int64_t i = 0; i < place; i++)
        if (answer->item[i].item == item)
            return &list->duplicate;
    return &list->valid;
}

bool answer_propose(const struct answer *answer, struct proposal_list *list, int32_t user, int32_t sample,
                    const int32_t *had, int64_t had_count, struct error *error)
{
    list->malformed += answer->malformed;
    list->unknown += answer->unknown;
    list->invalid += answer->malformed + answer->unknown;
    list->incomplete += answer->incomplete;
    for (int64_t i = 0; i < answer->count; i++) {
        const struct proposal proposal = {.user = user,
                                          .item = answer->item[i].item,
                                          .sample = sample,
                                          .position = (int32_t)i,
                                          .cut = answer->item[i].cut,
                                          .log_probability = (float)answer->item[i].log_probability};
        ++*counter_of(list, answer, i, had, had_count);
        if (!proposal_list_append(list, proposal, error))
            return false;
    }
    return true;
}
