/* constraint.h: which tokens may follow, as rows of bits: bit c % 32 of word c / 32 is set when token c is
 * forbidden, as op_sample() and op_log_softmax_masked() read them. */
#ifndef IDREC_MODELS_LANGUAGE_CONSTRAINT_H
#define IDREC_MODELS_LANGUAGE_CONSTRAINT_H

#include "models/language/vocabulary.h"

static inline int64_t constraint_words(const struct vocabulary *vocabulary)
{
    return (vocabulary_classes(vocabulary) + 31) / 32;
}
static inline bool constraint_holds(const uint32_t *bits, int32_t token)
{
    return (bits[token / 32] >> (token % 32) & 1u) != 0;
}
static inline void constraint_add(uint32_t *bits, int32_t token)
{
    bits[token / 32] |= 1u << (token % 32);
}

/* bits [constraint_words()] = the control tokens (END only when end_forbidden) and the items that have a token. */
void constraint_begin(uint32_t *bits, const struct vocabulary *vocabulary, bool end_forbidden,
                      const int32_t *items, int64_t item_count);

#endif
