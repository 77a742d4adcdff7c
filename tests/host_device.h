/* host_device.h: the CUDA backend whose kernels run on the host (host_cuda.h), for tests in C. */
#ifndef IDREC_TESTS_HOST_DEVICE_H
#define IDREC_TESTS_HOST_DEVICE_H

#include "cuda/backend.h"
#include "tests/support.h"

static inline struct backend *open_device(void)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    return device;
}

#endif
