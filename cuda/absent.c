#include "cuda/backend.h"

static const char reason[] =
    "this program was built without CUDA (nvcc was not found, or IDREC_CUDA was OFF); set "
    "device: cpu, or build it with nvcc";

struct backend *cuda_backend_open(int index, struct error *error)
{
    (void)index;
    error_set(error, ERROR_RUN, "device cuda: %s", reason);
    return NULL;
}

bool cuda_is_built_in(void)
{
    return false;
}

const char *cuda_build_description(void)
{
    return "not built in";
}

int cuda_device_count(struct error *error)
{
    error_set(error, ERROR_RUN, "%s", reason);
    return 0;
}

bool cuda_join_ranks(struct communicator *communicator, struct backend *backend, struct error *error)
{
    (void)communicator;
    (void)backend;
    return error_set(error, ERROR_RUN, "%s", reason);
}

void cuda_describe_ranks(char *text, size_t size)
{
    snprintf(text, size, "not built in");
}

bool cuda_describe_device(struct cuda_device_description *description, int index, struct error *error)
{
    (void)description;
    (void)index;
    return error_set(error, ERROR_RUN, "%s", reason);
}
