/* tokenizer_normalizer.h: what is done to text before it is cut into words: NFC, Prepend, Replace and sequences of them. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_NORMALIZER_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_NORMALIZER_H

#include "models/language/tokenizer_pattern.h"

#define NORMALIZER_STEPS 16

enum normalizer_kind { NORMALIZER_NFC, NORMALIZER_PREPEND, NORMALIZER_REPLACE };

struct normalizer_step {
    enum normalizer_kind kind;
    struct pattern pattern;
    char *content; /* prepended, or in place of the pattern */
    size_t content_length;
};

struct normalizer {
    struct normalizer_step step[NORMALIZER_STEPS];
    int count;
};

/* null: no steps. */
bool normalizer_parse(struct normalizer *normalizer, const struct spot *spot, struct error *error);
void normalizer_free(struct normalizer *normalizer);

struct normalizer_scratch {
    struct text from, to;
    struct match_list matches;
};
void normalizer_scratch_free(struct normalizer_scratch *scratch);

/* *result is the text itself or in `scratch`, until its next use. `continues`: nothing is prepended. */
bool normalizer_apply(const struct normalizer *normalizer, const char *text, size_t length, bool continues,
                      struct normalizer_scratch *scratch, const char **result, size_t *result_length,
                      struct error *error);

#endif
