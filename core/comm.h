/*
 * comm.h: the ranks of one job and what they exchange. A rank is a process that mpirun or srun started with others; a
 * program that is started by itself is one rank of one, and then nothing here costs anything.
 *
 * Every rank calls the same collectives in the same order. Sums are taken in the order of the ranks, element by element:
 * all ranks get the same bits, and every run with as many ranks gets them again, whoever came first.
 *
 * A rank that fails by itself ends the job with comm_abort(); the others need not find out. A rank that dies or stands still
 * is found out by the others, which name it on stderr and end the job (core/comm/watch.h).
 */
#ifndef IDREC_CORE_COMM_H
#define IDREC_CORE_COMM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

enum comm_kind {
    COMM_ALL_REDUCE,
    COMM_REDUCE_SCATTER,
    COMM_ALL_GATHER,
    COMM_BROADCAST,
    COMM_BARRIER,
    COMM_POINT_TO_POINT,
    COMM_KIND_COUNT
};
const char *comm_kind_name(enum comm_kind kind);

/* What this rank has done of a kind. */
struct comm_volume {
    int64_t calls, bytes_sent;
};

enum comm_reduction { COMM_SUM, COMM_MAXIMUM };

struct comm_background;
struct comm_calls;
struct device_comm_calls;
struct trace;
struct watch;

struct communicator {
    const char *name; /* "one process", "MPI", "TCP" */
    int rank, size;
    int local_rank, local_size; /* among the ranks of this machine */
    char host[64];              /* the machine of this rank */
    /* A rank that others wait for this long is named on stderr, and again each time that the wait has doubled. */
    double late_seconds;
    bool patient; /* long waits are expected, and nobody is named */
    bool ending;  /* all ranks have agreed to end: the others know of this rank's failure */
    bool failing; /* this rank alone has failed: it waits for nobody when it leaves */
    struct comm_volume volume[COMM_KIND_COUNT];
    struct trace *trace;                /* of the exchanges; NULL: none is wanted; borrowed */
    struct comm_background *background; /* what goes on beside the caller; NULL: nothing ever has */
    int64_t
        queued; /* the last exchange beside what a GPU does that comm_finish() has not waited for; 0: none */
    const struct comm_calls *calls;
    void *implementation;
    const struct device_comm_calls *device_calls; /* NULL: the ranks exchange host memory only */
    void *device;
    struct watch *watch; /* of whether the other ranks are still there; NULL: nobody looks */
};

/* Opens the job that a launcher (Open MPI's mpirun, MPICH's, srun) has started this process in; without one, or where it
 * has started no other, a communicator of one process. Where IDREC_RANKS_FOLDER names a folder, ranks that srun has started
 * need no MPI (core/comm/sockets.h); else those of a program that was built without MPI are refused. After a failure the
 * communicator may be there for comm_abort(). */
bool comm_open(struct communicator **communicator, struct error *error);
/* All ranks close, or comm_abort() ends them. NULL is fine. */
void comm_close(struct communicator *communicator);
/* Ends every process of the job, this one with `status`. What was to be said has been said. */
void comm_abort(struct communicator *communicator, int status) __attribute__((noreturn));

/* Puts "rank R on HOST: " before the message where there is more than one rank. */
void comm_name_rank(const struct communicator *communicator, struct error *error);
/* So that processes that this one starts are none of the job. */
void comm_leave_environment(void);
/* "MPI (Open MPI 4.1.4)", or why there is none. */
const char *comm_build_description(char *text, size_t size);
bool comm_is_built_in(void);

/* Forgets the GPU that cuda_join_ranks() has brought in. */
void comm_leave_device(struct communicator *communicator);

/* ---- collectives; tensors of f32, f64, i32 or i64 -------------------------------------------------------- */

/* In host memory, or, after cuda_join_ranks(), in that of a GPU: then a collective is queued like an operator, NCCL orders
 * the sums, and bytes are counted as if each rank had sent the least that is possible. */

/* x = the sum, or the largest, over the ranks; x has the same length everywhere. */
bool comm_all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                     struct error *error);
/* Elements comm_part(r) .. comm_part(r + 1) - 1 of a tensor are the part of rank r. x's own part = the sum over the ranks;
 * its other parts are not defined afterwards. */
int64_t comm_part(const struct communicator *communicator, int64_t length, int rank);
bool comm_reduce_scatter(struct communicator *communicator, struct tensor *x, struct error *error);
/* The same beside the caller, who is to touch none of x and to call no other collective until comm_finish() has returned:
 * true when all that was begun is done. In host memory a thread exchanges, where MPI permits that, else this call does; on
 * a GPU it is queued, beside what the backend does, and "done" is of what is queued behind comm_finish(). */
bool comm_begin_reduce_scatter(struct communicator *communicator, const struct tensor *x,
                               struct error *error);
bool comm_finish(struct communicator *communicator, struct error *error);
/* comm_all_gather() beside the caller, likewise; `what` names it in a trace. comm_await(*number) returns when it is done, and
 * with it all that was begun before. Other collectives may be called when everything that was begun has been waited for. */
bool comm_begin_all_gather(struct communicator *communicator, const struct tensor *x, const char *what,
                           int64_t *number, struct error *error);
bool comm_await(struct communicator *communicator, int64_t number, struct error *error);
/* Every part of x comes from its rank. */
bool comm_all_gather(struct communicator *communicator, struct tensor *x, struct error *error);
/* The same two where the part of rank r is the elements starts[r] .. starts[r + 1] - 1; starts [size + 1], from 0 to the
 * length of x, alike everywhere. */
bool comm_reduce_scatter_parts(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                               struct error *error);
bool comm_all_gather_parts(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                           struct error *error);
bool comm_broadcast(struct communicator *communicator, struct tensor *x, int root, struct error *error);
/* Returns when all ranks have called it. */
bool comm_barrier(struct communicator *communicator, struct error *error);
bool comm_send(struct communicator *communicator, const struct tensor *x, int to, struct error *error);
bool comm_receive(struct communicator *communicator, struct tensor *x, int from, struct error *error);

/* The same for a few numbers of the host. */
bool comm_sum_numbers(struct communicator *communicator, double *numbers, int64_t count, struct error *error);
bool comm_broadcast_integer(struct communicator *communicator, int64_t *number, int root,
                            struct error *error);

/* ---- sizes ---------------------------------------------------------------------------------------------- */

/* "cuda:N" with the GPU of this rank, where `device` ("auto", "cpu", "cuda", "cuda:N") leaves a choice; else the same.
 * gpus: how many answer here; where none does, backend_open() says why. More ranks than GPUs on a machine are an error, unless
 * the launcher has given each rank GPUs of its own. */
bool comm_device(struct communicator *communicator, const char *device, int gpus, char name[16],
                 struct error *error);
/* The threads of this rank where the configuration leaves the choice: the processors that it may use, divided by the ranks
 * of the machine where the launcher has not bound it to some of them. */
int comm_threads(const struct communicator *communicator, int available);
/* Bytes sent so far. */
int64_t comm_bytes_sent(const struct communicator *communicator);
/* The same by kind, on one line; malloc'ed. */
char *comm_describe_volume(const struct communicator *communicator);

#endif
