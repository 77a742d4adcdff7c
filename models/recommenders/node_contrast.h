/*
 * node_contrast.h: InfoNCE over the nodes of a batch, its users and its positive items, each once, in two views of them.
 * Internal to models/recommenders and its tests.
 *
 * A term of the loss is  weight * sum_i share_i * -log( exp(a_i . b_i / t) / sum_j exp(a_i . b_j / t) )  over rows of
 * unit length (van den Oord et al., "Representation learning with contrastive predictive coding", 2018; for graphs of
 * users and items Wu et al., "SGL", SIGIR 2021, eq. 10). Nodes count, not interactions: rows' weights play no part here.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_NODE_CONTRAST_H
#define IDREC_MODELS_RECOMMENDERS_NODE_CONTRAST_H

#include "models/recommenders/steps.h"

enum { CONTRAST_TERMS_MAXIMUM = 2 };

/* share_i: the mean over a batch's nodes, over its users and over its items each, or over its triples, where a node counts
 * as often as it occurs. */
enum contrast_share { SHARE_OF_NODES, SHARE_OF_SIDE, SHARE_OF_TRIPLES };

struct contrast_weight {
    double users, items;
};

/* One of the two views: what is contrasted, and its gradient. */
struct contrast_view {
    struct tensor rows, unit, d_unit, d_rows; /* [2 * batch, width] */
    struct tensor inverse_norm;               /* [2 * batch] */
};

struct node_contrast {
    struct backend *backend;
    enum contrast_share share;
    float temperature;
    int64_t users, table_rows, batch, triples;
    int terms;
    int64_t
        *starts; /* [2 * batches + 1]: users of batch b from starts[2 b], its items from starts[2 b + 1] */

    struct arena arena;
    struct tensor nodes;           /* i32 [2 * triples]: rows of the table, from starts[] on */
    struct tensor members;         /* i32, like nodes: the same, counted within the users or the items */
    struct tensor weights, losses; /* [terms * 2 * triples]: weight * share_i; the term's loss, unweighted */
    struct contrast_view views[2];
    struct tensor scratch; /* [2 * batch, width] */
    struct tensor logits;  /* a block of them */
    struct tensor places;  /* i32 [2 * batch]: the training's 0, 1, 2, ... */

    int32_t *host_rows;                 /* [3 * triples] */
    int32_t *host_nodes, *host_members; /* [2 * triples] */
    int64_t *repeats;                   /* [2 * triples]: how often the node occurs in its batch */
    int64_t *place_of;                  /* [nodes of the table] */
    real *host_weights, *host_losses;   /* [terms * 2 * triples] */
};

/* The nodes of a batch: places first .. first + users - 1 of nodes, then those of the items. */
struct batch_nodes {
    int64_t first, users, items;
};

/* For prepare(), when the training's memory is reserved: training->contrast. `widest` is the most rows that a node is
 * contrasted with. */
bool node_contrast_open(struct embedding_training *training, enum contrast_share share, int terms,
                        int64_t widest, struct error *error);
void node_contrast_close(struct node_contrast *contrast);

/* Finds the nodes of every batch of the epoch's triples; weights [terms]. Waits for the device once. */
bool node_contrast_epoch(struct node_contrast *contrast, const struct tensor *rows,
                         const struct contrast_weight *weights, struct error *error);

/* The same for one term that weighs users and items alike, by settings.contrast_weight: an epoch's beginning. */
embedding_epoch contrast_alike;

struct batch_nodes node_contrast_batch(const struct node_contrast *contrast, int64_t first_triple);
/* rows = the sum over a range of layers at the nodes; unit = those rows at unit length, which the sum and the mean over
 * layers share. */
void view_read(struct node_contrast *contrast, int view, const struct propagation *propagation,
               const struct tensor *embeddings, struct batch_nodes nodes, struct layer_range range);
/* d_rows from d_unit: as d_rows is the gradient of a sum over layers it is that of each layer. */
void view_back(struct node_contrast *contrast, int view, struct batch_nodes nodes);
/* What view_back() has left. */
struct layer_gradient view_gradient(const struct node_contrast *contrast, int view, struct batch_nodes nodes,
                                    struct layer_range range);

/* InfoNCE of `count` places of a view from `place` of the batch on, as a part of a term, against candidates b [m, width] of
 * unit length, of which positives[i] is the right one for place i. Overwrites d_b and these places of the view's d_unit. */
struct contrast_candidates {
    const struct tensor *b;
    struct tensor *d_b;
    const struct tensor *positives; /* i32 [count] */
};
void contrast_places(struct node_contrast *contrast, int term, int view, struct batch_nodes nodes,
                     int64_t place, int64_t count, struct contrast_candidates candidates);

/* Term 0 between both views: each place of the first against the places of the second, its own the right one; forward, and
 * backward to both d_rows. Users and items are candidates of each other when together. */
void contrast_views(struct node_contrast *contrast, struct batch_nodes nodes, bool together);

/* The weighted losses of the epoch, a mean over its batches; bad_batch: the first with a loss that is no number, -1: none. */
struct contrast_loss {
    double mean;
    int64_t bad_batch;
};
bool node_contrast_loss(struct node_contrast *contrast, struct contrast_loss *loss, struct error *error);

#endif
