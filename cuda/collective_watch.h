/*
 * collective_watch.h: collectives of GPUs that do not end. A rank whose GPU stands still, or is lost, makes the others' wait in the
 * driver, where no call returns: a thread looks whether what was queued is done, and asks NCCL for what it has noticed.
 * It names this rank on stderr after the communicator's late_seconds; after the limit, or when NCCL has lost a rank, it ends the job.
 */
#ifndef IDREC_CUDA_COLLECTIVE_WATCH_H
#define IDREC_CUDA_COLLECTIVE_WATCH_H

#include "cuda/backend.h"
#include "cuda/device.cuh"

/* How long a collective may take, of each rank's environment, in seconds; 0: for ever. */
#define COLLECTIVE_WATCH_VARIABLE "IDREC_GPU_SILENCE_SECONDS"
enum { COLLECTIVE_SECONDS = 600 };

/* What NCCL has noticed; false: nothing is wrong. */
typedef bool collective_trouble(const struct communicator *communicator, char *text, size_t size);

struct collective_watch;

struct collective_watch *collective_watch_open(struct communicator *communicator, struct backend *backend,
                                               collective_trouble *trouble, struct error *error);
/* NULL is fine. */
void collective_watch_close(struct collective_watch *watch);

/* Around the calls that queue a collective on a stream. */
void collective_watch_begin(struct collective_watch *watch, const char *what);
void collective_watch_end(struct collective_watch *watch, cudaStream_t stream);

#endif
