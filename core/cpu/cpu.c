#include "core/cpu/cpu.h"

#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu/blas_core_type.h"
#include "core/file.h"

#define DEVICE_ALIGNMENT ((size_t)256)

struct implementation {
    void *workspace;
    size_t workspace_bytes;
    bool library_rows_are_independent;
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

/* The system lends more than it has, and says so too late for any number to be right. */
static size_t cpu_free_memory(struct backend *backend)
{
    const int64_t available = available_memory_bytes();
    (void)backend;
    return available > 0 && available < INT64_MAX ? (size_t)available : 0;
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

/* Work is done when its call returns. */
static uint64_t cpu_mark(struct backend *backend)
{
    (void)backend;
    return 0;
}

static void cpu_wait_for(struct backend *backend, uint64_t mark)
{
    (void)backend;
    (void)mark;
}

static void cpu_close(struct backend *backend)
{
    struct implementation *implementation = backend->implementation;
    free(implementation->workspace);
    free(implementation);
    free(backend);
}

void *cpu_workspace(struct backend *backend, size_t bytes)
{
    struct implementation *implementation = backend->implementation;
    if (implementation->workspace_bytes >= bytes && implementation->workspace)
        return implementation->workspace;
    free(implementation->workspace);
    implementation->workspace = cpu_allocate(backend, bytes);
    implementation->workspace_bytes = implementation->workspace ? bytes : 0;
    if (!implementation->workspace)
        error_memory(&backend->error, "the scratch memory of an operator", bytes, "lower the batch size");
    return implementation->workspace;
}

bool cpu_library_rows_are_independent(const struct backend *backend)
{
    return ((const struct implementation *)backend->implementation)->library_rows_are_independent;
}

#define OPERATOR_ADDRESS(name) .name = cpu_##name,
static const struct operators cpu_operators = {OPERATORS(OPERATOR_ADDRESS)};

struct backend *cpu_backend_open(int threads, struct error *error)
{
    struct backend *backend = malloc(sizeof *backend);
    struct implementation *implementation = malloc(sizeof *implementation);
    if (!backend || !implementation) {
        free(backend);
        free(implementation);
        error_memory(error, "the CPU backend", sizeof *backend, NULL);
        return NULL;
    }
    *implementation = (struct implementation){
        .library_rows_are_independent = blas_rows_are_independent(openblas_get_corename()),
    };
    *backend = (struct backend){
        .name = "cpu",
        .address = "cpu",
        .description = "cpu",
        .device = DEVICE_CPU,
        .threads = threads > 0 ? threads : omp_get_max_threads(),
        .allocate = cpu_allocate,
        .release = cpu_release,
        .free_memory = cpu_free_memory,
        .fill_zero = cpu_fill_zero,
        .copy = cpu_copy,
        .upload = cpu_copy,
        .download = cpu_copy,
        .wait = cpu_wait,
        .allocate_host = cpu_allocate,
        .release_host = cpu_release,
        .queue_upload = cpu_copy,
        .queue_download = cpu_copy,
        .mark = cpu_mark,
        .wait_for = cpu_wait_for,
        .close = cpu_close,
        .operators = &cpu_operators,
        .implementation = implementation,
        .error = ERROR_INITIALIZER,
    };
    openblas_set_num_threads(1);
    return backend;
}
