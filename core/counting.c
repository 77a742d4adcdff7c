#include "core/counting.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/operators.h"

/* Far from whatever a program has in use, so that an access ends it. */
#define FIRST_ADDRESS ((uintptr_t)1 << 45)
#define ALIGNMENT ((size_t)256)

struct implementation {
    uintptr_t next;
    size_t memory; /* bytes; 0: not known */
};

static void *counting_allocate(struct backend *backend, size_t bytes)
{
    struct implementation *const implementation = backend->implementation;
    const uintptr_t address = implementation->next;
    implementation->next += (bytes / ALIGNMENT + 1) * ALIGNMENT;
    return (void *)address;
}

static void counting_release(struct backend *backend, void *memory)
{
    (void)backend;
    (void)memory;
}

/* 1 where nothing is left, as 0 says that it is not known. */
static size_t counting_free_memory(struct backend *backend)
{
    const struct implementation *const implementation = backend->implementation;
    const size_t memory = implementation->memory, taken = backend->memory.bytes;
    if (memory == 0)
        return 0;
    return memory > taken ? memory - taken : 1;
}

void counting_backend_set_memory(struct backend *backend, size_t bytes)
{
    struct implementation *const implementation = backend->implementation;
    implementation->memory = bytes;
}

static void counting_fill_zero(struct backend *backend, void *memory, size_t bytes)
{
    (void)backend;
    (void)memory;
    (void)bytes;
}

static void counting_copy(struct backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    (void)to;
    (void)from;
    (void)bytes;
}

static void counting_download(struct backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    (void)from;
    if (bytes > 0)
        memset(to, 0, bytes);
}

static void *counting_allocate_host(struct backend *backend, size_t bytes)
{
    (void)backend;
    const size_t rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

static void counting_release_host(struct backend *backend, void *memory)
{
    (void)backend;
    free(memory);
}

static void counting_wait(struct backend *backend)
{
    (void)backend;
}

static uint64_t counting_mark(struct backend *backend)
{
    (void)backend;
    return 0;
}

static void counting_wait_for(struct backend *backend, uint64_t mark)
{
    (void)backend;
    (void)mark;
}

static void counting_close(struct backend *backend)
{
    free(backend->implementation);
    free(backend);
}

/* Stands for every operator: it reads none of its arguments. */
static void nothing(void)
{
}

#define NOTHING(name) .name = (__typeof__(op_##name) *)nothing,
static const struct operators counting_operators = {OPERATORS(NOTHING)};

struct backend *counting_backend_open(enum device_kind device, int threads, struct error *error)
{
    struct backend *backend = malloc(sizeof *backend);
    struct implementation *implementation = malloc(sizeof *implementation);
    if (!backend || !implementation) {
        free(backend);
        free(implementation);
        error_memory(error, "the counting backend", sizeof *backend, NULL);
        return NULL;
    }
    *implementation = (struct implementation){.next = FIRST_ADDRESS};
    *backend = (struct backend){
        .name = "counting",
        .address = "counting",
        .description = "counting",
        .device = device,
        .threads = threads > 0 ? threads : omp_get_max_threads(),
        .counts_only = true,
        .allocate = counting_allocate,
        .release = counting_release,
        .free_memory = counting_free_memory,
        .fill_zero = counting_fill_zero,
        .copy = counting_copy,
        .upload = counting_copy,
        .download = counting_download,
        .wait = counting_wait,
        .allocate_host = counting_allocate_host,
        .release_host = counting_release_host,
        .queue_upload = counting_copy,
        .queue_download = counting_download,
        .mark = counting_mark,
        .wait_for = counting_wait_for,
        .close = counting_close,
        .operators = &counting_operators,
        .implementation = implementation,
        .error = ERROR_INITIALIZER,
    };
    return backend_without_holes(backend, error);
}
