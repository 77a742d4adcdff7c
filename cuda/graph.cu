#include <stdlib.h>

#include "cuda/device.cuh"

struct recorded_graph {
    cudaGraphExec_t executable;
    const void *workspace; /* which its kernels address */
};

static bool begin(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    device->capturing = cuda_check(
        backend, cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal), "recording");
    return device->capturing;
}

static void *instantiate(struct backend *backend, cudaGraph_t graph)
{
    struct recorded_graph *recorded = static_cast<struct recorded_graph *>(calloc(1, sizeof *recorded));
    if (!recorded) {
        error_memory(&backend->error, "a recorded graph", sizeof *recorded, NULL);
        return NULL;
    }
    recorded->workspace = device_of(backend)->workspace;
    if (cuda_check(backend, cudaGraphInstantiate(&recorded->executable, graph, 0), "recorded graph"))
        return recorded;
    free(recorded);
    return NULL;
}

static void *end(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    cudaGraph_t graph = NULL;
    const cudaError_t result = cudaStreamEndCapture(device->stream, &graph);
    device->capturing = false;
    void *recorded = NULL;
    if (backend->error.kind == ERROR_NONE && cuda_check(backend, result, "recording"))
        recorded = instantiate(backend, graph);
    if (graph)
        cudaGraphDestroy(graph);
    return recorded;
}

static bool is_current(struct backend *backend, const void *recorded)
{
    return static_cast<const struct recorded_graph *>(recorded)->workspace == device_of(backend)->workspace;
}

static void launch(struct backend *backend, void *recorded)
{
    cuda_check(backend,
               cudaGraphLaunch(static_cast<struct recorded_graph *>(recorded)->executable,
                               device_of(backend)->stream),
               "launch of a recorded graph");
}

/* The graph may still be running. */
static void release(struct backend *backend, void *recorded)
{
    backend->wait(backend);
    cuda_check(backend, cudaGraphExecDestroy(static_cast<struct recorded_graph *>(recorded)->executable),
               "release of a recorded graph");
    free(recorded);
}

const struct graph_calls cuda_graph_calls = {begin, end, is_current, launch, release};
