/*
 * checkpoint_config.h: config.json of a model, as Hugging Face's transformers writes and reads it (docs/checkpoints.md
 * says which families and keys). Our own keys: idrec_positions (no rotary positions when false), idrec_classes.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_CONFIG_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_CONFIG_H

#include "models/language/transformer.h"

/* The model is called llama, qwen2 or qwen3 after its biases and norms. `dtype` is that of the weights beside it. */
bool checkpoint_config_write(const struct transformer_settings *settings, enum dtype dtype,
                             const char *folder, struct error *error);
/* Sets all but `recompute` and `precision`. Refuses by name and value what the transformer here does not compute, and
 * sizes out of bounds. The longest sequence is what the sliding window and the positions of the model allow: within the
 * window it changes nothing. */
bool checkpoint_config_read(struct transformer_settings *settings, const char *folder, struct error *error);
/* The same from text in memory; `path` stands for it in messages. */
bool checkpoint_config_parse(struct transformer_settings *settings, const char *path, const char *text,
                             size_t length, struct error *error);

#endif
