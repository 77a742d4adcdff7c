/*
 * stand_in_nccl.c: a libnccl.so.2 with the part of NCCL's interface that cuda/collectives.cu calls (cuda/nccl.h), for ranks of one
 * machine whose GPUs are emulated (host_cuda.h). Data goes through shared memory, a piece at a time; sums are taken in
 * the order of the ranks.
 *
 * STAND_IN_NCCL_FAULT is "RANK:WHAT:CALL": in that rank, with the collective call of that number (from 1),
 *   fail  the call is refused;
 *   hang  it never ends;
 *   lost  it never ends, and the library says that it has lost another rank.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef struct host_stream *cudaStream_t;

#include "cuda/nccl.h"

/* Of the program that has loaded this. */
void host_cuda_work(void (*work)(void *), void *argument) __attribute__((weak));
int host_cuda_device(void) __attribute__((weak));

enum { RANKS_MAXIMUM = 16, PIECE_BYTES = 1 << 16, CALLS_MAXIMUM = 256, NAP_NANOSECONDS = 50000 };

struct shared {
    atomic_int arrived, round;
    atomic_int devices[RANKS_MAXIMUM];
    char pieces[RANKS_MAXIMUM][PIECE_BYTES];
};

enum kind { ALL_REDUCE, REDUCE, BROADCAST };

struct call {
    enum kind kind;
    const char *from;
    char *to;
    size_t count, size; /* elements; bytes of one */
    ncclDataType_t type;
    ncclRedOp_t reduction;
    int root;
    struct ncclComm *ranks;
};

struct ncclComm {
    struct shared *shared;
    int rank, size, calls;
    atomic_bool aborted, lost;
};

/* NCCL's groups belong to a thread; here they belong to the only one that calls. */
static struct {
    int depth, count;
    struct call calls[CALLS_MAXIMUM];
} group;
static char last_error[160];

static void nap(void)
{
    const struct timespec time = {0, NAP_NANOSECONDS};
    nanosleep(&time, NULL);
}

static ncclResult_t refuse(ncclResult_t result, const char *why)
{
    snprintf(last_error, sizeof last_error, "%s", why);
    return result;
}

/* ---- ranks ------------------------------------------------------------------------------------------------ */

ncclResult_t ncclGetVersion(int *version)
{
    *version = 22899;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *name)
{
    static int count;
    memset(name, 0, sizeof *name);
    snprintf(name->internal, sizeof name->internal, "/stand-in-nccl-%d-%d", (int)getpid(), count++);
    const int file = shm_open(name->internal, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(struct shared)) != 0)
        return refuse(ncclSystemError, strerror(errno));
    close(file);
    return ncclSuccess;
}

/* false: the communicator was aborted. */
static bool wait_for_all(struct ncclComm *ranks)
{
    struct shared *const shared = ranks->shared;
    const int round = atomic_load(&shared->round);
    if (atomic_fetch_add(&shared->arrived, 1) + 1 == ranks->size) {
        atomic_store(&shared->arrived, 0);
        atomic_fetch_add(&shared->round, 1);
        return true;
    }
    while (atomic_load(&shared->round) == round) {
        if (atomic_load(&ranks->aborted))
            return false;
        nap();
    }
    return true;
}

static struct shared *map_shared(const char *name)
{
    const int file = shm_open(name, O_RDWR, 0);
    if (file < 0)
        return NULL;
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

/* NCCL refuses two ranks on one GPU. */
static bool has_own_device(struct ncclComm *ranks)
{
    atomic_store(&ranks->shared->devices[ranks->rank], host_cuda_device());
    if (!wait_for_all(ranks))
        return false;
    for (int rank = 0; rank < ranks->size; rank++)
        if (rank != ranks->rank &&
            atomic_load(&ranks->shared->devices[rank]) == atomic_load(&ranks->shared->devices[ranks->rank]))
            return false;
    return true;
}

static void release(struct ncclComm *ranks)
{
    munmap(ranks->shared, sizeof *ranks->shared);
    free(ranks);
}

ncclResult_t ncclCommInitRank(ncclComm_t *made, int size, ncclUniqueId name, int rank)
{
    if (size < 1 || size > RANKS_MAXIMUM || rank < 0 || rank >= size)
        return refuse(ncclInvalidArgument, "no such rank");
    if (!host_cuda_work || !host_cuda_device)
        return refuse(ncclInvalidUsage, "the program has no emulated GPU");
    struct ncclComm *ranks = calloc(1, sizeof *ranks);
    if (!ranks)
        return refuse(ncclSystemError, "out of memory");
    *ranks = (struct ncclComm){.shared = map_shared(name.internal), .rank = rank, .size = size};
    if (!ranks->shared) {
        free(ranks);
        return refuse(ncclSystemError, strerror(errno));
    }
    const bool own = has_own_device(ranks);
    if (rank == 0)
        shm_unlink(name.internal);
    *made = own ? ranks : NULL;
    if (own)
        return ncclSuccess;
    release(ranks);
    return refuse(ncclInvalidUsage, "Duplicate GPU detected");
}

ncclResult_t ncclCommDestroy(ncclComm_t ranks)
{
    wait_for_all(ranks);
    release(ranks);
    return ncclSuccess;
}

/* Another thread may be waiting in a call of the communicator, which stays for it. */
ncclResult_t ncclCommAbort(ncclComm_t ranks)
{
    atomic_store(&ranks->aborted, true);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t ranks, ncclResult_t *result)
{
    *result = atomic_load(&ranks->lost) ? ncclRemoteError : ncclSuccess;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclSystemError:
        return "unhandled system error";
    case ncclInvalidArgument:
        return "invalid argument";
    case ncclInvalidUsage:
        return "invalid usage";
    case ncclRemoteError:
        return "remote process exited or there was a network error";
    default:
        return "in progress";
    }
}

