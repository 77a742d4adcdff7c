/* How ranks find rank 0 for signs of life; what they do with them is under test in test_faults.py, by real ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/comm/watch.h"

static const char *host_of(const struct communicator *communicator, int rank)
{
    (void)communicator;
    return rank == 0 ? "first" : "other";
}

static const struct comm_calls calls = {.host_of = host_of};

struct rank {
    struct communicator communicator;
    const struct invitation *invitation;
    int link;
    bool done;
    struct error error;
    pthread_t thread;
};

static void *connect_rank(void *argument)
{
    struct rank *const rank = argument;
    rank->done = links_connect(&rank->communicator, rank->invitation, &rank->link, &rank->error);
    return NULL;
}

/* Someone who is none of the job: says `bytes` zeros, and stays. */
static int come_as_stranger(const struct invitation *invitation, size_t bytes)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = invitation->place.port,
                                        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    const char zeros[64] = {0};
    const int link = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(link, (const struct sockaddr *)(const void *)&address, sizeof address), 0);
    assert_int_equal(send(link, zeros, bytes, 0), bytes);
    return link;
}

/* The first of rank 0's addresses answers to nobody, and strangers come first. */
static void ranks_find_rank_0(void **state)
{
    enum { SIZE = 4 };
    const struct communicator first = {.size = SIZE, .host = "first", .calls = &calls};
    struct invitation invitation = {.silence_seconds = 20};
    struct error error = ERROR_INITIALIZER;
    struct rank ranks[SIZE];
    int listener, sockets[SIZE] = {-1, -1, -1, -1};
    (void)state;
    assert_true(links_listen(&first, &invitation, &listener, &error));
    assert_true(invitation.place.address_count > 0);
    invitation.place.addresses[0] = inet_addr("127.0.0.77");
    invitation.place.addresses[1] = htonl(INADDR_LOOPBACK);
    invitation.place.address_count = 2;
    struct invitation elsewhere = invitation;
    elsewhere.place.addresses[0] = inet_addr("255.255.255.255");
    const int silent = come_as_stranger(&invitation, 0), wrong = come_as_stranger(&invitation, 16);
    for (int rank = 1; rank < SIZE; rank++) {
        ranks[rank] = (struct rank){.communicator = {.rank = rank, .size = SIZE, .calls = &calls},
                                    .invitation = rank == 1 ? &elsewhere : &invitation,
                                    .link = -1,
                                    .error = ERROR_INITIALIZER};
        assert_int_equal(pthread_create(&ranks[rank].thread, NULL, connect_rank, &ranks[rank]), 0);
    }
    assert_true(links_accept(&first, &invitation, listener, sockets, &error));
    for (int rank = 1; rank < SIZE; rank++) {
        char heard = 0;
        const char said = (char)('a' + rank);
        pthread_join(ranks[rank].thread, NULL);
        assert_true(ranks[rank].done);
        assert_int_equal(send(ranks[rank].link, &said, 1, 0), 1);
        while (recv(sockets[rank], &heard, 1, 0) != 1)
            usleep(1000);
        assert_int_equal(heard, said);
        close(ranks[rank].link);
        close(sockets[rank]);
    }
    close(silent);
    close(wrong);
    close(listener);
}

/* A port where someone else listens, who sends back what he hears: rank 0 would not. */
static void *echo(void *argument)
{
    const int listener = *(const int *)argument;
    for (;;) {
        char bytes[16];
        const int link = accept(listener, NULL, NULL);
        if (link < 0)
            return NULL;
        if (recv(link, bytes, sizeof bytes, MSG_WAITALL) == (ssize_t)sizeof bytes)
            (void)!send(link, bytes, sizeof bytes, MSG_NOSIGNAL);
        close(link);
    }
}

static void a_rank_that_does_not_find_it_says_where_it_looked(void **state)
{
    struct communicator communicator = {.rank = 2, .size = 3, .host = "other", .calls = &calls};
    struct invitation invitation = {.silence_seconds = 20};
    struct error error = ERROR_INITIALIZER, failure = ERROR_INITIALIZER;
    int listener, link;
    pthread_t thread;
    (void)state;
    assert_true(links_listen(&communicator, &invitation, &listener, &error));
    invitation.place.addresses[0] = htonl(INADDR_LOOPBACK);
    invitation.place.address_count = 1;
    assert_int_equal(pthread_create(&thread, NULL, echo, &listener), 0);
    assert_false(links_connect(&communicator, &invitation, &link, &failure));
    assert_non_null(
        strstr(failure.message, "does not reach rank 0 on first by TCP, for signs of life (127.0.0.1:"));
    assert_non_null(strstr(failure.message, "IDREC_SILENCE_SECONDS=0"));
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_find_rank_0),
        cmocka_unit_test(a_rank_that_does_not_find_it_says_where_it_looked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
