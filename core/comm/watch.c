#include "core/comm/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "core/thread.h"

/* What ranks say to each other, a byte each. */
enum word {
    HERE = 'H',
    DONE = 'D',   /* this rank has come to its end */
    FAILED = 'F', /* the job ends, for a reason that has been told */
    LOST = 'L'    /* rank 0: the same, because a rank was lost */
};

enum { MILLISECONDS = 1000, BEATS_A_LIMIT = 20 };

/* The launcher has so long to end the job, and to say what signal a rank died of, before ranks end by themselves. */
static const double launcher_seconds = 5.0, patience_seconds = 3.0;
/* When rank 0 is gone all others see it: they speak up one after another, and the first ends the job. */
static const double turn_seconds = 1.0;
enum { TURNS = 5 };

struct peer {
    int socket, rank;
    double heard; /* clock_seconds() */
    bool done, doubted;
};

struct watch {
    struct communicator *communicator;
    double silence_seconds;
    char (*hosts)[64];     /* [size]: MPI's own are gone while it ends */
    struct peer *peers;    /* [peer_count] */
    struct pollfd *polled; /* [peer_count + 1] */
    int peer_count;        /* rank 0: all others; else one, rank 0 */
    int wake;
    atomic_bool closing, ending;
    pthread_t thread;
    bool runs;
};

