/* tokenizer_decoder.h: from the tokens' strings back to text: ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and
 * sequences of them. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_DECODER_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_DECODER_H

#include "models/language/tokenizer_pattern.h"

#define DECODER_STEPS 16

enum decoder_kind {
    DECODER_BYTE_LEVEL,
    DECODER_REPLACE,
    DECODER_BYTE_FALLBACK,
    DECODER_FUSE,
    DECODER_STRIP,
    DECODER_METASPACE
};

struct decoder_step {
    enum decoder_kind kind;
    struct pattern pattern; /* Replace */
    char *content;          /* Replace: what comes in its place; Strip, Metaspace: the character */
    size_t content_length;
    int64_t start, stop; /* Strip: at most so many at either end */
    bool drops_first;    /* Metaspace: the first string loses the character instead of having blanks for it */
};

struct decoder {
    struct decoder_step step[DECODER_STEPS];
    int count;
    bool given; /* without a decoder tokens are joined by blanks */
};

bool decoder_parse(struct decoder *decoder, const struct spot *spot, struct error *error);
void decoder_free(struct decoder *decoder);

/* Strings side by side; {0} is empty. */
struct string_list {
    struct text bytes;
    size_t *end; /* [count] where each ends */
    int64_t count;
    size_t capacity;
};
bool string_list_append(struct string_list *list, const char *bytes, size_t length, struct error *error);
void string_list_free(struct string_list *list);

/* The text is what the strings in *list are together afterwards. */
bool decoder_apply(const struct decoder *decoder, struct string_list *list, struct error *error);

#endif
