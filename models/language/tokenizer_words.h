/*
 * tokenizer_words.h: how normalised text is cut into the words in which tokens are merged (`pre_tokenizer`): Split, Digits,
 * Metaspace, ByteLevel and sequences of them.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_WORDS_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_WORDS_H

#include "models/language/tokenizer_pattern.h"

#define WORD_STEPS 16

enum word_step_kind { WORD_SPLIT, WORD_DIGITS, WORD_METASPACE, WORD_BYTE_LEVEL };

/* What becomes of a match, and of the text between matches, which always is a word of its own. */
enum word_behavior {
    BEHAVIOR_REMOVED,
    BEHAVIOR_ISOLATED,
    BEHAVIOR_MERGED_WITH_PREVIOUS,
    BEHAVIOR_MERGED_WITH_NEXT,
    BEHAVIOR_CONTIGUOUS /* neighbouring matches are one word */
};

enum metaspace_prepend {
    PREPEND_ALWAYS, /* at the beginning of every part between added tokens */
    PREPEND_FIRST,  /* of the text only */
    PREPEND_NEVER
};

struct word_step {
    enum word_step_kind kind;
    struct pattern pattern; /* Split, ByteLevel with use_regex */
    bool has_pattern;
    enum word_behavior behavior;
    bool invert;         /* what lies between matches takes their part */
    bool individual;     /* Digits: each is a word */
    char replacement[5]; /* Metaspace: the character for a blank */
    enum metaspace_prepend prepend;
    bool split;        /* Metaspace: words begin at that character */
    bool prefix_space; /* ByteLevel */
};

struct word_splitter {
    struct word_step step[WORD_STEPS];
    int count;
    bool byte_level; /* the last step is ByteLevel: words are bytes, each of which is a symbol */
};

/* null: the whole text is one word. */
bool word_splitter_parse(struct word_splitter *splitter, const struct spot *spot, struct error *error);
void word_splitter_free(struct word_splitter *splitter);

struct word_scratch {
    struct match_list matches[WORD_STEPS];
    struct text text[WORD_STEPS];
};
void word_scratch_free(struct word_scratch *scratch);

/* Where words go; `word` is valid during the call only. */
struct word_sink {
    bool (*take)(void *context, const char *word, size_t length, struct error *error);
    void *context;
};

struct word_place {
    bool first;     /* the text begins here */
    bool continues; /* it goes on from another one, so nothing is prepended where it begins */
};
bool word_split(const struct word_splitter *splitter, const char *text, size_t length,
                struct word_place place, struct word_scratch *scratch, struct word_sink sink,
                struct error *error);

#endif
