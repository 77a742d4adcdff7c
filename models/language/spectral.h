/*
 * spectral.h: a start for the embeddings of items: the leading singular directions of the interactions, which
 * a model that starts from noise spends most of its training to find. Measured on ml-100k in docs/results.
 */
#ifndef IDREC_MODELS_LANGUAGE_SPECTRAL_H
#define IDREC_MODELS_LANGUAGE_SPECTRAL_H

#include "core/error.h"
#include "core/interactions.h"

/* Fills embedding [items, width] (items: train->columns) with the leading right singular vectors of Du^-1/2 X Di^-1/2, X the
 * 0/1 matrix `train` and Du, Di its row and column sums, each times its singular value, all scaled to the root mean square
 * `deviation`; columns beyond the rank of X are 0. See core/singular_vectors.h. */
bool spectral_embedding(float *embedding, const struct csr *train, int64_t width, double deviation,
                        uint64_t seed, int threads, struct error *error);

#endif