const char *ncclGetLastError(ncclComm_t ranks)
{
    (void)ranks;
    return last_error;
}

/* ---- arithmetic ------------------------------------------------------------------------------------------- */

static size_t size_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
        return 1;
    case ncclFloat32:
    case ncclInt32:
        return 4;
    case ncclFloat64:
    case ncclInt64:
        return 8;
    default:
        return 0;
    }
}

#define COMBINE(type)                                                                                        \
    for (size_t i = 0; i < count; i++) {                                                                     \
        type *const left = (type *)a + i;                                                                    \
        const type right = ((const type *)b)[i];                                                             \
        *left = call->reduction == ncclSum ? (type)(*left + right) : *left < right ? right : *left;          \
    }

static void combine(const struct call *call, void *a, const void *b, size_t count)
{
    switch (call->type) {
    case ncclFloat32:
        COMBINE(float)
        break;
    case ncclFloat64:
        COMBINE(double)
        break;
    case ncclInt32:
        COMBINE(int32_t)
        break;
    case ncclInt64:
        COMBINE(int64_t)
        break;
    default:
        abort();
    }
}

/* ---- collectives ------------------------------------------------------------------------------------------ */

/* Elements first .. first + count - 1; false: the communicator was aborted. */
static bool move_piece(const struct call *call, size_t first, size_t count)
{
    struct ncclComm *const ranks = call->ranks;
    char(*const pieces)[PIECE_BYTES] = ranks->shared->pieces;
    const size_t offset = first * call->size, bytes = count * call->size;
    const bool takes = call->kind == ALL_REDUCE || (call->kind == REDUCE) == (ranks->rank == call->root);
    if (call->kind != BROADCAST || ranks->rank == call->root)
        memcpy(pieces[ranks->rank], call->from + offset, bytes);
    if (!wait_for_all(ranks))
        return false;
    if (takes)
        memcpy(call->to + offset, pieces[call->kind == BROADCAST ? call->root : 0], bytes);
    for (int rank = 1; takes && call->kind != BROADCAST && rank < ranks->size; rank++)
        combine(call, call->to + offset, pieces[rank], count);
    return wait_for_all(ranks);
}

static void move(void *argument)
{
    const struct call *const call = argument;
    const size_t most = PIECE_BYTES / call->size;
    for (size_t first = 0; first < call->count; first += most)
        if (!move_piece(call, first, call->count - first < most ? call->count - first : most))
            return;
    if (call->kind == BROADCAST && call->ranks->rank == call->root && call->to != call->from)
        memcpy(call->to, call->from, call->count * call->size);
}

static void run(struct call *call)
{
    host_cuda_work(move, call);
}

/* Whether this call of this rank is to go wrong so. */
static bool has_fault(const struct ncclComm *ranks, const char *what)
{
    const char *fault = getenv("STAND_IN_NCCL_FAULT");
    char expected[64];
    snprintf(expected, sizeof expected, "%d:%s:%d", ranks->rank, what, ranks->calls);
    return fault && strcmp(fault, expected) == 0;
}

static ncclResult_t add(struct call call)
{
    struct ncclComm *const ranks = call.ranks;
    ranks->calls++;
    call.size = size_of(call.type);
    if (call.size == 0 || (call.kind != BROADCAST && call.type == ncclInt8))
        return refuse(ncclInvalidArgument, "the stand-in does not know this type");
    if (call.root < 0 || call.root >= ranks->size)
        return refuse(ncclInvalidArgument, "no such root");
    if (has_fault(ranks, "fail"))
        return refuse(ncclSystemError, "refused on purpose");
    if (has_fault(ranks, "lost"))
        atomic_store(&ranks->lost, true);
    while ((has_fault(ranks, "hang") || atomic_load(&ranks->lost)) && !atomic_load(&ranks->aborted))
        nap();
    if (group.depth == 0)
        run(&call);
    else if (group.count == CALLS_MAXIMUM)
        return refuse(ncclInvalidUsage, "too many calls in a group");
    else
        group.calls[group.count++] = call;
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t ranks, cudaStream_t stream)
{
    (void)stream;
    return add((struct call){ALL_REDUCE, from, to, count, 0, type, reduction, 0, ranks});
}

ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t reduction,
                        int root, ncclComm_t ranks, cudaStream_t stream)
{
    (void)stream;
    return add((struct call){REDUCE, from, to, count, 0, type, reduction, root, ranks});
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t ranks, cudaStream_t stream)
{
    (void)stream;
    return add((struct call){BROADCAST, from, to, count, 0, type, ncclSum, root, ranks});
}

ncclResult_t ncclGroupStart(void)
{
    group.depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group.depth == 0)
        return refuse(ncclInvalidUsage, "no group was begun");
    if (--group.depth > 0)
        return ncclSuccess;
    for (int i = 0; i < group.count; i++)
        run(&group.calls[i]);
    group.count = 0;
    return ncclSuccess;
}
