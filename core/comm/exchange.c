/*
 * exchange.c: collectives made of messages between pairs of ranks. A sum is taken by the rank whose part it is, over pieces
 * that came from every rank, in the order of the ranks; then everyone gets the parts. So each rank sends and receives
 * 2 (size - 1) / size of the data, which is the least that is possible, and the bits do not depend on who came first.
 */
#include <stdlib.h>
#include <string.h>

#include "core/comm/comm_calls.h"

enum {
    /* Up to so many bytes, everyone sends everything to everyone: one exchange in place of two. */
    SMALL_BYTES = 4096,
    /* Of a part, at a time: so much memory is needed for each rank. */
    PIECE_BYTES = 1 << 20
};

/* ---- sums --------------------------------------------------------------------------------------------------- */

#define REDUCE(type, a, b, count, reduction)                                                                 \
    for (int64_t i = 0; i < (count); i++) {                                                                  \
        type *const left = (type *)(a) + i;                                                                  \
        const type right = ((const type *)(b))[i];                                                           \
        *left = (reduction) == COMM_SUM ? (type)(*left + right) : *left < right ? right : *left;             \
    }

/* a = a + b, or the larger of both. */
static void reduce(void *a, const void *b, enum dtype dtype, int64_t count, enum comm_reduction reduction)
{
    switch (dtype) {
    case DTYPE_F32:
        REDUCE(float, a, b, count, reduction)
        break;
    case DTYPE_F64:
        REDUCE(double, a, b, count, reduction)
        break;
    case DTYPE_I32:
        REDUCE(int32_t, a, b, count, reduction)
        break;
    case DTYPE_I64:
        REDUCE(int64_t, a, b, count, reduction)
        break;
    default:
        abort();
    }
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

/* Of one exchange: at most one message to and from every other rank. */
struct messages {
    struct message *sends, *receives; /* [size] */
    int send_count, receive_count;
};

static bool messages_open(struct messages *messages, const struct communicator *communicator,
                          struct error *error)
{
    const size_t bytes = (size_t)communicator->size * sizeof(struct message);
    *messages = (struct messages){.sends = malloc(bytes), .receives = malloc(bytes)};
    return (messages->sends && messages->receives) || error_memory(error, "messages", 2 * bytes, NULL);
}

static void messages_close(struct messages *messages)
{
    free(messages->sends);
    free(messages->receives);
}

static void add_send(struct messages *messages, int peer, const void *data, size_t bytes, int64_t *sent)
{
    if (bytes == 0)
        return;
    messages->sends[messages->send_count++] = (struct message){peer, (void *)data, bytes};
    *sent += (int64_t)bytes;
}

static void add_receive(struct messages *messages, int peer, void *data, size_t bytes)
{
    if (bytes > 0)
        messages->receives[messages->receive_count++] = (struct message){peer, data, bytes};
}

/* Does what has been added, and begins anew. */
static bool send_all(struct communicator *communicator, struct messages *messages, struct error *error)
{
    const bool done = communicator->calls->exchange(communicator, messages->sends, messages->send_count,
                                                    messages->receives, messages->receive_count, error);
    messages->send_count = messages->receive_count = 0;
    return done;
}

/* Piece number `piece` of a rank's part: elements *first .. *first + the result - 1. */
static int64_t piece_of(const struct communicator *communicator, const struct tensor *x,
                        const int64_t *starts, int rank, int64_t piece, int64_t *first)
{
    const int64_t length = tensor_count(x), most = PIECE_BYTES / (int64_t)dtype_size(x->dtype);
    const int64_t end = part_begin(communicator, starts, length, rank + 1);
    *first = part_begin(communicator, starts, length, rank) + piece * most;
    return *first >= end ? 0 : end - *first < most ? end - *first : most;
}

/* The most pieces that a part has. */
static int64_t piece_count(const struct communicator *communicator, const struct tensor *x,
                           const int64_t *starts)
{
    const int64_t length = tensor_count(x), most = PIECE_BYTES / (int64_t)dtype_size(x->dtype);
    int64_t longest = 0;
    for (int rank = 0; rank < communicator->size; rank++) {
        const int64_t count = part_begin(communicator, starts, length, rank + 1) -
                              part_begin(communicator, starts, length, rank);
        longest = count > longest ? count : longest;
    }
    return (longest + most - 1) / most;
}

static char *element(const struct tensor *x, int64_t index)
{
    return (char *)x->data + (size_t)index * dtype_size(x->dtype);
}

/* ---- collectives ---------------------------------------------------------------------------------------------- */

/* The sum of own and received pieces in the order of the ranks, into `own`; received[rank * bytes] is a rank's. */
static void reduce_pieces(const struct communicator *communicator, void *own, char *received, size_t stride,
                          enum dtype dtype, int64_t count, enum comm_reduction reduction)
{
    char *const mine = received + (size_t)communicator->rank * stride;
    memcpy(mine, own, (size_t)count * dtype_size(dtype));
    memcpy(own, received, (size_t)count * dtype_size(dtype));
    for (int rank = 1; rank < communicator->size; rank++)
        reduce(own, received + (size_t)rank * stride, dtype, count, reduction);
}

static bool scatter_pieces(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                           int64_t piece, char *received, struct messages *messages,
                           enum comm_reduction reduction, int64_t *sent, struct error *error)
{
    const size_t size = dtype_size(x->dtype);
    int64_t first, own;
    const int64_t count = piece_of(communicator, x, starts, communicator->rank, piece, &own);
    for (int rank = 0; rank < communicator->size; rank++) {
        if (rank == communicator->rank)
            continue;
        const int64_t theirs = piece_of(communicator, x, starts, rank, piece, &first);
        add_send(messages, rank, element(x, first), (size_t)theirs * size, sent);
        add_receive(messages, rank, received + (size_t)rank * PIECE_BYTES, (size_t)count * size);
    }
    if (!send_all(communicator, messages, error))
        return false;
    if (count > 0)
        reduce_pieces(communicator, element(x, own), received, PIECE_BYTES, x->dtype, count, reduction);
    return true;
}

bool exchange_reduce_scatter(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                             enum comm_reduction reduction, int64_t *sent, struct error *error)
{
    const size_t bytes = (size_t)communicator->size * PIECE_BYTES;
    const int64_t pieces = piece_count(communicator, x, starts);
    struct messages messages;
    char *received = malloc(bytes);
    bool done = messages_open(&messages, communicator, error) &&
                (received || error_memory(error, "what other ranks send", bytes, NULL));
    for (int64_t piece = 0; done && piece < pieces; piece++)
        done = scatter_pieces(communicator, x, starts, piece, received, &messages, reduction, sent, error);
    messages_close(&messages);
    free(received);
    return done;
}

bool exchange_all_gather(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                         int64_t *sent, struct error *error)
{
    const size_t size = dtype_size(x->dtype);
    const int64_t pieces = piece_count(communicator, x, starts);
    struct messages messages;
    bool done = messages_open(&messages, communicator, error);
    for (int64_t piece = 0; done && piece < pieces; piece++) {
        int64_t first, own;
        const int64_t count = piece_of(communicator, x, starts, communicator->rank, piece, &own);
        for (int rank = 0; rank < communicator->size; rank++) {
            if (rank == communicator->rank)
                continue;
            const int64_t theirs = piece_of(communicator, x, starts, rank, piece, &first);
            add_send(&messages, rank, element(x, own), (size_t)count * size, sent);
            add_receive(&messages, rank, element(x, first), (size_t)theirs * size);
        }
        done = send_all(communicator, &messages, error);
    }
    messages_close(&messages);
    return done;
}

/* Everyone sends everything to everyone. */
static bool reduce_small(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                         int64_t *sent, struct error *error)
{
    const size_t bytes = tensor_bytes(x);
    struct messages messages;
    char *received = malloc((size_t)communicator->size * SMALL_BYTES);
    bool done = messages_open(&messages, communicator, error) &&
                (received || error_memory(error, "what other ranks send",
                                          (size_t)communicator->size * SMALL_BYTES, NULL));
    for (int rank = 0; done && rank < communicator->size; rank++) {
        if (rank == communicator->rank)
            continue;
        add_send(&messages, rank, x->data, bytes, sent);
        add_receive(&messages, rank, received + (size_t)rank * SMALL_BYTES, bytes);
    }
    done = done && send_all(communicator, &messages, error);
    if (done)
        reduce_pieces(communicator, x->data, received, SMALL_BYTES, x->dtype, tensor_count(x), reduction);
    messages_close(&messages);
    free(received);
    return done;
}

bool exchange_all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                         int64_t *sent, struct error *error)
{
    if (tensor_bytes(x) <= SMALL_BYTES)
        return reduce_small(communicator, x, reduction, sent, error);
    return exchange_reduce_scatter(communicator, x, NULL, reduction, sent, error) &&
           exchange_all_gather(communicator, x, NULL, sent, error);
}

