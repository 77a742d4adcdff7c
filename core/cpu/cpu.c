#include "core/cpu/cpu.h"

#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_ALIGNMENT ((size_t)256)

struct workspace {
    void *memory;
    size_t bytes;
};

static void *cpu_allocate(struct backend *backend, size_t bytes)
{
    (void)backend;
    return aligned_alloc(DEVICE_ALIGNMENT, (bytes / DEVICE_ALIGNMENT + 1) * DEVICE_ALIGNMENT);
}

static void cpu_release(struct backend *backend, void *memory)
{
    (void)backend;
    free(memory);
}

static void cpu_fill_zero(struct backend *backend, void *memory, size_t bytes)
{
    (void)backend;
    if (bytes > 0)
        memset(memory, 0, bytes);
}

static void cpu_copy(struct backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    if (bytes > 0)
        memcpy(to, from, bytes);
}

static void cpu_wait(struct backend *backend)
{
    (void)backend;
}

static void cpu_close(struct backend *backend)
{
    struct workspace *workspace = backend->implementation;
    free(workspace->memory);
    free(workspace);
    free(backend);
}

void *cpu_workspace(struct backend *backend, size_t bytes)
{
    struct workspace *workspace = backend->implementation;
    if (workspace->bytes >= bytes && workspace->memory)
        return workspace->memory;
    free(workspace->memory);
    workspace->memory = cpu_allocate(backend, bytes);
    workspace->bytes = workspace->memory ? bytes : 0;
    if (!workspace->memory)
        error_memory(&backend->error, "the scratch memory of an operator", bytes, "lower the batch size");
    return workspace->memory;
}

#define OPERATOR_ADDRESS(name) .name = cpu_##name,
static const struct operators cpu_operators = {OPERATORS(OPERATOR_ADDRESS)};

struct backend *cpu_backend_open(int threads, struct error *error)
{
    struct backend *backend = malloc(sizeof *backend);
    struct workspace *workspace = calloc(1, sizeof *workspace);
    if (!backend || !workspace) {
        free(backend);
        free(workspace);
        error_memory(error, "the CPU backend", sizeof *backend, NULL);
        return NULL;
    }
    *backend = (struct backend){
        .name = "cpu",
        .device = DEVICE_CPU,
        .threads = threads > 0 ? threads : omp_get_max_threads(),
        .allocate = cpu_allocate,
        .release = cpu_release,
        .fill_zero = cpu_fill_zero,
        .copy = cpu_copy,
        .upload = cpu_copy,
        .download = cpu_copy,
        .wait = cpu_wait,
        .close = cpu_close,
        .operators = &cpu_operators,
        .implementation = workspace,
        .error = ERROR_INITIALIZER,
    };
    openblas_set_num_threads(1);
    return backend;
}
