#include "models/language/answer_text.h"

static bool decode(const void *tokenizer, const int32_t *tokens, int64_t count, char **text,
                   struct error *error)
{
    return tokenizer_decode(tokenizer, tokens, count, true, text, NULL, error);
}

bool answer_text_open(struct answer_text *text, const struct prompt_template *template,
                      const struct tokenizer *tokenizer, const struct id_map *names, struct error *error)
{
    *text = (struct answer_text){.frame = {.before = NULL}};
    if (!template_answer_open(&text->frame, template, error))
        return false;
    text->format = (struct answer_format){.opening = text->frame.opening,
                                          .closing = text->frame.closing,
                                          .before = text->frame.before,
                                          .after = text->frame.after,
                                          .separator = template->separator,
                                          .names = names,
                                          .decode = decode,
                                          .decoder = tokenizer};
    return true;
}

void answer_text_close(struct answer_text *text)
{
    template_answer_close(&text->frame);
}
