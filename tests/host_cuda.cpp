#include "tests/host_cuda.h"
#include "tests/host_schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace host_cuda
{

/* ---- limits of the GPUs that we compile for -------------------------------------------------------------- */

constexpr unsigned threads_maximum = 1024, warp = 32;
constexpr size_t static_shared_maximum = 48 << 10, shared_maximum = 163 << 10;
constexpr size_t stack_bytes = 320 << 10, page_bytes = 4096;
/* Stacks of fibers begin at so many different places in the sets of a processor's cache, which they would all share else. */
constexpr size_t stack_colors = 61, color_bytes = 1088;

static std::atomic<int> chosen_schedule{FORWARD};

} // namespace host_cuda

int host_schedule_count(void)
{
    return host_cuda::SCHEDULE_COUNT;
}

const char *host_schedule_label(int schedule)
{
    static const char *const names[] = {"forward", "reverse", "warp-greedy", "shuffled"};
    return names[schedule];
}

void host_schedule_choose(int schedule)
{
    host_cuda::chosen_schedule = schedule;
}

namespace host_cuda
{

/* ---- fibers ---------------------------------------------------------------------------------------------- */

enum state { READY, AT_WARP_BARRIER, AT_BLOCK_BARRIER, DONE };

/* A copy that a thread has started; group: how many it had closed before. */
struct started_copy {
    void *to;
    const void *from;
    size_t bytes, group;
};

struct fiber {
    void *stack_pointer; /* of a fiber that is not running */
    char *stack;
    enum state state;
    struct position position;
    uint64_t given[2]; /* to the other lanes, in turns: all have taken of one when the next but one begins */
    unsigned exchanges;
    std::deque<started_copy> copies;
    size_t copy_groups;
};

#if defined(__x86_64__)
/* Saves the callee-saved registers on the running stack, leaves its pointer in *from and goes on from `to`. */
extern "C" void host_cuda_switch(void **from, void *to);
asm(R"(
.text
.globl host_cuda_switch
.type host_cuda_switch, @function
host_cuda_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size host_cuda_switch, .-host_cuda_switch
)");
#else
#error "host_cuda.cpp switches fibers on x86-64 only"
#endif

/* A shared array: it ends where a page begins that nothing may touch. */
struct shared_variable {
    const void *site; /* NULL: the dynamic one */
    size_t bytes;
    void *memory;
    bool used; /* by this block */
};

/* The block that an OS thread runs. */
struct block_runner {
    const char *kernel;
    const std::function<void()> *body;
    unsigned count; /* CUDA threads */
    std::vector<fiber> fibers;
    fiber *running;
    void *scheduler; /* its stack pointer */
#ifdef __SANITIZE_ADDRESS__
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
    void *fake_stack;
#endif
    size_t shared_used, dynamic_bytes;
    std::vector<shared_variable> shared_variables;
    const char *barrier_file;
    int barrier_line;
    uint32_t random;
};

__thread const position *here;
static thread_local block_runner *block;

[[noreturn]] static void fail(const char *what)
{
    fprintf(stderr, "host_cuda: kernel %s, block %u, thread %u: %s\n", block->kernel,
            here ? here->block.x : 0, here ? here->thread.x : 0, what);
    abort();
}

static void to_scheduler(enum state state)
{
    fiber *self = block->running;
    self->state = state;
#ifdef __SANITIZE_ADDRESS__
    void *fake = nullptr;
    if (state == DONE)
        __asan_handle_no_return(); /* the next fiber on this stack finds nothing of this one's frames */
    __sanitizer_start_switch_fiber(state == DONE ? nullptr : &fake, block->scheduler_stack,
                                   block->scheduler_stack_bytes);
#endif
    host_cuda_switch(&self->stack_pointer, block->scheduler);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, &block->scheduler_stack, &block->scheduler_stack_bytes);
#endif
}

static void fiber_main()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &block->scheduler_stack, &block->scheduler_stack_bytes);
#endif
    (*block->body)();
    host_cuda::close_copy_group();
    host_cuda::wait_for_copies(0);
    to_scheduler(DONE);
    fail("a finished fiber was resumed");
}

