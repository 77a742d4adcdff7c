/*
 * host_copies.cpp: host_cuda.h's copies between host and device. The device's side of a copy happens in the order of the
 * stream. The host's side of one that the host need not wait for, from or to memory of cudaMallocHost, happens as late
 * as CUDA allows, when the host waits: until then a target holds NaN, and a source that has changed is reported. When CUDA
 * reads other memory of the host is not known, so that nothing may be copied from there.
 */
#include "tests/host_cuda.h"

#include <stdio.h>
#include <stdlib.h>

#include <deque>
#include <map>
#include <mutex>
#include <vector>

namespace
{

struct queued_copy {
    uint64_t number;
    char *host;
    bool to_host;
    std::vector<char> bytes;
};

std::mutex lock;
std::map<char *, size_t> host_blocks;
std::deque<queued_copy> queue;
uint64_t newest;

bool is_host_block(const void *memory)
{
    const std::lock_guard<std::mutex> guard(lock);
    auto after = host_blocks.upper_bound((char *)memory);
    return after != host_blocks.begin() &&
           (char *)memory < std::prev(after)->first + std::prev(after)->second;
}

void finish(const queued_copy &copy)
{
    if (copy.to_host) {
        memcpy(copy.host, copy.bytes.data(), copy.bytes.size());
    } else if (memcmp(copy.host, copy.bytes.data(), copy.bytes.size()) != 0) {
        fprintf(stderr, "host_cuda: host memory was changed before it was copied to the device\n");
        abort();
    }
}

void queue_copy(char *host, const char *device_bytes, size_t bytes, bool to_host)
{
    const std::lock_guard<std::mutex> guard(lock);
    queue.push_back({++newest, host, to_host, std::vector<char>(device_bytes, device_bytes + bytes)});
    if (to_host)
        memset(host, 0xFF, bytes);
}

} // namespace

namespace host_cuda
{

void finish_copies(uint64_t number)
{
    const std::lock_guard<std::mutex> guard(lock);
    while (!queue.empty() && queue.front().number <= number) {
        finish(queue.front());
        queue.pop_front();
    }
}

} // namespace host_cuda

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    *memory = malloc(bytes);
    if (!*memory)
        return cudaErrorMemoryAllocation;
    memset(*memory, 0xFF, bytes);
    const std::lock_guard<std::mutex> guard(lock);
    host_blocks[(char *)*memory] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    host_cuda::finish_copies(host_cuda::all);
    const std::lock_guard<std::mutex> guard(lock);
    if (host_blocks.erase((char *)memory) == 0)
        return cudaErrorInvalidValue;
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t)
{
    const bool to_host = kind == cudaMemcpyDeviceToHost && is_host_block(to);
    const bool from_host = kind == cudaMemcpyHostToDevice;
    if (from_host && !is_host_block(from)) {
        fprintf(stderr, "host_cuda: pageable memory is copied to the device\n");
        abort();
    }
    host_cuda::run_on_device([=] {
        if (to_host || from_host)
            queue_copy((char *)(to_host ? to : const_cast<void *>(from)), (const char *)from, bytes, to_host);
        if (!to_host)
            memcpy(to, from, bytes);
    });
    return cudaSuccess;
}

/* ---- events -------------------------------------------------------------------------------------------- */

struct host_event {
    uint64_t number; /* of the newest copy before it */
};

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new host_event();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    const std::lock_guard<std::mutex> guard(lock);
    event->number = newest;
    return cudaSuccess;
}

/* Streams do what they are given in the order in which they are given it. */
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    host_cuda::finish_copies(event->number);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}
