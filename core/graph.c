#include "core/backend.h"

bool backend_graph_supported(const struct backend *backend)
{
    return backend->graph_calls != NULL;
}

/* Recording is no work; what was counted meanwhile is that of each run. */
static void record(struct backend *backend, struct backend_graph *graph, graph_work *work, void *context)
{
    const struct operation_counters before = backend->counters;
    if (!backend->graph_calls->begin(backend))
        return;
    backend->counters = (struct operation_counters){0};
    work(context);
    graph->counters = backend->counters;
    backend->counters = before;
    graph->recorded = backend->graph_calls->end(backend);
}

void backend_graph_run(struct backend *backend, struct backend_graph *graph, graph_work *work, void *context)
{
    if (backend->error.kind != ERROR_NONE)
        return;
    if (!backend_graph_supported(backend) || !graph->warm) {
        work(context);
        graph->warm = true;
        return;
    }
    if (graph->recorded && !backend->graph_calls->is_current(backend, graph->recorded)) {
        backend->graph_calls->release(backend, graph->recorded);
        graph->recorded = NULL;
    }
    if (!graph->recorded)
        record(backend, graph, work, context);
    if (!graph->recorded)
        return;
    backend->graph_calls->launch(backend, graph->recorded);
    backend_add_counters(backend, &graph->counters);
}

void backend_graph_release(struct backend *backend, struct backend_graph *graph)
{
    if (graph->recorded)
        backend->graph_calls->release(backend, graph->recorded);
    *graph = (struct backend_graph){.warm = false};
}
