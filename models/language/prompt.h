/*
 * prompt.h: sequences of tokens from a user's interactions.
 *
 *   context:  BEGIN USER item item ... item SEPARATOR          USER is TOKEN_NO_USER without user tokens
 *   training: context answer answer ... END                    answer: the user's other items
 *
 * With template "sequence" the separator is left out (next item in order of time). The paper's construction
 * is `random_cuts` prompts a user, each over a fresh shuffle cut at a uniform place, and one with the full
 * list.
 */
#ifndef IDREC_MODELS_LANGUAGE_PROMPT_H
#define IDREC_MODELS_LANGUAGE_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "models/language/vocabulary.h"

struct prompt_settings {
    bool separator; /* template: default; false: sequence */
    bool shuffle;   /* the order of the items is drawn anew; false: order of time */
    /* Tokens, at least 5. What does not fit is left out: the oldest items, or, shuffled, a random part. */
    int64_t length_maximum;
};

/* Items that fit into a training sequence or context of length_maximum tokens. */
int64_t prompt_item_capacity(const struct prompt_settings *settings);

/* Writes a context for inference into tokens [settings->length_maximum]; returns its length. `draw` numbers
 * the shuffled contexts of a user: the order is a function of (seed, user, draw). */
int64_t prompt_context(int32_t *tokens, const struct vocabulary *vocabulary,
                       const struct prompt_settings *settings, int32_t user, const int32_t *items,
                       int64_t item_count, uint64_t seed, uint64_t draw);

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

/* A training sequence BEGIN USER x1 .. xk SEPARATOR xk+1 .. xm END. */
struct prompt_sequence {
    int64_t length; /* tokens, END included */
    int64_t shown;  /* m, items in the sequence */
    /* The first position whose next token belongs to the answer: SEPARATOR's, or xk's without. */
    int64_t answer;
};

/* Writes the sequence into tokens [settings->length_maximum]. `order` [item_count] becomes the user's items
 * in the order of the sequence, those that were left out last. item_count >= 1; a single item is all answer.
 */
struct prompt_sequence prompt_training(int32_t *tokens, int32_t *order, const struct vocabulary *vocabulary,
                                       const struct prompt_settings *settings, const struct prompt_draw *draw,
                                       const int32_t *items, int64_t item_count);

#endif
