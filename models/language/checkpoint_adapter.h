/*
 * checkpoint_adapter.h: adapter_config.json of an adapter, as Hugging Face's peft writes and reads it.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_ADAPTER_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_ADAPTER_H

#include "models/language/transformer.h"

/* Writes the keys that peft knows since 0.9, and trainable_token_indices where there are new tokens; later ones have
 * defaults there. */
bool checkpoint_adapter_config_write(const struct lora_settings *lora,
                                     const struct transformer_settings *settings, const char *folder,
                                     struct error *error);

/* Reads what peft asks for on a base of these settings, whose layers say what a regular expression of target_modules means,
 * and to which new tokens are added. Any key that is set and asks for more than a LoRA of one rank on the same linears in
 * every layer, and such tokens, is refused by its name. */
bool checkpoint_adapter_config_read(struct lora_settings *lora, struct transformer_settings *settings,
                                    const char *folder, struct error *error);

#endif
