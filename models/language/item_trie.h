/*
 * item_trie.h: the tokens of all items as a trie, by which generation can write nothing but items that the user does not
 * have. The items are numbered anew in the order of the trie (depth first), so that those below a node are a range and a
 * user's items, sorted by that number, tell how many of a range are left.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_TRIE_H
#define IDREC_MODELS_LANGUAGE_ITEM_TRIE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "models/language/item_tokens.h"

/* Node 0 is the root. Children of a node follow one another, by token ascending. */
struct item_trie {
    int64_t node_count, item_count;
    int32_t *token;       /* [nodes]: the token that leads to the node; root: -1 */
    int32_t *first_child; /* [nodes + 1]: children of n are first_child[n] .. first_child[n + 1] - 1 */
    int32_t *item;        /* [nodes]: the item whose tokens end here, or -1 */
    int32_t *begin, *end; /* [nodes]: the range of numbers of the items at or below the node */
    int32_t *number;      /* [items]: of an item; an item that ends at a node comes before those below it */
};

/* Two items with the same tokens are refused, by their indices. */
bool item_trie_create(struct item_trie *trie, const struct token_rows *rows, struct error *error);
void item_trie_free(struct item_trie *trie);
/* The child of a node by its token, or -1. */
int32_t item_trie_child(const struct item_trie *trie, int32_t node, int32_t token);

/* The numbers of items that must not be written, ascending. */
struct item_exclusions {
    int64_t count, capacity;
    int32_t *number;
};
bool item_exclusions_set(struct item_exclusions *exclusions, const struct item_trie *trie,
                         const int32_t *items, int64_t item_count, struct error *error);
bool item_exclusions_add(struct item_exclusions *exclusions, const struct item_trie *trie, int32_t item,
                         struct error *error);
void item_exclusions_free(struct item_exclusions *exclusions);
/* Items at or below a node that may be written. */
int64_t item_trie_left(const struct item_trie *trie, int32_t node, const struct item_exclusions *exclusions);

#endif
