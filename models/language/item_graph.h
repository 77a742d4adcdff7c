/*
 * item_graph.h: the graph of items that users have in common: an edge between two items weighs as many users as have
 * both. It is held as the users' histories, from which all that is asked of it is computed: its edges would take memory
 * by the square of the histories' lengths.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_GRAPH_H
#define IDREC_MODELS_LANGUAGE_ITEM_GRAPH_H

#include "core/interactions.h"

struct item_graph {
    struct csr
        histories; /* [users, items] of users with at least two of the items; each history without repetitions */
    struct csr audience; /* its transpose */
    double *degree; /* [items]: the weights of an item's edges together; 0: no user of it has another item */
};

/* Of all items. */
bool item_graph_create(struct item_graph *graph, const struct csr *train, struct error *error);
/* The graph of `count` of the items, which are numbered anew in this order, without the edges to others. */
bool item_graph_part(struct item_graph *part, const struct item_graph *graph, const int32_t *items,
                     int64_t count, struct error *error);
void item_graph_free(struct item_graph *graph);

/* Shi and Malik's normalised cut of a partition ("Normalized cuts and image segmentation", PAMI 22, 2000): the sum over
 * groups of the weight of edges that leave the group, divided by the degrees of its items; group [items] is
 * 0 .. groups - 1, and those without degree count nothing. */
bool item_graph_normalized_cut(double *cut, const struct item_graph *graph, const int32_t *group,
                               int64_t groups, struct error *error);

#endif
