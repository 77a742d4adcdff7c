#include "models/recommenders/user_item_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool user_item_graph_open(struct user_item_graph *graph, const struct training_set *data, struct error *error)
{
    const size_t edges = 2 * (size_t)csr_count(data->positives);
    const size_t items = (size_t)data->positives->columns, nodes = (size_t)data->positives->rows + items;
    *graph = (struct user_item_graph){.nodes = (int64_t)nodes,
                                      .rows = (int64_t)nodes,
                                      .starts = malloc((nodes + 1) * sizeof *graph->starts),
                                      .indices = malloc(edges * sizeof *graph->indices),
                                      .values = malloc(edges * sizeof *graph->values),
                                      .next = malloc(items * sizeof *graph->next),
                                      .inverse_root = malloc(nodes * sizeof *graph->inverse_root)};
    if (graph->starts && graph->indices && graph->values && graph->next && graph->inverse_root)
        return true;
    user_item_graph_close(graph);
    return error_memory(error, "the graph of users and items", edges * (sizeof(int32_t) + sizeof(real)),
                        NULL);
}

void user_item_graph_close(struct user_item_graph *graph)
{
    free(graph->starts);
    free(graph->indices);
    free(graph->values);
    free(graph->next);
    free(graph->inverse_root);
    *graph = (struct user_item_graph){0};
}

/* Where each row starts: users in order, then items, by their number of kept interactions. */
static void count_edges(struct user_item_graph *graph, const struct csr *positives, const bool *kept)
{
    int64_t *of_items = graph->starts + positives->rows;
    memset(graph->starts, 0, (size_t)(graph->nodes + 1) * sizeof *graph->starts);
    for (int64_t user = 0; user < positives->rows; user++)
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++)
            if (!kept || kept[index]) {
                graph->starts[user + 1]++;
                of_items[positives->indices[index] + 1]++;
            }
    for (int64_t node = 0; node < graph->nodes; node++)
        graph->starts[node + 1] += graph->starts[node];
}

/* Places both directions of every kept interaction, with the interaction's weight. */
static void place_edges(struct user_item_graph *graph, const struct training_set *data, const bool *kept)
{
    const struct csr *positives = data->positives;
    const int32_t users = (int32_t)positives->rows;
    int64_t placed = 0;
    memcpy(graph->next, graph->starts + users, (size_t)positives->columns * sizeof *graph->next);
    for (int32_t user = 0; user < users; user++)
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++) {
            if (kept && !kept[index])
                continue;
            const int32_t item = positives->indices[index];
            const real weight = (real)(data->weights ? data->weights[index] : 1.0f);
            const int64_t back = graph->next[item]++;
            graph->indices[placed] = users + item;
            graph->values[placed++] = weight;
            graph->indices[back] = user;
            graph->values[back] = weight;
        }
}

static void normalize_edges(struct user_item_graph *graph)
{
    double *inverse_root = graph->inverse_root;
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

void user_item_graph_fill(struct user_item_graph *graph, const struct training_set *data, const bool *kept)
{
    count_edges(graph, data->positives, kept);
    place_edges(graph, data, kept);
    normalize_edges(graph);
}

void user_item_graph_keep_rows(struct user_item_graph *graph, int64_t first, int64_t count)
{
    const int64_t before = graph->starts[first], edges = graph->starts[first + count] - before;
    for (int64_t row = 0; row <= count; row++)
        graph->starts[row] = graph->starts[first + row] - before;
    memmove(graph->indices, graph->indices + before, (size_t)edges * sizeof *graph->indices);
    memmove(graph->values, graph->values + before, (size_t)edges * sizeof *graph->values);
    graph->rows = count;
}

struct csr_tensor user_item_graph_tensor(struct arena *arena, int64_t rows, int64_t nodes, int64_t edges)
{
    return (struct csr_tensor){.rows = rows,
                               .columns = nodes,
                               .starts = arena_tensor_1d(arena, DTYPE_I64, rows + 1),
                               .indices = arena_tensor_1d(arena, DTYPE_I32, edges),
                               .values = arena_tensor_1d(arena, DTYPE_REAL, edges)};
}

struct csr_tensor user_item_graph_upload(const struct user_item_graph *graph, struct backend *backend,
                                         const struct csr_tensor *room)
{
    const int64_t edges = graph->starts[graph->rows];
    struct csr_tensor matrix = *room;
    matrix.indices = tensor_rows(&room->indices, 0, edges);
    matrix.values = tensor_rows(&room->values, 0, edges);
    tensor_upload(backend, &matrix.starts, graph->starts);
    tensor_upload(backend, &matrix.indices, graph->indices);
    tensor_upload(backend, &matrix.values, graph->values);
    return matrix;
}
