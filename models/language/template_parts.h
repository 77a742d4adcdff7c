/* template_parts.h: a template's text, cut at its placeholders; only template*.c include it. */
#ifndef IDREC_MODELS_LANGUAGE_TEMPLATE_PARTS_H
#define IDREC_MODELS_LANGUAGE_TEMPLATE_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "models/language/template.h"

enum template_part_kind { PART_TEXT, PART_USER, PART_ITEMS, PART_ITEM, PART_KINDS };

enum { TEMPLATE_PARTS_MAXIMUM = 12 };
struct template_parts {
    int count;
    struct template_part {
        enum template_part_kind kind;
        char *text; /* of PART_TEXT, never empty */
    } part[TEMPLATE_PARTS_MAXIMUM];
};
void template_parts_free(struct template_parts *parts);
/* Appends text as it is; what stands last is text already, or one is begun. */
bool template_parts_add_text(struct template_parts *parts, const char *text, size_t bytes,
                             struct error *error);
/* The text of a part; "" where there is none or it is a placeholder. */
const char *template_parts_text(const struct template_parts *parts, int part);
int template_parts_find(const struct template_parts *parts, enum template_part_kind kind); /* -1: nowhere */

/* A template, checked and taken apart. */
struct template_source {
    struct template_parts context;  /* all before the answer, of the chat format too */
    char *item_before, *item_after; /* around an item's name */
    const char *separator;          /* the template's own */
    bool apart;                     /* the answer is encoded as a text of its own */
    /* Fixed text of the answer before its list, where it is encoded apart, and what of it is written with the first item:
     * blanks, which go with the word behind them. */
    char *lead, *first_before;
    char *answer_after;
};
bool template_source_open(struct template_source *source, const struct prompt_template *template,
                          struct error *error);
void template_source_close(struct template_source *source);

#endif
