/*
 * ranker.h: the most probable next items of many users. A user's probability of an item is the mean over
 * several models and shuffled contexts of its probability after the context, among the items that the train part does
 * not hold. Users x items are never held at once, and a user's ranking depends neither on the batch nor on
 * threads.
 */
#ifndef IDREC_MODELS_LANGUAGE_RANKER_H
#define IDREC_MODELS_LANGUAGE_RANKER_H

#include "core/interactions.h"
#include "models/language/prompt.h"
#include "models/language/proposal.h"
#include "models/language/transformer.h"

struct ranker_settings {
    struct vocabulary vocabulary;
    struct prompt_settings prompt;
    int64_t batch;         /* contexts scored together, at least 1; lowered to what fits into cache_bytes */
    size_t cache_bytes;    /* the most that keys and values may occupy; 0: see cache_choose_slots() */
    int64_t contexts;      /* shuffled contexts a user */
    int64_t items_maximum; /* items a user */
    uint64_t seed;         /* of the shuffles */
};

struct ranker;

/* Models of one shape, at least one; `train` rows in order of time; both must outlive the ranker. */
bool ranker_create(struct ranker **ranker, struct transformer *const *models, int64_t model_count,
                   const struct ranker_settings *settings, const struct csr *train, struct error *error);
void ranker_free(struct ranker *ranker);
void ranker_print_memory(const struct ranker *ranker, FILE *stream);

/* Appends the best items of the users first_user .. first_user + user_count - 1, by user and then best first
 * (ties: item ascending). log_probability is the logarithm of the mean; votes are the contexts of all models in whose own
 * best items_maximum the item is. */
bool ranker_run(struct ranker *ranker, int64_t first_user, int64_t user_count, struct proposal_list *list,
                struct error *error);

/* Tokens of prompts that the model has processed. */
int64_t ranker_tokens(const struct ranker *ranker);

#endif
