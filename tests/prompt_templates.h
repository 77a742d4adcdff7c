/*
 * prompt_templates.h: the templates of tests. "published" is what the configuration has by default, whose prompts goldens hold
 * against the code that the paper's authors published; "paper" is as the paper is said to word it.
 */
#ifndef IDREC_TESTS_PROMPT_TEMPLATES_H
#define IDREC_TESTS_PROMPT_TEMPLATES_H

#include <stdio.h>
#include <string.h>

#include "core/schema.h"
#include "models/language/template.h"

enum { TEMPLATE_CONTEXT_SIZE = 1024 };

static struct prompt_template test_template(const char *name, char context[TEMPLATE_CONTEXT_SIZE])
{
    if (strcmp(name, "published") == 0) {
        const char *quoted = schema_find("prompts.text.context")->default_value;
        snprintf(context, TEMPLATE_CONTEXT_SIZE, "%.*s", (int)strlen(quoted) - 2, quoted + 1);
        return (struct prompt_template){.context = context,
                                        .answer = "{items}",
                                        .item = "i{item}",
                                        .separator = ",",
                                        .answer_apart = true};
    }
    snprintf(
        context, TEMPLATE_CONTEXT_SIZE, "%s",
        "Input: Given the user u{user}'s clicked list items: {items}, predict what are items to recommend to "
        "the user u{user}. Please only answer the items.\nOutput: ");
    return (struct prompt_template){
        .context = context, .answer = "{items}", .item = "i{item}", .separator = ", "};
}

#endif
