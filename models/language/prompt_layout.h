/*
 * prompt_layout.h: how a prompt is written as tokens: pieces of fixed text around the user and the list of his items.
 *
 *   ids:   BEGIN USER items SEPARATOR | items END
 *   text:  <s> Given the user(u USER )'s clicked list items: items , predict ... | items </s>
 *
 * What stands before the bar is the context that generation goes on from; the answer follows it.
 */
#ifndef IDREC_MODELS_LANGUAGE_PROMPT_LAYOUT_H
#define IDREC_MODELS_LANGUAGE_PROMPT_LAYOUT_H

#include "models/language/item_tokens.h"

enum prompt_piece_kind { PIECE_TOKENS, PIECE_USER, PIECE_ITEMS };

enum { PROMPT_PIECES_MAXIMUM = 16 };
struct prompt_piece {
    enum prompt_piece_kind kind;
    int32_t first, count; /* PIECE_TOKENS: in prompt_layout.token */
};

struct prompt_layout {
    int piece_count; /* of the context, with exactly one PIECE_ITEMS */
    struct prompt_piece piece[PROMPT_PIECES_MAXIMUM];
    int32_t *token;                   /* of all fixed pieces */
    struct token_rows users;          /* a row a user; count 0: a user is no part of the prompt */
    struct item_tokens items, answer; /* of the items in the context and in the answer */
    int32_t end;                      /* the token that ends an answer */
    bool
        joined; /* no piece parts context and answer: the answer's first item is written as a further one of the list */
};
void prompt_layout_free(struct prompt_layout *layout);

/* Tokens of the context's pieces for a user, without items. */
int64_t prompt_layout_frame(const struct prompt_layout *layout, int32_t user);

#endif
