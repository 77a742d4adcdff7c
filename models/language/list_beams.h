/*
 * list_beams.h: the most probable whole lists of items of many users by beam search. A list ends by the token that ends
 * lists, with items_maximum items or with tokens_maximum tokens. One that has ended leaves the beam narrower by one until
 * none is left, and lists are compared by their log-probability divided by the number of their tokens, since a longer list
 * is always less probable (Freitag and Al-Onaizan 2017, section 3, the fixed beam with length normalisation).
 *
 * Constrained, lists hold only items that the user does not have, each once; otherwise any token may follow, and lists are
 * read by answer_parser.h. An item's log-probability is the sum over its tokens, softmax over the whole vocabulary, with the
 * probability of stopping shared out as in list_sampler.h.
 */
#ifndef IDREC_MODELS_LANGUAGE_LIST_BEAMS_H
#define IDREC_MODELS_LANGUAGE_LIST_BEAMS_H

#include "models/language/answer_parser.h"
#include "models/language/beam_search.h"

struct list_beams_settings {
    struct beam_settings search; /* at most `samples` contexts, and at least samples / contexts beams */
    const struct item_writer *writer;
    const struct answer_parser *parser; /* unconstrained; NULL otherwise */
    /* Lists a user: sample s is the list number s / contexts, best first, of context s % contexts. */
    int64_t samples;
    int64_t items_maximum;  /* items of a list */
    int64_t tokens_maximum; /* tokens of a list; 0: what items_maximum items can need */
    bool constrained;
};

struct list_beams;

/* `train` rows in order of time; what is given must outlive the beams. */
bool list_beams_create(struct list_beams **beams, struct transformer *model,
                       const struct list_beams_settings *settings, const struct csr *train,
                       struct error *error);
void list_beams_free(struct list_beams *beams);
void list_beams_print_memory(const struct list_beams *beams, FILE *stream);

/* Appends the lists of the users first_user .. first_user + user_count - 1, in the order in which searches end. */
bool list_beams_run(struct list_beams *beams, int64_t first_user, int64_t user_count,
                    struct proposal_list *list, struct error *error);

/* Tokens that the model has processed. */
int64_t list_beams_tokens(const struct list_beams *beams);

#endif
