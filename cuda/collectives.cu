/*
 * collectives.cu: what ranks exchange of a GPU's memory, by NCCL on the backend's stream, or on one beside it: nothing waits for the
 * host. The ranks find each other by the communicator that they have.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/backend.h"
#include "cuda/collective_watch.h"
#include "cuda/device.cuh"
#include "cuda/nccl.h"

extern "C" {
#include "core/comm/comm_calls.h"
}

/* The library is loaded when ranks are joined: one process needs none. */
#define NCCL_CALLS(X)                                                                                        \
    X(GetVersion)                                                                                            \
    X(GetUniqueId)                                                                                           \
    X(CommInitRank)                                                                                          \
    X(CommDestroy)                                                                                           \
    X(CommAbort)                                                                                             \
    X(CommGetAsyncError)                                                                                     \
    X(GetLastError)                                                                                          \
    X(AllReduce)                                                                                             \
    X(Reduce)                                                                                                \
    X(Broadcast)                                                                                             \
    X(GroupStart)                                                                                            \
    X(GroupEnd)                                                                                              \
    X(GetErrorString)

#define DECLARE_CALL(name) decltype(&nccl##name) name;
/* Exchanges beside the backend's stream whose ends are told apart; waiting for an older one waits for a newer one. */
enum { EXCHANGES_KEPT = 4 };
struct nccl_ranks {
    struct backend *backend;
    ncclComm_t ranks;
    cudaStream_t stream, beside; /* where collectives are queued now; the one beside the backend's */
    cudaEvent_t ready;           /* of the backend's stream, when the last exchange beside it was begun */
    cudaEvent_t ended[EXCHANGES_KEPT]; /* of exchange number i: i % EXCHANGES_KEPT */
    int64_t count;                     /* exchanges beside so far */
    void *library;
    struct collective_watch *watch;
    bool joined; /* read by the thread of the watch */
    bool failed; /* nobody is waited for any more */
    NCCL_CALLS(DECLARE_CALL)
};
#undef DECLARE_CALL

/* ---- the library -------------------------------------------------------------------------------------------- */

