/*
 * LightGCN (He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020):
 * layers E_l = A E_{l-1} of the normalised graph, final embeddings the mean of layers 0 .. L, the ranking loss of steps.h.
 */
#include "models/recommenders/graph_steps.h"

static void lightgcn_step(struct embedding_training *training, int64_t first, int64_t count)
{
    propagate(training->backend, &training->propagation, &training->parameters);
    const struct layer_gradient ranking = rank_batch(training, first, count);
    propagate_back(training->backend, &training->propagation, &training->gradient, 0.0f, &ranking, 1);
    finish_step(training, first, count);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    training->take_step = lightgcn_step;
    return graph_training_prepare(training, 0, error);
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

static bool divides(const struct recommender_settings *settings)
{
    (void)settings;
    return true;
}

const struct recommender_model lightgcn_model =
    GRAPH_MODEL("lightgcn", divides, graph_settings_check, training_open);