static void say(const struct watch *watch, enum word word)
{
    const char byte = (char)word;
    for (int i = 0; i < watch->peer_count; i++)
        if (watch->peers[i].socket >= 0)
            (void)!send(watch->peers[i].socket, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void wait_for(double seconds)
{
    poll(NULL, 0, (int)(seconds * MILLISECONDS));
}

/* ---- the end of the job -------------------------------------------------------------------------------------- */

/* stderr itself may be held by a thread that stands still. */
static void tell(const struct watch *watch, const struct peer *peer, const char *what)
{
    const struct communicator *const communicator = watch->communicator;
    dprintf(
        STDERR_FILENO,
        "idrec: rank %d on %s: %s, as rank %d on %s sees it; all ranks end, and the next start goes on from "
        "the last saved state\n",
        peer->rank, watch->hosts[peer->rank], what, communicator->rank, communicator->host);
}

static void end_job(struct watch *watch, const struct peer *peer, const char *what, double seconds_after)
{
    const int rank = watch->communicator->rank, turn = rank < TURNS ? rank : TURNS;
    if (rank == 0)
        say(watch, LOST);
    else
        wait_for((turn - 1) * turn_seconds);
    if (watch->ending)
        return;
    tell(watch, peer, what);
    wait_for(seconds_after);
    comm_abort(watch->communicator, WATCH_LOST_STATUS);
}

/* Before the job ends: a launcher that finds out by itself that a machine is lost may be sooner. */
static void doubt(const struct watch *watch, const struct peer *peer, double seconds)
{
    const struct communicator *const communicator = watch->communicator;
    dprintf(STDERR_FILENO,
            "idrec: rank %d on %s: no sign of life for %.0f s, as rank %d on %s sees it; after %.0f s the "
            "job ends\n",
            peer->rank, watch->hosts[peer->rank], seconds, communicator->rank, communicator->host,
            watch->silence_seconds);
}

static void on_silence(struct watch *watch, const struct peer *peer)
{
    char what[128];
    snprintf(what, sizeof what, "no sign of life for %.0f s (it is stopped, or its machine is lost)",
             watch->silence_seconds);
    end_job(watch, peer, what, 0.0);
}

/* A launcher that ends all ranks does not end them at once. */
static void on_death(struct watch *watch, const struct peer *peer)
{
    if (interrupt_requested())
        wait_for(launcher_seconds);
    end_job(watch, peer, "ended without a word (killed, or out of memory)", launcher_seconds);
}

/* Another rank ends the job, and has told why. */
static void on_end(struct watch *watch, enum word word)
{
    if (watch->communicator->rank == 0)
        say(watch, word);
    wait_for(patience_seconds);
    if (!watch->ending)
        comm_abort(watch->communicator, word == LOST ? WATCH_LOST_STATUS : (int)ERROR_RUN);
}

/* ---- listening ----------------------------------------------------------------------------------------------- */

static void listen_to(struct watch *watch, struct peer *peer)
{
    char words[256];
    const ssize_t count = recv(peer->socket, words, sizeof words, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (ssize_t i = 0; i < count; i++) {
        peer->done = peer->done || words[i] == DONE;
        if (words[i] == FAILED || words[i] == LOST)
            on_end(watch, (enum word)words[i]);
    }
    peer->heard = clock_seconds();
    peer->doubted = false;
    if (count > 0)
        return;
    if (!peer->done)
        on_death(watch, peer);
    close(peer->socket);
    peer->socket = -1;
}

static void listen_to_all(struct watch *watch, double seconds)
{
    for (int i = 0; i < watch->peer_count; i++)
        watch->polled[i] = (struct pollfd){.fd = watch->peers[i].socket, .events = POLLIN};
    watch->polled[watch->peer_count] = (struct pollfd){.fd = watch->wake, .events = POLLIN};
    if (poll(watch->polled, (nfds_t)watch->peer_count + 1, (int)(seconds * MILLISECONDS)) <= 0)
        return;
    for (int i = 0; i < watch->peer_count && !watch->ending; i++)
        if (watch->polled[i].revents)
            listen_to(watch, &watch->peers[i]);
}

/* absent: how long this thread itself has not run; what the others said then may still be on its way. */
static void look_for_silence(struct watch *watch, double absent)
{
    const double now = clock_seconds();
    for (int i = 0; i < watch->peer_count && !watch->ending; i++) {
        struct peer *const peer = &watch->peers[i];
        if (absent > 0.25 * watch->silence_seconds)
            peer->heard += absent;
        const double silent = peer->socket >= 0 && !peer->done ? now - peer->heard : 0.0;
        if (silent > watch->silence_seconds)
            on_silence(watch, peer);
        else if (silent > 0.5 * watch->silence_seconds && !peer->doubted) {
            doubt(watch, peer, silent);
            peer->doubted = true;
        }
    }
}

static void *keep_watch(void *argument)
{
    struct watch *const watch = argument;
    const double fraction = watch->silence_seconds / BEATS_A_LIMIT, beat = fraction < 1.0 ? fraction : 1.0;
    double said = 0.0, before = clock_seconds();
    for (int i = 0; i < watch->peer_count; i++)
        watch->peers[i].heard = before;
    while (!watch->closing) {
        if (clock_seconds() - said >= beat) {
            say(watch, HERE);
            said = clock_seconds();
        }
        listen_to_all(watch, beat);
        const double now = clock_seconds();
        look_for_silence(watch, now - before);
        before = now;
    }
    say(watch, DONE);
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------------------------------------- */

bool watch_read_limit(const char *variable, int usual, const char *without, double *seconds,
                      struct error *error)
{
    const char *text = getenv(variable);
    char *end = NULL;
    *seconds = text && *text ? strtod(text, &end) : usual;
    if (!end || (*end == '\0' &&
                 (*seconds == 0.0 || (*seconds >= WATCH_SECONDS_LEAST && *seconds <= WATCH_SECONDS_MOST))))
        return true;
    return error_set(error, ERROR_USAGE, "%s is %.40s; it takes seconds from %d to %d, or 0: %s then",
                     variable, text, WATCH_SECONDS_LEAST, WATCH_SECONDS_MOST, without);
}

/* Rank 0's environment counts. */
static bool invite(struct communicator *communicator, struct invitation *invitation, int *listener,
                   struct error *error)
{
    int64_t numbers[(sizeof *invitation + sizeof(int64_t) - 1) / sizeof(int64_t)] = {0}, sent = 0;
    struct tensor x = tensor_1d(numbers, DTYPE_I64, DEVICE_CPU, sizeof numbers / sizeof *numbers);
    *invitation = (struct invitation){.silence_seconds = 0.0};
    if (communicator->rank == 0) {
        if (!watch_read_limit(WATCH_VARIABLE, WATCH_SECONDS, "ranks are not watched",
                              &invitation->silence_seconds, error) ||
            (invitation->silence_seconds > 0.0 && !links_listen(communicator, invitation, listener, error)))
            return false;
        memcpy(numbers, invitation, sizeof *invitation);
    }
    const bool done = exchange_broadcast(communicator, &x, 0, &sent, error);
    memcpy(invitation, numbers, sizeof *invitation);
    return done;
}

static struct watch *make(struct communicator *communicator, double silence_seconds, struct error *error)
{
    const int count = communicator->rank == 0 ? communicator->size - 1 : 1;
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch) {
        *watch = (struct watch){.communicator = communicator,
                                .silence_seconds = silence_seconds,
                                .hosts = calloc((size_t)communicator->size, sizeof *watch->hosts),
                                .peers = calloc((size_t)count, sizeof *watch->peers),
                                .polled = calloc((size_t)count + 1, sizeof *watch->polled),
                                .peer_count = count,
                                .wake = eventfd(0, EFD_CLOEXEC)};
        for (int i = 0; watch->peers && i < count; i++)
            watch->peers[i] = (struct peer){.socket = -1, .rank = communicator->rank == 0 ? i + 1 : 0};
    }
    if (!watch || !watch->hosts || !watch->peers || !watch->polled || watch->wake < 0) {
        error_memory(error, "the watch over the ranks", sizeof *watch, NULL);
        watch_close(watch);
        return NULL;
    }
    for (int rank = 0; rank < communicator->size; rank++)
        snprintf(watch->hosts[rank], sizeof watch->hosts[rank], "%s",
                 communicator->calls->host_of(communicator, rank));
    return watch;
}

static bool connect_all(struct watch *watch, const struct invitation *invitation, int listener,
                        struct error *error)
{
    const size_t bytes = (size_t)watch->communicator->size * sizeof(int);
    int64_t sent = 0;
    int *sockets = malloc(bytes);
    if (!sockets)
        return error_memory(error, "links with the ranks", bytes, NULL);
    memset(sockets, -1, bytes);
    const bool done = watch->communicator->rank == 0
                          ? links_accept(watch->communicator, invitation, listener, sockets, error)
                          : links_connect(watch->communicator, invitation, &sockets[0], error);
    for (int i = 0; i < watch->peer_count; i++)
        watch->peers[i].socket = sockets[watch->peers[i].rank];
    free(sockets);
    return done && exchange_barrier(watch->communicator, &sent, error);
}

static bool start(struct watch *watch, struct error *error)
{
    errno = thread_start(&watch->thread, keep_watch, watch);
    watch->runs = errno == 0;
    return watch->runs ||
           error_system(error, watch->communicator->host, "the watch over the ranks does not start", NULL);
}

bool watch_open(struct communicator *communicator, struct error *error)
{
    struct invitation invitation;
    int listener = -1;
    bool done = invite(communicator, &invitation, &listener, error);
    if (done && invitation.silence_seconds > 0.0) {
        struct watch *watch = make(communicator, invitation.silence_seconds, error);
        done = watch && connect_all(watch, &invitation, listener, error) && start(watch, error);
        if (done)
            communicator->watch = watch;
        else
            watch_close(watch);
    }
    if (listener >= 0)
        close(listener);
    return done;
}

void watch_tell_end(struct watch *watch)
{
    if (!watch || atomic_exchange(&watch->ending, true))
        return;
    say(watch, FAILED);
}

void watch_close(struct watch *watch)
{
    if (!watch)
        return;
    watch->closing = true;
    if (watch->runs) {
        const uint64_t one = 1;
        (void)!write(watch->wake, &one, sizeof one);
        pthread_join(watch->thread, NULL);
    }
    for (int i = 0; watch->peers && i < watch->peer_count; i++)
        if (watch->peers[i].socket >= 0)
            close(watch->peers[i].socket);
    if (watch->wake >= 0)
        close(watch->wake);
    free(watch->hosts);
    free(watch->peers);
    free(watch->polled);
    free(watch);
}
