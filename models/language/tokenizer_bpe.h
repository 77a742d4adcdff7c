/*
 * tokenizer_bpe.h: byte-pair encoding (Sennrich et al. 2016): of a word's symbols the two neighbours with the lowest rank
 * in the list of merges become one, until no pair is in the list.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_BPE_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_BPE_H

#include "models/language/tokenizer.h"
#include "models/language/tokenizer_json.h"
#include "models/language/tokenizer_table.h"
#include "models/language/tokenizer_text.h"

#define LARGEST_TOKEN_ID ((1 << 24) - 1) /* the largest vocabularies have a million */

struct merge_slot;

struct byte_pairs {
    struct token_table vocabulary; /* as the file writes tokens */
    struct token_table words; /* as they stand in text: bytes when the vocabulary is byte-level, else empty */
    bool byte_level;
    struct merge_slot *slots; /* [slot_mask + 1] by pair */
    size_t slot_mask;
    int64_t merge_count;
    int32_t byte_symbol[256]; /* the symbol of a one-byte character (byte-level: of any byte), or -1 */
    int32_t byte_token[256];  /* <0x00> ... <0xFF>, or -1 */
    int32_t unknown;          /* for characters without a token; -1: there is none */
    bool byte_fallback, fuse_unknown, ignore_merges;
    /* Bit r of joined[l] is set when byte l stands before r in what some merge makes: between other neighbours a word is
     * cut and merged part by part, with the same result. */
    uint64_t joined[256][4];
    uint64_t *whole; /* a bit by id: merging the token's own text gives the token */
};

bool byte_pairs_parse(struct byte_pairs *model, const struct spot *spot, bool byte_level,
                      struct error *error);
void byte_pairs_free(struct byte_pairs *model);

/* The merge of two neighbouring tokens. */
struct merge {
    int32_t rank, result; /* rank -1: they don't merge */
};
struct merge byte_pairs_merge(const struct byte_pairs *model, int32_t left, int32_t right);

struct merge_symbol;
struct merge_candidate;
struct merge_scratch {
    struct merge_symbol *symbol;
    struct merge_candidate *heap;
    int64_t count, capacity, heap_count, heap_capacity;
};
void merge_scratch_free(struct merge_scratch *scratch);

/* Appends a word's tokens. */
bool byte_pairs_encode(const struct byte_pairs *model, const char *word, size_t length,
                       struct merge_scratch *scratch, struct token_list *tokens, struct error *error);
/* Fills model->whole, of which nothing is set. */
bool byte_pairs_find_whole(struct byte_pairs *model, struct error *error);
bool token_list_append(struct token_list *list, int32_t token, struct error *error);

#endif
