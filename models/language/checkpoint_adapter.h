/*
 * checkpoint_adapter.h: adapter_config.json of an adapter, as Hugging Face's peft writes and reads it.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_ADAPTER_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_ADAPTER_H

#include "models/language/transformer.h"

bool checkpoint_adapter_config_write(const struct lora_settings *lora, const char *folder,
                                     struct error *error);
bool checkpoint_adapter_config_read(struct lora_settings *lora, const char *folder, struct error *error);

#endif
