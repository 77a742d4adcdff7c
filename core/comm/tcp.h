/*
 * tcp.h: connections between ranks. A rank listens at a place, of which the others learn in some way that strangers cannot
 * read; whoever connects shows by the place's secret that it is of the job, and is answered by the secret's complement.
 */
#ifndef IDREC_CORE_COMM_TCP_H
#define IDREC_CORE_COMM_TCP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { TCP_ADDRESSES_MAXIMUM = 16 };

struct tcp_place {
    uint64_t secret;
    int32_t address_count;
    in_addr_t addresses
        [TCP_ADDRESSES_MAXIMUM]; /* network order; those that only their machine can reach come last */
    in_port_t port;              /* network order */
};

/* Listens at all IPv4 addresses of this machine, and at a port that the system chooses; false: errno says why not. */
bool tcp_listen(struct tcp_place *place, int most_waiting, int *listener);
/* links[rank] = the connection with it, for ranks first .. size - 1 (others are left alone), as they come until
 * clock_seconds() is `end` or a signal arrives. Returns the first rank that has not come; size: all have. */
int tcp_accept(const struct tcp_place *place, int listener, int first, int size, double end,
               int *links /* [size], -1 */);
/* A connection of `rank` with whoever listens there, by the first address at which it can be reached; -1: none, and
 * `tried` says why of each. */
int tcp_connect(const struct tcp_place *place, int rank, char *tried, size_t size);

#endif
