/* watch_links.c: how the ranks find rank 0, at whichever of its machine's addresses they can reach. */
#include <poll.h>

#include "core/comm/watch.h"
#include "core/file.h"
#include "core/interrupt.h"

enum { AGAIN_MILLISECONDS = 250 };

/* A rank tries for so long; rank 0 waits longer, so that the rank can say what is wrong. */
static const double connect_seconds = 30.0, accept_seconds = 50.0;

bool links_listen(const struct communicator *communicator, struct invitation *invitation, int *listener,
                  struct error *error)
{
    return tcp_listen(&invitation->place, communicator->size, listener) ||
           error_system(error, communicator->host, "does not listen for signs of life of other ranks",
                        "with " WATCH_VARIABLE "=0 ranks are not watched");
}

bool links_accept(const struct communicator *communicator, const struct invitation *invitation, int listener,
                  int *sockets, struct error *error)
{
    const int size = communicator->size, missing = tcp_accept(&invitation->place, listener, 1, size,
                                                              clock_seconds() + accept_seconds, sockets);
    return missing == size ||
           (interrupt_check(error) &&
            error_set(
                error, ERROR_RUN,
                "rank %d on %s does not reach rank 0 on %s by TCP, for signs of life; let it through, or "
                "set " WATCH_VARIABLE "=0: ranks are not watched then",
                missing, communicator->calls->host_of(communicator, missing), communicator->host));
}

bool links_connect(const struct communicator *communicator, const struct invitation *invitation, int *link,
                   struct error *error)
{
    const double end = clock_seconds() + connect_seconds;
    char tried[512];
    do {
        *link = tcp_connect(&invitation->place, communicator->rank, tried, sizeof tried);
        if (*link >= 0)
            return true;
        poll(NULL, 0, AGAIN_MILLISECONDS);
    } while (clock_seconds() < end && !interrupt_requested());
    return interrupt_check(error) &&
           error_set(error, ERROR_RUN,
                     "does not reach rank 0 on %s by TCP, for signs of life (%s); let it through, or "
                     "set " WATCH_VARIABLE "=0: ranks are not watched then",
                     communicator->calls->host_of(communicator, 0), tried);
}
