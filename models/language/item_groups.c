#include "models/language/item_groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/eigenvectors.h"
#include "core/weighted_means.h"

enum { STARTS = 5, ROUNDS = 40 };
static const double TOLERANCE = 1e-4;

/* ---- D^-1/2 A D^-1/2 ---------------------------------------------------------------------------------- */

struct normalized_graph {
    const struct item_graph *graph;
    int threads;
    double *inverse_root; /* [items]: 1 / sqrt(degree) */
    double *sums;         /* [users, width of a product] */
};

/* A is the product of histories, without its diagonal: an item has no edge to itself. */
static void apply(void *context, double *out, const double *x, int64_t width)
{
    const struct normalized_graph *normalized = context;
    const struct csr *histories = &normalized->graph->histories, *audience = &normalized->graph->audience;
    const double *root = normalized->inverse_root;
#pragma omp parallel for schedule(dynamic, 64) num_threads(normalized->threads)
    for (int64_t user = 0; user < histories->rows; user++) {
        double *sum = normalized->sums + user * width;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t i = histories->starts[user]; i < histories->starts[user + 1]; i++) {
            const int64_t item = histories->indices[i];
            for (int64_t j = 0; j < width; j++)
                sum[j] += root[item] * x[item * width + j];
        }
    }
#pragma omp parallel for schedule(dynamic, 64) num_threads(normalized->threads)
    for (int64_t item = 0; item < audience->rows; item++) {
        double *to = out + item * width;
        const double users = (double)csr_row_length(audience, item);
        for (int64_t j = 0; j < width; j++)
            to[j] = -users * root[item] * x[item * width + j];
        for (int64_t i = audience->starts[item]; i < audience->starts[item + 1]; i++)
            for (int64_t j = 0; j < width; j++)
                to[j] += normalized->sums[audience->indices[i] * width + j];
        for (int64_t j = 0; j < width; j++)
            to[j] *= root[item];
    }
}

/* A is positive semidefinite but for the diagonal that is taken away, so no eigenvalue is below the least of -users /
 * degree. */
static double least_eigenvalue(const struct item_graph *graph)
{
    double least = 0;
    for (int64_t item = 0; item < graph->audience.rows; item++)
        least = fmin(least, -(double)csr_row_length(&graph->audience, item) / graph->degree[item]);
    return least;
}

/* points [items, count]: the leading eigenvectors times D^-1/2; no item is without edges. */
static bool find_indicators(struct eigenvectors *found, const struct item_graph *graph, int64_t count,
                            uint64_t seed, int threads, struct error *error)
{
    const int64_t items = graph->audience.rows;
    const size_t sums_bytes =
        (size_t)(graph->histories.rows * eigenvectors_width(items, count)) * sizeof(double);
    struct normalized_graph normalized = {.graph = graph, .threads = threads};
    normalized.inverse_root = malloc((size_t)items * sizeof(double) + 1);
    normalized.sums = malloc(sums_bytes + 1);
    bool done = (normalized.inverse_root && normalized.sums) ||
                error_memory(error, "clusters of items", sums_bytes, "lower language_model.clusters");
    for (int64_t item = 0; item < items && done; item++)
        normalized.inverse_root[item] = 1 / sqrt(graph->degree[item]);
    const struct symmetric_operator matrix = {items, done ? least_eigenvalue(graph) : 0, 1, &normalized,
                                              apply};
    done = done && eigenvectors_find(found, &matrix, count, TOLERANCE, ROUNDS, seed, threads,
                                     "lower language_model.clusters", error);
    for (int64_t at = 0; at < items * count && done; at++)
        found->vectors[at] *= normalized.inverse_root[at / count];
    free(normalized.inverse_root);
    free(normalized.sums);
    return done;
}

/* ---- groups ------------------------------------------------------------------------------------------- */

/* Renumbers the groups by their first items and leaves out the empty ones; `number` [count] is scratch. */
static void renumber(struct item_groups *found, int64_t items, int32_t *number)
{
    memset(number, -1, (size_t)found->count * sizeof *number);
    found->count = 0;
    for (int64_t item = 0; item < items; item++) {
        int32_t *of = &number[found->group[item]];
        if (*of < 0)
            *of = (int32_t)found->count++;
        found->group[item] = *of;
    }
}

