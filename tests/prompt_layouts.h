/* prompt_layouts.h: layouts of prompts for tests. They stay until the program ends. */
#ifndef IDREC_TESTS_PROMPT_LAYOUTS_H
#define IDREC_TESTS_PROMPT_LAYOUTS_H

#include <stdlib.h>

#include "models/language/prompt_layout.h"
#include "tests/support.h"

static inline struct prompt_layout *keep_layout(void)
{
    static struct kept_layout {
        struct prompt_layout layout;
        struct kept_layout *next;
    } * kept;
    struct kept_layout *made = calloc(1, sizeof *made);
    made->next = kept;
    kept = made;
    return &made->layout;
}

/* The prompts of ids. */
static inline const struct prompt_layout *layout_of_ids(struct vocabulary vocabulary, bool separator)
{
    struct error error = ERROR_INITIALIZER;
    struct prompt_layout *layout = keep_layout();
    require(prompt_layout_of_ids(layout, &vocabulary, separator, &error), &error);
    return layout;
}

/* Prompts whose users and items are several tokens, all of which are below WORDS:
 *     1 2 USER 3  LIST  4 5 USER 6 | LIST 7 8      and without items in the context  1 2 USER 9  4 5 USER 6 | ...
 * A user is his number + WORD_USER, twice for every third one. An item is its digits to the base 4, each + WORD_ITEM: the
 * first of a context as they are, the first of an answer behind WORD_ANSWER, others behind WORD_NEXT. */
enum {
    WORDS = 64,
    WORD_CLOSING = 7,
    WORD_END = 8,
    WORD_ITEM = 10,
    WORD_NEXT = 14,
    WORD_ANSWER = 15,
    WORD_USER = 20
};

static inline int64_t write_word_digits(int32_t *token, int64_t item)
{
    int64_t base = 1, count = 0;
    while (base * 4 <= item)
        base *= 4;
    for (; base > 0; base /= 4)
        token[count++] = (int32_t)(WORD_ITEM + item / base % 4);
    return count;
}

static inline struct token_rows make_word_rows(int64_t count)
{
    return (struct token_rows){.count = count,
                               .starts = calloc((size_t)count + 1, sizeof(int64_t)),
                               .token = calloc((size_t)count * 16 + 1, sizeof(int32_t))};
}

/* Items behind `before`; 0: behind nothing. */
static inline struct token_rows item_words(int64_t items, int32_t before)
{
    struct token_rows rows = make_word_rows(items);
    for (int64_t item = 0; item < items; item++) {
        int64_t length = rows.starts[item];
        if (before > 0)
            rows.token[length++] = before;
        rows.starts[item + 1] = length + write_word_digits(rows.token + length, item);
    }
    return rows;
}

static inline struct token_rows user_words(int64_t users)
{
    struct token_rows rows = make_word_rows(users);
    for (int64_t user = 0; user < users; user++) {
        int64_t length = rows.starts[user];
        rows.token[length++] = (int32_t)(WORD_USER + user);
        if (user % 3 == 0)
            rows.token[length++] = (int32_t)(WORD_USER + user);
        rows.starts[user + 1] = length;
    }
    return rows;
}

static inline const struct prompt_layout *layout_of_words(int64_t items, int64_t users)
{
    static const struct prompt_piece pieces[] = {{.kind = PIECE_TOKENS, .first = 1, .count = 2},
                                                 {.kind = PIECE_USER},
                                                 {.kind = PIECE_EMPTY, .first = 9, .count = 1},
                                                 {.kind = PIECE_OPENING, .first = 3, .count = 1},
                                                 {.kind = PIECE_ITEMS},
                                                 {.kind = PIECE_TOKENS, .first = 4, .count = 2},
                                                 {.kind = PIECE_USER},
                                                 {.kind = PIECE_TOKENS, .first = 6, .count = 1}};
    struct prompt_layout *layout = keep_layout();
    layout->piece_count = sizeof pieces / sizeof *pieces;
    for (int piece = 0; piece < layout->piece_count; piece++)
        layout->piece[piece] = pieces[piece];
    layout->token = calloc(10, sizeof *layout->token);
    for (int32_t word = 0; word < 10; word++)
        layout->token[word] = word;
    layout->users = user_words(users);
    layout->items = (struct item_tokens){item_words(items, 0), item_words(items, WORD_NEXT)};
    layout->answer = (struct item_tokens){item_words(items, WORD_ANSWER), item_words(items, WORD_NEXT)};
    layout->closing = (struct prompt_piece){.kind = PIECE_TOKENS, .first = WORD_CLOSING, .count = 2};
    layout->end = WORD_CLOSING;
    return layout;
}

static inline bool is_word_digit(const int32_t *tokens, int64_t length, int64_t at)
{
    return at < length && tokens[at] >= WORD_ITEM && tokens[at] < WORD_ITEM + 4;
}

/* Reads the items of a list from tokens[*at] on, the first of which stands behind `before`; returns how many. */
static inline int64_t read_words(int32_t *items, const int32_t *tokens, int64_t length, int64_t *at,
                                 int32_t before)
{
    for (int64_t count = 0;; count++) {
        const int32_t lead = count > 0 ? WORD_NEXT : before;
        int64_t place = *at;
        if (lead > 0 && (place == length || tokens[place++] != lead))
            return count;
        if (!is_word_digit(tokens, length, place))
            return count;
        items[count] = 0;
        while (is_word_digit(tokens, length, place))
            items[count] = items[count] * 4 + tokens[place++] - WORD_ITEM;
        *at = place;
    }
}

#endif
