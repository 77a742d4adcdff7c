/*
 * tokenizer.h: text to tokens and back, as a Hugging Face tokenizer.json describes it: byte-pair encoding (Sennrich et al.
 * 2016) over bytes (GPT-2, Llama 3, Qwen) or over characters with byte fall-back (SentencePiece as in Llama 2 and Mistral),
 * with the normalisers, pre-tokenisers, post-processors and decoders that these families use. What a file asks for and is
 * not here is refused by name. Token ids equal those of the `tokenizers` library, except that characters newer than the
 * Unicode of the PCRE2 that is installed (14 in version 10.42) are neither letters nor digits to a pattern.
 *
 * A tokenizer does not change once it is loaded: threads may share it.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct tokenizer;

/* Reads a tokenizer.json. */
bool tokenizer_load(struct tokenizer **tokenizer, const char *path, struct error *error);
/* The same from text in memory; `name` stands for the path in messages. */
bool tokenizer_parse(struct tokenizer **tokenizer, const char *name, const char *json, size_t length,
                     struct error *error);
void tokenizer_free(struct tokenizer *tokenizer);

/* 1 + the largest id, of the vocabulary and the added tokens. */
int64_t tokenizer_size(const struct tokenizer *tokenizer);
/* The id of a token as tokenizer.json writes it ("<s>", "Ġthe"), or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token);
/* The token of an id as tokenizer.json writes it, or NULL. Belongs to the tokenizer. */
const char *tokenizer_token(const struct tokenizer *tokenizer, int32_t id);

/* A growing list of tokens; {0} is empty. */
struct token_list {
    int32_t *token;
    int64_t count;
    size_t capacity;
};
void token_list_free(struct token_list *list);

struct encoding_options {
    bool special; /* the post-processor's tokens around the text, such as <s> */
    bool
        continues; /* the text goes on from another one: nothing is put before it as at the beginning of a text (the space
                     * that SentencePiece prepends) */
};
/* Appends the tokens of `bytes` bytes of UTF-8, which may hold any, NUL too. Text that is not UTF-8 is refused. */
bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                      struct encoding_options options, struct token_list *tokens, struct error *error);
/* *text becomes malloc'ed and ends in NUL; *bytes (may be NULL) is its length. Bytes that are no UTF-8 become U+FFFD as in
 * the `tokenizers` library; ids without a token are left out. */
bool tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                      bool skip_special, char **text, size_t *bytes, struct error *error);

#endif
