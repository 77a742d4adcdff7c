#include "models/language/prompt.h"

#include <assert.h>
#include <string.h>

#include "core/random.h"

enum { FRAME_TOKENS = 3 }; /* BEGIN, USER, and END, which a context lacks */

int64_t prompt_item_capacity(const struct prompt_settings *settings)
{
    return settings->length_maximum - FRAME_TOKENS - (settings->separator ? 1 : 0);
}

/* Puts `items` into `order`, those of the sequence first; returns how many these are. */
static int64_t arrange(int32_t *order, const struct prompt_settings *settings, const int32_t *items,
                       int64_t count, struct random_stream *stream)
{
    const int64_t capacity = prompt_item_capacity(settings);
    const int64_t shown = count < capacity ? count : capacity;
    const int64_t left_out = settings->shuffle ? 0 : count - shown;

    memcpy(order, items + left_out, (size_t)(count - left_out) * sizeof *order);
    memcpy(order + (count - left_out), items, (size_t)left_out * sizeof *order);
    if (settings->shuffle)
        random_shuffle(stream, order, count);
    return shown;
}

int64_t prompt_context(int32_t *tokens, const struct vocabulary *vocabulary,
                       const struct prompt_settings *settings, int32_t user, const int32_t *items,
                       int64_t item_count, uint64_t seed, uint64_t draw)
{
    const int64_t capacity = prompt_item_capacity(settings);
    struct random_stream stream = random_stream_open(seed, RANDOM_CONTEXT, draw, (uint64_t)user);
    const int64_t shown = item_count < capacity ? item_count : capacity;
    int64_t length = 0;

    tokens[length++] = TOKEN_BEGIN;
    tokens[length++] = vocabulary_user_token(vocabulary, user);
    if (settings->shuffle) {
        int64_t taken = 0; /* selection sampling (Knuth, TAOCP 3.4.2, algorithm S), then a shuffle */
        for (int64_t i = 0; i < item_count; i++) {
            const uint32_t left = (uint32_t)(item_count - i);
            if (random_below(&stream, left) < (uint32_t)(shown - taken))
                tokens[length + taken++] = vocabulary_item_token(items[i]);
        }
        random_shuffle(&stream, tokens + length, shown);
    } else {
        for (int64_t i = 0; i < shown; i++)
            tokens[length + i] = vocabulary_item_token(items[item_count - shown + i]);
    }
    length += shown;
    if (settings->separator)
        tokens[length++] = TOKEN_SEPARATOR;
    return length;
}

static int64_t draw_cut(enum prompt_cut cut, int64_t shown, struct random_stream *stream)
{
    if (shown < 2)
        return 0;
    return cut == PROMPT_CUT_FIRST ? 1 : 1 + (int64_t)random_below(stream, (uint32_t)(shown - 1));
}

struct prompt_sequence prompt_training(int32_t *tokens, int32_t *order, const struct vocabulary *vocabulary,
                                       const struct prompt_settings *settings, const struct prompt_draw *draw,
                                       const int32_t *items, int64_t item_count)
{
    struct random_stream stream = random_stream_open(draw->seed, RANDOM_PROMPT, draw->epoch, draw->index);
    struct prompt_sequence sequence = {.length = 0};

    assert(item_count >= 1 && prompt_item_capacity(settings) >= 1);
    sequence.shown = arrange(order, settings, items, item_count, &stream);
    const int64_t cut = draw_cut(draw->cut, sequence.shown, &stream);

    tokens[sequence.length++] = TOKEN_BEGIN;
    tokens[sequence.length++] = vocabulary_user_token(vocabulary, draw->user);
    for (int64_t i = 0; i < sequence.shown; i++) {
        if (settings->separator && i == cut)
            tokens[sequence.length++] = TOKEN_SEPARATOR;
        if (i == cut)
            sequence.answer = sequence.length - 1;
        tokens[sequence.length++] = vocabulary_item_token(order[i]);
    }
    tokens[sequence.length++] = TOKEN_END;
    return sequence;
}
