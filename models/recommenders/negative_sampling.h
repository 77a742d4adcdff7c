/*
 * negative_sampling.h: the triples (user, positive, negative) of an epoch, for mini-batch training.
 *
 * Every positive occurs once an epoch, in an order drawn from (seed, RANDOM_SHUFFLE, epoch). Its negative is
 * uniform over the items that are neither a positive of the user nor excluded for him, drawn from (seed,
 * RANDOM_NEGATIVE, epoch, place in the epoch): the same at any number of threads.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_NEGATIVE_SAMPLING_H
#define IDREC_MODELS_RECOMMENDERS_NEGATIVE_SAMPLING_H

#include "core/random.h"
#include "core/tensor.h"
#include "models/recommenders/recommender.h"

struct triple_sampler {
    const struct training_set *data;
    uint64_t seed;
    int threads;
    int64_t count;  /* triples of an epoch: the positives of users who have a negative left */
    int32_t *owner; /* [positives]: the user of each index of data->positives */
    int32_t *order; /* [count]: indices of data->positives */
};

/* `data` must outlive the sampler. Data without any triple is an error. */
bool triple_sampler_open(struct triple_sampler *sampler, const struct training_set *data, uint64_t seed,
                         int threads, struct error *error);
void triple_sampler_close(struct triple_sampler *sampler);

/* The triples of an epoch, batch after batch of `batch` triples (the last may be smaller): batch b of n
 * triples holds, from rows[3 * b * batch], n users, then n positives, then n negatives, items counted from
 * data->users as rows of one table of users and items. weights[i] = the positive's weight / n. */
void triple_sampler_epoch(struct triple_sampler *sampler, int64_t epoch, int64_t batch,
                          int32_t *rows /* [3 * count] */, real *weights /* [count] */);

/* The random number's uniform item outside of the user's positives and excluded items; the user must have
 * one. */
int32_t sample_negative(struct random_stream *stream, const struct training_set *data, int32_t user);

#endif
