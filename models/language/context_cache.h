/*
 * context_cache.h: the prompts of users in an attention cache, for what goes on from them. The fixed text that all prompts
 * begin with is computed once, in a slot of its own; every prompt then goes on from there (where it is shorter than
 * PREFIX_MINIMUM tokens, computing it again costs less than that does).
 */
#ifndef IDREC_MODELS_LANGUAGE_CONTEXT_CACHE_H
#define IDREC_MODELS_LANGUAGE_CONTEXT_CACHE_H

#include "core/interactions.h"
#include "models/language/cache.h"
#include "models/language/prompt.h"

enum { PREFIX_MINIMUM = 16 };

struct context_settings {
    struct prompt_settings prompt;
    uint64_t seed; /* of the shuffles */
    int64_t batch,
        least; /* rows, lowered to what fits into cache_bytes, and those without which nothing can be done */
    size_t cache_bytes;   /* the most that keys and values may occupy; 0: see cache_choose_slots() */
    int64_t tokens_after; /* that are decoded behind a context */
};

struct context_cache {
    struct cache *cache;
    int64_t rows; /* slots 0 .. rows - 1 are free for contexts */
    int64_t capacity;
    int64_t tokens; /* of contexts that the model has processed */
    struct context_settings settings;
    const struct csr *train;
    int64_t prefix;  /* tokens of the shared beginning; 0: none */
    int32_t *prompt; /* [length_maximum] */
};

/* How many slots the cache gets: the rows', and one for the shared beginning where there is one. */
bool context_cache_slots(int64_t *slots, const struct transformer *model,
                         const struct context_settings *settings, struct error *error);

/* `train` rows in order of time; model and train must outlive the cache. */
bool context_cache_create(struct context_cache *contexts, struct transformer *model,
                          const struct context_settings *settings, const struct csr *train,
                          struct error *error);
void context_cache_free(struct context_cache *contexts);

/* Queues the context number `draw` of a user for a slot, all but its last token, which contexts->prompt holds at the place
 * that is returned: it is the next to be decoded, at that position. */
int64_t context_cache_read(struct context_cache *contexts, int32_t slot, int64_t user, int64_t draw);

/* The items of a user's train part. */
static inline const int32_t *context_items(const struct csr *train, int64_t user, int64_t *count)
{
    *count = csr_row_length(train, user);
    return train->indices + train->starts[user];
}

/* The users first .. first + count - 1 by the number of their items: those that are decoded together then have contexts of
 * like length. malloc'ed; NULL: no memory. */
int64_t *context_order(const struct csr *train, int64_t first, int64_t count, struct error *error);

#endif
