#include "cuda/backend.h"

static const char reason[] =
    "this program was built without CUDA; set device: cpu, or build it where nvcc is found";

struct backend *cuda_backend_open(int index, struct error *error)
{
    (void)index;
    error_set(error, ERROR_RUN, "device cuda: %s", reason);
    return NULL;
}

const char *cuda_build_description(void)
{
    return "not built in: no CUDA compiler was found when this program was built";
}

int cuda_device_count(struct error *error)
{
    error_set(error, ERROR_RUN, "%s", reason);
    return 0;
}

bool cuda_describe_device(struct cuda_device_description *description, int index, struct error *error)
{
    (void)description;
    (void)index;
    return error_set(error, ERROR_RUN, "%s", reason);
}
