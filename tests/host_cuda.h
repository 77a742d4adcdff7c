/*
 * host_cuda.h: CUDA's kernels on the host, for tests without a GPU. A block runs on an OS thread, each of its CUDA
 * threads is a fiber on it, and a scheduler hands the processor from fiber to fiber at barriers and lane exchanges
 * only, in an order that the test chooses: a kernel whose result depends on the order has a race.
 *
 * It reports and aborts on: a barrier that only a part of the block reaches, or at two places at once; a lane
 * exchange without all lanes; a launch beyond the limits of a GPU; a write before an allocation, when that is
 * released. An access behind one, or behind a shared array, is a segmentation fault. Shared memory and allocations start as NaN.
 * The "device" memory cannot be touched from host code: it is mapped without access except while a kernel or a copy
 * runs.
 *
 * Copies from and to memory of cudaMallocHost are done when the host waits for them: what it reads before is NaN, and a
 * source that it changes before is reported.
 *
 * The environment describes the GPU: HOST_CUDA_MEMORY_MIB is its memory (4096), HOST_CUDA_FAULT what is wrong with it
 * (no-driver, old-driver, no-gpu or no-machine-code). HOST_CUDA_GPUS says how many of them there are (1).
 *
 * What it does not model: speed, registers, memory ordering between blocks, streams that run side by side.
 */
#ifndef IDREC_TESTS_HOST_CUDA_H
#define IDREC_TESTS_HOST_CUDA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

namespace host_cuda
{

enum schedule { FORWARD, REVERSE, WARP_GREEDY, SHUFFLED, SCHEDULE_COUNT };
struct position {
    dim3 thread, block, block_size, grid_size;
};
extern __thread const position *here; /* not thread_local, whose wrapper UBSan takes for null */

/* Runs now, or is recorded when the stream captures. */
void launch(const char *kernel_name, dim3 grid, dim3 block, size_t dynamic_shared,
            std::function<void()> body);

/* Does the queued copies (host_copies.cpp) up to that number; all: those that are queued by now. */
void finish_copies(uint64_t number);
constexpr uint64_t all = UINT64_MAX;

/* Ordinary code that may touch device memory, in the order of the stream: stands in for a library's kernel. */
void run_on_device(std::function<void()> work);

void *shared(const void *site, size_t bytes); /* the same memory for all threads of a block */
void *dynamic_shared();
void block_barrier(const char *file, int line);
void warp_barrier();
/* Every lane gives 8 bytes and gets those of lane `from`. */
uint64_t exchange(uint64_t value, unsigned from, unsigned mask);

/* Every lane gives an address and sees those of all lanes, until the warp_barrier() that it calls next. */
void give_address(const void *address, const void *(&all)[32]);
/* A copy to shared memory that happens when wait_for_copies() lets at most so many groups go on; NULL: zeros. */
void copy_later(void *to, const void *from, size_t bytes);
void close_copy_group();
void wait_for_copies(size_t groups);

template <typename T> T exchange_value(T value, unsigned from, unsigned mask)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "lanes exchange up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, from, mask);
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned lane()
{
    return here->thread.x % 32;
}

} // namespace host_cuda

#define threadIdx (host_cuda::here->thread)
#define blockIdx (host_cuda::here->block)
#define blockDim (host_cuda::here->block_size)
#define gridDim (host_cuda::here->grid_size)

#define SHARED_ARRAY(type, name, count)                                                                      \
    static const char name##_site = 0;                                                                       \
    type *const name = static_cast<type *>(host_cuda::shared(&name##_site, sizeof(type) * (size_t)(count)))
#define DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(host_cuda::dynamic_shared())

#define __syncthreads() host_cuda::block_barrier(__FILE__, __LINE__)
#define __syncwarp() host_cuda::warp_barrier()

template <typename T> T __shfl_sync(unsigned mask, T value, int from)
{
    return host_cuda::exchange_value(value, (unsigned)from % 32, mask);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int bits)
{
    return host_cuda::exchange_value(value, host_cuda::lane() ^ (unsigned)bits, mask);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned distance)
{
    const unsigned lane = host_cuda::lane();
    return host_cuda::exchange_value(value, lane >= distance ? lane - distance : lane, mask);
}
unsigned __ballot_sync(unsigned mask, bool predicate);

template <typename T> T atomicAdd(T *address, T value)
{
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <typename T> T atomicOr(T *address, T value)
{
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

inline void sincospif(float x, float *sine, float *cosine)
{
    *sine = (float)__builtin_sin(3.14159265358979323846 * (double)x);
    *cosine = (float)__builtin_cos(3.14159265358979323846 * (double)x);
}
template <typename T> T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> T max(T a, T b)
{
    return a < b ? b : a;
}
inline int __popc(unsigned bits)
{
    return __builtin_popcount(bits);
}

/* ---- the part of the runtime that the backend's host code uses ------------------------------------------ */

enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation,
    cudaErrorInvalidValue,
    cudaErrorInsufficientDriver,
    cudaErrorNoDevice,
    cudaErrorNoKernelImageForDevice
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking };
enum { cudaEventDisableTiming };
enum { cudaStreamCaptureModeThreadLocal };
typedef struct host_stream *cudaStream_t;
typedef struct host_event *cudaEvent_t;
typedef struct host_graph *cudaGraph_t, *cudaGraphExec_t;
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount;
    int pciDomainID, pciBusID, pciDeviceID;
};
struct cudaFuncAttributes {
    int unused;
};
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, void (*kernel)());
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event); /* what a kernel does is done when it has been launched */
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaGetLastError();
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

/* ---- for libraries that stand in for NVIDIA's (stand_in_nccl.c) ------------------------------------------ */

extern "C" {
void host_cuda_work(void (*work)(void *), void *argument); /* run_on_device() */
int host_cuda_device(void);                                /* of the last cudaSetDevice() */
}

#endif
