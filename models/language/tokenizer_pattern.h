/*
 * tokenizer_pattern.h: the texts and regular expressions that split and replace ask for. tokenizer.json means Oniguruma's
 * expressions with Ruby's syntax; they are matched by PCRE2, after those few things were rewritten that both know but take
 * differently (\s, scripts), and what cannot be rewritten is refused by name. Characters that are newer than the Unicode of
 * the PCRE2 that is installed belong to no class there.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_PATTERN_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_PATTERN_H

#include "models/language/tokenizer_json.h"
#include "models/language/tokenizer_text.h"

struct pattern {
    void *code;    /* pcre2_code; NULL: `literal` */
    bool compiled; /* to machine code */
    char *literal;
    size_t literal_length;
};

/* {"String": text} or {"Regex": expression}. */
bool pattern_parse(struct pattern *pattern, const struct spot *spot, struct error *error);
bool pattern_compile(struct pattern *pattern, const struct spot *spot, const char *expression, size_t length,
                     struct error *error);
void pattern_free(struct pattern *pattern);

/* A part of a text: found by the pattern, or between two that were found. */
struct match {
    size_t start, end;
    bool found;
};
struct match_list {
    struct match *item;
    size_t count, capacity;
};
void match_list_free(struct match_list *list);
bool match_list_append(struct match_list *list, size_t start, size_t end, bool found, struct error *error);

/* Cuts the whole text into matches and what is between them. A match may be empty, except right behind another one. */
bool pattern_cut(const struct pattern *pattern, const char *text, size_t length, struct match_list *list,
                 struct error *error);
/* Appends the text with `content` in place of each match. */
bool pattern_replace(const struct pattern *pattern, const char *text, size_t length, const char *content,
                     size_t content_length, struct match_list *scratch, struct text *result,
                     struct error *error);

#endif
