/*
 * validation.h: how well a model predicts a user's held-out items after the context of all train items.
 */
#ifndef IDREC_MODELS_LANGUAGE_VALIDATION_H
#define IDREC_MODELS_LANGUAGE_VALIDATION_H

#include "core/comm.h"
#include "core/interactions.h"
#include "models/language/prompt.h"
#include "models/language/transformer.h"

struct validator {
    struct prompt_settings prompt;
    const struct csr *train;        /* rows in order of time */
    const struct csr *train_sorted; /* the same, rows ascend */
    const struct csr *truth;        /* held-out items, rows ascend */
    /* Of a forward pass: tokens, at least prompt.length_maximum, and sequences; at most what the model was made for. */
    int64_t batch_tokens, batch_sequences;
    int64_t users_maximum; /* the users tested are at most this many, evenly spaced; 0: all */
    int64_t k;             /* of the ranking */
    uint64_t seed;
    struct communicator *communicator; /* whose ranks divide the users; NULL: one process */
};

struct validation {
    /* Mean over users of the mean negative log-probability of their held-out items. Where an item is one token: each after
     * the context, renormalised over the items that are not in the user's train part. Else: as the list that the context is
     * answered with, in order of the row, and without what ends it; of long lists as many as prompt_question() writes. */
    double loss;
    double ndcg, recall; /* at k, of the ranking by probability; -1: items of several tokens are not ranked */
    int64_t users;
};

bool validate(struct validation *result, const struct validator *validator, struct transformer *model,
              struct error *error);

#endif
