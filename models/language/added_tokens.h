/*
 * added_tokens.h: the first values of tokens that are new to a trained base: each row the mean of the base's rows, so that
 * a new token begins as likely as a usual one and none before another (Hewitt 2021, "Initializing new word embeddings for
 * pretrained language models"), and a small normal number, of a tenth of what the base's numbers spread about that mean.
 */
#ifndef IDREC_MODELS_LANGUAGE_ADDED_TOKENS_H
#define IDREC_MODELS_LANGUAGE_ADDED_TOKENS_H

#include "models/language/transformer.h"

/* Sets the rows of settings.added tokens, in the embedding and in an output table of its own, from the other rows. */
bool added_tokens_start(struct transformer *model, uint64_t seed, struct error *error);

#endif