static void prepare(fiber *f, size_t color)
{
    if (!f->stack) {
        f->stack = (char *)mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->stack == MAP_FAILED)
            fail("no memory for the stack of a fiber");
        mprotect(f->stack, 4096, PROT_NONE);
    }
    void **top = (void **)(f->stack + stack_bytes - 64 - color % stack_colors * color_bytes);
    *--top = nullptr; /* the stack is 16-byte aligned plus 8 on entry, as after a call */
    *--top = (void *)fiber_main;
    for (int saved = 0; saved < 6; saved++)
        *--top = nullptr;
    f->stack_pointer = top;
    f->state = READY;
    f->exchanges = 0;
    f->copies.clear();
    f->copy_groups = 0;
}

static void resume(fiber *f)
{
    block->running = f;
    here = &f->position;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&block->fake_stack, f->stack, stack_bytes);
#endif
    host_cuda_switch(&block->scheduler, f->stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(block->fake_stack, nullptr, nullptr);
#endif
}

/* ---- the scheduler --------------------------------------------------------------------------------------- */

static bool warp_waits(unsigned first)
{
    bool waits = false;
    for (unsigned i = first; i < first + warp; i++) {
        if (block->fibers[i].state == READY)
            return false;
        waits = waits || block->fibers[i].state == AT_WARP_BARRIER;
    }
    return waits;
}

static void release_warp(unsigned first)
{
    for (unsigned i = first; i < first + warp; i++) {
        if (block->fibers[i].state != AT_WARP_BARRIER) {
            here = &block->fibers[i].position;
            fail(block->fibers[i].state == DONE
                     ? "returned, but other lanes of its warp exchange values"
                     : "is at a barrier of the block, but other lanes exchange values");
        }
        block->fibers[i].state = READY;
    }
}

/* One round over a warp: every lane that can run does so until its next barrier. */
static void run_warp_once(unsigned first, bool reverse)
{
    for (unsigned i = 0; i < warp; i++) {
        fiber *f = &block->fibers[first + (reverse ? warp - 1 - i : i)];
        if (f->state == READY)
            resume(f);
    }
    if (warp_waits(first))
        release_warp(first);
}

static bool warp_can_run(unsigned first)
{
    for (unsigned i = first; i < first + warp; i++)
        if (block->fibers[i].state == READY)
            return true;
    return false;
}

static uint32_t next_random()
{
    block->random ^= block->random << 13;
    block->random ^= block->random >> 17;
    block->random ^= block->random << 5;
    return block->random;
}

static void run_warps(enum schedule schedule)
{
    const unsigned warps = block->count / warp;
    const unsigned start = schedule == SHUFFLED ? next_random() % warps : 0;
    for (unsigned w = 0; w < warps; w++) {
        const unsigned chosen = schedule == REVERSE ? warps - 1 - w : (start + w) % warps;
        const bool reverse = schedule == REVERSE || (schedule == SHUFFLED && next_random() % 2 == 0);
        do
            run_warp_once(chosen * warp, reverse);
        while (schedule == WARP_GREEDY && warp_can_run(chosen * warp));
    }
}

/* True while any thread can run; lets the block go on when all of it has reached one barrier. */
static bool release_block()
{
    unsigned waiting = 0, done = 0;
    for (unsigned i = 0; i < block->count; i++) {
        waiting += block->fibers[i].state == AT_BLOCK_BARRIER;
        done += block->fibers[i].state == DONE;
    }
    if (waiting + done < block->count)
        return true;
    if (waiting > 0 && done > 0) {
        char what[160];
        snprintf(what, sizeof what, "the barrier of %s:%d is reached by %u of %u threads",
                 block->barrier_file, block->barrier_line, waiting, block->count);
        fail(what);
    }
    for (unsigned i = 0; waiting > 0 && i < block->count; i++)
        block->fibers[i].state = READY;
    block->barrier_file = nullptr;
    return waiting > 0;
}

static void run_block(dim3 index, dim3 grid, dim3 size, enum schedule schedule)
{
    block->shared_used = 0;
    for (shared_variable &variable : block->shared_variables)
        variable.used = false;
    block->barrier_file = nullptr;
    block->random = index.x * 2654435761u + index.y * 40503u + 12345u;
    for (unsigned i = 0; i < block->count; i++) {
        fiber *f = &block->fibers[i];
        prepare(f, i);
        f->position = {dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y)), index, size, grid};
    }
    while (release_block())
        run_warps(schedule);
    here = nullptr;
}

