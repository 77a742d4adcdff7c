/*
 * checkpoint_tokens.h: new tokens of an adapter, as peft keeps them ("trainable tokens"): trainable_token_indices in
 * adapter_config.json, and their rows of a table in MODULE.token_adapter.trainable_tokens_delta, which replace those of the
 * base once its tables have been made so much longer. Only checkpoint*.c and merge.c include this.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_TOKENS_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_TOKENS_H

#include "models/language/checkpoint_document.h"
#include "models/language/checkpoint_weights.h"
#include "models/language/transformer.h"

/* The value of trainable_token_indices: a list where the tables are tied, else one for each of them. */
json_t *checkpoint_tokens_value(const struct transformer_settings *settings);
/* Adds the tokens that the key names, if it does, to the settings of the base. They have to be those right behind the
 * base's, in order, and in both tables. */
bool checkpoint_tokens_read(const struct document *document, struct transformer_settings *settings,
                            struct error *error);

/* peft may write whole tables beside the rows, and the rows of tied tables twice. *copy: whether the tensor of the adapter's
 * file is of these. Fails where it says another thing than the base or the rows do. */
bool checkpoint_tokens_copy(bool *copy, const struct safetensors_entry *entry, const struct weights *adapter,
                            const struct weights *base, const struct transformer_settings *settings,
                            struct error *error);

#endif
