/*
 * item_groups.h: a graph of items cut into groups by spectral clustering.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_GROUPS_H
#define IDREC_MODELS_LANGUAGE_ITEM_GROUPS_H

#include "core/random.h"
#include "models/language/item_graph.h"

struct item_groups {
    int32_t *group; /* [items]: 0 .. count - 1, numbered by their first items */
    int64_t count;
};

/* At least 2 and at most `groups` groups, none empty, of at least 2 items.
 *
 * Items without edges are a group of their own. The others fall into groups whose normalised cut is small: the
 * leading eigenvectors of D^-1/2 A D^-1/2, A the edges' weights and D the degrees, times D^-1/2 are the relaxed
 * indicators of groups (Shi and Malik), and k-means of their rows weighted by degree rounds them (Bach and Jordan,
 * "Learning spectral clustering", NIPS 2003); of several starts the one with the smallest normalised cut is taken.
 * Where no edges tell items apart, they are cut evenly in their order.
 *
 * The seeds are (seed, RANDOM_CLUSTER, step, ...). The bits do not depend on the number of threads. */
bool item_groups_find(struct item_groups *found, const struct item_graph *graph, int64_t groups,
                      uint64_t seed, uint64_t step, int threads, struct error *error);
/* Cuts anew into `groups` runs of equal length of the items in order of their groups. */
void item_groups_even(struct item_groups *found, int64_t items, int64_t groups,
                      int32_t *scratch /* [items] */);
void item_groups_free(struct item_groups *found);

#endif
