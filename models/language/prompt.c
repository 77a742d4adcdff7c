#include "models/language/prompt.h"

#include <assert.h>
#include <string.h>

#include "core/random.h"

/* ---- what fits ---------------------------------------------------------------------------------------- */

/* Tokens that are left for items. */
static int64_t item_budget(const struct prompt_settings *settings, int32_t user)
{
    const struct prompt_layout *layout = settings->layout;
    return settings->length_maximum - prompt_layout_frame(layout, user) - layout->closing.count;
}

static int64_t fitting_from_first(const struct prompt_layout *layout, int64_t budget, const int32_t *items,
                                  int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        budget -= prompt_layout_item_cost(layout, items[i]);
        if (budget < 0)
            return i;
    }
    return count;
}

static int64_t fitting_from_last(const struct prompt_layout *layout, int64_t budget, const int32_t *items,
                                 int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        budget -= prompt_layout_item_cost(layout, items[count - 1 - i]);
        if (budget < 0)
            return i;
    }
    return count;
}

/* The most items that fit, whichever these are. */
static int64_t fitting_at_most(const struct prompt_layout *layout, int64_t budget, const int32_t *items,
                               int64_t count)
{
    int64_t least = INT64_MAX;

    for (int64_t i = 0; i < count; i++) {
        const int64_t cost = prompt_layout_item_cost(layout, items[i]);
        least = cost < least ? cost : least;
    }
    return budget / least < count ? budget / least : count;
}

int64_t prompt_length_minimum(const struct prompt_layout *layout, int64_t users)
{
    int64_t frame = 0, item = 0;

    for (int64_t user = 0; user < users; user++) {
        const int64_t tokens = prompt_layout_frame(layout, (int32_t)user);
        frame = tokens > frame ? tokens : frame;
        if (layout->users.count == 0)
            break;
    }
    for (int64_t i = 0; i < layout->items.first.count; i++) {
        const int64_t tokens = prompt_layout_item_cost(layout, (int32_t)i);
        item = tokens > item ? tokens : item;
    }
    return frame + item + layout->closing.count;
}

bool prompt_check(const struct prompt_settings *settings, int64_t users, struct error *error)
{
    const int64_t minimum = prompt_length_minimum(settings->layout, users);
    return settings->length_maximum >= minimum ||
           error_set(error, ERROR_USAGE,
                     "prompts.length is %lld, and the longest prompt takes %lld tokens with a single item; "
                     "raise it",
                     (long long)settings->length_maximum, (long long)minimum);
}

int64_t prompt_length_bound(const struct prompt_settings *settings, int32_t user, const int32_t *items,
                            int64_t item_count)
{
    const struct prompt_layout *layout = settings->layout;
    int64_t tokens = prompt_layout_frame(layout, user) + layout->closing.count;

    for (int64_t i = 0; i < item_count && tokens < settings->length_maximum; i++)
        tokens += prompt_layout_item_cost(layout, items[i]);
    return tokens < settings->length_maximum ? tokens : settings->length_maximum;
}

