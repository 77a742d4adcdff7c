#include "core/backend.h"

#include <string.h>

#include "core/cpu/cpu.h"
#include "core/operators.h"

static const char *missing_operator(const struct operators *operators)
{
#define RETURN_IF_MISSING(name)                                                                              \
    if (!operators->name)                                                                                    \
        return #name;
    OPERATORS(RETURN_IF_MISSING)
#undef RETURN_IF_MISSING
    return NULL;
}

struct backend *backend_open(const char *device, int threads, struct error *error)
{
    if (strcmp(device, "cuda") == 0) {
        error_set(error, ERROR_RUN,
                  "device cuda: this program was built without CUDA; set device: cpu, or build it with CUDA");
        return NULL;
    }
    if (strcmp(device, "cpu") != 0 && strcmp(device, "auto") != 0) {
        error_set(error, ERROR_USAGE, "device %s: unknown; use auto, cpu or cuda", device);
        return NULL;
    }
    struct backend *backend = cpu_backend_open(threads, error);
    if (!backend)
        return NULL;
    const char *missing = missing_operator(backend->operators);
    if (missing) {
        error_set(error, ERROR_RUN, "device %s: its backend has no operator %s", backend->name, missing);
        backend_close(backend);
        return NULL;
    }
    return backend;
}

void backend_close(struct backend *backend)
{
    if (backend)
        backend->close(backend);
}

bool backend_synchronize(struct backend *backend, struct error *error)
{
    backend->wait(backend);
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

void tensor_upload(struct backend *backend, struct tensor *tensor, const void *host)
{
    backend->upload(backend, tensor->data, host, tensor_bytes(tensor));
}

void tensor_download(struct backend *backend, void *host, const struct tensor *tensor)
{
    backend->download(backend, host, tensor->data, tensor_bytes(tensor));
}

void tensor_zero(struct backend *backend, struct tensor *tensor)
{
    backend->fill_zero(backend, tensor->data, tensor_bytes(tensor));
}
