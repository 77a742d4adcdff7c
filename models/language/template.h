/*
 * template.h: prompts as text. Strings with placeholders, the names of users and items and a tokenizer become a layout of
 * tokens (prompt_layout.h).
 *
 *   context:    Given the user(u{user})'s clicked list items:{items}, predict ...     {items} once, {user} as often as wanted
 *   answer:     {items}                                                              fixed text around it is possible
 *   item:       i{item}                                                              every item of a list
 *   separator:  ,                                                                    between two items
 *
 * "{{" and "}}" stand for braces.
 *
 * Every piece of fixed text, every user and every item is encoded by itself, and a prompt is their concatenation, so that an
 * item has the same tokens wherever it stands. A tokenizer may merge characters across such a border when it encodes the
 * whole text; borders are set where that is rare: an item's fixed beginning belongs to the text before a context's list, and
 * blanks before the answer belong to its first item. template_agreement() counts how many prompts are the tokenizer's own.
 */
#ifndef IDREC_MODELS_LANGUAGE_TEMPLATE_H
#define IDREC_MODELS_LANGUAGE_TEMPLATE_H

#include "core/interactions.h"
#include "models/language/prompt.h"
#include "models/language/tokenizer.h"

/* Fixed text around the user's message and the answer, as fine-tuned chat models have seen it. */
enum chat_format { CHAT_NONE, CHAT_LLAMA2, CHAT_LLAMA3, CHAT_CHATML, CHAT_MISTRAL, CHAT_FORMATS };
/* The name of a format as in the configuration: "none", "llama2", ... */
const char *chat_format_name(enum chat_format format);
bool chat_format_find(enum chat_format *format, const char *name);

struct prompt_template {
    const char *context, *answer, *item, *separator;
    /* The answer is encoded as a text of its own, as the code that the paper's authors published does; false: it goes on
     * from the context. */
    bool answer_apart;
    enum chat_format chat;
};

/* What stands for {user} and {item}: names, or tokens, a row a user or an item, where they are not NULL. */
struct template_names {
    const struct id_map *users, *items;
    const struct token_rows *user_codes, *item_codes;
};

/* `end`: the token that ends an answer, unless the chat format says which; -1: there is none. Refused are a placeholder that
 * is not known, a context or answer without {items}, a name that is empty or holds the separator, a name without tokens, and
 * one whose tokens hold what separates items or ends the answer. */
bool template_layout(struct prompt_layout *layout, const struct prompt_template *template,
                     const struct tokenizer *tokenizer, const struct template_names *names, int32_t end,
                     struct error *error);

/* Training prompts whose tokens are those of the tokenizer for the whole text. */
struct template_agreement {
    int64_t prompts, equal;
};
/* Of a prompt each of at most `sample` users, evenly spaced among those with items, by random cuts. `settings` has the layout
 * of that very template. Names that are tokens are no text: then no prompt is looked at. */
bool template_agreement(struct template_agreement *agreement, const struct prompt_template *template,
                        const struct tokenizer *tokenizer, const struct template_names *names,
                        const struct prompt_settings *settings, const struct csr *train, int64_t sample,
                        uint64_t seed, struct error *error);

/* The fixed text around items in an answer, each malloc'ed: before and after an item's name, before and after the list. */
struct template_answer {
    char *before, *after, *opening, *closing;
};
bool template_answer_open(struct template_answer *answer, const struct prompt_template *template,
                          struct error *error);
void template_answer_close(struct template_answer *answer);

/* The prompt of a user as text: items[0 .. cut - 1] in the context, items[cut .. item_count - 1] in the answer, without the
 * tokens around it. *text becomes malloc'ed; *answer is where the answer begins in it. */
bool template_text(char **text, size_t *answer, const struct prompt_template *template,
                   const struct template_names *names, int32_t user, const int32_t *items, int64_t item_count,
                   int64_t cut, struct error *error);

#endif
