/*
 * meeting.c: how ranks find each other by a folder. Each writes a file that says where it listens; the higher of two ranks
 * connects to the lower. A secret in the file keeps others out: the folder's permissions say who may join.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/comm/sockets.h"
#include "core/file.h"

enum { MILLISECONDS = 1000, ANSWER_SECONDS = 10, CONFIRM_SECONDS = 2, AGAIN_MILLISECONDS = 50 };

/* Some shared folders show a new file only after a minute. */
static const double meet_seconds = 180.0, try_seconds = 3.0;

struct hello {
    uint64_t secret; /* of the rank that is connected to */
    int64_t rank;
};

/* ---- files --------------------------------------------------------------------------------------------------- */

static const char *variable_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

/* Of this start of this step: what an earlier one has left is another's. */
static char *folder_of_job(void)
{
    return path_format("%s/idrec-ranks-%s.%s.%s", getenv(RANKS_FOLDER_VARIABLE),
                       variable_or("SLURM_JOB_ID", "0"), variable_or("SLURM_STEP_ID", "0"),
                       variable_or("SLURM_RESTART_COUNT", "0"));
}

static bool write_card(const char *folder, int rank, const struct invitation_card *card, struct error *error)
{
    char *path = path_format("%s/rank-%d", folder, rank);
    const mode_t before = umask(077);
    const bool done = folder_create(folder, error) && file_write(path, card, sizeof *card, error);
    umask(before);
    free(path);
    return done;
}

