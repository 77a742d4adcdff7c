/*
 * background.c: exchanges beside the caller, one after another in the order in which they were begun. A thread makes them
 * where MPI permits calls of another thread than the first.
 */
#include <stdlib.h>

#include "core/comm/comm_calls.h"
#include "core/file.h"
#include "core/thread.h"
#include "core/trace.h"

enum { WAITING_MOST = 64 };

struct comm_background {
    struct communicator *communicator;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;              /* something was begun or done, or the end has come */
    struct tensor waiting[WAITING_MOST]; /* from `next` on, a ring; the first of them may be under way */
    int next, count;
    bool failed, closed;
    struct error error; /* of the first that failed; those behind it are not made */
};

static bool exchange(struct communicator *communicator, struct tensor *x, struct error *error)
{
    const double begun = clock_seconds();
    const int64_t before = communicator->volume[COMM_REDUCE_SCATTER].bytes_sent;
    const bool done = comm_reduce_scatter(communicator, x, error);
    trace_add(communicator->trace, TRACE_EXCHANGES, begun,
              communicator->volume[COMM_REDUCE_SCATTER].bytes_sent - before, "reduce-scatter");
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
        struct tensor x = background->waiting[background->next];
        const bool failed = background->failed;
        pthread_mutex_unlock(&background->lock);
        const bool done = failed || exchange(background->communicator, &x, &background->error);
        pthread_mutex_lock(&background->lock);
        background->failed = failed || !done;
        background->next = (background->next + 1) % WAITING_MOST;
        background->count--;
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
    return error_set(error, ERROR_RUN, "rank %d on %s: there is no thread for exchanges in the background",
                     communicator->rank, communicator->host);
}

bool comm_begin_reduce_scatter(struct communicator *communicator, const struct tensor *x, struct error *error)
{
    struct tensor own = *x;
    if (communicator->size == 1)
        return true;
    if (x->device != DEVICE_CPU || !communicator->calls->threaded)
        return exchange(communicator, &own, error);
    if (!communicator->background && !start(communicator, error))
        return false;
    struct comm_background *const background = communicator->background;
    pthread_mutex_lock(&background->lock);
    while (background->count == WAITING_MOST)
        pthread_cond_wait(&background->changed, &background->lock);
    background->waiting[(background->next + background->count++) % WAITING_MOST] = own;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(&background->lock);
    return true;
}

bool comm_finish(struct communicator *communicator, struct error *error)
{
    struct comm_background *const background = communicator->background;
    if (!background)
        return true;
    pthread_mutex_lock(&background->lock);
    while (background->count > 0)
        pthread_cond_wait(&background->changed, &background->lock);
    const bool failed = background->failed;
    if (failed)
        *error = background->error;
    pthread_mutex_unlock(&background->lock);
    return !failed;
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
