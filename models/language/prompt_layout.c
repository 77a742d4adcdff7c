#include "models/language/prompt_layout.h"

#include <stdlib.h>
#include <string.h>

void prompt_layout_free(struct prompt_layout *layout)
{
    free(layout->token);
    token_rows_free(&layout->users);
    item_tokens_free(&layout->items);
    item_tokens_free(&layout->answer);
    *layout = (struct prompt_layout){.piece_count = 0};
}

/* ---- the prompts of ids ------------------------------------------------------------------------------- */

/* Row r is the token first + r. */
static bool rows_of_single_tokens(struct token_rows *rows, int64_t count, int64_t first, struct error *error)
{
    *rows = (struct token_rows){.count = count,
                                .starts = malloc(((size_t)count + 1) * sizeof *rows->starts),
                                .token = malloc(((size_t)count + 1) * sizeof *rows->token)};
    if (!rows->starts || !rows->token)
        return error_memory(error, "the tokens of the prompts",
                            (size_t)count * (sizeof *rows->starts + sizeof *rows->token), NULL);
    for (int64_t row = 0; row <= count; row++)
        rows->starts[row] = row;
    for (int64_t row = 0; row < count; row++)
        rows->token[row] = (int32_t)(first + row);
    return true;
}

bool prompt_layout_of_ids(struct prompt_layout *layout, const struct vocabulary *vocabulary, bool separator,
                          struct error *error)
{
    enum { BEGIN, NO_USER, SEPARATOR, END, FIXED_TOKENS };
    const int64_t items = vocabulary->items, item = vocabulary_item_token(0);
    const struct prompt_piece user = {.kind = vocabulary->user_tokens ? PIECE_USER : PIECE_TOKENS,
                                      .first = NO_USER,
                                      .count = vocabulary->user_tokens ? 0 : 1};
    *layout = (struct prompt_layout){.piece_count = separator ? 4 : 3,
                                     .piece = {{.kind = PIECE_TOKENS, .first = BEGIN, .count = 1},
                                               user,
                                               {.kind = PIECE_ITEMS},
                                               {.kind = PIECE_TOKENS, .first = SEPARATOR, .count = 1}},
                                     .token = malloc(FIXED_TOKENS * sizeof *layout->token),
                                     .closing = {.kind = PIECE_TOKENS, .first = END, .count = 1},
                                     .end = TOKEN_END,
                                     .joined = !separator};
    if (!layout->token)
        return error_memory(error, "the tokens of the prompts", FIXED_TOKENS * sizeof *layout->token, NULL);
    layout->token[BEGIN] = TOKEN_BEGIN;
    layout->token[NO_USER] = TOKEN_NO_USER;
    layout->token[SEPARATOR] = TOKEN_SEPARATOR;
    layout->token[END] = TOKEN_END;
    if ((!vocabulary->user_tokens || rows_of_single_tokens(&layout->users, vocabulary->users,
                                                           vocabulary_user_token(vocabulary, 0), error)) &&
        rows_of_single_tokens(&layout->items.first, items, item, error) &&
        rows_of_single_tokens(&layout->items.next, items, item, error) &&
        rows_of_single_tokens(&layout->answer.first, items, item, error) &&
        rows_of_single_tokens(&layout->answer.next, items, item, error))
        return true;
    prompt_layout_free(layout);
    return false;
}

static bool replace_rows(struct token_rows *rows, const struct token_rows *items, struct error *error)
{
    const size_t starts = ((size_t)items->count + 1) * sizeof *rows->starts;
    const size_t tokens = (size_t)items->starts[items->count] * sizeof *rows->token;
    token_rows_free(rows);
    *rows = (struct token_rows){.count = items->count, .starts = malloc(starts), .token = malloc(tokens + 1)};
    if (!rows->starts || !rows->token)
        return error_memory(error, "the tokens of the prompts", starts + tokens, NULL);
    memcpy(rows->starts, items->starts, starts);
    memcpy(rows->token, items->token, tokens);
    return true;
}

bool prompt_layout_of_codes(struct prompt_layout *layout, const struct vocabulary *vocabulary,
                            const struct token_rows *items, bool separator, struct error *error)
{
    if (!prompt_layout_of_ids(layout, vocabulary, separator, error))
        return false;
    if (replace_rows(&layout->items.first, items, error) && replace_rows(&layout->items.next, items, error) &&
        replace_rows(&layout->answer.first, items, error) && replace_rows(&layout->answer.next, items, error))
        return true;
    prompt_layout_free(layout);
    return false;
}

/* ---- lengths ------------------------------------------------------------------------------------------ */

int64_t prompt_layout_frame(const struct prompt_layout *layout, int32_t user)
{
    int64_t tokens = 0, with_items = 0, without = 0;

    for (int i = 0; i < layout->piece_count; i++) {
        const struct prompt_piece *piece = &layout->piece[i];
        tokens += piece->kind == PIECE_TOKENS ? piece->count : 0;
        tokens += piece->kind == PIECE_USER ? token_row_length(&layout->users, user) : 0;
        with_items += piece->kind == PIECE_OPENING ? piece->count : 0;
        without += piece->kind == PIECE_EMPTY ? piece->count : 0;
    }
    return tokens + (with_items > without ? with_items : without);
}

int64_t prompt_layout_item_cost(const struct prompt_layout *layout, int32_t item)
{
    const struct token_rows *const forms[] = {&layout->items.first, &layout->items.next,
                                              &layout->answer.first, &layout->answer.next};
    int64_t cost = 0;

    for (int form = 0; form < 4; form++) {
        const int64_t length = token_row_length(forms[form], item);
        cost = length > cost ? length : cost;
    }
    return cost;
}

bool prompt_layout_single(const struct prompt_layout *layout)
{
    const struct item_tokens *const context = &layout->items, *const answer = &layout->answer;

    for (int64_t item = 0; item < context->first.count; item++) {
        if (prompt_layout_item_cost(layout, (int32_t)item) != 1)
            return false;
        const int32_t token = context->first.token[context->first.starts[item]];
        if (context->next.token[context->next.starts[item]] != token ||
            answer->first.token[answer->first.starts[item]] != token ||
            answer->next.token[answer->next.starts[item]] != token)
            return false;
    }
    return true;
}
