#include "core/comm/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"

enum {
    LOOK_MILLISECONDS = 250, /* between two looks at the clock and for a signal */
    CONNECT_SECONDS = 3,     /* at an address */
    /* Whoever listens speaks with one after another, and a stranger who says nothing does not keep it long. */
    HELLO_SECONDS = 1,
    ANSWER_SECONDS = 10
};

struct hello {
    uint64_t secret;
    int64_t rank;
};

static void give_time(int link, int seconds)
{
    const struct timeval time = {.tv_sec = seconds};
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time); /* of connect() as well */
}

/* All of it in the time that is given; else errno says why not. */
static bool take(int link, void *bytes, size_t count)
{
    const ssize_t taken = recv(link, bytes, count, MSG_WAITALL);
    if (taken >= 0 && (size_t)taken < count)
        errno = ECONNRESET;
    return taken == (ssize_t)count;
}

static bool give(int link, const void *bytes, size_t count)
{
    return send(link, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

/* ---- where others connect to ----------------------------------------------------------------------------------- */

static bool find_addresses(struct tcp_place *place)
{
    struct ifaddrs *interfaces;
    if (getifaddrs(&interfaces) != 0)
        return false;
    place->address_count = 0;
    for (int loopback = 0; loopback < 2; loopback++)
        for (const struct ifaddrs *one = interfaces; one; one = one->ifa_next)
            if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) &&
                !(one->ifa_flags & IFF_LOOPBACK) == !loopback && place->address_count < TCP_ADDRESSES_MAXIMUM)
                place->addresses[place->address_count++] =
                    ((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr.s_addr;
    freeifaddrs(interfaces);
    return true;
}

bool tcp_listen(struct tcp_place *place, int most_waiting, int *listener)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool done = *listener >= 0 &&
                      bind(*listener, (const struct sockaddr *)(const void *)&address, length) == 0 &&
                      listen(*listener, most_waiting) == 0 &&
                      getsockname(*listener, (struct sockaddr *)(void *)&address, &length) == 0 &&
                      getrandom(&place->secret, sizeof place->secret, 0) == (ssize_t)sizeof place->secret &&
                      find_addresses(place);
    place->port = address.sin_port;
    return done;
}

/* The rank's hello, the answer, and that the rank has it, which may have given up before; -1: none of the job. */
static int64_t greet(const struct tcp_place *place, int link, int first, int size)
{
    struct hello hello;
    const uint64_t answer = ~place->secret;
    char confirmed;
    give_time(link, HELLO_SECONDS);
    if (!take(link, &hello, sizeof hello) || hello.secret != place->secret || hello.rank < first ||
        hello.rank >= size)
        return -1;
    give_time(link, ANSWER_SECONDS);
    return give(link, &answer, sizeof answer) && take(link, &confirmed, 1) ? hello.rank : -1;
}

int tcp_accept(const struct tcp_place *place, int listener, int first, int size, double end, int *links)
{
    int missing = first;
    while (missing < size && clock_seconds() < end && !interrupt_requested()) {
        struct pollfd polled = {.fd = listener, .events = POLLIN};
        if (poll(&polled, 1, LOOK_MILLISECONDS) <= 0)
            continue;
        const int link = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        const int64_t rank = link >= 0 ? greet(place, link, first, size) : -1;
        const int useless = rank >= 0 ? links[rank] : link;
        if (useless >= 0)
            close(useless);
        if (rank >= 0)
            links[rank] = link;
        while (missing < size && links[missing] >= 0)
            missing++;
    }
    return missing;
}

/* ---- those who connect ----------------------------------------------------------------------------------------- */

static bool introduce(const struct tcp_place *place, int rank, int link)
{
    const struct hello hello = {place->secret, rank};
    const char confirmed = 1;
    uint64_t answer = 0;
    give_time(link, ANSWER_SECONDS);
    if (!give(link, &hello, sizeof hello) || !take(link, &answer, sizeof answer))
        return false;
    if (answer != ~place->secret)
        errno = ECONNREFUSED; /* someone else's port */
    return answer == ~place->secret && give(link, &confirmed, 1);
}

/* -1: errno says why not. */
static int reach(const struct tcp_place *place, int index, int rank)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = place->port, .sin_addr.s_addr = place->addresses[index]};
    const int link = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link < 0)
        return -1;
    give_time(link, CONNECT_SECONDS);
    if (connect(link, (const struct sockaddr *)(const void *)&address, sizeof address) == 0 &&
        introduce(place, rank, link))
        return link;
    const int reason = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
    close(link);
    errno = reason;
    return -1;
}

int tcp_connect(const struct tcp_place *place, int rank, char *tried, size_t size)
{
    char address[INET_ADDRSTRLEN];
    size_t used = 0;
    *tried = '\0';
    for (int i = 0; i < place->address_count; i++) {
        const int link = reach(place, i, rank);
        if (link >= 0)
            return link;
        const char *reason = strerror(errno);
        inet_ntop(AF_INET, &place->addresses[i], address, sizeof address);
        if (used < size)
            used += (size_t)snprintf(tried + used, size - used, "%s%s:%d: %s", i ? ", " : "", address,
                                     ntohs(place->port), reason);
    }
    return -1;
}
