/*
 * user_item_graph.h: the normalised graph of users and items, built on the host: nodes are the users, then the items;
 * an interaction of weight w is an edge of value w / sqrt(degree(user) degree(item)) in both directions, over weighted
 * degrees (D^-1/2 A D^-1/2: Wang et al., "NGCF", SIGIR 2019; He et al., "LightGCN", SIGIR 2020).
 */
#ifndef IDREC_MODELS_RECOMMENDERS_USER_ITEM_GRAPH_H
#define IDREC_MODELS_RECOMMENDERS_USER_ITEM_GRAPH_H

#include "core/arena.h"
#include "core/ops.h"
#include "models/recommenders/recommender.h"

struct user_item_graph {
    int64_t nodes, rows; /* rows: nodes, unless user_item_graph_keep_rows() has left fewer */
    int64_t *starts;     /* [rows + 1] */
    int32_t *indices;    /* room for two edges an interaction; a row's neighbours ascend */
    real *values;
    int64_t *next;        /* [items], scratch */
    double *inverse_root; /* [nodes], scratch */
};

/* Room for the graph of the data. */
bool user_item_graph_open(struct user_item_graph *graph, const struct training_set *data,
                          struct error *error);
void user_item_graph_close(struct user_item_graph *graph);

/* The graph of the interactions that are kept, with their own degrees. */
void user_item_graph_fill(struct user_item_graph *graph, const struct training_set *data,
                          const bool *kept /* [interactions]; NULL: all */);

/* Leaves the rows first .. first + count - 1, with edges to all nodes. */
void user_item_graph_keep_rows(struct user_item_graph *graph, int64_t first, int64_t count);

/* The matrix [rows, nodes] on a device, with room for `edges`. */
struct csr_tensor user_item_graph_tensor(struct arena *arena, int64_t rows, int64_t nodes, int64_t edges);
/* Uploads the graph; `room` is what user_item_graph_tensor() gave, and the matrix a view of it. */
struct csr_tensor user_item_graph_upload(const struct user_item_graph *graph, struct backend *backend,
                                         const struct csr_tensor *room);

#endif