void item_groups_even(struct item_groups *found, int64_t items, int64_t groups, int32_t *scratch)
{
    /* scratch[item] = its place, by counting. */
    int64_t place = 0;
    for (int64_t group = 0; group < found->count; group++)
        for (int64_t item = 0; item < items; item++)
            if (found->group[item] == group)
                scratch[item] = (int32_t)place++;
    const int64_t runs = groups < items ? groups : items;
    for (int64_t item = 0; item < items; item++)
        found->group[item] = (int32_t)(scratch[item] * runs / items);
    found->count = runs;
}

/* group [items] = the best of several starts of k-means, by normalised cut; `tried` [items] is scratch. */
static bool round_indicators(int32_t *group, int32_t *tried, const struct item_graph *graph,
                             const struct eigenvectors *indicators, int64_t groups, uint64_t seed,
                             uint64_t step, int threads, struct error *error)
{
    const int64_t items = graph->audience.rows;
    const struct weighted_points points = {items, groups, indicators->vectors, graph->degree};
    double least = INFINITY, cut;
    for (uint64_t start = 0; start < STARTS; start++) {
        struct random_stream stream = random_stream_open(seed, RANDOM_CLUSTER, step, start);
        if (!weighted_means(tried, &points, groups, &stream, threads, error) ||
            !item_graph_normalized_cut(&cut, graph, tried, groups, error))
            return false;
        if (cut < least) {
            least = cut;
            memcpy(group, tried, (size_t)items * sizeof *group);
        }
    }
    return true;
}

static bool cut_connected(int32_t *group, int32_t *tried, const struct item_graph *graph, int64_t groups,
                          uint64_t seed, uint64_t step, int threads, struct error *error)
{
    struct eigenvectors indicators = {0};
    const bool done = find_indicators(&indicators, graph, groups, seed, threads, error) &&
                      round_indicators(group, tried, graph, &indicators, groups, seed, step, threads, error);
    eigenvectors_free(&indicators);
    return done;
}

/* The same beside items without edges, which are group `groups`; `connected` [items] and `tried` [items] are scratch. */
static bool cut_partly_connected(int32_t *group, int32_t *tried, int32_t *connected,
                                 const struct item_graph *graph, int64_t groups, uint64_t seed, uint64_t step,
                                 int threads, struct error *error)
{
    const int64_t items = graph->audience.rows;
    struct item_graph part;
    int64_t count = 0;
    for (int64_t item = 0; item < items; item++)
        if (graph->degree[item] > 0)
            connected[count++] = (int32_t)item;
    if (!item_graph_part(&part, graph, connected, count, error))
        return false;
    memset(group, 0, (size_t)items * sizeof *group);
    const int64_t parts = groups < count ? groups : count;
    const bool done = parts < 2 || cut_connected(group, tried, &part, parts, seed, step, threads, error);
    /* group[0 .. count - 1] is that of the connected items; it moves to their places from the end on. */
    for (int64_t item = items - 1; item >= 0; item--)
        group[item] = graph->degree[item] > 0 ? group[--count] : (int32_t)groups;
    item_graph_free(&part);
    return done;
}

bool item_groups_find(struct item_groups *found, const struct item_graph *graph, int64_t groups,
                      uint64_t seed, uint64_t step, int threads, struct error *error)
{
    const int64_t items = graph->audience.rows, most = groups < items ? groups : items;
    const size_t bytes = (size_t)(items > groups ? items : groups) * sizeof(int32_t);
    int32_t *tried = malloc(bytes), *connected = malloc(bytes);
    bool alone = false, any = false;
    *found = (struct item_groups){.group = malloc(bytes), .count = groups};
    bool done =
        (tried && connected && found->group) || error_memory(error, "groups of items", 3 * bytes, NULL);
    for (int64_t item = 0; item < items; item++) {
        alone |= !(graph->degree[item] > 0);
        any |= graph->degree[item] > 0;
    }
    if (done && !any)
        memset(found->group, 0, bytes);
    else if (done && alone)
        done =
            cut_partly_connected(found->group, tried, connected, graph, most - 1, seed, step, threads, error);
    else if (done)
        done = cut_connected(found->group, tried, graph, most, seed, step, threads, error);
    if (done)
        renumber(found, items, tried);
    if (done && found->count < 2)
        item_groups_even(found, items, groups, tried);
    free(tried);
    free(connected);
    if (!done)
        item_groups_free(found);
    return done;
}

void item_groups_free(struct item_groups *found)
{
    free(found->group);
    *found = (struct item_groups){0};
}
