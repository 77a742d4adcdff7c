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
#include "models/language/vocabulary.h"

enum prompt_piece_kind {
    PIECE_TOKENS,  /* of fixed text */
    PIECE_USER,    /* the row of the user */
    PIECE_OPENING, /* fixed text before a list that holds items; left out before an empty one */
    PIECE_EMPTY,   /* fixed text in place of an empty list; left out where there are items */
    PIECE_ITEMS    /* the list */
};

enum { PROMPT_PIECES_MAXIMUM = 16 };
struct prompt_piece {
    enum prompt_piece_kind kind;
    int32_t first, count; /* of fixed text: in prompt_layout.token */
};

struct prompt_layout {
    int piece_count; /* of the context, with exactly one PIECE_ITEMS */
    struct prompt_piece piece[PROMPT_PIECES_MAXIMUM];
    int32_t *token;                   /* of all fixed pieces, `closing` too */
    struct token_rows users;          /* a row a user; count 0: no piece is a user's */
    struct item_tokens items, answer; /* of the items in the context and in the answer */
    struct prompt_piece closing;      /* what ends the answer of a training sequence */
    int32_t end;                      /* the first token of `closing`: in generation it ends the list */
    /* No piece parts context and answer: the answer's first item is written as a further one of the list. */
    bool joined;
};
void prompt_layout_free(struct prompt_layout *layout);

/* The prompts of `vocabulary: ids`. Without user tokens every user is TOKEN_NO_USER; without a separator context and answer
 * are one list. */
bool prompt_layout_of_ids(struct prompt_layout *layout, const struct vocabulary *vocabulary, bool separator,
                          struct error *error);
/* The same where an item is written as its row of tokens (indexing.h) instead of its own token. */
bool prompt_layout_of_codes(struct prompt_layout *layout, const struct vocabulary *vocabulary,
                            const struct token_rows *items, bool separator, struct error *error);

/* Tokens of the context's pieces for a user, without items. */
int64_t prompt_layout_frame(const struct prompt_layout *layout, int32_t user);

/* The most tokens that an item takes, wherever it stands. */
int64_t prompt_layout_item_cost(const struct prompt_layout *layout, int32_t item);

/* Every item is one token, the same one wherever it stands. */
bool prompt_layout_single(const struct prompt_layout *layout);

#endif
