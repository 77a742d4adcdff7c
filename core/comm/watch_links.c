/* watch_links.c: how the ranks find rank 0 by TCP, at whichever of its machine's addresses they can reach. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/comm/watch.h"
#include "core/file.h"

/* Rank 0 speaks with one after another, and a stranger who says nothing does not keep it long. */
enum { MILLISECONDS = 1000, HELLO_SECONDS = 1, ANSWER_SECONDS = 10 };

/* A rank tries for so long; rank 0 waits longer, so that the rank can say what is wrong. */
static const double connect_seconds = 30.0, try_seconds = 3.0, accept_seconds = 50.0;

/* What a rank sends when it is connected; rank 0 answers with the complement of the secret. */
struct hello {
    uint64_t secret;
    int64_t rank;
};

static void give_time(int link, int seconds)
{
    const struct timeval time = {.tv_sec = seconds};
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static bool set_blocking(int link, bool blocking)
{
    const int flags = fcntl(link, F_GETFL);
    return fcntl(link, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0;
}

static int until(double end)
{
    const double left = end - clock_seconds();
    return left > 0.0 ? (int)(left * MILLISECONDS) + 1 : 0;
}

/* ---- rank 0 -------------------------------------------------------------------------------------------------- */

/* The addresses of this machine; those that only itself can reach come last. */
static bool find_addresses(struct invitation *invitation)
{
    const int most = sizeof invitation->addresses / sizeof *invitation->addresses;
    struct ifaddrs *interfaces;
    if (getifaddrs(&interfaces) != 0)
        return false;
    for (int loopback = 0; loopback < 2; loopback++)
        for (const struct ifaddrs *one = interfaces; one; one = one->ifa_next)
            if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) &&
                !(one->ifa_flags & IFF_LOOPBACK) == !loopback && invitation->address_count < most)
                invitation->addresses[invitation->address_count++] =
                    ((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr.s_addr;
    freeifaddrs(interfaces);
    return true;
}

bool links_listen(const struct communicator *communicator, struct invitation *invitation, int *listener,
                  struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool done =
        *listener >= 0 && bind(*listener, (const struct sockaddr *)(const void *)&address, length) == 0 &&
        listen(*listener, communicator->size) == 0 &&
        getsockname(*listener, (struct sockaddr *)(void *)&address, &length) == 0 &&
        getrandom(&invitation->secret, sizeof invitation->secret, 0) == (ssize_t)sizeof invitation->secret &&
        find_addresses(invitation);
    invitation->port = address.sin_port;
    return done || error_system(error, communicator->host, "does not listen for signs of life of other ranks",
                                "with " WATCH_VARIABLE "=0 ranks are not watched");
}

/* Whoever comes without the secret is none of the job. */
static void greet(const struct communicator *communicator, const struct invitation *invitation, int link,
                  int *sockets, int *missing)
{
    struct hello hello;
    const uint64_t answer = ~invitation->secret;
    give_time(link, HELLO_SECONDS);
    const bool known = recv(link, &hello, sizeof hello, MSG_WAITALL) == (ssize_t)sizeof hello &&
                       hello.secret == invitation->secret && hello.rank > 0 &&
                       hello.rank < communicator->size &&
                       send(link, &answer, sizeof answer, MSG_NOSIGNAL) == (ssize_t)sizeof answer &&
                       set_blocking(link, false);
    if (!known) {
        close(link);
        return;
    }
    if (sockets[hello.rank - 1] >= 0)
        close(sockets[hello.rank - 1]); /* it did not wait for the answer, and has come again */
    else
        *missing -= 1;
    sockets[hello.rank - 1] = link;
}

bool links_accept(const struct communicator *communicator, const struct invitation *invitation, int listener,
                  int *sockets, struct error *error)
{
    const double end = clock_seconds() + accept_seconds;
    int missing = communicator->size - 1, first = 1;
    while (missing > 0 && until(end) > 0) {
        struct pollfd polled = {.fd = listener, .events = POLLIN};
        if (poll(&polled, 1, until(end)) <= 0)
            continue;
        const int link = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (link >= 0)
            greet(communicator, invitation, link, sockets, &missing);
    }
    if (missing == 0)
        return true;
    while (sockets[first - 1] >= 0)
        first++;
    return error_set(
        error, ERROR_RUN,
        "rank %d on %s does not reach rank 0 on %s by TCP, for signs of life; let it through, or "
        "set " WATCH_VARIABLE "=0: ranks are not watched then",
        first, communicator->calls->host_of(communicator, first), communicator->host);
}

/* ---- the other ranks ------------------------------------------------------------------------------------------- */

/* Within try_seconds; errno says why not. */
static bool reach(int link, const struct sockaddr_in *address)
{
    int reason = 0;
    socklen_t length = sizeof reason;
    if (connect(link, (const struct sockaddr *)(const void *)address, sizeof *address) == 0)
        return true;
    if (errno != EINPROGRESS)
        return false;
    struct pollfd polled = {.fd = link, .events = POLLOUT};
    if (poll(&polled, 1, (int)(try_seconds * MILLISECONDS)) <= 0)
        reason = ETIMEDOUT;
    else
        getsockopt(link, SOL_SOCKET, SO_ERROR, &reason, &length);
    errno = reason;
    return reason == 0;
}

/* At one of rank 0's addresses; -1: it is not to be reached there. */
static int try_address(const struct communicator *communicator, const struct invitation *invitation,
                       int index)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = invitation->port,
                                        .sin_addr = {.s_addr = invitation->addresses[index]}};
    const struct hello hello = {invitation->secret, communicator->rank};
    uint64_t answer = 0;
    const int link = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link < 0)
        return -1;
    bool done = reach(link, &address) && set_blocking(link, true);
    if (done) {
        give_time(link, ANSWER_SECONDS);
        done = send(link, &hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello &&
               recv(link, &answer, sizeof answer, MSG_WAITALL) == (ssize_t)sizeof answer;
        errno = done && answer != ~invitation->secret ? ECONNREFUSED : errno; /* someone else's port */
        done = done && answer == ~invitation->secret && set_blocking(link, false);
    }
    if (done)
        return link;
    const int reason = errno;
    close(link);
    errno = reason;
    return -1;
}

bool links_connect(const struct communicator *communicator, const struct invitation *invitation, int *link,
                   struct error *error)
{
    const double end = clock_seconds() + connect_seconds;
    char tried[512] = "", address[INET_ADDRSTRLEN];
    do {
        size_t used = 0;
        for (int i = 0; i < invitation->address_count; i++) {
            *link = try_address(communicator, invitation, i);
            if (*link >= 0)
                return true;
            const char *reason = strerror(errno);
            inet_ntop(AF_INET, &invitation->addresses[i], address, sizeof address);
            if (used < sizeof tried)
                used += (size_t)snprintf(tried + used, sizeof tried - used, "%s%s:%d: %s", i ? ", " : "",
                                         address, ntohs(invitation->port), reason);
        }
        poll(NULL, 0, MILLISECONDS / 4);
    } while (until(end) > 0);
    return error_set(
        error, ERROR_RUN,
        "does not reach rank 0 on %s by TCP, for signs of life (%s); let it through, or set " WATCH_VARIABLE
        "=0: ranks are not watched then",
        communicator->calls->host_of(communicator, 0), tried);
}
