/*
 * backend.h: the CUDA backend, linked in one of three ways: built by nvcc (backend.cu); left out (absent.c), when
 * opening it says so; or compiled for the host by the tests.
 */
#ifndef IDREC_CUDA_BACKEND_H
#define IDREC_CUDA_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "core/backend.h"
#include "core/comm.h"

/* The GPU `index`. NULL with the reason: not built in, no driver, a driver older than the toolkit, no GPU. */
struct backend *cuda_backend_open(int index, struct error *error);

/* false: absent.c. */
bool cuda_is_built_in(void);
/* One line on what was built in (toolkit and architectures), or why nothing was. */
const char *cuda_build_description(void);

/* What `idrec devices` prints of a GPU. */
struct cuda_device_description {
    char name[256];
    int major, minor; /* compute capability */
    int multiprocessors;
    size_t memory_bytes, free_bytes;
};
/* GPUs that answer; 0 with the reason in `error` when there is none. */
int cuda_device_count(struct error *error);
bool cuda_describe_device(struct cuda_device_description *description, int index, struct error *error);

/* From here on the communicator's collectives take tensors of this backend too, by NCCL; the backend must stay open until
 * the communicator's leave_device. All ranks call it. */
bool cuda_join_ranks(struct communicator *communicator, struct backend *backend, struct error *error);
/* "NCCL 2.28.9", or why there is none. */
void cuda_describe_ranks(char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
