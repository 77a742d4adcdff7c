/* item_models.h: catalogues whose items are several tokens, prompts over them, and what a model says of such items, computed
 * without a cache or a trie. */
#ifndef IDREC_TESTS_ITEM_MODELS_H
#define IDREC_TESTS_ITEM_MODELS_H

#include <math.h>

#include "models/language/item_writer.h"
#include "tests/generation_models.h"

/* Tokens of the small vocabularies here: digits are 4 .. 13. */
enum { ENDS = 1, DIGIT = 4, LETTER = 14, COMMA = 15, WORDS_FROM = 16, TOKENS = 40, TOKENS_OF_A_ROW = 16 };

static inline void add_row(struct token_rows *rows, const int32_t *token, int64_t count)
{
    const int64_t row = rows->count++;
    rows->starts = realloc(rows->starts, (size_t)(row + 2) * sizeof *rows->starts);
    rows->starts[0] = 0;
    rows->starts[row + 1] = rows->starts[row] + count;
    rows->token = realloc(rows->token, (size_t)rows->starts[row + 1] * sizeof *rows->token);
    memcpy(rows->token + rows->starts[row], token, (size_t)count * sizeof *token);
}

/* "i12" and ",i12": of a number, in decimal digits. */
static inline void add_number(struct item_tokens *items, int64_t number)
{
    int32_t token[TOKENS_OF_A_ROW] = {COMMA, LETTER};
    char digits[TOKENS_OF_A_ROW];
    const int length = snprintf(digits, sizeof digits, "%d", (int)number);
    for (int i = 0; i < length; i++)
        token[2 + i] = DIGIT + digits[i] - '0';
    add_row(&items->first, token + 1, length + 1);
    add_row(&items->next, token, length + 2);
}

static inline struct item_tokens numbered_items(int64_t count)
{
    struct item_tokens items = {.first = {.count = 0}};
    for (int64_t i = 0; i < count; i++)
        add_number(&items, i);
    return items;
}

/* `words` tokens, the user, the items, and a token before the answer unless that is joined. */
static inline struct prompt_layout make_layout(int64_t item_count, int64_t users, int32_t words, bool joined)
{
    struct prompt_layout layout = {.end = ENDS, .joined = joined};
    layout.token = calloc((size_t)words + 2, sizeof *layout.token);
    for (int32_t i = 0; i < words; i++)
        layout.token[i] = WORDS_FROM + i % (TOKENS - WORDS_FROM);
    layout.token[words] = 2;
    layout.token[words + 1] = ENDS;
    layout.piece[layout.piece_count++] = (struct prompt_piece){PIECE_TOKENS, 0, words};
    layout.piece[layout.piece_count++] = (struct prompt_piece){.kind = PIECE_USER};
    layout.piece[layout.piece_count++] = (struct prompt_piece){.kind = PIECE_ITEMS};
    if (!joined)
        layout.piece[layout.piece_count++] = (struct prompt_piece){PIECE_TOKENS, words, 1};
    layout.closing = (struct prompt_piece){PIECE_TOKENS, words + 1, 1};
    for (int64_t user = 0; user < users; user++) {
        const int32_t name[2] = {3, (int32_t)(DIGIT + user % 10)};
        add_row(&layout.users, name, 2);
    }
    layout.items = numbered_items(item_count);
    layout.answer = numbered_items(item_count);
    return layout;
}

/* Log-probabilities of the token behind a sequence. */
static inline void next_log_probabilities(double *log_probability, struct transformer *model,
                                          const int32_t *token, int64_t count)
{
    float *logits = full_logits(model, token, count);
    const float *last = logits + (count - 1) * TOKENS;
    double largest = -INFINITY, sum = 0.0;
    for (int t = 0; t < TOKENS; t++)
        largest = fmax(largest, (double)last[t]);
    for (int t = 0; t < TOKENS; t++)
        sum += exp((double)last[t] - largest);
    for (int t = 0; t < TOKENS; t++)
        log_probability[t] = (double)last[t] - largest - log(sum);
    free(logits);
}

/* Of a row of tokens behind a context, then, where another row goes on from it, of a stop: a comma or the end. */
static inline double row_log_probability(struct transformer *model, const int32_t *context, int64_t length,
                                         const struct token_rows *rows, int64_t row)
{
    int32_t token[512];
    double log_probability[TOKENS], sum = 0.0;
    const int64_t count = token_row_length(rows, row);
    const int32_t *own = rows->token + rows->starts[row];
    memcpy(token, context, (size_t)length * sizeof *token);
    for (int64_t i = 0; i < count; i++) {
        next_log_probabilities(log_probability, model, token, length);
        sum += log_probability[own[i]];
        token[length++] = own[i];
    }
    for (int64_t other = 0; other < rows->count; other++)
        if (other != row && token_row_length(rows, other) > count &&
            memcmp(rows->token + rows->starts[other], own, (size_t)count * sizeof *own) == 0) {
            next_log_probabilities(log_probability, model, token, length);
            return sum + log(exp(log_probability[COMMA]) + exp(log_probability[ENDS]));
        }
    return sum;
}

#endif