/* Once loaded it stays: threads of its own may outlive what they worked for. NULL, or why it is not there. */
static const char *open_library(struct nccl_ranks *ranks)
{
    ranks->library = dlopen(NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    bool complete = ranks->library != nullptr;
#define LOAD_CALL(call)                                                                                      \
    if (complete)                                                                                            \
        complete =                                                                                           \
            (ranks->call = reinterpret_cast<decltype(ranks->call)>(dlsym(ranks->library, "nccl" #call))) !=  \
            nullptr;
    NCCL_CALLS(LOAD_CALL)
#undef LOAD_CALL
    return complete ? nullptr : dlerror();
}

static void close_library(struct nccl_ranks *ranks)
{
    if (ranks->library)
        dlclose(ranks->library);
}

void cuda_describe_ranks(char *text, size_t size)
{
    struct nccl_ranks ranks = {};
    int version = 0;
    const char *missing = open_library(&ranks);
    if (missing)
        snprintf(text, size, "NCCL is not there: %s", missing);
    else if (ranks.GetVersion(&version) == ncclSuccess)
        snprintf(text, size, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    else
        snprintf(text, size, "NCCL, which does not tell its version");
    close_library(&ranks);
}

/* ---- ranks ---------------------------------------------------------------------------------------------------- */

static struct nccl_ranks *ranks_of(const struct communicator *communicator)
{
    return static_cast<struct nccl_ranks *>(communicator->device);
}

static bool check(const struct communicator *communicator, ncclResult_t result, const char *what,
                  struct error *error)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    if (result == ncclSuccess || result == ncclInProgress)
        return true;
    const char *more = ranks->GetLastError(ranks->ranks);
    ranks->failed = true;
    return error_set(error, ERROR_RUN, "%s by NCCL: %s%s%.200s", what, ranks->GetErrorString(result),
                     more && *more ? ": " : "", more ? more : "");
}

/* What NCCL has noticed by itself: a rank or a network that is gone. */
static bool find_trouble(const struct communicator *communicator, char *text, size_t size)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    ncclResult_t result = ncclSuccess;
    if (!__atomic_load_n(&ranks->joined, __ATOMIC_ACQUIRE) ||
        ranks->CommGetAsyncError(ranks->ranks, &result) != ncclSuccess || result == ncclSuccess ||
        result == ncclInProgress)
        return false;
    snprintf(text, size, "%s", ranks->GetErrorString(result));
    return true;
}

static ncclDataType_t type_of(const struct tensor *x)
{
    switch (x->dtype) {
    case DTYPE_F64:
        return ncclFloat64;
    case DTYPE_BF16:
        return ncclBfloat16;
    case DTYPE_I32:
        return ncclInt32;
    case DTYPE_I64:
        return ncclInt64;
    default:
        return ncclFloat32;
    }
}

/* The part of a rank, which may be empty. */
struct device_part {
    char *data;
    size_t count;
};

static struct device_part part_of(const struct communicator *communicator, const struct tensor *x,
                                  const int64_t *starts, int rank)
{
    const int64_t length = tensor_count(x), first = part_begin(communicator, starts, length, rank);
    return {static_cast<char *>(x->data) + (size_t)first * dtype_size(x->dtype),
            (size_t)(part_begin(communicator, starts, length, rank + 1) - first)};
}

static bool all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                       struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    collective_watch_begin(ranks->watch, "all-reduce");
    const ncclResult_t result =
        ranks->AllReduce(x->data, x->data, (size_t)tensor_count(x), type_of(x),
                         reduction == COMM_SUM ? ncclSum : ncclMax, ranks->ranks, ranks->stream);
    collective_watch_end(ranks->watch, ranks->stream);
    return check(communicator, result, "all-reduce", error);
}

/* The parts differ in length by one, which ncclReduceScatter does not know: a reduction to each rank, all at once. */
static bool reduce_scatter(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                           struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    collective_watch_begin(ranks->watch, "reduce-scatter");
    bool done = check(communicator, ranks->GroupStart(), "reduce-scatter", error);
    for (int rank = 0; done && rank < communicator->size; rank++) {
        const struct device_part part = part_of(communicator, x, starts, rank);
        done = check(communicator,
                     ranks->Reduce(part.data, part.data, part.count, type_of(x), ncclSum, rank, ranks->ranks,
                                   ranks->stream),
                     "reduce-scatter", error);
    }
    done = check(communicator, ranks->GroupEnd(), "reduce-scatter", error) && done;
    collective_watch_end(ranks->watch, ranks->stream);
    return done;
}

static bool broadcast_part(struct communicator *communicator, const struct tensor *x, struct device_part part,
                           int root, const char *what, struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    return check(
        communicator,
        ranks->Broadcast(part.data, part.data, part.count, type_of(x), root, ranks->ranks, ranks->stream),
        what, error);
}

static bool all_gather(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                       struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    collective_watch_begin(ranks->watch, "all-gather");
    bool done = check(communicator, ranks->GroupStart(), "all-gather", error);
    for (int rank = 0; done && rank < communicator->size; rank++)
        done = broadcast_part(communicator, x, part_of(communicator, x, starts, rank), rank, "all-gather",
                              error);
    done = check(communicator, ranks->GroupEnd(), "all-gather", error) && done;
    collective_watch_end(ranks->watch, ranks->stream);
    return done;
}

static bool broadcast(struct communicator *communicator, struct tensor *x, int root, struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    const struct device_part whole = {static_cast<char *>(x->data), (size_t)tensor_count(x)};
    collective_watch_begin(ranks->watch, "broadcast");
    const bool done = broadcast_part(communicator, x, whole, root, "broadcast", error);
    collective_watch_end(ranks->watch, ranks->stream);
    return done;
}

/* ---- beside the backend's stream -------------------------------------------------------------------------------- */

static bool wait_for_event(struct backend *backend, cudaStream_t stream, cudaEvent_t event,
                           struct error *error)
{
    return cuda_check(backend, cudaStreamWaitEvent(stream, event, 0), "exchange") ||
           backend_check(backend, error);
}

static bool record(struct backend *backend, cudaEvent_t event, cudaStream_t stream, struct error *error)
{
    return cuda_check(backend, cudaEventRecord(event, stream), "exchange") || backend_check(backend, error);
}

static bool begin_beside(struct communicator *communicator, struct error *error)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    ranks->stream = ranks->beside;
    return record(ranks->backend, ranks->ready, device_of(ranks->backend)->stream, error) &&
           wait_for_event(ranks->backend, ranks->beside, ranks->ready, error);
}

static bool end_beside(struct communicator *communicator, int64_t *number, struct error *error)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    ranks->stream = device_of(ranks->backend)->stream;
    *number = ++ranks->count;
    return record(ranks->backend, ranks->ended[*number % EXCHANGES_KEPT], ranks->beside, error);
}