/* ---- what kernels call ----------------------------------------------------------------------------------- */

void block_barrier(const char *file, int line)
{
    if (block->barrier_file && (block->barrier_line != line || strcmp(block->barrier_file, file) != 0))
        fail("waits at another barrier than the rest of its block");
    block->barrier_file = file;
    block->barrier_line = line;
    to_scheduler(AT_BLOCK_BARRIER);
}

void warp_barrier()
{
    to_scheduler(AT_WARP_BARRIER);
}

/* To the other lanes, each of which finds it in given[what is returned]. */
static unsigned give(uint64_t value)
{
    fiber *self = block->running;
    const unsigned turn = self->exchanges++ % 2;
    self->given[turn] = value;
    warp_barrier();
    return turn;
}

static const fiber *first_of_warp()
{
    return block->running - here->thread.x % warp;
}

uint64_t exchange(uint64_t value, unsigned from, unsigned mask)
{
    if (mask != 0xFFFFFFFFu)
        fail("exchanges values with a part of its warp");
    const unsigned turn = give(value);
    return first_of_warp()[from].given[turn];
}

static unsigned ballot(bool predicate, unsigned mask)
{
    if (mask != 0xFFFFFFFFu)
        fail("votes with a part of its warp");
    const unsigned turn = give(predicate);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < warp; lane++)
        votes |= (unsigned)first_of_warp()[lane].given[turn] << lane;
    return votes;
}

void give_address(const void *address, const void *(&all)[32])
{
    const unsigned turn = give((uint64_t)(uintptr_t)address);
    for (unsigned lane = 0; lane < warp; lane++)
        all[lane] = (const void *)(uintptr_t)first_of_warp()[lane].given[turn];
}

void copy_later(void *to, const void *from, size_t bytes)
{
    if ((uintptr_t)to % bytes != 0 || (uintptr_t)from % bytes != 0)
        fail("copies to shared memory from or to an address that is no multiple of the size");
    memset(to, 0xFF, bytes);
    block->running->copies.push_back({to, from, bytes, block->running->copy_groups});
}

void close_copy_group()
{
    block->running->copy_groups++;
}

void wait_for_copies(size_t groups)
{
    fiber *self = block->running;
    while (!self->copies.empty() && self->copies.front().group + groups < self->copy_groups) {
        const started_copy &copy = self->copies.front();
        if (copy.from)
            memcpy(copy.to, copy.from, copy.bytes);
        else
            memset(copy.to, 0, copy.bytes);
        self->copies.pop_front();
    }
}

