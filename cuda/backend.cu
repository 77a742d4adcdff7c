#include "cuda/backend.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/device.cuh"

/* ---- errors -------------------------------------------------------------------------------------------- */

bool cuda_check(struct backend *backend, cudaError_t result, const char *what)
{
    if (result == cudaSuccess)
        return true;
    return error_set(&backend->error, ERROR_RUN, "device cuda: %s: %s", what, cudaGetErrorString(result));
}

/* ---- memory -------------------------------------------------------------------------------------------- */

static void *cuda_allocate(struct backend *, size_t bytes)
{
    void *memory = NULL;
    if (cudaMalloc(&memory, bytes > 0 ? bytes : 1) == cudaSuccess)
        return memory;
    cudaGetLastError(); /* the caller reports it, with the setting to lower */
    return NULL;
}

static void cuda_release(struct backend *backend, void *memory)
{
    cuda_check(backend, cudaFree(memory), "release of memory");
}

static size_t cuda_free_memory(struct backend *backend)
{
    size_t available = 0, total = 0;
    cuda_check(backend, cudaMemGetInfo(&available, &total), "free memory");
    return available;
}

static void cuda_fill_zero(struct backend *backend, void *memory, size_t bytes)
{
    if (bytes > 0)
        cuda_check(backend, cudaMemsetAsync(memory, 0, bytes, device_of(backend)->stream), "fill with zeros");
}

static bool refuse_while_recording(struct backend *backend)
{
    if (device_of(backend)->capturing)
        error_set(&backend->error, ERROR_RUN,
                  "device cuda: host memory is copied while a graph is recorded, which would copy it again "
                  "at every run");
    return device_of(backend)->capturing;
}

static void copy(struct backend *backend, void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (kind != cudaMemcpyDeviceToDevice && refuse_while_recording(backend))
        return;
    if (bytes > 0)
        cuda_check(backend, cudaMemcpyAsync(to, from, bytes, kind, device_of(backend)->stream), "copy");
}

static void cuda_copy(struct backend *backend, void *to, const void *from, size_t bytes)
{
    copy(backend, to, from, bytes, cudaMemcpyDeviceToDevice);
}

/* Goes over to the other half, once the GPU has read what was in it. */
static bool turn_staging(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    struct staging *staging = &device->staging;
    if (!cuda_check(backend, cudaEventRecord(staging->left[staging->half], device->stream), "staging"))
        return false;
    staging->half = 1 - staging->half;
    staging->used = 0;
    return cuda_check(backend, cudaEventSynchronize(staging->left[staging->half]), "staging");
}

/* The caller may change `from` as soon as this returns. That CUDA itself has staged pageable memory by then is not
 * promised: some machines let the GPU read it in place. */
static void cuda_upload(struct backend *backend, void *to, const void *from, size_t bytes)
{
    struct staging *staging = &device_of(backend)->staging;
    if (refuse_while_recording(backend))
        return;
    for (size_t done = 0, piece; done < bytes; done += piece) {
        if (staging->used >= STAGING_HALF && !turn_staging(backend))
            return;
        const size_t room = STAGING_HALF - staging->used;
        char *staged = staging->memory + (size_t)staging->half * STAGING_HALF + staging->used;
        piece = bytes - done < room ? bytes - done : room;
        memcpy(staged, static_cast<const char *>(from) + done, piece);
        copy(backend, static_cast<char *>(to) + done, staged, piece, cudaMemcpyHostToDevice);
        staging->used += (piece + STAGING_ALIGNMENT - 1) / STAGING_ALIGNMENT * STAGING_ALIGNMENT;
    }
}

/* What the kernels that have been waited for say. Later ones may be running: nothing is written but to clear a report. */
static void check_reports(struct backend *backend)
{
    volatile uint32_t *not_numbers = device_of(backend)->not_numbers;
    if (!*not_numbers)
        return;
    error_set(&backend->error, ERROR_RUN,
              "op_sample: the logits are not numbers; train the model again with a lower learning rate");
    *not_numbers = 0;
}

static void cuda_wait(struct backend *backend)
{
    cuda_check(backend, cudaStreamSynchronize(device_of(backend)->stream), "kernels");
    check_reports(backend);
}

static void cuda_download(struct backend *backend, void *to, const void *from, size_t bytes)
{
    copy(backend, to, from, bytes, cudaMemcpyDeviceToHost);
    if (!device_of(backend)->capturing)
        cuda_wait(backend);
}

/* ---- copies without a wait ------------------------------------------------------------------------------ */

static void *cuda_allocate_host(struct backend *, size_t bytes)
{
    void *memory = NULL;
    if (cudaMallocHost(&memory, bytes > 0 ? bytes : 1) == cudaSuccess)
        return memory;
    cudaGetLastError(); /* the caller reports it */
    return NULL;
}

