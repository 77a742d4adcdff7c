/* tokenizer_template.h: the tokens that a post-processor puts around a text: TemplateProcessing, ByteLevel (none) and
 * sequences of them. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_TEMPLATE_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_TEMPLATE_H

#include "models/language/tokenizer.h"
#include "models/language/tokenizer_json.h"

struct token_template {
    bool given;
    struct token_list before, after;
};

/* null: none. */
bool token_template_parse(struct token_template *template, const struct spot *spot, int64_t largest_id,
                          struct error *error);
void token_template_free(struct token_template *template);

#endif
