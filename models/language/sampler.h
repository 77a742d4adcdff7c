/*
 * sampler.h: draws lists of items for many users. A fixed number of sequences is decoded together; one that
 * ends makes room for the next at once.
 *
 * Random numbers are keyed by (seed, user * samples + sample, position) and every sequence's logits are
 * independent of the others, so a user's samples depend neither on the batch nor on threads.
 */
#ifndef IDREC_MODELS_LANGUAGE_SAMPLER_H
#define IDREC_MODELS_LANGUAGE_SAMPLER_H

#include "core/interactions.h"
#include "models/language/prompt.h"
#include "models/language/proposal.h"
#include "models/language/transformer.h"

struct sampler_settings {
    struct vocabulary vocabulary;
    struct prompt_settings prompt;
    int64_t batch;         /* sequences decoded together, at least 1; lowered to what fits into cache_bytes */
    size_t cache_bytes;    /* the most that keys and values may occupy; 0: see cache_choose_slots() */
    int64_t samples;       /* lists a user; sample s follows the shuffled context s % contexts */
    int64_t contexts;      /* at most the samples are used */
    int64_t items_maximum; /* tokens drawn for a list */
    struct sampling sampling;
    bool constrained; /* only items that the user's train part and the list do not hold; false: any token */
    bool end_trained; /* END ends a list; otherwise it is a token that is no item */
};

struct sampler;

/* `train` rows in order of time; model and train must outlive the sampler. */
bool sampler_create(struct sampler **sampler, struct transformer *model,
                    const struct sampler_settings *settings, const struct csr *train, struct error *error);
void sampler_free(struct sampler *sampler);
void sampler_print_memory(const struct sampler *sampler, FILE *stream);

/* Appends the lists of the users first_user .. first_user + user_count - 1 to `list`, in the order in which
 * they end. */
bool sampler_run(struct sampler *sampler, int64_t first_user, int64_t user_count, struct proposal_list *list,
                 struct error *error);

/* Tokens of contexts, each counted once a user, and of lists that the model has processed. */
int64_t sampler_tokens(const struct sampler *sampler);

#endif
