/*
 * nccl.h: the part of NCCL's interface that collectives.cu calls, under NCCL's own names. The library is loaded when
 * ranks are joined, so that building needs nothing of it and one process runs without. tests/nccl_interface.cpp compares this
 * with NCCL's header where there is one. Whoever includes this has declared cudaStream_t.
 *
 * The numbers are those of libnccl.so.2, which keeps them from version to version.
 */
#ifndef IDREC_CUDA_NCCL_H
#define IDREC_CUDA_NCCL_H

#include <stddef.h>

#define NCCL_LIBRARY "libnccl.so.2"

#define NCCL_NUMBERS(X)                                                                                      \
    X(ncclSuccess, 0)                                                                                        \
    X(ncclSystemError, 2)                                                                                    \
    X(ncclInvalidArgument, 4)                                                                                \
    X(ncclInvalidUsage, 5)                                                                                   \
    X(ncclRemoteError, 6)                                                                                    \
    X(ncclInProgress, 7)                                                                                     \
    X(ncclInt8, 0)                                                                                           \
    X(ncclInt32, 2)                                                                                          \
    X(ncclInt64, 4)                                                                                          \
    X(ncclFloat32, 7)                                                                                        \
    X(ncclFloat64, 8)                                                                                        \
    X(ncclBfloat16, 9)                                                                                       \
    X(ncclSum, 0)                                                                                            \
    X(ncclMax, 2)

#ifdef __cplusplus
extern "C" {
#endif

#ifndef NCCL_MAJOR /* else NCCL's own header was there first */
typedef struct ncclComm *ncclComm_t;
typedef struct {
    char internal[128];
} ncclUniqueId;
typedef enum {
    ncclSuccess = 0,
    ncclSystemError = 2,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
    ncclRemoteError = 6,
    ncclInProgress = 7
} ncclResult_t;
typedef enum {
    ncclInt8 = 0,
    ncclInt32 = 2,
    ncclInt64 = 4,
    ncclFloat32 = 7,
    ncclFloat64 = 8,
    ncclBfloat16 = 9
} ncclDataType_t;
typedef enum { ncclSum = 0, ncclMax = 2 } ncclRedOp_t;
#endif

ncclResult_t ncclGetVersion(int *version);
ncclResult_t ncclGetUniqueId(ncclUniqueId *name);
ncclResult_t ncclCommInitRank(ncclComm_t *ranks, int size, ncclUniqueId name, int rank);
/* Waits for what the other ranks still need of this one. */
ncclResult_t ncclCommDestroy(ncclComm_t ranks);
/* Waits for nobody; what runs on the GPU ends. */
ncclResult_t ncclCommAbort(ncclComm_t ranks);
ncclResult_t ncclCommGetAsyncError(ncclComm_t ranks, ncclResult_t *result);
const char *ncclGetErrorString(ncclResult_t result);
const char *ncclGetLastError(ncclComm_t ranks);
ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t ranks, cudaStream_t stream);
ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t reduction,
                        int root, ncclComm_t ranks, cudaStream_t stream);
ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t ranks, cudaStream_t stream);
/* Until the end of a group nothing begins; then all of it, at once. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

#ifdef __cplusplus
}
#endif

#endif
