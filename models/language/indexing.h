/*
 * indexing.h: which tokens stand for an item when they are not its name in text: a token of its own, collaborative
 * codes, or codes followed by a token of its own (CID + IID in item_codes.h's paper). They are new tokens: in a
 * vocabulary of ids behind its control tokens, beside a pretrained tokenizer from its size on. Those of the items come
 * first, then those of codes.
 */
#ifndef IDREC_MODELS_LANGUAGE_INDEXING_H
#define IDREC_MODELS_LANGUAGE_INDEXING_H

#include "core/interactions.h"
#include "models/language/item_codes.h"
#include "models/language/item_tokens.h"

enum indexing_kind { INDEXING_IDS, INDEXING_TEXT, INDEXING_COLLABORATIVE, INDEXING_COLLABORATIVE_IDS };

/* "ids", "text", "collaborative" or "collaborative_ids"; "auto" is text where the vocabulary is text and ids
 * otherwise. */
enum indexing_kind indexing_kind_of(const char *word, bool text);

struct indexing {
    struct item_tokens tokens; /* nothing parts two items, so `first` and `next` are the same */
    int32_t first_token;       /* the first of the new tokens */
    int64_t own_tokens; /* new tokens of items: item i has first_token + i; 0: items have none of their own */
    int64_t code_tokens;                   /* new tokens of codes: number c is first_token + own_tokens + c */
    int64_t groups, largest_group, levels; /* of codes, as in item_codes.h; 0 without */
};

struct indexing_settings {
    enum indexing_kind kind; /* not INDEXING_TEXT: template.h writes names with a tokenizer */
    int32_t first_token;
    struct item_code_settings codes; /* `own` is set by the kind */
};

bool indexing_create(struct indexing *indexing, const struct csr *train,
                     const struct indexing_settings *settings, struct error *error);
/* A file (HDF5; docs/data-formats.md), so that what a model was trained with is what it generates with: codes may
 * differ between processors and builds. Loading refuses one that is not of `items` items, or whose tokens are out
 * of range. */
bool indexing_save(const struct indexing *indexing, const char *path, struct error *error);
bool indexing_load(struct indexing *indexing, const char *path, int64_t items, struct error *error);
void indexing_free(struct indexing *indexing);

#endif