/* A piece of each rank's part goes from the root to it. */
static bool deal_pieces(struct communicator *communicator, struct tensor *x, int root, int64_t piece,
                        struct messages *messages, int64_t *sent, struct error *error)
{
    const size_t size = dtype_size(x->dtype);
    int64_t first;
    for (int rank = 0; rank < communicator->size; rank++) {
        const int64_t count = piece_of(communicator, x, NULL, rank, piece, &first);
        if (rank == root)
            continue;
        if (communicator->rank == root)
            add_send(messages, rank, element(x, first), (size_t)count * size, sent);
        else if (rank == communicator->rank)
            add_receive(messages, root, element(x, first), (size_t)count * size);
    }
    return send_all(communicator, messages, error);
}

static bool send_whole(struct communicator *communicator, struct tensor *x, int root,
                       struct messages *messages, int64_t *sent, struct error *error)
{
    for (int rank = 0; communicator->rank == root && rank < communicator->size; rank++)
        if (rank != root)
            add_send(messages, rank, x->data, tensor_bytes(x), sent);
    if (communicator->rank != root)
        add_receive(messages, root, x->data, tensor_bytes(x));
    return send_all(communicator, messages, error);
}

bool exchange_broadcast(struct communicator *communicator, struct tensor *x, int root, int64_t *sent,
                        struct error *error)
{
    const bool small = tensor_bytes(x) <= SMALL_BYTES;
    struct messages messages;
    bool done = messages_open(&messages, communicator, error);
    if (done && small)
        done = send_whole(communicator, x, root, &messages, sent, error);
    for (int64_t piece = 0; done && !small && piece < piece_count(communicator, x, NULL); piece++)
        done = deal_pieces(communicator, x, root, piece, &messages, sent, error);
    messages_close(&messages);
    return done && (small || exchange_all_gather(communicator, x, NULL, sent, error));
}

/* In round k every rank hears from the one 2^k before it: after log2(size) rounds it has heard from all (Hensgen, Finkel
 * and Manber 1988). */
bool exchange_barrier(struct communicator *communicator, int64_t *sent, struct error *error)
{
    const int size = communicator->size;
    char out = 0, in = 0;
    for (int distance = 1; distance < size; distance *= 2) {
        const struct message send = {(communicator->rank + distance) % size, &out, 1};
        const struct message receive = {(communicator->rank - distance + size) % size, &in, 1};
        *sent += 1;
        if (!communicator->calls->exchange(communicator, &send, 1, &receive, 1, error))
            return false;
    }
    return true;
}
