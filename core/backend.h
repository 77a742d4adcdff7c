/*
 * backend.h: the table that a device fills: memory calls and one pointer an operator of ops.h. Streams,
 * library handles, workspaces and device properties live in `implementation`.
 *
 * Every entry must be filled; backend_open() refuses a table with a hole. There is no fall-back from one
 * device to another.
 */
#ifndef IDREC_CORE_BACKEND_H
#define IDREC_CORE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

struct communicator;
struct csr_tensor;
struct graph_calls;
struct trace;
/* One function pointer an operator; defined in core/operators.h, which only backends include. */
struct operators;

/* What the operators have done since backend_reset_counters(). */
struct operation_counters {
    double floating_point_operations; /* multiply-adds count 2 */
    double gemm_operations;           /* the part done in matrix products */
    double bytes;                     /* read and written, each tensor once an operator */
};

/* Device memory that backend_allocate() has handed out. */
struct memory_use {
    size_t bytes, peak; /* now; at most */
};

struct backend {
    const char *name;      /* "cpu", "cuda" */
    char address[16];      /* what opens it again: "cpu", "cuda:0" */
    char description[288]; /* for people: "cpu", "cuda:0 (NVIDIA H200)" */
    char pci_bus[24];      /* of a GPU: "00000000:1b:00.0"; "" of the CPU */
    enum device_kind device;
    int threads; /* OpenMP threads of the host */
    /* A GPU's matrix products may round f32 operands to TF32 (10 bits after the point) and add up in any order: faster,
     * but neither with the CPU's precision nor with the same bits in each run. Off, unless the caller sets it. */
    bool fast;
    bool counts_only;                  /* computes nothing; see counting.h */
    struct communicator *communicator; /* whose ranks train together; NULL: one process; borrowed */
    struct communicator
        *fit_ranks; /* whose ranks do one fit of a recommender together; NULL: it is done alone; borrowed */
    struct trace *trace; /* of what is computed; NULL: none is wanted; borrowed */

    /* 256-byte aligned; NULL when there is not enough. */
    void *(*allocate)(struct backend *backend, size_t bytes);
    void (*release)(struct backend *backend, void *memory);
    size_t (*free_memory)(struct backend *backend); /* bytes that can still be allocated; 0: not known */
    void (*fill_zero)(struct backend *backend, void *memory, size_t bytes);
    void (*copy)(struct backend *backend, void *to, const void *from, size_t bytes); /* on the device */
    void (*upload)(struct backend *backend, void *device_memory, const void *host_memory, size_t bytes);
    void (*download)(struct backend *backend, void *host_memory, const void *device_memory, size_t bytes);
    void (*wait)(struct backend *backend); /* until all queued work is done */

    /* Copies that the host need not wait for. Their host memory comes from allocate_host(); it must stay as it is, or
     * must not be read, until wait_for() has returned for a mark that was made after the copy. */
    void *(*allocate_host)(struct backend *backend, size_t bytes); /* NULL when there is not enough */
    void (*release_host)(struct backend *backend, void *memory);
    void (*queue_upload)(struct backend *backend, void *device_memory, const void *host_memory, size_t bytes);
    void (*queue_download)(struct backend *backend, void *host_memory, const void *device_memory,
                           size_t bytes);
    uint64_t (*mark)(struct backend *backend); /* a point in the queue */
    void (*wait_for)(struct backend *backend,
                     uint64_t mark); /* until all that was queued before it is done */

    void (*close)(struct backend *backend);

    const struct operators *operators;
    const struct graph_calls *graph_calls; /* NULL: this device records nothing; see backend_graph_run() */
    void *implementation;
    struct error error; /* sticky; see ops.h */
    struct operation_counters counters;
    struct memory_use memory;
};

/* Opens "cpu", "cuda", "cuda:N" or "auto" (cuda where it is built in and a GPU answers, else cpu). threads 0: all that
 * OpenMP gives. An unavailable device is an error that says why. */
struct backend *backend_open(const char *device, int threads, struct error *error);
void backend_close(struct backend *backend);

/* Waits for the device and hands its sticky error over: false if there was one. */
bool backend_synchronize(struct backend *backend, struct error *error);

/* The same without the wait, for what is known by now. */
bool backend_check(struct backend *backend, struct error *error);

void backend_reset_counters(struct backend *backend);
/* What another backend did, or this one before it was reset. */
void backend_add_counters(struct backend *backend, const struct operation_counters *counters);

/* The table's allocate and release, counted in backend->memory; `bytes` as they were allocated. */
void *backend_allocate(struct backend *backend, size_t bytes);
void backend_release(struct backend *backend, void *memory, size_t bytes);

/* Tensor-wise copies; shapes and types must agree in bytes. */
void tensor_upload(struct backend *backend, struct tensor *tensor, const void *host);
/* Uploads reals to a tensor of DTYPE_REAL, bf16, for which `host` is overwritten, or a quantised type, for which they must
 * be finite and as much memory as the tensor takes is needed on the host. */
bool tensor_upload_rounded(struct backend *backend, struct tensor *tensor, real *host, struct error *error);
void tensor_download(struct backend *backend, void *host, const struct tensor *tensor);
void tensor_zero(struct backend *backend, struct tensor *tensor);

/* ---- graphs ------------------------------------------------------------------------------------------- */

/* Operators that run again and again on the same tensors with the same arguments, such as a decode step. A device that
 * supports graphs records them once and runs them again at the cost of one launch; on another the operators are simply
 * called again. Zeroed: nothing is recorded. */
struct backend_graph {
    bool warm; /* the work has run once */
    void *recorded;
    struct operation_counters counters; /* of one run */
};

bool backend_graph_supported(const struct backend *backend);

typedef void graph_work(void *context);

/* Does the work: by calling it the first time (which lets scratch memory grow), the second time by recording it, from
 * then on without calling it. A graph whose scratch memory has moved since is recorded again. The work may call
 * operators, tensor_zero() and backend->copy; nothing that needs the host: no upload, download, wait or allocation. What
 * changes from run to run must be in device memory, not in an argument or an address. */
void backend_graph_run(struct backend *backend, struct backend_graph *graph, graph_work *work, void *context);
/* The graph is zeroed. To be called before its tensors move and before the backend closes. */
void backend_graph_release(struct backend *backend, struct backend_graph *graph);

/* What a backend that supports graphs fills. Errors are the backend's. */
struct graph_calls {
    bool (*begin)(struct backend *backend);
    void *(*end)(struct backend *backend); /* NULL after an error */
    bool (*is_current)(struct backend *backend, const void *recorded);
    void (*launch)(struct backend *backend, void *recorded);
    void (*release)(struct backend *backend, void *recorded);
};

/* Must be called first in main(): sets what the libraries read from the environment when they are loaded, and
 * executes the program again, once, if that changed anything. Where that cannot be done the program goes on
 * as it is: slower, not wrong. What the user has set stays.
 * GOMP_SPINCOUNT: threads of OpenMP wait asleep after a short spin, because a barrier that spins while another
 * process has the core makes a run several times slower.
 * OPENBLAS_CORETYPE: OpenBLAS's kernels by the processor's flags where its own detection is known to choose
 * badly (0.3.21 takes AVX-512 AMD processors for Haswell). */
void backend_prepare_process(char **arguments);

#endif
