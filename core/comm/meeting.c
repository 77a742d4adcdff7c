/*
 * meeting.c: how ranks find each other by a folder. Each writes a file that says where it listens; the higher of two ranks
 * connects to the lower. A secret in the file keeps others out: the folder's permissions say who may join.
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/comm/sockets.h"
#include "core/file.h"
#include "core/interrupt.h"

enum { AGAIN_MILLISECONDS = 50 };

/* Some shared folders show a new file only after a minute. */
static const double meet_seconds = 180.0;

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
    return done && card->place.address_count >= 0 && card->place.address_count <= TCP_ADDRESSES_MAXIMUM;
}

/* ---- meeting -------------------------------------------------------------------------------------------------- */

static bool find_lower(const struct communicator *communicator, const char *folder, int rank, double end,
                       struct invitation_card *card, int *link, struct error *error)
{
    char tried[512] = "";
    bool invited = false;
    while (clock_seconds() < end && !interrupt_requested()) {
        const bool found = read_card(folder, rank, card);
        invited = invited || found;
        if (found)
            *link = tcp_connect(&card->place, communicator->rank, tried, sizeof tried);
        if (*link >= 0)
            return true;
        poll(NULL, 0, AGAIN_MILLISECONDS);
    }
    if (!interrupt_check(error))
        return false;
    if (invited)
        return error_set(error, ERROR_RUN, "rank %d on %s is not to be reached by TCP (%s); let it through",
                         rank, card->host, tried);
    return error_set(error, ERROR_RUN,
                     "rank %d has not come; its file would be %s/rank-%d: all ranks must see the folder "
                     "that " RANKS_FOLDER_VARIABLE " names, and be started together",
                     rank, folder, rank);
}

static bool await_higher(const struct communicator *communicator, int listener, const struct tcp_place *place,
                         const char *folder, double end, int *links, struct error *error)
{
    const int size = communicator->size,
              missing = tcp_accept(place, listener, communicator->rank + 1, size, end, links);
    return missing == size ||
           (interrupt_check(error) &&
            error_set(error, ERROR_RUN,
                      "rank %d has not come to %s in %.0f s; see what it says: all ranks must see the folder "
                      "that " RANKS_FOLDER_VARIABLE " names, and be started together",
                      missing, folder, meet_seconds));
}

/* Hosts of the higher ranks; every file is there when a rank has connected. */
static bool read_higher(const struct communicator *communicator, const char *folder,
                        struct invitation_card *cards, struct error *error)
{
    for (int rank = communicator->rank + 1; rank < communicator->size; rank++) {
        const double end = clock_seconds() + meet_seconds;
        while (!read_card(folder, rank, &cards[rank]) && clock_seconds() < end && !interrupt_requested())
            poll(NULL, 0, AGAIN_MILLISECONDS);
        if (!read_card(folder, rank, &cards[rank]))
            return interrupt_check(error) &&
                   error_set(error, ERROR_RUN, "%s/rank-%d is not to be read", folder, rank);
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
    *own = (struct invitation_card){.place.secret = 0};
    snprintf(own->host, sizeof own->host, "%s", communicator->host);
    bool done = (tcp_listen(&own->place, communicator->size, &listener) ||
                 error_system(error, communicator->host, "does not listen for other ranks", NULL)) &&
                write_card(folder, communicator->rank, own, error);
    for (int rank = 0; done && rank < communicator->rank; rank++)
        done = find_lower(communicator, folder, rank, end, &cards[rank], &links[rank], error);
    done = done && await_higher(communicator, listener, &own->place, folder, end, links, error) &&
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
