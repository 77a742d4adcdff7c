/*
 * prompt.h: sequences of tokens from a user's interactions.
 *
 *   context:  BEGIN USER item item ... item SEPARATOR          USER is TOKEN_NO_USER without user tokens
 *   training: context answer answer ... END                    answer: the user's other items
 * With template "sequence" the separator is left out (next item in order of time). The paper's construction is
 * `random_cuts` prompts a user, each over a fresh shuffle cut at a uniform place, and one with the full list.
 */
#ifndef IDREC_MODELS_LANGUAGE_PROMPT_H
#define IDREC_MODELS_LANGUAGE_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "models/language/vocabulary.h"

struct prompt_settings {
    bool separator; /* template: default; false: sequence */
    bool shuffle;   /* the order of a context is drawn anew; false: order of time */
    int64_t length_maximum; /* tokens of a context; the oldest items (or, shuffled, a random part) are left out */
};

/* Writes a context for inference into tokens [settings->length_maximum]; returns its length. `draw` numbers the
 * shuffled contexts of a user: the order is a function of (seed, user, draw). */
int64_t prompt_context(int32_t *tokens, const struct vocabulary *vocabulary, const struct prompt_settings *settings,
                       int32_t user, const int32_t *items, int64_t item_count, uint64_t seed, uint64_t draw);

#endif
