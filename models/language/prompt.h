/*
 * prompt.h: sequences of tokens from a user's interactions, written as a layout says.
 *
 *   context:  fixed text, the user and some of his items
 *   training: context, then the user's other items, the answer, and what ends it
 *
 * The paper's construction is `random_cuts` prompts a user, each over a fresh shuffle cut at a uniform place, and one with
 * the full list. An item that does not fit is left out whole, and nothing else ever is.
 */
#ifndef IDREC_MODELS_LANGUAGE_PROMPT_H
#define IDREC_MODELS_LANGUAGE_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/interactions.h"
#include "models/language/prompt_layout.h"

struct prompt_settings {
    const struct prompt_layout *layout;
    bool shuffle; /* the order of the items is drawn anew; false: order of time */
    /* Tokens, END included. Items that do not fit are left out: the oldest, or, shuffled, a random part. */
    int64_t length_maximum;
};

/* The length that holds any one item in the prompt of any of `users` users. */
int64_t prompt_length_minimum(const struct prompt_layout *layout, int64_t users);

/* Refuses a length_maximum below that, and says what is needed. */
bool prompt_check(const struct prompt_settings *settings, int64_t users, struct error *error);

/* Tokens that hold every prompt with these items, at most length_maximum. */
int64_t prompt_length_bound(const struct prompt_settings *settings, int32_t user, const int32_t *items,
                            int64_t item_count);

/* Tokens that hold the prompt of every user of `train`, whatever items of his are shown; at most length_maximum. */
int64_t prompt_length_longest(const struct prompt_settings *settings, const struct csr *train);

/* Writes a context for inference into tokens [settings->length_maximum]; returns its length. `draw` numbers
 * the shuffled contexts of a user: the order is a function of (seed, user, draw). */
int64_t prompt_context(int32_t *tokens, const struct prompt_settings *settings, int32_t user,
                       const int32_t *items, int64_t item_count, uint64_t seed, uint64_t draw);

/* A context and a given answer to it, without what ends an answer. */
struct prompt_question {
    int64_t length;  /* tokens */
    int64_t answer;  /* the first position whose next token belongs to the answer */
    int64_t answers; /* items in the answer */
};
/* Writes them into tokens [settings->length_maximum]. The answer's items, from the first on, may take half of the room for
 * items, and the context's the rest; the answer has one item at least. answer_count >= 1. */
struct prompt_question prompt_question(int32_t *tokens, const struct prompt_settings *settings, int32_t user,
                                       const int32_t *items, int64_t item_count, const int32_t *answer,
                                       int64_t answer_count, uint64_t seed, uint64_t draw);

/* Where a training sequence is cut into context and answer. */
enum prompt_cut {
    PROMPT_CUT_RANDOM, /* after a uniform number of items, at least one on either side */
    PROMPT_CUT_FIRST   /* after the first item: nearly the whole list is the answer */
};

/* Whose sequence is drawn, and the number that it is drawn with: all is a function of (seed, epoch, draw). */
struct prompt_draw {
    int32_t user;
    enum prompt_cut cut;
    uint64_t seed, epoch, index; /* index: of the sequence within its epoch, any fixed numbering */
};

/* A training sequence of the items x1 .. xk | xk+1 .. xm. */
struct prompt_sequence {
    int64_t length; /* tokens, all that ends the answer included */
    int64_t shown;  /* m, items in the sequence */
    int64_t cut;    /* k, items in the context */
    int64_t list;   /* the position of the context's list: of x1's first token */
    int64_t answer; /* the first position whose next token belongs to the answer */
    int64_t end;    /* the position of the layout's `end`, behind the answer's items */
};

/* Writes the sequence into tokens [settings->length_maximum]. `order` [item_count] becomes the user's items
 * in the order of the sequence, those that were left out last. item_count >= 1; a single item is all answer. length_maximum
 * is at least prompt_length_minimum(). */
struct prompt_sequence prompt_training(int32_t *tokens, int32_t *order,
                                       const struct prompt_settings *settings, const struct prompt_draw *draw,
                                       const int32_t *items, int64_t item_count);

#endif