/* Kept for the blocks to come. */
static shared_variable new_variable(const void *site, size_t bytes)
{
    const size_t mapped = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    char *base = (char *)mmap(nullptr, mapped + page_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        fail("no memory for shared arrays");
    mprotect(base + mapped, page_bytes, PROT_NONE);
    return {site, bytes, base + mapped - bytes, false};
}

/* As any type of float not a number, and as an integer a large one. */
static void fill_strange(void *memory, size_t bytes)
{
    static const unsigned char pattern[2] = {0xF5, 0x7F};
    for (size_t i = 0; i < bytes; i++)
        static_cast<unsigned char *>(memory)[i] = pattern[i % 2];
}

static void *variable_memory(const void *site, size_t bytes)
{
    const auto found = std::find_if(
        block->shared_variables.begin(), block->shared_variables.end(),
        [=](const shared_variable &variable) { return variable.site == site && variable.bytes == bytes; });
    const bool known = found != block->shared_variables.end();
    if (!known)
        block->shared_variables.push_back(new_variable(site, bytes));
    shared_variable &variable = known ? *found : block->shared_variables.back();
    if (!variable.used) {
        variable.used = true;
        fill_strange(variable.memory, bytes);
        block->shared_used += site ? (bytes + 15) / 16 * 16 : 0;
        if (block->shared_used > static_shared_maximum)
            fail("its shared arrays are larger than 48 KiB");
    }
    return variable.memory;
}

void *dynamic_shared()
{
    return variable_memory(nullptr, block->dynamic_bytes);
}

void *shared(const void *site, size_t bytes)
{
    return variable_memory(site, bytes);
}

/* ---- device memory --------------------------------------------------------------------------------------- */

static std::mutex memory_lock;
/* An allocation ends where a page begins that nothing may touch; it is a multiple of 16 bytes only when its size is one,
 * which that of whole packs is. What is mapped before its bytes must keep its bits. */
struct allocation {
    unsigned char *base;
    size_t bytes, mapped; /* asked for; from base on, without the last page */
};
static std::map<unsigned char *, allocation> allocations;
static size_t allocated_bytes;
static int memory_users;

static void set_access(int protection)
{
    for (const auto &allocation : allocations)
        if (mprotect(allocation.second.base, allocation.second.mapped, protection) != 0)
            abort();
}

/* Device memory may be touched while one of these lives. */
struct memory_access {
    memory_access()
    {
        const std::lock_guard<std::mutex> guard(memory_lock);
        if (memory_users++ == 0)
            set_access(PROT_READ | PROT_WRITE);
    }
    ~memory_access()
    {
        const std::lock_guard<std::mutex> guard(memory_lock);
        if (--memory_users == 0)
            set_access(PROT_NONE);
    }
};

/* ---- launches and streams -------------------------------------------------------------------------------- */

static thread_local struct host_graph *recording;

static void enqueue(std::function<void()> work);

static void run_grid(const char *kernel, dim3 grid, dim3 size, size_t dynamic_bytes,
                     const std::function<void()> &body)
{
    const enum schedule schedule = (enum schedule)chosen_schedule.load();
    const int64_t blocks = (int64_t)grid.x * grid.y * grid.z;
    const memory_access access;
#pragma omp parallel if (blocks > 1)
    {
        static thread_local std::unique_ptr<block_runner> runner;
        if (!runner)
            runner = std::make_unique<block_runner>();
        block = runner.get();
        block->kernel = kernel;
        block->body = &body;
        block->count = size.x * size.y * size.z;
        block->dynamic_bytes = (dynamic_bytes + 15) / 16 * 16;
        if (block->fibers.size() < block->count)
            block->fibers.resize(block->count);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++) {
            const unsigned number = (unsigned)(schedule == REVERSE ? blocks - 1 - i : i);
            run_block(dim3(number % grid.x, number / grid.x % grid.y, number / (grid.x * grid.y)), grid, size,
                      schedule);
        }
    }
}

void launch(const char *kernel_name, dim3 grid, dim3 size, size_t dynamic_bytes, std::function<void()> body)
{
    const uint64_t threads = (uint64_t)size.x * size.y * size.z;
    if (threads == 0 || threads > threads_maximum || threads % warp != 0 || grid.x == 0 ||
        grid.x > 2147483647u || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535 ||
        dynamic_bytes > shared_maximum) {
        fprintf(stderr,
                "host_cuda: kernel %s: grid %u x %u x %u, block %u x %u x %u, %zu bytes of shared memory\n",
                kernel_name, grid.x, grid.y, grid.z, size.x, size.y, size.z, dynamic_bytes);
        abort();
    }
    enqueue([=] { run_grid(kernel_name, grid, size, dynamic_bytes, body); });
}

void run_on_device(std::function<void()> work)
{
    enqueue([=] {
        const memory_access access;
        work();
    });
}

} // namespace host_cuda

unsigned __ballot_sync(unsigned mask, bool predicate)
{
    return host_cuda::ballot(predicate, mask);
}

/* ---- the runtime ----------------------------------------------------------------------------------------- */

struct host_stream {
    int unused;
};

struct host_graph {
    std::vector<std::function<void()>> nodes;
};

namespace host_cuda
{

static void enqueue(std::function<void()> work)
{
    if (recording)
        recording->nodes.push_back(std::move(work));
    else
        work();
}

} // namespace host_cuda

using host_cuda::allocated_bytes;
using host_cuda::allocations;
using host_cuda::memory_lock;
using host_cuda::memory_users;
using host_cuda::page_bytes;
using host_cuda::recording;

