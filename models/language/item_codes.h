/*
 * item_codes.h: collaborative indexing (CID; Hua et al., "How to index item IDs for recommendation foundation models",
 * SIGIR-AP 2023): items that users have in common get codes that begin alike.
 *
 * The graph of items is cut into `clusters` groups, and each group again until it has at most `cluster_size` items
 * (item_groups.h). An item's code is the numbers of the groups that it is in, from the largest on, and one that tells
 * it from the others of its last group. Numbers, from 0, are given as in the code that the paper's authors published:
 *
 *   shared: groups level by level, each level in order, and then items group by group are numbered on and on, modulo
 *           the larger of cluster_size and clusters. So the numbers of a group's parts and of its items are distinct,
 *           and each is used about as often as any other. The only item of a group needs no number of its own;
 *   own:    each group has a number of its own, and the code ends with the last group: what follows is the item's own
 *           token.
 *
 * Other than in the published code: an edge weighs as many users as have both items (there the smaller of the counts in
 * the two orders); groups are numbered in order, not by their numbers as text; items without edges are groups of their
 * own, and items without users have codes too; groups are cut evenly where too many levels would be needed otherwise
 * (there a ninth level is dropped); and spectral clustering ends with k-means instead of a QR factorisation.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_CODES_H
#define IDREC_MODELS_LANGUAGE_ITEM_CODES_H

#include "core/interactions.h"
#include "models/language/item_tokens.h"

enum { ITEM_CODE_LEVELS = 8 }; /* of groups, at most; more only where even cuts need more */

struct item_code_settings {
    int64_t clusters;     /* at least 2 */
    int64_t cluster_size; /* at least 1 */
    bool own;
    uint64_t seed;
    int threads;
};

struct item_codes {
    struct token_rows
        code; /* a row an item, of numbers 0 .. numbers - 1; own: empty where all items are one group */
    int64_t numbers;
    int64_t groups, largest_group, levels; /* of items that are not cut further, and how deep they lie */
};

/* From the train interactions; a signal that ends the run is an error. The bits do not depend on the number of
 * threads. */
bool item_codes_create(struct item_codes *codes, const struct csr *train,
                       const struct item_code_settings *settings, struct error *error);
void item_codes_free(struct item_codes *codes);

#endif
