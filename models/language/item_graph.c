#include "models/language/item_graph.h"

#include <stdlib.h>
#include <string.h>

#define ADVICE "choose another language_model.indexing"

/* Keeps of each history what `number` [items of the histories] has a number for, as that number, and of users those with
 * two such items. */
static bool select_histories(struct csr *selected, const struct csr *histories, const int32_t *number,
                             int64_t items, struct error *error)
{
    const size_t rows = (size_t)histories->rows, count = (size_t)csr_count(histories);
    *selected = (struct csr){.columns = items,
                             .starts = malloc((rows + 1) * sizeof *selected->starts),
                             .indices = malloc(count * sizeof *selected->indices + 1)};
    if (!selected->starts || !selected->indices)
        return error_memory(error, "the histories of a graph of items",
                            rows * sizeof *selected->starts + count * sizeof *selected->indices, ADVICE);
    int64_t end = 0;
    selected->starts[0] = 0;
    for (int64_t row = 0; row < histories->rows; row++) {
        const int64_t begin = end;
        for (int64_t i = histories->starts[row]; i < histories->starts[row + 1]; i++)
            if (number[histories->indices[i]] >= 0)
                selected->indices[end++] = number[histories->indices[i]];
        if (end - begin >= 2)
            selected->starts[++selected->rows] = end;
        else
            end = begin;
    }
    /* What was reserved for all histories may be far more than what a part needs. */
    int64_t *starts = realloc(selected->starts, (size_t)(selected->rows + 1) * sizeof *starts);
    int32_t *indices = realloc(selected->indices, (size_t)end * sizeof *indices + 1);
    selected->starts = starts ? starts : selected->starts;
    selected->indices = indices ? indices : selected->indices;
    return true;
}

static bool sum_degrees(struct item_graph *graph, struct error *error)
{
    const struct csr *histories = &graph->histories;
    graph->degree = calloc((size_t)histories->columns + 1, sizeof *graph->degree);
    if (!graph->degree)
        return error_memory(error, "degrees of items", (size_t)histories->columns * sizeof *graph->degree,
                            ADVICE);
    for (int64_t row = 0; row < histories->rows; row++)
        for (int64_t i = histories->starts[row]; i < histories->starts[row + 1]; i++)
            graph->degree[histories->indices[i]] += (double)(csr_row_length(histories, row) - 1);
    return true;
}

static bool create(struct item_graph *graph, const struct csr *histories, const int32_t *number,
                   int64_t items, struct error *error)
{
    *graph = (struct item_graph){.degree = NULL};
    if (select_histories(&graph->histories, histories, number, items, error) &&
        csr_transpose(&graph->audience, &graph->histories, error) && sum_degrees(graph, error))
        return true;
    item_graph_free(graph);
    return false;
}

bool item_graph_part(struct item_graph *part, const struct item_graph *graph, const int32_t *items,
                     int64_t count, struct error *error)
{
    const size_t bytes = (size_t)graph->histories.columns * sizeof(int32_t);
    int32_t *number = malloc(bytes + 1);
    if (!number)
        return error_memory(error, "numbers of items", bytes, ADVICE);
    memset(number, -1, bytes);
    for (int64_t i = 0; i < count; i++)
        number[items[i]] = (int32_t)i;
    const bool done = create(part, &graph->histories, number, count, error);
    free(number);
    return done;
}

bool item_graph_create(struct item_graph *graph, const struct csr *train, struct error *error)
{
    const size_t bytes = (size_t)train->columns * sizeof(int32_t);
    int32_t *number = malloc(bytes + 1);
    if (!number)
        return error_memory(error, "numbers of items", bytes, ADVICE);
    for (int64_t item = 0; item < train->columns; item++)
        number[item] = (int32_t)item;
    const bool done = create(graph, train, number, train->columns, error);
    free(number);
    return done;
}

void item_graph_free(struct item_graph *graph)
{
    csr_free(&graph->histories);
    csr_free(&graph->audience);
    free(graph->degree);
    *graph = (struct item_graph){.degree = NULL};
}

/* inside[g] += the degrees that items of group g have among each other; count [groups] is 0 before and after. */
static void add_inside(double *inside, int64_t *count, const struct csr *histories, const int32_t *group)
{
    for (int64_t row = 0; row < histories->rows; row++) {
        const int64_t begin = histories->starts[row], end = histories->starts[row + 1];
        for (int64_t i = begin; i < end; i++)
            count[group[histories->indices[i]]]++;
        for (int64_t i = begin; i < end; i++) {
            const int32_t of = group[histories->indices[i]];
            inside[of] += (double)(count[of] * (count[of] - 1));
            count[of] = 0;
        }
    }
}

bool item_graph_normalized_cut(double *cut, const struct item_graph *graph, const int32_t *group,
                               int64_t groups, struct error *error)
{
    double *inside = calloc((size_t)groups + 1, sizeof *inside),
           *all = calloc((size_t)groups + 1, sizeof *all);
    int64_t *count = calloc((size_t)groups + 1, sizeof *count);
    const bool allocated = inside && all && count;
    *cut = 0;
    if (allocated) {
        add_inside(inside, count, &graph->histories, group);
        for (int64_t item = 0; item < graph->histories.columns; item++)
            all[group[item]] += graph->degree[item];
        for (int64_t g = 0; g < groups; g++)
            *cut += all[g] > 0 ? 1 - inside[g] / all[g] : 0;
    }
    free(inside);
    free(all);
    free(count);
    return allocated || error_memory(error, "a normalised cut", (size_t)groups * 3 * sizeof(double), ADVICE);
}
