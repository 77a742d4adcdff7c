/*
 * start.h: a start of training that already knows what goes with what, instead of one from noise.
 *
 * The leading singular vectors of the train interactions are added to the items' embeddings (spectral.h). In
 * the first layer Wv is a random orthogonal matrix and Wo its transpose, so that attention, which is nearly
 * uniform at the start, adds the mean of the context's embeddings (left out where the heads' widths do not
 * add up to the model's). The untrained model so ranks like a truncated singular value decomposition.
 */
#ifndef IDREC_MODELS_LANGUAGE_START_H
#define IDREC_MODELS_LANGUAGE_START_H

#include "core/interactions.h"
#include "models/language/transformer.h"

/* Changes the weights of a model of `vocabulary: ids` that was just created to train all of them. */
bool start_from_interactions(struct transformer *model, const struct csr *train, uint64_t seed,
                             struct error *error);

#endif
