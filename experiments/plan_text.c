#include "experiments/plan_text.h"

#include <stdlib.h>

enum { WORDS = 40, CLOSING = 1, ANY_TOKEN = 5 };

static int64_t digits_of(int64_t number)
{
    int64_t digits = 1;
    for (; number >= 10; number /= 10)
        digits++;
    return digits;
}

/* The tokens of items 0 .. item - 1: with a mean, its multiple, so that the mean comes out. */
static int64_t tokens_before(int64_t item, double tokens_per_item)
{
    return (int64_t)((double)item * tokens_per_item);
}

static bool make_rows(struct token_rows *rows, int64_t count, int64_t besides, double mean,
                      struct error *error)
{
    int64_t tokens = 0;
    *rows = (struct token_rows){.count = count, .starts = malloc(((size_t)count + 1) * sizeof *rows->starts)};
    for (int64_t row = 0; rows->starts && row <= count; row++) {
        rows->starts[row] = tokens;
        tokens +=
            mean > 0 ? tokens_before(row + 1, mean) - tokens_before(row, mean) : digits_of(row) + besides;
    }
    rows->token = rows->starts ? malloc((size_t)(tokens + 1) * sizeof *rows->token) : NULL;
    for (int64_t i = 0; rows->token && i < tokens; i++)
        rows->token[i] = ANY_TOKEN;
    return rows->token ||
           error_memory(error, "the tokens of the prompts", (size_t)tokens * sizeof(int32_t), NULL);
}

bool plan_text_layout(struct prompt_layout *layout, const struct dataset *dataset, double tokens_per_item,
                      struct error *error)
{
    const int64_t users = dataset->train.rows, items = dataset->train.columns;
    const struct prompt_piece words = {.kind = PIECE_TOKENS, .first = 0, .count = WORDS / 2};
    *layout = (struct prompt_layout){
        .piece_count = 5,
        .piece = {words, {.kind = PIECE_USER}, {.kind = PIECE_ITEMS}, words, {.kind = PIECE_USER}},
        .token = malloc((WORDS + CLOSING) * sizeof *layout->token),
        .closing = {.kind = PIECE_TOKENS, .first = WORDS, .count = CLOSING},
        .end = ANY_TOKEN + 1,
    };
    for (int i = 0; layout->token && i < WORDS; i++)
        layout->token[i] = ANY_TOKEN;
    if (layout->token)
        layout->token[WORDS] = layout->end;
    if ((layout->token || error_memory(error, "the tokens of the prompts", WORDS, NULL)) &&
        make_rows(&layout->users, users, 1, 0, error) &&
        make_rows(&layout->items.first, items, 2, tokens_per_item, error) &&
        make_rows(&layout->items.next, items, 2, tokens_per_item, error) &&
        make_rows(&layout->answer.first, items, 2, tokens_per_item, error) &&
        make_rows(&layout->answer.next, items, 2, tokens_per_item, error))
        return true;
    prompt_layout_free(layout);
    return false;
}
