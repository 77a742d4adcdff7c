/* proposal.h: the interactions that a model proposes, as the sampler and the ranker collect them. */
#ifndef IDREC_MODELS_LANGUAGE_PROPOSAL_H
#define IDREC_MODELS_LANGUAGE_PROPOSAL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

struct proposal {
    int32_t user, item;
    int32_t sample;   /* of the user, from 0; ranking: 0 */
    int32_t position; /* within the sample from 0; ranking: the rank from 0 */
    int32_t votes;    /* the user's samples (ranking: contexts) that hold the item */
    float log_probability;
    bool cut; /* the limit on tokens ended the text with it: it may have been going to be another item */
};

struct proposal_list {
    int64_t count, capacity;
    struct proposal *row;
    /* What was drawn: sampling counts what is no item, items of the train part, items that the sample had already, and the
     * others; ranking has only valid rows. */
    int64_t requested, valid, invalid, already_seen, duplicate;
    int64_t malformed,
        unknown; /* of the invalid: no item by its format; in format, but not in the catalogue */
    int64_t
        incomplete; /* lists whose last item the limit on tokens cut off: marked rows, or none of the above */
};

bool proposal_list_append(struct proposal_list *list, struct proposal proposal, struct error *error);
/* Sorts by user, sample, position. */
void proposal_list_sort(struct proposal_list *list);
/* Sets the votes of a sorted list to the number of the user's samples that hold the item. */
void proposal_list_vote(struct proposal_list *list);
void proposal_list_free(struct proposal_list *list);

#endif
