/*
 * background.c: exchanges beside the caller, one after another in the order in which they were begun. A thread makes those of host
 * memory where MPI permits calls of another thread than the first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/comm/comm_calls.h"
#include "core/file.h"
#include "core/thread.h"
#include "core/trace.h"

enum { WAITING_MOST = 64 };

/* A reduce-scatter or an all-gather. */
struct exchange {
    enum comm_kind kind;
    struct tensor x;
    char what[48];
};

struct comm_background {
    struct communicator *communicator;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;                /* something was begun or done, or the end has come */
    struct exchange waiting[WAITING_MOST]; /* from `next` on, a ring; the first of them may be under way */
    int next, count;
    int64_t done; /* exchanges that are over */
    bool failed, closed;
    struct error error; /* of the first that failed; those behind it are not made */
};

static bool do_exchange(struct communicator *communicator, struct exchange *exchange, struct error *error)
{
    const double begun = clock_seconds();
    const int64_t before = communicator->volume[exchange->kind].bytes_sent;
    const bool done = exchange->kind == COMM_ALL_GATHER
                          ? comm_all_gather(communicator, &exchange->x, error)
                          : comm_reduce_scatter(communicator, &exchange->x, error);
    trace_add(communicator->trace, TRACE_EXCHANGES, begun,
              communicator->volume[exchange->kind].bytes_sent - before, "%s", exchange->what);
    return done;
}

static void *work(void *context)
{
    struct comm_background *const background = context;
    pthread_mutex_lock(&background->lock);
    while (!background->closed) {
        if (background->count == 0) {
            pthread_cond_wait(&background->changed, &background->lock);
            continue;
        }
        struct exchange exchange = background->waiting[background->next];
        const bool failed = background->failed;
        pthread_mutex_unlock(&background->lock);
        const bool done = failed || do_exchange(background->communicator, &exchange, &background->error);
        pthread_mutex_lock(&background->lock);
        background->failed = failed || !done;
        background->next = (background->next + 1) % WAITING_MOST;
        background->count--;
        background->done++;
        pthread_cond_broadcast(&background->changed);
    }
    pthread_mutex_unlock(&background->lock);
    return NULL;
}

static bool start(struct communicator *communicator, struct error *error)
{
    struct comm_background *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "exchanges in the background", sizeof *made, NULL);
    made->communicator = communicator;
    made->error = ERROR_INITIALIZER;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    if (thread_start(&made->thread, work, made) == 0) {
        communicator->background = made;
        return true;
    }
    free(made);
    return error_set(error, ERROR_RUN, "there is no thread for exchanges in the background");
}

/* Queued beside what a GPU does; its number is below 0. */
static bool queue(struct communicator *communicator, struct exchange *exchange, int64_t *number,
                  struct error *error)
{
    const struct device_comm_calls *const device = communicator->device_calls;
    struct error later = ERROR_INITIALIZER;
    if (!device)
        return do_exchange(communicator, exchange, error); /* which says why not */
    const bool queued =
        device->begin_beside(communicator, error) && do_exchange(communicator, exchange, error);
    const bool ended = device->end_beside(communicator, &communicator->queued, &later);
    *number = -communicator->queued;
    if (queued && !ended)
        *error = later;
    return queued && ended;
}

/* *number 0: it is done. */
static bool begin(struct communicator *communicator, const struct exchange *exchange, int64_t *number,
                  struct error *error)
{
    struct exchange own = *exchange;
    *number = 0;
    if (communicator->size == 1)
        return true;
    if (own.x.device != DEVICE_CPU)
        return queue(communicator, &own, number, error);
    if (!communicator->calls->threaded)
        return do_exchange(communicator, &own, error);
    if (!communicator->background && !start(communicator, error))
        return false;
    struct comm_background *const background = communicator->background;
    pthread_mutex_lock(&background->lock);
    while (background->count == WAITING_MOST)
        pthread_cond_wait(&background->changed, &background->lock);
    background->waiting[(background->next + background->count++) % WAITING_MOST] = own;
    *number = background->done + background->count;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(&background->lock);
    return true;
}

bool comm_begin_reduce_scatter(struct communicator *communicator, const struct tensor *x, struct error *error)
{
    const struct exchange exchange = {COMM_REDUCE_SCATTER, *x, "reduce-scatter"};
    int64_t number;
    return begin(communicator, &exchange, &number, error);
}

bool comm_begin_all_gather(struct communicator *communicator, const struct tensor *x, const char *what,
                           int64_t *number, struct error *error)
{
    struct exchange exchange = {.kind = COMM_ALL_GATHER, .x = *x};
    snprintf(exchange.what, sizeof exchange.what, "%s", what);
    return begin(communicator, &exchange, number, error);
}

/* Of everything, all_of_it, or of those up to a number. */
static bool wait_for(struct comm_background *background, bool all_of_it, int64_t number, struct error *error)
{
    pthread_mutex_lock(&background->lock);
    while (all_of_it ? background->count > 0 : background->done < number)
        pthread_cond_wait(&background->changed, &background->lock);
    const bool failed = background->failed;
    if (failed)
        *error = background->error;
    pthread_mutex_unlock(&background->lock);
    return !failed;
}

bool comm_await(struct communicator *communicator, int64_t number, struct error *error)
{
    if (number < 0)
        return communicator->device_calls->await(communicator, -number, error);
    return number == 0 || wait_for(communicator->background, false, number, error);
}

bool comm_finish(struct communicator *communicator, struct error *error)
{
    const int64_t queued = communicator->queued;
    communicator->queued = 0;
    return comm_await(communicator, -queued, error) &&
           (!communicator->background || wait_for(communicator->background, true, 0, error));
}

void background_close(struct communicator *communicator)
{
    struct comm_background *const background = communicator->background;
    if (!background)
        return;
    pthread_mutex_lock(&background->lock);
    background->closed = true;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(&background->lock);
    pthread_join(background->thread, NULL);
    pthread_cond_destroy(&background->changed);
    pthread_mutex_destroy(&background->lock);
    free(background);
    communicator->background = NULL;
}
