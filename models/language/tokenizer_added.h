/*
 * tokenizer_added.h: added tokens (<s>, <|eot_id|>) are found in the text before anything else is done with it, the longest
 * first from left to right, and never reach the model. Those that are `normalized` are found in normalised text, by their
 * own normalised form.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_ADDED_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_ADDED_H

#include "models/language/tokenizer_normalizer.h"

struct added_token {
    char *content;
    size_t length;
    char *form; /* what is looked for and decoded: the content, normalised where the token is */
    size_t form_length;
    int32_t id;
    bool single_word; /* not within a word */
    bool left_strip;  /* takes the white space before it */
    bool right_strip; /* and behind it */
    bool normalized;
    bool special;
};

struct trie_node;

/* The forms of some tokens, byte by byte. */
struct added_trie {
    struct trie_node *nodes;
    int32_t count, capacity;
    int32_t root[256]; /* the node of a form's first byte; 0: none */
};

struct added_tokens {
    struct added_token *token;
    int64_t count;
    struct added_trie plain, normalized;
};

/* The ids of the file, as they stand there: the caller compares them with the vocabulary. */
bool added_tokens_parse(struct added_tokens *added, const struct spot *spot,
                        const struct normalizer *normalizer, int64_t largest_id, struct error *error);
void added_tokens_free(struct added_tokens *added);

/* A part of a text: an added token, or what is between two. */
struct added_part {
    size_t start, end;
    int32_t id; /* -1: text */
};

/* Where the next part is looked for; {0} at the beginning. */
struct added_place {
    size_t searched, covered;
    struct added_part found; /* to be given out next when `waits` */
    bool waits;
};
/* False at the end of the text. */
bool added_next(const struct added_tokens *added, const struct added_trie *trie, const char *text,
                size_t length, struct added_place *place, struct added_part *part);

#endif
