/*
 * XSimGCL (Yu et al., "XSimGCL: towards extremely simple graph contrastive learning for recommendation", TKDE 2024): one
 * propagation with SimGCL's noise serves both losses: the ranking loss of the mean of layers 1 .. L, and contrast_weight *
 * (InfoNCE of the users + InfoNCE of the items) of a batch, each once, between that mean and layer l* = contrast_layer
 * (eq. 8 and 9). Scores come from a propagation without noise. As in the authors' code (github.com/Coder-Yu/SELFRec,
 * model/graph/XSimGCL.py), but for the regularisation: see steps.h.
 */
#include "models/recommenders/graph_steps.h"
#include "models/recommenders/node_contrast.h"

static struct layer_range contrasted(const struct embedding_training *training)
{
    return (struct layer_range){training->settings.contrast_layer, training->settings.contrast_layer};
}

static void xsimgcl_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    struct node_contrast *contrast = training->contrast;
    struct propagation *noisy = &training->propagation;
    const struct batch_nodes nodes = node_contrast_batch(contrast, first);
    op_csr_spmm(backend, &noisy->layer[0], noisy->graph[0], &training->parameters, 0.0f);
    propagate_noisily(backend, noisy, &noisy->layer[0], noise_of_step(training, 0));
    view_read(contrast, 0, noisy, &training->parameters, nodes, training->read_out);
    view_read(contrast, 1, noisy, &training->parameters, nodes, contrasted(training));
    contrast_views(contrast, nodes, false);
    const struct layer_gradient parts[] = {rank_batch(training, first, count),
                                           view_gradient(contrast, 0, nodes, training->read_out),
                                           view_gradient(contrast, 1, nodes, contrasted(training))};
    propagate_back(backend, noisy, &training->gradient, 0.0f, parts, 3);
    finish_step(training, first, count);
}

static bool check(const struct recommender_settings *settings, struct error *error)
{
    if (settings->contrast_layer < 1 || settings->contrast_layer > settings->layers)
        return error_set(
            error, ERROR_USAGE,
            "xsimgcl: recommenders.contrast_layer is %lld; it must be 1 to recommenders.layers, %lld",
            (long long)settings->contrast_layer, (long long)settings->layers);
    return graph_settings_check(settings, error);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    training->take_step = xsimgcl_step;
    training->begin_epoch = contrast_alike;
    return graph_training_prepare(training, 1, error) &&
           node_contrast_open(training, SHARE_OF_SIDE, 1, training->settings.batch, error);
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

const struct recommender_model xsimgcl_model = GRAPH_MODEL("xsimgcl", NULL, check, training_open);
