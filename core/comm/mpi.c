/* mpi.c: messages by MPI, which moves bytes only: what is computed of them does not depend on MPI's algorithms. */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/comm/comm_calls.h"
#include "core/file.h"

/* Waiting: a rank tests without a pause for so long, then sleeps between tests, so that ranks that share a processor do not
 * take each other's time; in a wait of seconds it sleeps longer. */
static const double spin_seconds = 100e-6, doze_seconds = 1.0;
enum { NAP_NANOSECONDS = 50000, DOZE_NANOSECONDS = 2000000, TAG = 1, HOST = 64 };

struct mpi {
    char (*hosts)[HOST];   /* [size] */
    MPI_Request *requests; /* [capacity] */
    int *peers;            /* [capacity]: whom each request waits for */
    int capacity;
};

static bool fail(int code, const char *what, struct error *error)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return error_set(error, ERROR_RUN, "%s: %s", what, text);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/* Names the ranks that something is still to come from, or that have not taken what is for them. */
static void name_late(const struct communicator *communicator, int count, double seconds)
{
    const struct mpi *const mpi = communicator->implementation;
    for (int i = 0; i < count; i++) {
        int done = 0, named = 0;
        if (mpi->requests[i] == MPI_REQUEST_NULL ||
            MPI_Request_get_status(mpi->requests[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done)
            continue;
        for (int j = 0; j < i; j++)
            named = named || (mpi->requests[j] != MPI_REQUEST_NULL && mpi->peers[j] == mpi->peers[i]);
        if (!named)
            fprintf(stderr, "idrec: rank %d on %s has been waiting for rank %d on %s for %.0f s\n",
                    communicator->rank, communicator->host, mpi->peers[i], mpi->hosts[mpi->peers[i]],
                    seconds);
    }
}

static void pause_for(double waited)
{
    if (waited < spin_seconds) {
        sched_yield();
        return;
    }
    const struct timespec nap = {0, waited < doze_seconds ? NAP_NANOSECONDS : DOZE_NANOSECONDS};
    nanosleep(&nap, NULL);
}

static bool wait_all(const struct communicator *communicator, int count, struct error *error)
{
    const struct mpi *const mpi = communicator->implementation;
    const double started = clock_seconds();
    double late = communicator->late_seconds;
    for (;;) {
        int done = 0;
        const int code = MPI_Testall(count, mpi->requests, &done, MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS)
            return fail(code, "a message failed", error);
        if (done)
            return true;
        const double waited = clock_seconds() - started;
        if (waited >= late && !communicator->patient) {
            name_late(communicator, count, waited);
            late *= 2.0;
        }
        pause_for(waited);
    }
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static bool reserve(struct mpi *mpi, int count, struct error *error)
{
    if (count <= mpi->capacity)
        return true;
    MPI_Request *requests = realloc(mpi->requests, (size_t)count * sizeof *requests);
    mpi->requests = requests ? requests : mpi->requests;
    int *peers = realloc(mpi->peers, (size_t)count * sizeof *peers);
    mpi->peers = peers ? peers : mpi->peers;
    if (!requests || !peers)
        return error_memory(error, "messages", (size_t)count * sizeof *requests, NULL);
    mpi->capacity = count;
    return true;
}

static bool start_receives(struct communicator *communicator, const struct message *messages, int count,
                           struct error *error)
{
    struct mpi *const mpi = communicator->implementation;
    for (int i = 0; i < count; i++) {
        mpi->peers[i] = messages[i].peer;
        const int code = MPI_Irecv(messages[i].data, (int)messages[i].bytes, MPI_BYTE, messages[i].peer, TAG,
                                   MPI_COMM_WORLD, &mpi->requests[i]);
        if (code != MPI_SUCCESS)
            return fail(code, "a message cannot be received", error);
    }
    return true;
}

static bool start_sends(struct communicator *communicator, const struct message *messages, int count,
                        int first, struct error *error)
{
    struct mpi *const mpi = communicator->implementation;
    for (int i = 0; i < count; i++) {
        mpi->peers[first + i] = messages[i].peer;
        const int code = MPI_Isend(messages[i].data, (int)messages[i].bytes, MPI_BYTE, messages[i].peer, TAG,
                                   MPI_COMM_WORLD, &mpi->requests[first + i]);
        if (code != MPI_SUCCESS)
            return fail(code, "a message cannot be sent", error);
    }
    return true;
}

static bool mpi_exchange(struct communicator *communicator, const struct message *sends, int send_count,
                         const struct message *receives, int receive_count, struct error *error)
{
    struct mpi *const mpi = communicator->implementation;
    return reserve(mpi, send_count + receive_count, error) &&
           start_receives(communicator, receives, receive_count, error) &&
           start_sends(communicator, sends, send_count, receive_count, error) &&
           wait_all(communicator, send_count + receive_count, error);
}

static const char *mpi_host_of(const struct communicator *communicator, int rank)
{
    const struct mpi *const mpi = communicator->implementation;
    return mpi->hosts[rank];
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

static void mpi_free(struct communicator *communicator)
{
    struct mpi *const mpi = communicator->implementation;
    free(mpi->hosts);
    free(mpi->requests);
    free(mpi->peers);
    free(mpi);
}

static void mpi_close(struct communicator *communicator)
{
    mpi_free(communicator);
    MPI_Finalize();
}

static void mpi_end_job(struct communicator *communicator, int status)
{
    int finalized = 0;
    (void)communicator;
    if (MPI_Finalized(&finalized) == MPI_SUCCESS && !finalized)
        MPI_Abort(MPI_COMM_WORLD, status);
}

static const struct comm_calls mpi_calls = {
    .exchange = mpi_exchange, .host_of = mpi_host_of, .end_job = mpi_end_job, .close = mpi_close};
static const struct comm_calls threaded_mpi_calls = {.threaded = true,
                                                     .exchange = mpi_exchange,
                                                     .host_of = mpi_host_of,
                                                     .end_job = mpi_end_job,
                                                     .close = mpi_close};

/* Ranks of this machine are those that share memory with this one. */
static bool find_neighbours(struct communicator *communicator)
{
    MPI_Comm local;
    if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, communicator->rank, MPI_INFO_NULL, &local))
        return false;
    return MPI_Comm_rank(local, &communicator->local_rank) == MPI_SUCCESS &&
           MPI_Comm_size(local, &communicator->local_size) == MPI_SUCCESS &&
           MPI_Comm_free(&local) == MPI_SUCCESS;
}

static bool find_ranks(struct communicator *communicator, struct error *error)
{
    struct mpi *const mpi = communicator->implementation;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &communicator->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &communicator->size);
    mpi->hosts = calloc((size_t)communicator->size, sizeof *mpi->hosts);
    if (!mpi->hosts)
        return error_memory(error, "the machines of the ranks", (size_t)communicator->size * HOST, NULL);
    const int code =
        MPI_Allgather(communicator->host, HOST, MPI_CHAR, mpi->hosts, HOST, MPI_CHAR, MPI_COMM_WORLD);
    return (code == MPI_SUCCESS && find_neighbours(communicator)) ||
           fail(code, "the ranks do not find each other", error);
}

bool mpi_communicator_open(struct communicator *communicator, struct error *error)
{
    int provided;
    struct mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi)
        return error_memory(error, "the ranks of the job", sizeof *mpi, NULL);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
        free(mpi);
        return error_set(error, ERROR_RUN, "%s: MPI does not start", communicator->host);
    }
    communicator->name = "MPI";
    communicator->implementation = mpi;
    communicator->calls = provided >= MPI_THREAD_SERIALIZED ? &threaded_mpi_calls : &mpi_calls;
    return find_ranks(communicator, error);
}

void mpi_describe_build(char *text, size_t size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    snprintf(text, size, "MPI by %.*s", (int)strcspn(version, ","), version);
}

bool mpi_is_built_in(void)
{
    return true;
}
