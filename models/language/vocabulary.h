/*
 * vocabulary.h: the tokens of `vocabulary: ids`: four control tokens, then a token for each item, then those of
 * collaborative codes, then, when `user_tokens` is set, a token for each user. Users come last because they are never
 * predicted. What stands for an item is indexing.h's matter: items need no tokens where codes do.
 */
#ifndef IDREC_MODELS_LANGUAGE_VOCABULARY_H
#define IDREC_MODELS_LANGUAGE_VOCABULARY_H

#include <stdbool.h>
#include <stdint.h>

enum control_token { TOKEN_BEGIN, TOKEN_END, TOKEN_SEPARATOR, TOKEN_NO_USER, CONTROL_TOKEN_COUNT };

struct vocabulary {
    int64_t items, users; /* items that have a token of their own: all or none */
    bool user_tokens;
    int64_t codes; /* tokens of codes */
};

static inline int64_t vocabulary_size(const struct vocabulary *vocabulary)
{
    return CONTROL_TOKEN_COUNT + vocabulary->items + vocabulary->codes +
           (vocabulary->user_tokens ? vocabulary->users : 0);
}
/* Tokens that can be predicted: control tokens, items and codes. */
static inline int64_t vocabulary_classes(const struct vocabulary *vocabulary)
{
    return CONTROL_TOKEN_COUNT + vocabulary->items + vocabulary->codes;
}
static inline int32_t vocabulary_item_token(int32_t item)
{
    return CONTROL_TOKEN_COUNT + item;
}
/* The item of a token, or -1 when it is not an item's. */
static inline int32_t vocabulary_token_item(const struct vocabulary *vocabulary, int32_t token)
{
    const int64_t item = (int64_t)token - CONTROL_TOKEN_COUNT;
    return item >= 0 && item < vocabulary->items ? (int32_t)item : -1;
}
static inline int32_t vocabulary_user_token(const struct vocabulary *vocabulary, int32_t user)
{
    return vocabulary->user_tokens ? (int32_t)(vocabulary_classes(vocabulary) + user) : TOKEN_NO_USER;
}

#endif
