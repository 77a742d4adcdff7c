/*
 * item_beams.h: the most probable next items of many users by beam search over the tokens of one item, as in P5 (Geng et
 * al. 2022), which ranks by as many beams as it wants items. Probabilities are those of item_ranker.h, not normalised over
 * the catalogue, since only a part of it is looked at; an item is only written when the user does not have it.
 *
 * At each step the best beams go on, and every item that ends behind one of them is kept if it is among the best so far. A
 * search is over when no beam can lead to a better one. With at least as many beams as the trie has nodes on a level the
 * result is exact.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_BEAMS_H
#define IDREC_MODELS_LANGUAGE_ITEM_BEAMS_H

#include "models/language/beam_search.h"
#include "models/language/proposal.h"

struct item_beams_settings {
    struct beam_settings search;
    const struct item_writer *writer;
    int64_t items_maximum; /* items a user */
};

struct item_beams;

/* `train` rows in order of time; what is given must outlive the beams. */
bool item_beams_create(struct item_beams **beams, struct transformer *model,
                       const struct item_beams_settings *settings, const struct csr *train,
                       struct error *error);
void item_beams_free(struct item_beams *beams);
void item_beams_print_memory(const struct item_beams *beams, FILE *stream);

/* Appends the best items of the users first_user .. first_user + user_count - 1 and sorts the list: by user and then best
 * first (ties: item ascending). log_probability is the logarithm of the mean over the contexts, in which an item that was
 * not found counts 0; votes are the contexts in which it was found. */
bool item_beams_run(struct item_beams *beams, int64_t first_user, int64_t user_count,
                    struct proposal_list *list, struct error *error);

/* Tokens that the model has processed. */
int64_t item_beams_tokens(const struct item_beams *beams);

#endif
