/*
 * device.cuh: what the operators of the CUDA backend share: the device behind a `struct backend`, launches with their
 * errors, scratch memory, and the choice of a kernel by storage type.
 */
#ifndef IDREC_CUDA_DEVICE_CUH
#define IDREC_CUDA_DEVICE_CUH

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cuda/portable.cuh"

extern "C" {
#include "core/operators.h"

#define DECLARE_OPERATOR(name) decltype(op_##name) cuda_##name;
OPERATORS(DECLARE_OPERATOR)
#undef DECLARE_OPERATOR
}

/* Marks of the queue that are kept apart; waiting for an older one waits for the newer one that took its place. */
enum { MARKS_KEPT = 16 };

/* Pinned memory that uploads pass through, so that the caller's may be changed at once. One half is filled while the GPU
 * reads the other. */
enum { STAGING_HALF = 2 << 20, STAGING_ALIGNMENT = 16 };
struct staging {
    char *memory; /* [2 * STAGING_HALF] */
    int half;     /* that is being filled */
    size_t used;  /* of it */
    cudaEvent_t left[2];
};

/* `backend->implementation`. */
struct cuda_device {
    int index;
    cudaStream_t stream;
    cudaEvent_t marks[MARKS_KEPT];
    uint64_t mark_count;
    struct staging staging;
    cudaDeviceProp properties;
    void *matrix_products; /* owned by gemm.cu */
    void *workspace;
    size_t workspace_bytes;
    bool capturing;
    /* What a kernel may report, in host memory, seen by whoever waits for it. */
    uint32_t *not_numbers; /* 1: op_sample met logits that are not numbers */
};

inline struct cuda_device *device_of(struct backend *backend)
{
    return static_cast<struct cuda_device *>(backend->implementation);
}

/* Records the backend's sticky error when `result` is one; true when it is none. */
bool cuda_check(struct backend *backend, cudaError_t result, const char *what);

/* Scratch of one operator call, 256-byte aligned; the next call may overwrite it. NULL after recording the error. */
void *cuda_workspace(struct backend *backend, size_t bytes);

/* gemm.cu */
bool cuda_matrix_products_open(struct backend *backend);
void cuda_matrix_products_close(struct cuda_device *device);

/* graph.cu */
extern const struct graph_calls cuda_graph_calls;

/* ---- launches ------------------------------------------------------------------------------------------ */

/* Blocks of `size` elements that cover `count`, at least one. */
inline unsigned blocks_for(int64_t count, int64_t size)
{
    const int64_t blocks = (count + size - 1) / size;
    return (unsigned)(blocks > 0 ? blocks : 1);
}

/* LAUNCH(backend, (kernel<T>), grid, block, dynamic shared bytes, arguments...) */
#ifdef IDREC_HOST_CUDA
/* Arguments have their values of now, also when a recorded graph is launched again. */
template <typename... Parameters, typename... Arguments>
void launch_on_host(const char *name, dim3 grid, dim3 block, size_t shared, void (*kernel)(Parameters...),
                    Arguments... arguments)
{
    host_cuda::launch(name, grid, block, shared, [=] { kernel(arguments...); });
}

#define LAUNCH(backend, kernel, grid, block, shared, ...)                                                    \
    ((void)(backend), launch_on_host(#kernel, grid, block, shared, kernel, __VA_ARGS__))
#else
/* Beyond 48 KiB, static and dynamic together, a kernel must be allowed to. It is allowed all that there is: what one
 * thread of the host launches must not lower what another is about to. */
template <typename Kernel> bool allow_dynamic_shared(struct backend *backend, Kernel *kernel, size_t bytes)
{
    cudaFuncAttributes attributes;
    if (bytes == 0)
        return true;
    if (!cuda_check(backend, cudaFuncGetAttributes(&attributes, kernel), "attributes of a kernel"))
        return false;
    if (attributes.sharedSizeBytes + bytes <= (48u << 10))
        return true;
    const size_t most = device_of(backend)->properties.sharedMemPerBlockOptin - attributes.sharedSizeBytes;
    return cuda_check(backend,
                      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)most),
                      "shared memory of a kernel");
}

#define LAUNCH(backend, kernel, grid, block, shared, ...)                                                    \
    do {                                                                                                     \
        if (allow_dynamic_shared(backend, kernel, shared)) {                                                 \
            kernel<<<grid, block, shared, device_of(backend)->stream>>>(__VA_ARGS__);                        \
            cuda_check(backend, cudaGetLastError(), #kernel);                                                \
        }                                                                                                    \
    } while (0)
#endif

/* ---- tensors ------------------------------------------------------------------------------------------- */

template <typename T> inline T *data_of(const struct tensor *tensor)
{
    return tensor ? static_cast<T *>(tensor->data) : nullptr;
}

/* Runs the statement with T the storage type of `tensor`: BY_STORAGE(x, { LAUNCH(backend, (kernel<T>), ...); }) */
#define BY_STORAGE(tensor, ...)                                                                              \
    do {                                                                                                     \
        if ((tensor)->dtype == DTYPE_BF16) {                                                                 \
            using T = bf16;                                                                                  \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            using T = float;                                                                                 \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

#endif
