/*
 * checkpoint.h: models on disk, readable by Hugging Face's libraries: a folder with config.json and
 * model.safetensors; an adapter's folder with adapter_config.json and adapter_model.safetensors as peft
 * writes them; and a training state (parameters, moments, counters) for resume. A folder is complete when
 * DONE is there, which is written last; it is written beside its place and swapped in, so that the older one
 * stays until the new one is complete.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_H

#include "models/language/transformer.h"

/* Weights are written as they are kept: in f32, or a frozen base of bf16 in bf16. A quantised or sharded base is not written. */
bool checkpoint_save_base(struct transformer *model, const char *folder, struct error *error);
bool checkpoint_save_adapter(struct transformer *model, const char *folder, struct error *error);
/* Whether the folder is complete; first brings back one whose replacement was interrupted. */
bool checkpoint_complete(const char *folder);
/* Removes a folder, DONE first, so that what is left after a kill does not pass for complete. */
bool checkpoint_remove(const char *folder, struct error *error);

/* The settings of a base with an adapter (NULL: none), whose new tokens are among them; *lora, of rank 0 without one. */
bool checkpoint_settings(struct transformer_settings *settings, struct lora_settings *lora, const char *base,
                         const char *adapter, struct error *error);

/* Builds a model from a base folder, and an adapter's folder (NULL: none, or a fresh adapter when `lora` is
 * given and mode is TRAIN_LORA). Without an adapter's folder `added` tokens are new to the base; their rows are drawn
 * (added_tokens.h), and are part of a fresh adapter or, when mode is TRAIN_ALL, of the base. Damaged files are refused with
 * a clear line. */
bool checkpoint_load(struct transformer **model, struct backend *backend, const char *base,
                     const char *adapter, const struct lora_settings *lora, int64_t added,
                     enum train_mode mode, bool recompute, enum precision precision,
                     enum frozen_storage frozen, bool shard_base, int64_t tokens_maximum,
                     int64_t sequences_maximum, uint64_t seed, struct error *error);

/* The whole state of training: every trained parameter with its moments, further named tensors (an average of
 * the weights, say), and counters as a flat JSON object of integers and numbers. It is an error if the place has gone. */
bool checkpoint_save_state(struct transformer *model, const struct parameter *extra, int64_t extra_count,
                           const char *counters_json, const char *folder, struct error *error);
/* The counters alone, malloc'ed: they tell whether the state fits the model before any weight changes. */
bool checkpoint_load_counters(char **counters_json, const char *folder, struct error *error);
bool checkpoint_load_state(struct transformer *model, struct parameter *extra, int64_t extra_count,
                           const char *folder, struct error *error);

#endif