const char *cudaGetErrorString(cudaError_t error)
{
    static const char *const texts[] = {"no error",  "out of memory",  "invalid value", "insufficient driver",
                                        "no device", "no kernel image"};
    return texts[error];
}

static bool has_fault(const char *fault)
{
    const char *chosen = getenv("HOST_CUDA_FAULT");
    return chosen && strcmp(chosen, fault) == 0;
}

static size_t memory_maximum()
{
    const char *mebibytes = getenv("HOST_CUDA_MEMORY_MIB");
    return (mebibytes ? strtoull(mebibytes, nullptr, 10) : 4096) << 20;
}

static std::atomic<int> chosen_device;

static int device_count()
{
    const char *count = getenv("HOST_CUDA_GPUS");
    return count ? atoi(count) : 1;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = device_count();
    return has_fault("no-driver") || has_fault("old-driver") ? cudaErrorInsufficientDriver
           : has_fault("no-gpu")                             ? cudaErrorNoDevice
                                                             : cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    *properties = {
        "emulated on the host", memory_maximum(), host_cuda::shared_maximum, 8, 0, 4, 0, 0, device};
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *, void (*)())
{
    return has_fault("no-machine-code") ? cudaErrorNoKernelImageForDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= device_count())
        return cudaErrorInvalidValue;
    chosen_device = device;
    return cudaSuccess;
}

int host_cuda_device(void)
{
    return chosen_device;
}

void host_cuda_work(void (*work)(void *), void *argument)
{
    host_cuda::run_on_device([=] { work(argument); });
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = has_fault("no-driver") ? 0 : has_fault("old-driver") ? 11020 : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    const std::lock_guard<std::mutex> guard(memory_lock);
    *total = memory_maximum();
    *available = *total > allocated_bytes ? *total - allocated_bytes : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    const size_t kept = bytes > 0 ? bytes : 16;
    const size_t mapped = (kept + page_bytes - 1) / page_bytes * page_bytes;
    const std::lock_guard<std::mutex> guard(memory_lock);
    void *base = MAP_FAILED;
    if (allocated_bytes + mapped <= memory_maximum())
        base = mmap(nullptr, mapped + page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    const host_cuda::allocation allocation = {(unsigned char *)base, bytes, mapped};
    memset(base, 0xFF, mapped);
    mprotect(allocation.base + mapped, page_bytes, PROT_NONE);
    *memory = allocation.base + mapped - kept;
    allocations[(unsigned char *)*memory] = allocation;
    allocated_bytes += mapped;
    if (memory_users == 0)
        mprotect(base, mapped, PROT_NONE);
    return cudaSuccess;
}

static void check_surroundings(const unsigned char *memory, const host_cuda::allocation &allocation)
{
    mprotect(allocation.base, allocation.mapped, PROT_READ);
    for (const unsigned char *byte = allocation.base; byte < allocation.base + allocation.mapped; byte++) {
        if (byte == memory)
            byte += allocation.bytes;
        if (byte < allocation.base + allocation.mapped && *byte != 0xFF) {
            fprintf(stderr, "host_cuda: a kernel wrote beside %zu bytes of memory, at %td\n",
                    allocation.bytes, byte - memory);
            abort();
        }
    }
}

cudaError_t cudaFree(void *memory)
{
    const std::lock_guard<std::mutex> guard(memory_lock);
    const auto found = allocations.find((unsigned char *)memory);
    if (found == allocations.end())
        return memory ? cudaErrorInvalidValue : cudaSuccess;
    const host_cuda::allocation allocation = found->second;
    check_surroundings(found->first, allocation);
    munmap(allocation.base, allocation.mapped + page_bytes);
    allocated_bytes -= allocation.mapped;
    allocations.erase(found);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new host_stream();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    if (!recording) {
        host_cuda::finish_copies(host_cuda::all);
        return cudaSuccess;
    }
    fprintf(stderr, "host_cuda: the host waits for a stream that is being captured\n");
    abort();
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t)
{
    host_cuda::run_on_device([=] { memset(memory, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, int)
{
    recording = new host_graph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    *graph = recording;
    recording = nullptr;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    *executable = new host_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t)
{
    for (const std::function<void()> &node : executable->nodes)
        node();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    delete executable;
    return cudaSuccess;
}
