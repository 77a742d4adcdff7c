/* prompt_layouts.h: layouts of prompts for tests. */
#ifndef IDREC_TESTS_PROMPT_LAYOUTS_H
#define IDREC_TESTS_PROMPT_LAYOUTS_H

#include <stdlib.h>

#include "models/language/prompt_layout.h"
#include "tests/support.h"

/* The prompts of ids; they stay until the program ends. */
static inline const struct prompt_layout *layout_of_ids(struct vocabulary vocabulary, bool separator)
{
    static struct kept_layout {
        struct prompt_layout layout;
        struct kept_layout *next;
    } * kept;
    struct error error = ERROR_INITIALIZER;
    struct kept_layout *made = malloc(sizeof *made);
    require(prompt_layout_of_ids(&made->layout, &vocabulary, separator, &error), &error);
    made->next = kept;
    kept = made;
    return &made->layout;
}

#endif
