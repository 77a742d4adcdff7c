/*
 * negative_sampling.h: the triples (user, positive, negative) of an epoch, for mini-batch training, drawn on the
 * device by op_sample_triples.
 *
 * Every positive of a user who has a negative left occurs once an epoch. A negative is uniform over the items that
 * are neither a positive of the user nor excluded for him.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_NEGATIVE_SAMPLING_H
#define IDREC_MODELS_RECOMMENDERS_NEGATIVE_SAMPLING_H

#include "core/arena.h"
#include "models/recommenders/recommender.h"

struct triple_sampler {
    struct backend *backend;
    uint64_t seed;
    int64_t items;
    int64_t count; /* triples of an epoch */
    struct arena arena;
    struct tensor users, positives, weights; /* [count]: the pairs that occur */
    struct tensor starts, excluded;          /* of each user the items that are no negatives */
};

/* Data without any triple is an error. */
bool triple_sampler_open(struct triple_sampler *sampler, struct backend *backend,
                         const struct training_set *data, uint64_t seed, struct error *error);
void triple_sampler_close(struct triple_sampler *sampler);

/* The triples of an epoch in batches of `batch`, laid out as op_sample_triples says. */
void triple_sampler_epoch(const struct triple_sampler *sampler, int64_t epoch, int64_t batch,
                          struct tensor *rows /* i32 [3 * count] */, struct tensor *weights /* [count] */);

#endif
