/*
 * item_ranker.h: the most probable next items of many users, where an item is any number of tokens (ranker.h: exactly one).
 *
 * An item's probability after a context is the product of the model's probabilities of its tokens (softmax over the whole
 * vocabulary), where a longer item may go on from it also of a token that begins a further item or ends the list. As in
 * ranker.h it is normalised over the items that the train part does not hold, and a user's probability of an item is the
 * mean over several shuffled contexts.
 *
 * Every node of the trie with children is evaluated once a context: all contexts of a batch walk through the trie together,
 * depth first, and a node's token takes the place of its sibling's in the cache, so that nothing is copied. That suits
 * catalogues of up to some thousand inner nodes; beyond, beam search (item_beams.h) looks at the best of them only.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_RANKER_H
#define IDREC_MODELS_LANGUAGE_ITEM_RANKER_H

#include "models/language/context_cache.h"
#include "models/language/item_writer.h"
#include "models/language/proposal.h"

struct item_ranker_settings {
    struct prompt_settings prompt;
    const struct item_writer *writer;
    int64_t batch; /* contexts scored together; see context_cache.h */
    size_t cache_bytes;
    int64_t contexts;      /* shuffled contexts a user */
    int64_t items_maximum; /* items a user */
    uint64_t seed;         /* of the shuffles */
};

struct item_ranker;

/* `train` rows in order of time; what is given must outlive the ranker. */
bool item_ranker_create(struct item_ranker **ranker, struct transformer *model,
                        const struct item_ranker_settings *settings, const struct csr *train,
                        struct error *error);
void item_ranker_free(struct item_ranker *ranker);
void item_ranker_print_memory(const struct item_ranker *ranker, FILE *stream);

/* Appends the best items of the users first_user .. first_user + user_count - 1 and sorts the list: by user and then best
 * first (ties: item ascending). log_probability is the logarithm of the mean; votes are the contexts in whose own best
 * items_maximum the item is. */
bool item_ranker_run(struct item_ranker *ranker, int64_t first_user, int64_t user_count,
                     struct proposal_list *list, struct error *error);

/* Tokens that the model has processed. */
int64_t item_ranker_tokens(const struct item_ranker *ranker);

#endif
