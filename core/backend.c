#include "core/backend.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"
#include "core/cpu/cpu.h"
#include "core/operators.h"
#include "core/quantize.h"
#include "cuda/backend.h"

static const char *first_hole(const struct backend *backend)
{
    const struct operators *operators = backend->operators;
#define RETURN_IF_MISSING(table, name)                                                                       \
    if (!table->name)                                                                                        \
        return #name;
    RETURN_IF_MISSING(backend, allocate)
    RETURN_IF_MISSING(backend, release)
    RETURN_IF_MISSING(backend, free_memory)
    RETURN_IF_MISSING(backend, fill_zero)
    RETURN_IF_MISSING(backend, copy)
    RETURN_IF_MISSING(backend, upload)
    RETURN_IF_MISSING(backend, download)
    RETURN_IF_MISSING(backend, wait)
    RETURN_IF_MISSING(backend, allocate_host)
    RETURN_IF_MISSING(backend, release_host)
    RETURN_IF_MISSING(backend, queue_upload)
    RETURN_IF_MISSING(backend, queue_download)
    RETURN_IF_MISSING(backend, mark)
    RETURN_IF_MISSING(backend, wait_for)
#define RETURN_IF_OPERATOR_MISSING(name) RETURN_IF_MISSING(operators, name)
    OPERATORS(RETURN_IF_OPERATOR_MISSING)
#undef RETURN_IF_OPERATOR_MISSING
#undef RETURN_IF_MISSING
    return NULL;
}

struct backend *backend_without_holes(struct backend *backend, struct error *error)
{
    const char *hole = first_hole(backend);
    if (!hole)
        return backend;
    error_set(error, ERROR_RUN, "device %s: its backend does not fill %s", backend->name, hole);
    backend_close(backend);
    return NULL;
}

/* "cuda" is the first GPU, "cuda:N" the one with that number. */
static bool gpu_index(const char *device, int *index)
{
    static const char prefix[] = "cuda:";
    *index = 0;
    if (strcmp(device, "cuda") == 0)
        return true;
    if (strncmp(device, prefix, strlen(prefix)) != 0)
        return false;
    const char *number = device + strlen(prefix);
    const size_t digits = strspn(number, "0123456789");
    *index = atoi(number);
    return digits >= 1 && digits <= 4 && number[digits] == '\0';
}

static struct backend *open_gpu(int index, int threads, struct error *error)
{
    struct backend *backend = cuda_backend_open(index, error);
    if (backend)
        backend->threads = threads > 0 ? threads : omp_get_max_threads();
    return backend;
}

static bool gpu_answers(void)
{
    struct error ignored = ERROR_INITIALIZER;
    return cuda_device_count(&ignored) > 0;
}

struct backend *backend_open(const char *device, int threads, struct error *error)
{
    int index = 0;
    if (gpu_index(device, &index) || (strcmp(device, "auto") == 0 && gpu_answers()))
        return open_gpu(index, threads, error);
    if (strcmp(device, "cpu") != 0 && strcmp(device, "auto") != 0) {
        error_set(error, ERROR_USAGE, "device %s: unknown; use auto, cpu, cuda or cuda:N", device);
        return NULL;
    }
    struct backend *backend = cpu_backend_open(threads, error);
    return backend ? backend_without_holes(backend, error) : NULL;
}

void backend_close(struct backend *backend)
{
    if (backend)
        backend->close(backend);
}

bool backend_synchronize(struct backend *backend, struct error *error)
{
    backend->wait(backend);
    return backend_check(backend, error);
}

bool backend_check(struct backend *backend, struct error *error)
{
    if (backend->error.kind == ERROR_NONE)
        return true;
    error_set(error, backend->error.kind, "%s", backend->error.message);
    backend->error = ERROR_INITIALIZER;
    return false;
}

void backend_reset_counters(struct backend *backend)
{
    backend->counters = (struct operation_counters){0};
}

void backend_add_counters(struct backend *backend, const struct operation_counters *counters)
{
    backend->counters.floating_point_operations += counters->floating_point_operations;
    backend->counters.gemm_operations += counters->gemm_operations;
    backend->counters.bytes += counters->bytes;
}

void *backend_allocate(struct backend *backend, size_t bytes)
{
    void *memory = backend->allocate(backend, bytes);
    if (!memory)
        return NULL;
    backend->memory.bytes += bytes;
    if (backend->memory.bytes > backend->memory.peak)
        backend->memory.peak = backend->memory.bytes;
    return memory;
}

void backend_release(struct backend *backend, void *memory, size_t bytes)
{
    if (!memory)
        return;
    backend->release(backend, memory);
    backend->memory.bytes -= bytes;
}

void tensor_upload(struct backend *backend, struct tensor *tensor, const void *host)
{
    backend->upload(backend, tensor->data, host, tensor_bytes(tensor));
}

static bool upload_quantized(struct backend *backend, struct tensor *tensor, const real *host,
                             struct error *error)
{
    const size_t bytes = tensor_bytes(tensor);
    void *stored = calloc(1, bytes);
    if (!stored)
        return error_memory(error, "a quantised matrix", bytes, NULL);
    const bool done = quantize(stored, tensor, host, backend->threads, error);
    if (done)
        tensor_upload(backend, tensor, stored);
    free(stored);
    return done;
}

bool tensor_upload_rounded(struct backend *backend, struct tensor *tensor, real *host, struct error *error)
{
    uint16_t *rounded = (void *)host;
    if (dtype_is_quantized(tensor->dtype))
        return upload_quantized(backend, tensor, host, error);
    for (int64_t i = 0; tensor->dtype == DTYPE_BF16 && i < tensor_count(tensor); i++) {
        const uint16_t bits = bf16_nearest((float)host[i]);
        memcpy(&rounded[i], &bits, sizeof bits);
    }
    tensor_upload(backend, tensor, host);
    return true;
}

void tensor_download(struct backend *backend, void *host, const struct tensor *tensor)
{
    backend->download(backend, host, tensor->data, tensor_bytes(tensor));
}

void tensor_zero(struct backend *backend, struct tensor *tensor)
{
    backend->fill_zero(backend, tensor->data, tensor_bytes(tensor));
}