/* false: it is not there yet. */
static bool read_card(const char *folder, int rank, struct invitation_card *card)
{
    struct error ignored = ERROR_INITIALIZER;
    char *path = path_format("%s/rank-%d", folder, rank), *bytes = NULL;
    size_t length = 0;
    const bool done =
        path_exists(path) && file_read(path, &bytes, &length, &ignored) && length == sizeof *card;
    if (done)
        memcpy(card, bytes, sizeof *card);
    card->host[sizeof card->host - 1] = '\0';
    free(bytes);
    free(path);
    return done && card->address_count >= 0 &&
           card->address_count <= (int)(sizeof card->addresses / sizeof *card->addresses);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

/* The addresses of this machine; those that only itself can reach come last. */
static bool find_addresses(struct invitation_card *card)
{
    const int most = sizeof card->addresses / sizeof *card->addresses;
    struct ifaddrs *interfaces;
    if (getifaddrs(&interfaces) != 0)
        return false;
    for (int loopback = 0; loopback < 2; loopback++)
        for (const struct ifaddrs *one = interfaces; one; one = one->ifa_next)
            if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) &&
                !(one->ifa_flags & IFF_LOOPBACK) == !loopback && card->address_count < most)
                card->addresses[card->address_count++] =
                    ((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr.s_addr;
    freeifaddrs(interfaces);
    return true;
}

static bool listen_somewhere(const struct communicator *communicator, struct invitation_card *card,
                             int *listener, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool done = *listener >= 0 &&
                      bind(*listener, (const struct sockaddr *)(const void *)&address, length) == 0 &&
                      listen(*listener, communicator->size) == 0 &&
                      getsockname(*listener, (struct sockaddr *)(void *)&address, &length) == 0 &&
                      getrandom(&card->secret, sizeof card->secret, 0) == (ssize_t)sizeof card->secret &&
                      find_addresses(card);
    card->port = address.sin_port;
    snprintf(card->host, sizeof card->host, "%s", communicator->host);
    return done || error_system(error, communicator->host, "does not listen for other ranks", NULL);
}

static void give_time(int link, int seconds)
{
    const struct timeval time = {.tv_sec = seconds};
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static bool take(int link, void *bytes, size_t count)
{
    return recv(link, bytes, count, MSG_WAITALL) == (ssize_t)count;
}

static bool give(int link, const void *bytes, size_t count)
{
    return send(link, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

/* The rank's hello, this one's answer, and that the rank has it. -1: whoever came is none of the job. */
static int64_t greet(const struct communicator *communicator, uint64_t secret, int link)
{
    struct hello hello = {.rank = -1};
    const uint64_t answer = ~secret;
    char confirmed = 0;
    give_time(link, CONFIRM_SECONDS);
    const bool known = take(link, &hello, sizeof hello) && hello.secret == secret &&
                       hello.rank > communicator->rank && hello.rank < communicator->size &&
                       give(link, &answer, sizeof answer) && take(link, &confirmed, 1);
    return known ? hello.rank : -1;
}

/* At one address, in a bounded time; -1: not there. */
static int reach(const struct communicator *communicator, const struct invitation_card *card, int address)
{
    const struct sockaddr_in place = {
        .sin_family = AF_INET, .sin_port = card->port, .sin_addr.s_addr = card->addresses[address]};
    const struct hello hello = {card->secret, communicator->rank};
    const struct timeval limit = {.tv_sec = (time_t)try_seconds};
    const char confirmed = 1;
    uint64_t answer = 0;
    const int link = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link < 0)
        return -1;
    setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* connect() as well */
    if (connect(link, (const struct sockaddr *)(const void *)&place, sizeof place) == 0) {
        give_time(link, ANSWER_SECONDS);
        if (give(link, &hello, sizeof hello) && take(link, &answer, sizeof answer) &&
            answer == ~card->secret && give(link, &confirmed, 1))
            return link;
    }
    close(link);
    return -1;
}

/* ---- meeting -------------------------------------------------------------------------------------------------- */

static bool find_lower(const struct communicator *communicator, const char *folder, int rank, double end,
                       struct invitation_card *card, int *link, struct error *error)
{
    bool invited = false;
    while (clock_seconds() < end) {
        const bool found = read_card(folder, rank, card);
        invited = invited || found;
        for (int i = 0; found && i < card->address_count; i++)
            if ((*link = reach(communicator, card, i)) >= 0)
                return true;
        poll(NULL, 0, AGAIN_MILLISECONDS);
    }
    return error_set(error, ERROR_RUN, "rank %d %s; its file is %s/rank-%d, which all ranks must see", rank,
                     invited ? "is not to be reached by TCP" : "has not come", folder, rank);
}

static bool await_higher(const struct communicator *communicator, int listener, uint64_t secret, double end,
                         int *links, struct error *error)
{
    int missing = communicator->size - 1 - communicator->rank, first = communicator->rank + 1;
    while (missing > 0 && clock_seconds() < end) {
        struct pollfd polled = {.fd = listener, .events = POLLIN};
        if (poll(&polled, 1, MILLISECONDS) <= 0)
            continue;
        const int link = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        const int64_t rank = link >= 0 ? greet(communicator, secret, link) : -1;
        if (rank < 0 || links[rank] >= 0) {
            close(link);
            continue;
        }
        links[rank] = link;
        missing--;
    }
    if (missing == 0)
        return true;
    while (links[first] >= 0)
        first++;
    return error_set(error, ERROR_RUN, "rank %d has not come in %.0f s; see what it says", first,
                     meet_seconds);
}

/* Hosts of the higher ranks; every file is there when a rank has connected. */
static bool read_higher(const struct communicator *communicator, const char *folder,
                        struct invitation_card *cards, struct error *error)
{
    for (int rank = communicator->rank + 1; rank < communicator->size; rank++) {
        const double end = clock_seconds() + meet_seconds;
        while (!read_card(folder, rank, &cards[rank]) && clock_seconds() < end)
            poll(NULL, 0, AGAIN_MILLISECONDS);
        if (!read_card(folder, rank, &cards[rank]))
            return error_set(error, ERROR_RUN, "%s/rank-%d is not to be read", folder, rank);
    }
    return true;
}

bool ranks_meet(const struct communicator *communicator, struct invitation_card *cards, int *links,
                struct error *error)
{
    const double end = clock_seconds() + meet_seconds;
    struct invitation_card *own = &cards[communicator->rank];
    char *folder = folder_of_job();
    int listener = -1;
    *own = (struct invitation_card){.secret = 0};
    bool done = listen_somewhere(communicator, own, &listener, error) &&
                write_card(folder, communicator->rank, own, error);
    for (int rank = 0; done && rank < communicator->rank; rank++)
        done = find_lower(communicator, folder, rank, end, &cards[rank], &links[rank], error);
    done = done && await_higher(communicator, listener, own->secret, end, links, error) &&
           read_higher(communicator, folder, cards, error);
    const int one = 1;
    for (int rank = 0; done && rank < communicator->size; rank++)
        if (links[rank] >= 0)
            setsockopt(links[rank], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (listener >= 0)
        close(listener);
    free(folder);
    return done;
}

bool ranks_have_met(struct error *error)
{
    char *folder = folder_of_job();
    const bool done = path_remove(folder, error);
    free(folder);
    return done;
}
