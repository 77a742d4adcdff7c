#include "models/recommenders/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The graph of users and items on the host: row r holds the neighbours of node r in ascending order. */
struct host_graph {
    int64_t nodes;
    int64_t *starts;
    int32_t *indices;
    real *values;
};

static void host_graph_free(struct host_graph *graph)
{
    free(graph->starts);
    free(graph->indices);
    free(graph->values);
}

/* Where each row starts: users as in the positives, then items by their number of users. */
static void count_edges(struct host_graph *graph, const struct csr *positives)
{
    const int64_t users = positives->rows, edges = csr_count(positives);
    memcpy(graph->starts, positives->starts, (size_t)(users + 1) * sizeof *graph->starts);
    int64_t *item_starts = graph->starts + users;
    memset(item_starts + 1, 0, (size_t)positives->columns * sizeof *item_starts);
    for (int64_t index = 0; index < edges; index++)
        item_starts[positives->indices[index] + 1]++;
    for (int64_t item = 0; item < positives->columns; item++)
        item_starts[item + 1] += item_starts[item];
}

/* Places both directions of every interaction, with the interaction's weight. next [items] is scratch. */
static void place_edges(struct host_graph *graph, const struct training_set *data, int64_t *next)
{
    const struct csr *positives = data->positives;
    const int32_t users = (int32_t)positives->rows;
    memcpy(next, graph->starts + users, (size_t)positives->columns * sizeof *next);
    for (int32_t user = 0; user < users; user++)
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++) {
            const int32_t item = positives->indices[index];
            const real weight = (real)(data->weights ? data->weights[index] : 1.0f);
            const int64_t place = next[item]++;
            graph->indices[index] = users + item;
            graph->values[index] = weight;
            graph->indices[place] = user;
            graph->values[place] = weight;
        }
}

/* values(a, b) = weight / sqrt(degree(a) degree(b)) over weighted degrees. */
static void normalize_edges(struct host_graph *graph, double *inverse_root)
{
    for (int64_t node = 0; node < graph->nodes; node++) {
        double degree = 0.0;
        for (int64_t edge = graph->starts[node]; edge < graph->starts[node + 1]; edge++)
            degree += (double)graph->values[edge];
        inverse_root[node] = degree > 0.0 ? 1.0 / sqrt(degree) : 0.0;
    }
    for (int64_t node = 0; node < graph->nodes; node++)
        for (int64_t edge = graph->starts[node]; edge < graph->starts[node + 1]; edge++)
            graph->values[edge] =
                (real)((double)graph->values[edge] * inverse_root[node] * inverse_root[graph->indices[edge]]);
}

static bool host_graph_build(struct host_graph *graph, const struct training_set *data, struct error *error)
{
    const size_t edges = 2 * (size_t)csr_count(data->positives);
    const size_t nodes = (size_t)(data->positives->rows + data->positives->columns);
    *graph = (struct host_graph){.nodes = (int64_t)nodes,
                                 .starts = malloc((nodes + 1) * sizeof *graph->starts),
                                 .indices = malloc(edges * sizeof *graph->indices),
                                 .values = malloc(edges * sizeof *graph->values)};
    double *inverse_root = malloc(nodes * sizeof *inverse_root);
    int64_t *next = malloc(nodes * sizeof *next);
    const bool allocated = graph->starts && graph->indices && graph->values && inverse_root && next;
    if (allocated) {
        count_edges(graph, data->positives);
        place_edges(graph, data, next);
        normalize_edges(graph, inverse_root);
    } else {
        host_graph_free(graph);
        error_memory(error, "the graph of users and items", edges * (sizeof(int32_t) + sizeof(real)), NULL);
    }
    free(inverse_root);
    free(next);
    return allocated;
}

static bool prepare(struct embedding_training *training, const struct training_set *data, struct error *error)
{
    if (training->settings.layers < 1 || training->settings.layers > PROPAGATION_LAYERS_MAXIMUM)
        return error_set(error, ERROR_USAGE, "lightgcn: %lld layers; recommenders.layers must be 1 to %d",
                         (long long)training->settings.layers, PROPAGATION_LAYERS_MAXIMUM);
    if (!embedding_training_reserve(training, data, 2 * csr_count(data->positives), error))
        return false;
    struct host_graph graph;
    if (!host_graph_build(&graph, data, error))
        return false;
    tensor_upload(training->backend, &training->graph.starts, graph.starts);
    tensor_upload(training->backend, &training->graph.indices, graph.indices);
    tensor_upload(training->backend, &training->graph.values, graph.values);
    host_graph_free(&graph);
    return backend_synchronize(training->backend, error);
}