static void cuda_release_host(struct backend *backend, void *memory)
{
    cuda_check(backend, cudaFreeHost(memory), "release of host memory");
}

static void cuda_queue_upload(struct backend *backend, void *to, const void *from, size_t bytes)
{
    copy(backend, to, from, bytes, cudaMemcpyHostToDevice);
}

static void cuda_queue_download(struct backend *backend, void *to, const void *from, size_t bytes)
{
    copy(backend, to, from, bytes, cudaMemcpyDeviceToHost);
}

static uint64_t cuda_mark(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    const uint64_t mark = device->mark_count++;
    cuda_check(backend, cudaEventRecord(device->marks[mark % MARKS_KEPT], device->stream), "mark");
    return mark;
}

static void cuda_wait_for(struct backend *backend, uint64_t mark)
{
    cuda_check(backend, cudaEventSynchronize(device_of(backend)->marks[mark % MARKS_KEPT]), "kernels");
    check_reports(backend);
}

void *cuda_workspace(struct backend *backend, size_t bytes)
{
    struct cuda_device *device = device_of(backend);
    if (device->workspace && device->workspace_bytes >= bytes)
        return device->workspace;
    if (device->capturing) {
        error_set(&backend->error, ERROR_RUN,
                  "device cuda: an operator needs more scratch memory while a graph is recorded");
        return NULL;
    }
    cuda_wait(backend);
    backend_release(backend, device->workspace, device->workspace_bytes);
    device->workspace = backend_allocate(backend, bytes);
    device->workspace_bytes = device->workspace ? bytes : 0;
    if (!device->workspace)
        error_memory(&backend->error, "the scratch memory of an operator on the GPU", bytes,
                     "lower the batch size");
    return device->workspace;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static void cuda_close(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    if (device->stream)
        cudaStreamSynchronize(device->stream);
    cuda_matrix_products_close(device);
    if (device->workspace)
        cudaFree(device->workspace);
    if (device->not_numbers)
        cudaFreeHost(device->not_numbers);
    if (device->staging.memory)
        cudaFreeHost(device->staging.memory);
    for (cudaEvent_t event : device->staging.left)
        if (event)
            cudaEventDestroy(event);
    for (cudaEvent_t mark : device->marks)
        if (mark)
            cudaEventDestroy(mark);
    if (device->stream)
        cudaStreamDestroy(device->stream);
    free(device);
    free(backend);
}

#define OPERATOR_ADDRESS(name) cuda_##name,
static const struct operators cuda_operators = {OPERATORS(OPERATOR_ADDRESS)};

static struct backend *allocate_backend(int index)
{
    struct backend *backend = static_cast<struct backend *>(calloc(1, sizeof *backend));
    struct cuda_device *device = static_cast<struct cuda_device *>(calloc(1, sizeof *device));
    if (!backend || !device) {
        free(backend);
        free(device);
        return NULL;
    }
    device->index = index;
    backend->name = "cuda";
    backend->device = DEVICE_CUDA;
    backend->threads = 1;
    backend->allocate = cuda_allocate;
    backend->release = cuda_release;
    backend->free_memory = cuda_free_memory;
    backend->fill_zero = cuda_fill_zero;
    backend->copy = cuda_copy;
    backend->upload = cuda_upload;
    backend->download = cuda_download;
    backend->wait = cuda_wait;
    backend->allocate_host = cuda_allocate_host;
    backend->release_host = cuda_release_host;
    backend->queue_upload = cuda_queue_upload;
    backend->queue_download = cuda_queue_download;
    backend->mark = cuda_mark;
    backend->wait_for = cuda_wait_for;
    backend->close = cuda_close;
    backend->operators = &cuda_operators;
    backend->graph_calls = &cuda_graph_calls;
    backend->implementation = device;
    return backend;
}

/* Without a driver the runtime reports one that is too old. */
static void say_why_none(cudaError_t result, struct error *error)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        error_set(error, ERROR_RUN,
                  "no NVIDIA driver answers (libcuda.so.1 is not there); install one, or set device: cpu");
    else if (result == cudaErrorInsufficientDriver)
        error_set(error, ERROR_RUN,
                  "the NVIDIA driver is for CUDA %d.%d, and this program was built with CUDA %d.%d; update "
                  "the driver, or build with an older toolkit",
                  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else if (result == cudaSuccess || result == cudaErrorNoDevice)
        error_set(error, ERROR_RUN,
                  "there is an NVIDIA driver but no GPU that this process may use; see nvidia-smi and "
                  "CUDA_VISIBLE_DEVICES, or set device: cpu");
    else
        error_set(error, ERROR_RUN, "no GPU answers: %s", cudaGetErrorString(result));
}

int cuda_device_count(struct error *error)
{
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result == cudaSuccess && count > 0)
        return count;
    say_why_none(result, error);
    return 0;
}

