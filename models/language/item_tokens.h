/*
 * item_tokens.h: the tokens that stand for each item. A list of items is written as the `first` tokens of its first item
 * and the `next` tokens of every further one, which begin with what separates two items (in text "i12" and ",i34"; where
 * nothing separates items both are the same).
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_TOKENS_H
#define IDREC_MODELS_LANGUAGE_ITEM_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* Rows of tokens: row r is token[starts[r] .. starts[r + 1] - 1]. */
struct token_rows {
    int64_t count;
    int64_t *starts; /* [count + 1] */
    int32_t *token;
};

static inline int64_t token_row_length(const struct token_rows *rows, int64_t row)
{
    return rows->starts[row + 1] - rows->starts[row];
}
void token_rows_free(struct token_rows *rows);

struct item_tokens {
    struct token_rows first, next; /* a row an item, each of at least one token */
};
void item_tokens_free(struct item_tokens *tokens);

#endif
