/*
 * collectives.cu: what ranks exchange of a GPU's memory, by NCCL on the backend's stream: nothing waits for the host. The
 * ranks find each other by the communicator that they have.
 */
#include <stdio.h>

#include "cuda/backend.h"

#ifdef IDREC_NCCL
#include <dlfcn.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/device.cuh"

extern "C" {
#include "core/comm/comm_calls.h"
}

/* The library is loaded when ranks are joined: one process needs none. */
#define NCCL_CALLS(X)                                                                                        \
    X(GetUniqueId)                                                                                           \
    X(CommInitRank)                                                                                          \
    X(CommDestroy)                                                                                           \
    X(AllReduce)                                                                                             \
    X(Reduce)                                                                                                \
    X(Broadcast)                                                                                             \
    X(GroupStart)                                                                                            \
    X(GroupEnd)                                                                                              \
    X(GetErrorString)

#define DECLARE_CALL(name) decltype(&nccl##name) name;
struct nccl_ranks {
    struct backend *backend;
    ncclComm_t ranks;
    void *library;
    NCCL_CALLS(DECLARE_CALL)
};
#undef DECLARE_CALL

static struct nccl_ranks *ranks_of(const struct communicator *communicator)
{
    return static_cast<struct nccl_ranks *>(communicator->device);
}

static bool check(const struct communicator *communicator, ncclResult_t result, const char *what,
                  struct error *error)
{
    return result == ncclSuccess || result == ncclInProgress ||
           error_set(error, ERROR_RUN, "rank %d on %s: %s by NCCL: %s", communicator->rank,
                     communicator->host, what, ranks_of(communicator)->GetErrorString(result));
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

static struct device_part part_of(const struct communicator *communicator, const struct tensor *x, int rank)
{
    const int64_t length = tensor_count(x), first = comm_part(communicator, length, rank);
    return {static_cast<char *>(x->data) + (size_t)first * dtype_size(x->dtype),
            (size_t)(comm_part(communicator, length, rank + 1) - first)};
}

static bool all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                       struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    return check(communicator,
                 ranks->AllReduce(x->data, x->data, (size_t)tensor_count(x), type_of(x),
                                  reduction == COMM_SUM ? ncclSum : ncclMax, ranks->ranks,
                                  device_of(ranks->backend)->stream),
                 "all-reduce", error);
}

/* The parts differ in length by one, which ncclReduceScatter does not know: a reduction to each rank, all at once. */
static bool reduce_scatter(struct communicator *communicator, struct tensor *x, struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    bool done = check(communicator, ranks_of(communicator)->GroupStart(), "reduce-scatter", error);
    for (int rank = 0; done && rank < communicator->size; rank++) {
        const struct device_part part = part_of(communicator, x, rank);
        done = check(communicator,
                     ranks->Reduce(part.data, part.data, part.count, type_of(x), ncclSum, rank, ranks->ranks,
                                   device_of(ranks->backend)->stream),
                     "reduce-scatter", error);
    }
    return check(communicator, ranks_of(communicator)->GroupEnd(), "reduce-scatter", error) && done;
}

static bool broadcast_part(struct communicator *communicator, const struct tensor *x, struct device_part part,
                           int root, const char *what, struct error *error)
{
    const struct nccl_ranks *ranks = ranks_of(communicator);
    return check(communicator,
                 ranks->Broadcast(part.data, part.data, part.count, type_of(x), root, ranks->ranks,
                                  device_of(ranks->backend)->stream),
                 what, error);
}

static bool all_gather(struct communicator *communicator, struct tensor *x, struct error *error)
{
    bool done = check(communicator, ranks_of(communicator)->GroupStart(), "all-gather", error);
    for (int rank = 0; done && rank < communicator->size; rank++)
        done = broadcast_part(communicator, x, part_of(communicator, x, rank), rank, "all-gather", error);
    return check(communicator, ranks_of(communicator)->GroupEnd(), "all-gather", error) && done;
}

static bool broadcast(struct communicator *communicator, struct tensor *x, int root, struct error *error)
{
    return broadcast_part(communicator, x, {static_cast<char *>(x->data), (size_t)tensor_count(x)}, root,
                          "broadcast", error);
}

static void leave(struct communicator *communicator)
{
    struct nccl_ranks *ranks = ranks_of(communicator);
    if (ranks->ranks)
        ranks->CommDestroy(ranks->ranks);
    if (ranks->library)
        dlclose(ranks->library);
    free(ranks);
    communicator->device = nullptr;
    communicator->device_calls = nullptr;
}

static const struct device_comm_calls nccl_calls = {all_reduce, reduce_scatter, all_gather, broadcast, leave};

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

static bool load_library(const struct communicator *communicator, struct nccl_ranks *ranks,
                         struct error *error)
{
    static const char name[] = "libnccl.so.2";
    ranks->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    bool complete = ranks->library != nullptr;
#define LOAD_CALL(call)                                                                                      \
    if (complete)                                                                                            \
        complete =                                                                                           \
            (ranks->call = reinterpret_cast<decltype(ranks->call)>(dlsym(ranks->library, "nccl" #call))) !=  \
            nullptr;
    NCCL_CALLS(LOAD_CALL)
#undef LOAD_CALL
    return complete || error_set(error, ERROR_RUN, "rank %d on %s: GPUs of several ranks need NCCL: %s",
                                 communicator->rank, communicator->host, dlerror());
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
    return load_library(communicator, ranks, error) && share_name(communicator, &name, error) &&
           cuda_check(backend, cudaSetDevice(device_of(backend)->index), "device") &&
           check(communicator,
                 ranks->CommInitRank(&ranks->ranks, communicator->size, name, communicator->rank), "joining",
                 error);
}

void cuda_describe_ranks(char *text, size_t size)
{
    snprintf(text, size, "NCCL from %d.%d.%d on", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH);
}

#else

bool cuda_join_ranks(struct communicator *communicator, struct backend *, struct error *error)
{
    return error_set(
        error, ERROR_USAGE,
        "rank %d on %s: GPUs of several ranks need NCCL, which this program was built without; install "
        "libnccl-dev and build it again, or start one process",
        communicator->rank, communicator->host);
}

void cuda_describe_ranks(char *text, size_t size)
{
    snprintf(text, size, "built without NCCL, which was not found");
}

#endif