int64_t prompt_length_longest(const struct prompt_settings *settings, const struct csr *train)
{
    int64_t longest = prompt_length_minimum(settings->layout, train->rows);

    for (int64_t user = 0; user < train->rows; user++) {
        const int64_t length = prompt_length_bound(
            settings, (int32_t)user, train->indices + train->starts[user], csr_row_length(train, user));
        longest = length > longest ? length : longest;
    }
    return longest < settings->length_maximum ? longest : settings->length_maximum;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static int64_t write_tokens(int32_t *tokens, const int32_t *source, int64_t count)
{
    memcpy(tokens, source, (size_t)count * sizeof *tokens);
    return count;
}

static int64_t write_row(int32_t *tokens, const struct token_rows *rows, int64_t row)
{
    return write_tokens(tokens, rows->token + rows->starts[row], token_row_length(rows, row));
}

/* The items as the first of a list, where `begins`, and further ones. The list may overlap `tokens` where it lies behind
 * all that is written before each of its items. */
static int64_t write_items(int32_t *tokens, const struct item_tokens *rows, bool begins, const int32_t *list,
                           int64_t count)
{
    int64_t length = 0;

    for (int64_t i = 0; i < count; i++)
        length += write_row(tokens + length, begins && i == 0 ? &rows->first : &rows->next, list[i]);
    return length;
}

/* Returns the length of the context; *list_at is the position of its list. */
static int64_t write_context(int32_t *tokens, const struct prompt_layout *layout, int32_t user,
                             const int32_t *list, int64_t count, int64_t *list_at)
{
    int64_t length = 0;

    for (int i = 0; i < layout->piece_count; i++) {
        const struct prompt_piece *piece = &layout->piece[i];
        if (piece->kind == PIECE_USER)
            length += write_row(tokens + length, &layout->users, user);
        else if (piece->kind == PIECE_ITEMS) {
            *list_at = length;
            length += write_items(tokens + length, &layout->items, true, list, count);
        } else if (piece->kind == PIECE_TOKENS || (piece->kind == PIECE_OPENING) == (count > 0))
            length += write_tokens(tokens + length, layout->token + piece->first, piece->count);
    }
    return length;
}

/* ---- contexts ----------------------------------------------------------------------------------------- */

/* Selection sampling (Knuth, TAOCP 3.4.2, algorithm S), then a shuffle. */
static void select_items(int32_t *selected, int64_t wanted, const int32_t *items, int64_t count,
                         struct random_stream *stream)
{
    int64_t taken = 0;

    for (int64_t i = 0; i < count; i++)
        if (random_below(stream, (uint32_t)(count - i)) < (uint32_t)(wanted - taken))
            selected[taken++] = items[i];
    random_shuffle(stream, selected, wanted);
}

/* Returns the length; *shown is how many items are in the context. */
static int64_t draw_context(int32_t *tokens, const struct prompt_settings *settings, int32_t user,
                            const int32_t *items, int64_t item_count, struct random_stream stream,
                            int64_t *shown)
{
    const struct prompt_layout *layout = settings->layout;
    const int64_t budget = item_budget(settings, user);
    const int32_t *list;
    int64_t list_at;

    if (settings->shuffle) {
        const int64_t most = fitting_at_most(layout, budget, items, item_count);
        select_items(tokens, most, items, item_count, &stream);
        *shown = fitting_from_first(layout, budget, tokens, most);
        /* At the end of `tokens` the list stays until it is written, since each item takes at least its own place. */
        list = memmove(tokens + settings->length_maximum - *shown, tokens, (size_t)*shown * sizeof *tokens);
    } else {
        *shown = fitting_from_last(layout, budget, items, item_count);
        list = items + item_count - *shown;
    }
    return write_context(tokens, layout, user, list, *shown, &list_at);
}

int64_t prompt_context(int32_t *tokens, const struct prompt_settings *settings, int32_t user,
                       const int32_t *items, int64_t item_count, uint64_t seed, uint64_t draw)
{
    int64_t shown;
    return draw_context(tokens, settings, user, items, item_count,
                        random_stream_open(seed, RANDOM_CONTEXT, draw, (uint64_t)user), &shown);
}

struct prompt_question prompt_question(int32_t *tokens, const struct prompt_settings *settings, int32_t user,
                                       const int32_t *items, int64_t item_count, const int32_t *answer,
                                       int64_t answer_count, uint64_t seed, uint64_t draw)
{
    const struct prompt_layout *layout = settings->layout;
    struct prompt_settings shortened = *settings;
    struct prompt_question question;
    int64_t shown;

    assert(answer_count >= 1);
    question.answers = fitting_from_first(layout, item_budget(settings, user) / 2, answer, answer_count);
    question.answers += question.answers == 0;
    for (int64_t i = 0; i < question.answers; i++)
        shortened.length_maximum -= prompt_layout_item_cost(layout, answer[i]);
    question.length = draw_context(tokens, &shortened, user, items, item_count,
                                   random_stream_open(seed, RANDOM_CONTEXT, draw, (uint64_t)user), &shown);
    question.answer = question.length - 1;
    question.length += write_items(tokens + question.length, &layout->answer, !layout->joined || shown == 0,
                                   answer, question.answers);
    return question;
}

/* ---- training sequences ------------------------------------------------------------------------------- */

/* Puts `items` into `order`, those of the sequence first; returns how many these are. */
static int64_t arrange(int32_t *order, const struct prompt_settings *settings, int32_t user,
                       const int32_t *items, int64_t count, struct random_stream *stream)
{
    const int64_t budget = item_budget(settings, user);

    if (settings->shuffle) {
        memcpy(order, items, (size_t)count * sizeof *order);
        random_shuffle(stream, order, count);
        return fitting_from_first(settings->layout, budget, order, count);
    }
    const int64_t shown = fitting_from_last(settings->layout, budget, items, count);
    memcpy(order, items + (count - shown), (size_t)shown * sizeof *order);
    memcpy(order + shown, items, (size_t)(count - shown) * sizeof *order);
    return shown;
}

static int64_t draw_cut(enum prompt_cut cut, int64_t shown, struct random_stream *stream)
{
    if (shown < 2)
        return 0;
    return cut == PROMPT_CUT_FIRST ? 1 : 1 + (int64_t)random_below(stream, (uint32_t)(shown - 1));
}

struct prompt_sequence prompt_training(int32_t *tokens, int32_t *order,
                                       const struct prompt_settings *settings, const struct prompt_draw *draw,
                                       const int32_t *items, int64_t item_count)
{
    struct random_stream stream = random_stream_open(draw->seed, RANDOM_PROMPT, draw->epoch, draw->index);
    const struct prompt_layout *layout = settings->layout;
    struct prompt_sequence sequence = {.length = 0};

    assert(item_count >= 1);
    sequence.shown = arrange(order, settings, draw->user, items, item_count, &stream);
    assert(sequence.shown >= 1);
    sequence.cut = draw_cut(draw->cut, sequence.shown, &stream);
    sequence.length = write_context(tokens, layout, draw->user, order, sequence.cut, &sequence.list);
    sequence.answer = sequence.length - 1;
    sequence.length +=
        write_items(tokens + sequence.length, &layout->answer, !layout->joined || sequence.cut == 0,
                    order + sequence.cut, sequence.shown - sequence.cut);
    sequence.end = sequence.length;
    sequence.length +=
        write_tokens(tokens + sequence.length, layout->token + layout->closing.first, layout->closing.count);
    return sequence;
}