bool cuda_describe_device(struct cuda_device_description *description, int index, struct error *error)
{
    cudaDeviceProp properties;
    size_t total = 0;
    cudaError_t result = cudaGetDeviceProperties(&properties, index);
    if (result == cudaSuccess)
        result = cudaSetDevice(index);
    if (result == cudaSuccess)
        result = cudaMemGetInfo(&description->free_bytes, &total);
    if (result != cudaSuccess)
        return error_set(error, ERROR_RUN, "GPU %d: %s", index, cudaGetErrorString(result));
    snprintf(description->name, sizeof description->name, "%s", properties.name);
    description->major = properties.major;
    description->minor = properties.minor;
    description->multiprocessors = properties.multiProcessorCount;
    description->memory_bytes = properties.totalGlobalMem;
    return true;
}

bool cuda_is_built_in(void)
{
    return true;
}

const char *cuda_build_description(void)
{
#ifdef IDREC_CUDA_DESCRIPTION
    return IDREC_CUDA_DESCRIPTION;
#else
    return "kernels compiled for the host";
#endif
}

/* Loading any kernel tells whether there is machine code for this GPU. */
__global__ void probe_kernel()
{
}

static bool check_machine_code(struct backend *backend)
{
    const cudaDeviceProp *properties = &device_of(backend)->properties;
    cudaFuncAttributes attributes;
    const cudaError_t result = cudaFuncGetAttributes(&attributes, probe_kernel);
    if (result == cudaErrorNoKernelImageForDevice)
        return error_set(&backend->error, ERROR_RUN,
                         "device cuda:%d: %s has compute capability %d.%d, which this program was not built "
                         "for (%s); build it with -DCMAKE_CUDA_ARCHITECTURES=%d%d",
                         device_of(backend)->index, properties->name, properties->major, properties->minor,
                         cuda_build_description(), properties->major, properties->minor);
    return cuda_check(backend, result, "start");
}

static bool create_marks(struct backend *backend)
{
    for (cudaEvent_t &mark : device_of(backend)->marks)
        if (!cuda_check(backend, cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "mark"))
            return false;
    return true;
}

static bool create_staging(struct backend *backend)
{
    struct staging *staging = &device_of(backend)->staging;
    void *memory = NULL;
    for (cudaEvent_t &event : staging->left)
        if (!cuda_check(backend, cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "staging"))
            return false;
    if (!cuda_check(backend, cudaMallocHost(&memory, 2 * STAGING_HALF), "host memory"))
        return false;
    staging->memory = static_cast<char *>(memory);
    return true;
}

static bool create_reports(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    void *memory = NULL;
    if (!cuda_check(backend, cudaMallocHost(&memory, sizeof *device->not_numbers), "host memory"))
        return false;
    device->not_numbers = static_cast<uint32_t *>(memory);
    *device->not_numbers = 0;
    return true;
}

static bool open_device(struct backend *backend)
{
    struct cuda_device *device = device_of(backend);
    if (!cuda_check(backend, cudaSetDevice(device->index), "selection of the GPU") ||
        !cuda_check(backend, cudaGetDeviceProperties(&device->properties, device->index),
                    "properties of the GPU") ||
        !check_machine_code(backend) ||
        !cuda_check(backend, cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking), "stream") ||
        !create_marks(backend) || !create_staging(backend) || !create_reports(backend))
        return false;
    snprintf(backend->address, sizeof backend->address, "cuda:%d", device->index);
    snprintf(backend->description, sizeof backend->description, "%s (%s)", backend->address,
             device->properties.name);
    snprintf(backend->pci_bus, sizeof backend->pci_bus, "%08x:%02x:%02x.0",
             static_cast<unsigned>(device->properties.pciDomainID),
             static_cast<unsigned>(device->properties.pciBusID),
             static_cast<unsigned>(device->properties.pciDeviceID));
    return cuda_matrix_products_open(backend);
}

struct backend *cuda_backend_open(int index, struct error *error)
{
    struct error reason = {};
    const int count = cuda_device_count(&reason);
    if (count == 0) {
        error_set(error, ERROR_RUN, "device cuda: %s", reason.message);
        return NULL;
    }
    if (index < 0 || index >= count) {
        error_set(error, ERROR_USAGE, "device cuda:%d: there are %d GPUs, numbered from 0", index, count);
        return NULL;
    }
    struct backend *backend = allocate_backend(index);
    if (!backend) {
        error_memory(error, "the CUDA backend", sizeof *backend, NULL);
        return NULL;
    }
    if (open_device(backend))
        return backend_without_holes(backend, error);
    error_set(error, backend->error.kind, "%s", backend->error.message);
    cuda_close(backend);
    return NULL;
}
