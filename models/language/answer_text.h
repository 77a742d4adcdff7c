/* answer_text.h: what answer_parser.h needs to read answers of text, from the template that prompts are made by. */
#ifndef IDREC_MODELS_LANGUAGE_ANSWER_TEXT_H
#define IDREC_MODELS_LANGUAGE_ANSWER_TEXT_H

#include "models/language/answer_parser.h"
#include "models/language/template.h"

/* `format` points into it: it is not to be copied. */
struct answer_text {
    struct template_answer frame;
    struct answer_format format;
};

/* What is given must outlive it; `names` are the items'. */
bool answer_text_open(struct answer_text *text, const struct prompt_template *template,
                      const struct tokenizer *tokenizer, const struct id_map *names, struct error *error);
void answer_text_close(struct answer_text *text);

#endif