static bool await(struct communicator *communicator, int64_t number, struct error *error)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    return wait_for_event(ranks->backend, device_of(ranks->backend)->stream,
                          ranks->ended[number % EXCHANGES_KEPT], error);
}

static bool open_streams(struct nccl_ranks *ranks, struct error *error)
{
    struct backend *backend = ranks->backend;
    bool done =
        cuda_check(backend, cudaStreamCreateWithFlags(&ranks->beside, cudaStreamNonBlocking), "stream") &&
        cuda_check(backend, cudaEventCreateWithFlags(&ranks->ready, cudaEventDisableTiming), "exchange");
    for (int i = 0; done && i < EXCHANGES_KEPT; i++)
        done = cuda_check(backend, cudaEventCreateWithFlags(&ranks->ended[i], cudaEventDisableTiming),
                          "exchange");
    ranks->stream = device_of(backend)->stream;
    return done || backend_check(backend, error);
}

static void close_streams(struct nccl_ranks *ranks)
{
    if (ranks->ready)
        cudaEventDestroy(ranks->ready);
    for (cudaEvent_t event : ranks->ended)
        if (event)
            cudaEventDestroy(event);
    if (ranks->beside)
        cudaStreamDestroy(ranks->beside);
}

/* ---- joining and leaving ---------------------------------------------------------------------------------------- */

static void leave(struct communicator *communicator)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    collective_watch_close(ranks->watch);
    if (ranks->ranks && (ranks->failed || communicator->failing))
        ranks->CommAbort(ranks->ranks);
    else if (ranks->ranks)
        ranks->CommDestroy(ranks->ranks);
    close_streams(ranks);
    close_library(ranks);
    free(ranks);
    communicator->device = nullptr;
    communicator->device_calls = nullptr;
}

static const struct device_comm_calls nccl_calls = {begin_beside,   end_beside, await,     all_reduce,
                                                    reduce_scatter, all_gather, broadcast, leave};

/* Rank 0's name of the job, which NCCL finds the ranks by. */
static bool share_name(struct communicator *communicator, ncclUniqueId *name, struct error *error)
{
    static_assert(sizeof(ncclUniqueId) % sizeof(int64_t) == 0, "a name of whole numbers");
    int64_t words[sizeof(ncclUniqueId) / sizeof(int64_t)] = {0};
    struct tensor x = tensor_1d(words, DTYPE_I64, DEVICE_CPU, sizeof words / sizeof *words);
    if (communicator->rank == 0 &&
        !check(communicator, ranks_of(communicator)->GetUniqueId(name), "a name of the job", error))
        return false;
    if (communicator->rank == 0)
        memcpy(words, name, sizeof words);
    if (!comm_broadcast(communicator, &x, 0, error))
        return false;
    memcpy(name, words, sizeof words);
    return true;
}

/* Returns when all ranks have come. */
static bool join(struct communicator *communicator, ncclUniqueId name, struct error *error)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    collective_watch_begin(ranks->watch, "joining of ranks");
    const ncclResult_t result =
        ranks->CommInitRank(&ranks->ranks, communicator->size, name, communicator->rank);
    collective_watch_end(ranks->watch, ranks->stream);
    if (result != ncclSuccess)
        ranks->ranks = nullptr;
    __atomic_store_n(&ranks->joined, result == ncclSuccess, __ATOMIC_RELEASE);
    return check(communicator, result, "joining", error);
}

bool cuda_join_ranks(struct communicator *communicator, struct backend *backend, struct error *error)
{
    ncclUniqueId name;
    struct nccl_ranks *ranks = static_cast<struct nccl_ranks *>(calloc(1, sizeof *ranks));
    if (!ranks)
        return error_memory(error, "the ranks of the GPUs", sizeof *ranks, nullptr);
    ranks->backend = backend;
    communicator->device = ranks;
    communicator->device_calls = &nccl_calls;
    const char *missing = open_library(ranks);
    if (missing)
        return error_set(error, ERROR_RUN, "GPUs of several ranks need NCCL: %s", missing);
    if (!cuda_check(backend, cudaSetDevice(device_of(backend)->index), "device"))
        return backend_check(backend, error);
    if (!open_streams(ranks, error))
        return false;
    ranks->watch = collective_watch_open(communicator, backend, find_trouble, error);
    return ranks->watch && share_name(communicator, &name, error) && join(communicator, name, error);
}
