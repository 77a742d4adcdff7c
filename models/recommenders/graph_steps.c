#include "models/recommenders/graph_steps.h"

#include <stdlib.h>

#include "models/recommenders/user_item_graph.h"

bool graph_settings_check(const struct recommender_settings *settings, struct error *error)
{
    return (settings->layers >= 1 && settings->layers <= PROPAGATION_LAYERS_MAXIMUM) ||
           error_set(error, ERROR_USAGE, "%s: %lld layers; recommenders.layers must be 1 to %d",
                     settings->model, (long long)settings->layers, PROPAGATION_LAYERS_MAXIMUM);
}

/* A node costs about what so many of its edges do: Adam's step and a row of each layer against a row that is added. */
enum { EDGES_OF_A_NODE = 8 };

/* Ranges of about as much work. */
static bool divide_nodes(struct embedding_training *training, struct user_item_graph *graph,
                         struct error *error)
{
    const int64_t nodes = graph->nodes;
    int64_t *work = malloc(((size_t)nodes + 1) * sizeof *work);
    if (!work)
        return error_memory(error, "the nodes of each rank", (size_t)nodes * sizeof *work, NULL);
    for (int64_t node = 0; node <= nodes; node++)
        work[node] = graph->starts[node] + EDGES_OF_A_NODE * node;
    const bool done = row_parts_open(&training->parts, training->backend, nodes, work, error);
    free(work);
    if (done)
        user_item_graph_keep_rows(graph, training->parts.first, training->parts.count);
    return done;
}

bool graph_training_prepare(struct embedding_training *training, int64_t first_layer, struct error *error)
{
    training->read_out = (struct layer_range){first_layer, training->settings.layers};
    struct user_item_graph graph;
    if (!user_item_graph_open(&graph, &training->data, error))
        return false;
    user_item_graph_fill(&graph, &training->data, NULL);
    const bool done = divide_nodes(training, &graph, error) &&
                      embedding_training_reserve(training, graph.starts[graph.rows], error);
    if (done)
        training->graph = user_item_graph_upload(&graph, training->backend, &training->graph);
    user_item_graph_close(&graph);
    return done && backend_synchronize(training->backend, error);
}

static float share_of(struct layer_range range)
{
    return 1.0f / (float)(range.last - range.first + 1);
}

/* batch_final = the final embeddings of the batch's rows; batch_rows = the table's rows themselves. */
static void gather_final(struct embedding_training *training, const struct tensor *rows)
{
    struct backend *backend = training->backend;
    const struct layer_range range = training->read_out;
    const int64_t count = rows->shape[0];
    struct tensor own = tensor_rows(&training->batch_rows, 0, count);
    struct tensor final = tensor_rows(&training->batch_final, 0, count);
    struct tensor scratch = tensor_rows(&training->batch_gradient, 0, count);
    op_gather(backend, &own, &training->parameters, rows);
    if (range.first == 0)
        op_axpby(backend, &final, share_of(range), &own, 0.0f);
    const struct layer_range above = {range.first == 0 ? 1 : range.first, range.last};
    gather_layers(backend, &final, &scratch, &training->propagation, &training->parameters, rows, above,
                  share_of(range), range.first == 0 ? 1.0f : 0.0f);
}

struct layer_gradient rank_batch(struct embedding_training *training, int64_t first, int64_t count)
{
    struct layer_gradient of_layers = {.rows = tensor_rows(&training->own_rows, 3 * first, 3 * count),
                                       .gradient = tensor_rows(&training->batch_final, 0, 3 * count),
                                       .range = training->read_out};
    const struct tensor of_mean = tensor_rows(&training->batch_gradient, 0, 3 * count);
    gather_final(training, &of_layers.rows);
    triples_deal(training, &of_layers.gradient, count);
    batch_loss(training, first, count);
    triples_gather(training, &of_mean, count);
    op_axpby(training->backend, &of_layers.gradient, share_of(training->read_out), &of_mean, 0.0f);
    return of_layers;
}

struct layer_noise noise_of_step(const struct embedding_training *training, int pass)
{
    return (struct layer_noise){.magnitude = (float)training->settings.noise,
                                .seed = training->seed,
                                .step = (uint64_t)training->step,
                                .site = (uint64_t)(pass * PROPAGATION_LAYERS_MAXIMUM)};
}

void finish_step(struct embedding_training *training, int64_t first, int64_t count)
{
    const struct tensor rows = tensor_rows(&training->own_rows, 3 * first, 3 * count);
    struct tensor own = tensor_rows(&training->batch_rows, 0, 3 * count);
    op_axpby(training->backend, &own, (float)(training->settings.regularization / (double)count), &own, 0.0f);
    op_scatter_add(training->backend, &training->gradient, &own, &rows);
    adam_step(training, &training->gradient);
}

bool graph_training_publish(void *training, struct error *error)
{
    struct embedding_training *trained = training;
    const struct layer_range range = trained->read_out;
    struct tensor own = row_parts_own(&trained->parts, trained->final);
    propagate(trained->backend, &trained->propagation, &trained->parameters);
    for (int64_t layer = range.first; layer <= range.last; layer++)
        op_axpby(trained->backend, &own, share_of(range),
                 layer == 0 ? &trained->parameters : &trained->propagation.layer[layer - 1],
                 layer == range.first ? 0.0f : 1.0f);
    row_parts_gather(&trained->parts, trained->final);
    return backend_synchronize(trained->backend, error);
}