/* layer[l - 1] = A^l E for l = 1 .. L. */
static void propagate(struct embedding_training *training)
{
    const struct tensor *below = &training->parameters;
    for (int64_t layer = 0; layer < training->settings.layers; layer++) {
        op_csr_spmm(training->backend, &training->layer[layer], &training->graph, below, 0.0f);
        below = &training->layer[layer];
    }
}

/* batch_final = the mean over layers at the batch's rows; batch_rows = the table's rows themselves. */
static void gather_final(struct embedding_training *training, const struct tensor *rows, int64_t count)
{
    struct backend *backend = training->backend;
    const float share = 1.0f / (float)(training->settings.layers + 1);
    struct tensor own = tensor_rows(&training->batch_rows, 0, 3 * count);
    struct tensor final = tensor_rows(&training->batch_final, 0, 3 * count);
    struct tensor gathered = tensor_rows(&training->batch_gradient, 0, 3 * count);
    op_gather(backend, &own, &training->parameters, rows);
    op_axpby(backend, &final, share, &own, 0.0f);
    for (int64_t layer = 0; layer < training->settings.layers; layer++) {
        op_gather(backend, &gathered, &training->layer[layer], rows);
        op_axpby(backend, &final, share, &gathered, 1.0f);
    }
}

/* With g the gradient with respect to the sum over layers, zero outside of the batch's rows, and A symmetric:
 * dE = g + A (g + A (g + ... A g)), innermost first. Returns the tensor that holds it. */
static struct tensor *propagate_back(struct embedding_training *training, const struct tensor *rows,
                                     const struct tensor *gradient)
{
    struct backend *backend = training->backend;
    struct tensor *above = &training->gradient;
    tensor_zero(backend, above);
    op_scatter_add(backend, above, gradient, rows);
    for (int64_t layer = 0; layer < training->settings.layers; layer++) {
        struct tensor *below = above == &training->gradient ? &training->layer[0] : &training->gradient;
        op_csr_spmm(backend, below, &training->graph, above, 0.0f);
        op_scatter_add(backend, below, gradient, rows);
        above = below;
    }
    return above;
}

void lightgcn_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    const struct tensor rows = tensor_rows(&training->rows, 3 * first, 3 * count);
    const float share = 1.0f / (float)(training->settings.layers + 1);
    propagate(training);
    gather_final(training, &rows, count);
    batch_loss(training, first, count);
    struct tensor own = tensor_rows(&training->batch_rows, 0, 3 * count);
    struct tensor gradient = tensor_rows(&training->batch_gradient, 0, 3 * count);
    struct tensor shared = tensor_rows(&training->batch_final, 0, 3 * count);
    op_axpby(backend, &shared, share, &gradient, 0.0f);
    struct tensor *d_parameters = propagate_back(training, &rows, &shared);
    op_axpby(backend, &own, (float)(training->settings.regularization / (double)count), &own, 0.0f);
    op_scatter_add(backend, d_parameters, &own, &rows);
    adam_step(training, d_parameters);
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

static bool train_epoch(void *training, int64_t epoch, double *loss, struct error *error)
{
    return train_epoch_by_steps(training, epoch, lightgcn_step, loss, error);
}

static bool publish(void *training, struct error *error)
{
    struct embedding_training *trained = training;
    const float share = 1.0f / (float)(trained->settings.layers + 1);
    propagate(trained);
    op_axpby(trained->backend, trained->final, share, &trained->parameters, 0.0f);
    for (int64_t layer = 0; layer < trained->settings.layers; layer++)
        op_axpby(trained->backend, trained->final, share, &trained->layer[layer], 1.0f);
    return backend_synchronize(trained->backend, error);
}

const struct recommender_model lightgcn_model = {
    .name = "lightgcn",
    .training_open = training_open,
    .train_epoch = train_epoch,
    .publish = publish,
    .training_state = embedding_training_state,
    .training_close = embedding_training_close,
    .published = embeddings_published,
    .score = embeddings_score,
    .save = embeddings_save,
    .load = embeddings_load,
    .release = embeddings_release,
};
