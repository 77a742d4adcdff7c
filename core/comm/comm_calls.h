/* comm_calls.h: what a way of moving bytes between ranks fills; the collectives of exchange.c are made of it. */
#ifndef IDREC_CORE_COMM_COMM_CALLS_H
#define IDREC_CORE_COMM_COMM_CALLS_H

#include <stddef.h>

#include "core/comm.h"

/* Bytes that go to, or come from, another rank. */
struct message {
    int peer;
    void *data;
    size_t bytes; /* at most MESSAGE_BYTES_MAXIMUM */
};

#define MESSAGE_BYTES_MAXIMUM ((size_t)1 << 28)

struct comm_calls {
    bool threaded; /* another thread may call it while the first one does not */
    /* Sends and receives all of them at once, and waits until all are done. Two messages between the same ranks arrive in
     * the order in which they are listed. The error names the rank and host that something is wrong with. */
    bool (*exchange)(struct communicator *communicator, const struct message *sends, int send_count,
                     const struct message *receives, int receive_count, struct error *error);
    /* The machine of a rank. */
    const char *(*host_of)(const struct communicator *communicator, int rank);
    void (*end_job)(struct communicator *communicator, int status); /* does not return if it can help it */
    void (*close)(struct communicator *communicator);
};

/* The element at which the part of a rank begins; starts NULL: comm_part(). */
int64_t part_begin(const struct communicator *communicator, const int64_t *starts, int64_t length, int rank);

/* Collectives over a GPU's memory, queued behind what its backend is doing; starts as in part_begin(). Those between
 * begin_beside() and end_beside() begin when that is done, and what the backend does afterwards does not wait for them, but
 * for await(*number). */
struct device_comm_calls {
    bool (*begin_beside)(struct communicator *communicator, struct error *error);
    bool (*end_beside)(struct communicator *communicator, int64_t *number, struct error *error);
    bool (*await)(struct communicator *communicator, int64_t number, struct error *error);
    bool (*all_reduce)(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                       struct error *error);
    bool (*reduce_scatter)(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                           struct error *error);
    bool (*all_gather)(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                       struct error *error);
    bool (*broadcast)(struct communicator *communicator, struct tensor *x, int root, struct error *error);
    void (*leave)(struct communicator *communicator);
};

/* The job of more than one rank that MPI's launcher started; fills what comm_open() has not. */
bool mpi_communicator_open(struct communicator *communicator, struct error *error);
void mpi_describe_build(char *text, size_t size);
bool mpi_is_built_in(void);

/* ---- launcher.c ------------------------------------------------------------------------------------------ */

/* Ranks of the job that the environment tells of; 1: none. *launcher is its name. */
int launcher_ranks(const char **launcher);

/* ---- background.c ---------------------------------------------------------------------------------------- */

/* Ends the thread. */
void background_close(struct communicator *communicator);

/* ---- exchange.c: over host memory; more than one rank; *sent += bytes sent ------------------------------------- */

bool exchange_all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                         int64_t *sent, struct error *error);
bool exchange_reduce_scatter(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                             enum comm_reduction reduction, int64_t *sent, struct error *error);
bool exchange_all_gather(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                         int64_t *sent, struct error *error);
bool exchange_broadcast(struct communicator *communicator, struct tensor *x, int root, int64_t *sent,
                        struct error *error);
bool exchange_barrier(struct communicator *communicator, int64_t *sent, struct error *error);

#endif
