/*
 * checkpoint_weights.h: the tensors of a folder as Hugging Face's libraries write them: STEM.safetensors, or the shards
 * that STEM.safetensors.index.json names for each tensor ("weight_map"). Shards are mapped and checked as one file is
 * (safetensors.h); index and shards must name the same tensors.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_WEIGHTS_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_WEIGHTS_H

#include "models/language/safetensors.h"

struct weights;

/* `stem` is "model" or "adapter_model". */
bool weights_open(struct weights **weights, const char *folder, const char *stem, struct error *error);
void weights_close(struct weights *weights);

/* Entries shard after shard, in the order of their data. */
int64_t weights_count(const struct weights *weights);
/* Files that they are in. */
int64_t weights_shards(const struct weights *weights);
const struct safetensors_entry *weights_at(const struct weights *weights, int64_t index);
/* NULL when there is none of that name. */
const struct safetensors_entry *weights_find(const struct weights *weights, const char *name);
/* The file or index that messages about the whole name. */
const char *weights_path(const struct weights *weights);

/* As safetensors_check() and safetensors_read(). */
bool weights_check(const struct weights *weights, const char *name, const struct tensor *tensor,
                   struct error *error);
bool weights_read(const struct weights *weights, const char *name, struct backend *backend,
                  struct tensor *tensor, struct error *error);

#endif
