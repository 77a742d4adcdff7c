/*
 * checkpoint_config.h: config.json of a model, as Hugging Face's transformers writes and reads it. Our own keys:
 * idrec_positions (no rotary positions when false), idrec_classes.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_CONFIG_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_CONFIG_H

#include "models/language/transformer.h"

/* A model with biases on q, k and v is called Qwen2, which is Llama with just these. `dtype` is that of the weights
 * beside it. */
bool checkpoint_config_write(const struct transformer_settings *settings, enum dtype dtype,
                             const char *folder, struct error *error);
/* Refuses what the transformer here does not compute (scaled positions, other activations, further
 * biases). */
bool checkpoint_config_read(struct transformer_settings *settings, const char *folder, struct error *error);

#endif
