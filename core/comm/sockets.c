/* sockets.c: messages over TCP, a connection for each pair of ranks. */
#include "core/comm/sockets.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/file.h"

enum { LOOK_MILLISECONDS = 1000 };

/* A message under way: first its length, which the receiver expects, then its bytes. */
struct transfer {
    struct message message;
    bool sends;
    uint64_t length;
    size_t length_done, done; /* bytes */
};

struct links {
    int *sockets;                  /* [size]; -1: this rank */
    struct invitation_card *cards; /* [size] */
    struct transfer *transfers;    /* [capacity] */
    struct pollfd *polled;         /* [capacity] */
    int capacity;
};

/* ---- one message ---------------------------------------------------------------------------------------------- */

static bool is_done(const struct transfer *transfer)
{
    return transfer->length_done == sizeof transfer->length && transfer->done == transfer->message.bytes;
}

static bool lose(const struct communicator *communicator, const struct transfer *transfer, const char *why,
                 struct error *error)
{
    return error_set(error, ERROR_RUN, "a message %s rank %d on %s: %s", transfer->sends ? "to" : "from",
                     transfer->message.peer,
                     communicator->calls->host_of(communicator, transfer->message.peer), why);
}

/* Moves what can be moved at once of `count` bytes, of which *done have been; false: the connection is lost. */
static bool move(const struct communicator *communicator, const struct transfer *transfer, char *bytes,
                 size_t count, size_t *done, struct error *error)
{
    const struct links *const links = communicator->implementation;
    const int link = links->sockets[transfer->message.peer];
    while (*done < count) {
        const ssize_t moved = transfer->sends
                                  ? send(link, bytes + *done, count - *done, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : recv(link, bytes + *done, count - *done, MSG_DONTWAIT);
        if (moved > 0)
            *done += (size_t)moved;
        else if (moved < 0 && errno == EINTR)
            continue;
        else if (moved < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        else
            return lose(communicator, transfer, moved == 0 ? "it has ended" : strerror(errno), error);
    }
    return true;
}

static bool advance(const struct communicator *communicator, struct transfer *transfer, struct error *error)
{
    if (!move(communicator, transfer, (char *)&transfer->length, sizeof transfer->length,
              &transfer->length_done, error))
        return false;
    if (transfer->length_done < sizeof transfer->length)
        return true;
    if (transfer->length != transfer->message.bytes)
        return lose(communicator, transfer, "it has another length than is expected; this is a defect",
                    error);
    return move(communicator, transfer, transfer->message.data, transfer->message.bytes, &transfer->done,
                error);
}

/* ---- all of an exchange ------------------------------------------------------------------------------------------ */

static bool reserve(struct links *links, int count, struct error *error)
{
    if (count <= links->capacity)
        return true;
    struct transfer *transfers = realloc(links->transfers, (size_t)count * sizeof *transfers);
    links->transfers = transfers ? transfers : links->transfers;
    struct pollfd *polled = realloc(links->polled, (size_t)count * sizeof *polled);
    links->polled = polled ? polled : links->polled;
    if (!transfers || !polled)
        return error_memory(error, "messages", (size_t)count * sizeof *transfers, NULL);
    links->capacity = count;
    return true;
}

/* Whether an earlier message between the same ranks comes first. */
static bool must_wait(const struct links *links, int number)
{
    const struct transfer *const transfer = &links->transfers[number];
    for (int i = 0; i < number; i++)
        if (links->transfers[i].sends == transfer->sends &&
            links->transfers[i].message.peer == transfer->message.peer && !is_done(&links->transfers[i]))
            return true;
    return false;
}

/* *waiting: how many of links->polled are to be waited for; 0: all is done. */
static bool advance_all(const struct communicator *communicator, int count, int *waiting, struct error *error)
{
    struct links *const links = communicator->implementation;
    *waiting = 0;
    for (int i = 0; i < count; i++) {
        struct transfer *const transfer = &links->transfers[i];
        if (is_done(transfer) || must_wait(links, i))
            continue;
        if (!advance(communicator, transfer, error))
            return false;
        if (!is_done(transfer))
            links->polled[(*waiting)++] = (struct pollfd){.fd = links->sockets[transfer->message.peer],
                                                          .events = transfer->sends ? POLLOUT : POLLIN};
        else
            i = -1; /* what waited for it may go on */
    }
    return true;
}

/* Names the ranks that something is still to come from, or that have not taken what is for them. */
static void name_late(const struct communicator *communicator, int waiting, double seconds)
{
    const struct links *const links = communicator->implementation;
    for (int rank = 0; rank < communicator->size; rank++) {
        bool late = false;
        for (int i = 0; i < waiting; i++)
            late = late || links->polled[i].fd == links->sockets[rank];
        if (late && rank != communicator->rank)
            fprintf(stderr, "idrec: rank %d on %s has been waiting for rank %d on %s for %.0f s\n",
                    communicator->rank, communicator->host, rank, links->cards[rank].host, seconds);
    }
}

static bool socket_exchange(struct communicator *communicator, const struct message *sends, int send_count,
                            const struct message *receives, int receive_count, struct error *error)
{
    struct links *const links = communicator->implementation;
    const double started = clock_seconds();
    double late = communicator->late_seconds;
    const int count = send_count + receive_count;
    if (!reserve(links, count, error))
        return false;
    for (int i = 0; i < count; i++) {
        const bool is_send = i < send_count;
        const struct message message = is_send ? sends[i] : receives[i - send_count];
        links->transfers[i] = (struct transfer){message, is_send, is_send ? message.bytes : 0, 0, 0};
    }
    for (int waiting;;) {
        if (!advance_all(communicator, count, &waiting, error))
            return false;
        if (waiting == 0)
            return true;
        const double waited = clock_seconds() - started;
        if (waited >= late && !communicator->patient) {
            name_late(communicator, waiting, waited);
            late *= 2.0;
        }
        const double left = (late - waited) * 1000.0;
        poll(links->polled, (nfds_t)waiting, left < LOOK_MILLISECONDS ? (int)left + 1 : LOOK_MILLISECONDS);
    }
}

static const char *socket_host_of(const struct communicator *communicator, int rank)
{
    const struct links *const links = communicator->implementation;
    return links->cards[rank].host;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

static void socket_close(struct communicator *communicator)
{
    struct links *const links = communicator->implementation;
    for (int rank = 0; links->sockets && rank < communicator->size; rank++)
        if (links->sockets[rank] >= 0)
            close(links->sockets[rank]);
    free(links->sockets);
    free(links->cards);
    free(links->transfers);
    free(links->polled);
    free(links);
}

/* The others find the connections closed; srun --kill-on-bad-exit ends them sooner. */
static void socket_end_job(struct communicator *communicator, int status)
{
    (void)communicator;
    _exit(status);
}

static const struct comm_calls socket_calls = {
    .exchange = socket_exchange, .host_of = socket_host_of, .end_job = socket_end_job, .close = socket_close};

static void find_neighbours(struct communicator *communicator)
{
    const struct links *const links = communicator->implementation;
    communicator->local_size = 0;
    for (int rank = 0; rank < communicator->size; rank++) {
        if (strcmp(links->cards[rank].host, communicator->host) != 0)
            continue;
        communicator->local_rank =
            rank < communicator->rank ? communicator->local_size + 1 : communicator->local_rank;
        communicator->local_size++;
    }
}

static bool read_rank(struct communicator *communicator, struct error *error)
{
    const char *text = getenv("SLURM_PROCID");
    char *end = NULL;
    const long rank = text && *text ? strtol(text, &end, 10) : -1;
    if (!end || *end != '\0' || rank < 0 || rank >= communicator->size)
        return error_set(error, ERROR_USAGE,
                         RANKS_FOLDER_VARIABLE
                         " is for ranks that srun has started: SLURM_PROCID is %.40s, of %d "
                         "processes; without the variable ranks use MPI",
                         text ? text : "not set", communicator->size);
    communicator->rank = (int)rank;
    return true;
}

bool socket_communicator_open(struct communicator *communicator, int size, struct error *error)
{
    int64_t sent = 0;
    struct links *links = calloc(1, sizeof *links);
    if (links) {
        links->sockets = malloc((size_t)size * sizeof *links->sockets);
        links->cards = calloc((size_t)size, sizeof *links->cards);
    }
    if (!links || !links->sockets || !links->cards)
        return error_memory(error, "the ranks of the job", (size_t)size * sizeof *links->cards, NULL);
    memset(links->sockets, -1, (size_t)size * sizeof *links->sockets);
    communicator->name = "TCP";
    communicator->size = size;
    communicator->implementation = links;
    communicator->calls = &socket_calls;
    if (!read_rank(communicator, error) || !ranks_meet(communicator, links->cards, links->sockets, error))
        return false;
    find_neighbours(communicator);
    return exchange_barrier(communicator, &sent, error) && (communicator->rank > 0 || ranks_have_met(error));
}
