/*
 * propagation.h: graph convolution without weights (He et al., "LightGCN", SIGIR 2020, eq. 3 to 8): layers E_l = A_l
 * E_{l-1}, E_0 the embeddings, read out at the nodes of a batch.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_PROPAGATION_H
#define IDREC_MODELS_RECOMMENDERS_PROPAGATION_H

#include "core/arena.h"
#include "core/ops.h"
#include "models/recommenders/row_parts.h"

enum { PROPAGATION_LAYERS_MAXIMUM = 8 };

/* Ranks that divide the nodes have the rows of their nodes of E_0, of each layer and of A_l, which are [own, width] and
 * [own, nodes]; all rows of what is multiplied are gathered right before. */
struct propagation {
    int64_t layers; /* L, 1 .. PROPAGATION_LAYERS_MAXIMUM */
    const struct csr_tensor
        *graph[PROPAGATION_LAYERS_MAXIMUM];          /* A_l at l - 1: symmetric; may be one graph */
    struct tensor layer[PROPAGATION_LAYERS_MAXIMUM]; /* E_l at l - 1: [nodes, width] */
    const struct row_parts *parts;                   /* of the nodes */
    struct tensor all; /* [nodes, width]: what is multiplied; one process needs none */
};

/* Fills the layers from the embeddings. */
void propagate(struct backend *backend, struct propagation *propagation, const struct tensor *embeddings);

/* The same with noise added to every layer, see op_row_noise(); `product` = A_1 E_0, which may be the first layer. */
struct layer_noise {
    float magnitude;
    uint64_t seed, step, site; /* site: of the first layer, which the others follow */
};
void propagate_noisily(struct backend *backend, struct propagation *propagation, const struct tensor *product,
                       struct layer_noise noise);

struct layer_range {
    int64_t first, last; /* 0: the embeddings themselves */
};
/* out [n, width] = share * (E_first + ... + E_last) at the rows + beta * out. Scratch is like out. */
void gather_layers(struct backend *backend, struct tensor *out, struct tensor *scratch,
                   const struct propagation *propagation, const struct tensor *embeddings,
                   const struct tensor *rows /* i32 [n] */, struct layer_range range, float share,
                   float beta);

/* The gradient with respect to each layer of a range, at the same rows. */
struct layer_gradient {
    struct tensor rows;     /* i32 [n] */
    struct tensor gradient; /* [n, width] */
    struct layer_range range;
};
/* With g_l what `parts` say of layer l:  d_embeddings = g_0 + A_1 (g_1 + A_2 (g_2 + ... A_L g_L)) + beta * d_embeddings.
 * Overwrites the layers. */
void propagate_back(struct backend *backend, struct propagation *propagation, struct tensor *d_embeddings,
                    float beta, const struct layer_gradient *parts, int count);

#endif
