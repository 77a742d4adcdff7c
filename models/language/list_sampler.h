/*
 * list_sampler.h: draws lists of items for many users, where an item is any number of tokens (sampler.h: exactly one, with
 * its steps on the device). A fixed number of sequences is decoded together; one that ends makes room for the next at once.
 *
 * Constrained, only tokens by which a list of items can go on that the user does not have are drawn: the host keeps the
 * place of every list in the trie and looks at the logits of the few tokens that may follow. That is one round trip to the
 * device a step, for all rows. An item's log-probability is the sum over its tokens, each among those that may follow at its
 * place, before temperature, top_k and top_p; where a longer item may go on from it, that of stopping (the sum of all tokens
 * by which no longer item goes on) is added to it and taken from the item behind it. What a list's items sum to is so the
 * log-probability of its tokens.
 *
 * Unconstrained, any token is drawn, on the device, until the list ends or has `tokens_maximum` tokens; then it is read by
 * answer_parser.h.
 *
 * Random numbers are keyed by (seed, user * samples + sample, position of the token) and every sequence's logits are
 * independent of the others, so a user's samples depend neither on the batch nor on threads.
 */
#ifndef IDREC_MODELS_LANGUAGE_LIST_SAMPLER_H
#define IDREC_MODELS_LANGUAGE_LIST_SAMPLER_H

#include "models/language/answer_parser.h"
#include "models/language/context_cache.h"
#include "models/language/proposal.h"

struct list_sampler_settings {
    struct prompt_settings prompt;
    const struct item_writer *writer;
    const struct answer_parser *parser; /* unconstrained; NULL otherwise */
    int64_t batch;                      /* sequences decoded together; see context_cache.h */
    size_t cache_bytes;
    int64_t samples;        /* lists a user; sample s follows the shuffled context s % contexts */
    int64_t contexts;       /* at most the samples are used */
    int64_t items_maximum;  /* items of a list */
    int64_t tokens_maximum; /* tokens drawn for a list; 0: what items_maximum items can need */
    struct sampling sampling;
    bool constrained;
};

struct list_sampler;

/* `train` rows in order of time; what is given must outlive the sampler. */
bool list_sampler_create(struct list_sampler **sampler, struct transformer *model,
                         const struct list_sampler_settings *settings, const struct csr *train,
                         struct error *error);
void list_sampler_free(struct list_sampler *sampler);
void list_sampler_print_memory(const struct list_sampler *sampler, FILE *stream);

/* Appends the lists of the users first_user .. first_user + user_count - 1 to `list`, in the order in which they end. Users
 * with contexts of like length are decoded together. */
bool list_sampler_run(struct list_sampler *sampler, int64_t first_user, int64_t user_count,
                      struct proposal_list *list, struct error *error);

/* Tokens of contexts, each counted once a user, and of lists that the model has processed. */
int64_t list_sampler_tokens(const struct list_sampler *sampler);

#endif
