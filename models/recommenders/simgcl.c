/*
 * SimGCL (Yu et al., "Are graph augmentations necessary? Simple graph contrastive learning for recommendation", SIGIR
 * 2022): LightGCN without layer 0 in its mean, and beside the ranking loss contrast_weight * (InfoNCE of the users +
 * InfoNCE of the items) of a batch, each once, between two propagations over the whole graph with noise in every layer
 * (eq. 7 and 8):  E_l = A E_{l-1} + sign(.) * noise * u / |u|.  The ranking loss is of a propagation without noise. As in
 * the authors' code (github.com/Coder-Yu/SELFRec, model/graph/SimGCL.py), but for the regularisation: see steps.h.
 */
#include <stdlib.h>

#include "models/recommenders/graph_steps.h"
#include "models/recommenders/node_contrast.h"

struct simgcl {
    struct arena arena;
    struct propagation noisy;
};

/* Noise does not depend on the embeddings but for the sign: all three propagations have the same backward, and go back
 * together. */
static void simgcl_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    struct node_contrast *contrast = training->contrast;
    struct simgcl *simgcl = training->own;
    const struct batch_nodes nodes = node_contrast_batch(contrast, first);
    propagate(backend, &training->propagation, &training->parameters);
    for (int view = 0; view < 2; view++) {
        propagate_noisily(backend, &simgcl->noisy, &training->propagation.layer[0],
                          noise_of_step(training, view));
        view_read(contrast, view, &simgcl->noisy, &training->parameters, nodes, training->read_out);
    }
    contrast_views(contrast, nodes, false);
    const struct layer_gradient parts[] = {rank_batch(training, first, count),
                                           view_gradient(contrast, 0, nodes, training->read_out),
                                           view_gradient(contrast, 1, nodes, training->read_out)};
    propagate_back(backend, &training->propagation, &training->gradient, 0.0f, parts, 3);
    finish_step(training, first, count);
}

static void release(void *own)
{
    struct simgcl *simgcl = own;
    arena_release(&simgcl->arena);
    free(simgcl);
}

static void lay_out(struct embedding_training *training)
{
    struct simgcl *simgcl = training->own;
    const int64_t nodes = training->users + training->items, width = training->settings.width;
    simgcl->noisy = training->propagation;
    for (int64_t layer = 0; layer < training->settings.layers; layer++)
        simgcl->noisy.layer[layer] = arena_tensor_2d(&simgcl->arena, DTYPE_REAL, nodes, width);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    training->take_step = simgcl_step;
    training->begin_epoch = contrast_alike;
    if (!graph_training_prepare(training, 1, error) ||
        !node_contrast_open(training, SHARE_OF_SIDE, 1, training->settings.batch, error))
        return false;
    struct simgcl *simgcl = calloc(1, sizeof *simgcl);
    if (!simgcl)
        return error_memory(error, "the noisy layers", sizeof *simgcl, NULL);
    training->own = simgcl;
    training->release_own = release;
    simgcl->arena = arena_measure(training->backend, "noisy layers");
    lay_out(training);
    if (!arena_reserve(&simgcl->arena, 0, "lower recommenders.layers", error))
        return false;
    lay_out(training);
    return true;
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

const struct recommender_model simgcl_model =
    GRAPH_MODEL("simgcl", NULL, graph_settings_check, training_open);
