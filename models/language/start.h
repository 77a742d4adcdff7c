/*
 * start.h: a start of training that already knows who goes with whom, instead of one from noise.
 *
 *   - The leading singular directions of the train interactions are added to the items' embeddings
 * (spectral.h).
 *   - In the first layer Wo = Wv^T with Wv of deviation 1 / sqrt(width), so that Wo Wv is the identity but
 * for noise: attention, which is nearly uniform at the start, then adds the mean of the context's embeddings.
 *     (Left out when queries and keys differ in heads or their width is not the model's.)
 *
 * The untrained model so ranks like a truncated singular value decomposition.
 */
#ifndef IDREC_MODELS_LANGUAGE_START_H
#define IDREC_MODELS_LANGUAGE_START_H

#include "core/interactions.h"
#include "models/language/transformer.h"

/* Changes the weights of a model of `vocabulary: ids` that was just created. */
bool start_from_interactions(struct transformer *model, const struct csr *train, uint64_t seed,
                             struct error *error);

#endif
