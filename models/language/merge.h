/*
 * merge.h: a low-rank adapter merged into its base: W + scale B A for each linear that has an adapter, an adapter's new
 * tokens behind the rows of the tables, everything else as it is. The result is a Hugging Face folder like the base: its
 * config.json and tokenizer's files, and safetensors. Numbers are added in f32 and rounded once. Tensors go from the mapped
 * base to the new files a block of rows at a time, so that memory does not grow with the model.
 */
#ifndef IDREC_MODELS_LANGUAGE_MERGE_H
#define IDREC_MODELS_LANGUAGE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

struct merge_settings {
    const char *base, *adapter; /* folders */
    const char *folder;         /* the new one, which must not be there */
    const char *type;           /* "F32", "BF16" or "F16" for all weights; NULL: each as the base has it */
    int64_t shard_bytes;        /* a file holds at most so many bytes of weights, or a single tensor */
};

struct merge_result {
    int64_t tensors, merged, added_tokens, shards;
    int64_t bytes; /* of all weights */
};

/* The folder appears whole or not at all. A weight that `type` cannot hold is refused. */
bool merge_adapter(struct merge_result *result, const struct merge_settings *settings, struct error *error);

#endif
