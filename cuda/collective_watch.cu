#include "cuda/collective_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

extern "C" {
#include "core/comm/watch.h"
#include "core/file.h"
#include "core/thread.h"
}

static const double look_seconds = 0.25;

struct collective_watch {
    struct communicator *communicator;
    struct backend *backend;
    collective_trouble *trouble;
    double limit; /* seconds; 0: none */
    cudaEvent_t done;
    pthread_t thread;
    bool has_event, runs;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    const char *what;   /* the last collective */
    double since, late; /* clock_seconds() when it was called; the wait after which the next line is due */
    bool called, queued, closing;
};

/* ---- looking -------------------------------------------------------------------------------------------------- */

/* stderr itself may be held by the thread that waits. */
static void tell(const struct collective_watch *watch, const char *text, const char *then)
{
    const struct communicator *communicator = watch->communicator;
    dprintf(STDERR_FILENO, "idrec: rank %d on %s: %s between GPUs %s%s\n", communicator->rank,
            communicator->host, watch->what, text, then);
}

static void end_job(struct collective_watch *watch, const char *text)
{
    tell(watch, text, "; all ranks end, and the next start goes on from the last saved state");
    comm_abort(watch->communicator, ERROR_RUN);
}

/* With the lock. */
static void look(struct collective_watch *watch)
{
    char text[256], trouble[192];
    const double waited = clock_seconds() - watch->since;
    if (!watch->called && watch->queued && cudaEventQuery(watch->done) == cudaSuccess)
        watch->queued = false;
    if (!watch->called && !watch->queued)
        return;
    if (watch->trouble(watch->communicator, trouble, sizeof trouble)) {
        snprintf(text, sizeof text, "failed by NCCL: %s", trouble);
        end_job(watch, text);
    }
    snprintf(text, sizeof text, "has not ended for %.0f s", waited);
    if (watch->limit > 0 && waited >= watch->limit)
        end_job(watch, text);
    if (waited < watch->late)
        return;
    if (!watch->communicator->patient)
        tell(watch, text, "");
    watch->late *= 2.0;
}

static void *keep_watch(void *argument)
{
    struct collective_watch *watch = static_cast<struct collective_watch *>(argument);
    cudaSetDevice(device_of(watch->backend)->index);
    pthread_mutex_lock(&watch->lock);
    while (!watch->closing) {
        thread_wait(&watch->changed, &watch->lock, look_seconds);
        look(watch);
    }
    pthread_mutex_unlock(&watch->lock);
    return nullptr;
}

/* ---- of the thread that calls ----------------------------------------------------------------------------------- */

void collective_watch_begin(struct collective_watch *watch, const char *what)
{
    pthread_mutex_lock(&watch->lock);
    watch->what = what;
    watch->since = clock_seconds();
    watch->late = watch->communicator->late_seconds;
    watch->called = true;
    pthread_mutex_unlock(&watch->lock);
}

void collective_watch_end(struct collective_watch *watch, cudaStream_t stream)
{
    pthread_mutex_lock(&watch->lock);
    watch->called = false;
    watch->queued = cuda_check(watch->backend, cudaEventRecord(watch->done, stream), "collective");
    pthread_mutex_unlock(&watch->lock);
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static bool start(struct collective_watch *watch, struct error *error)
{
    errno = thread_start(&watch->thread, keep_watch, watch);
    watch->runs = errno == 0;
    return watch->runs || error_system(error, watch->communicator->host,
                                       "the watch over exchanges between GPUs does not start", nullptr);
}

struct collective_watch *collective_watch_open(struct communicator *communicator, struct backend *backend,
                                               collective_trouble *trouble, struct error *error)
{
    double limit;
    if (!watch_read_limit(COLLECTIVE_WATCH_VARIABLE, COLLECTIVE_SECONDS,
                          "an exchange between GPUs may take for ever", &limit, error))
        return nullptr;
    struct collective_watch *watch = static_cast<struct collective_watch *>(calloc(1, sizeof *watch));
    if (!watch) {
        error_memory(error, "the watch over exchanges between GPUs", sizeof *watch, nullptr);
        return nullptr;
    }
    watch->communicator = communicator;
    watch->backend = backend;
    watch->trouble = trouble;
    watch->limit = limit;
    pthread_mutex_init(&watch->lock, nullptr);
    pthread_cond_init(&watch->changed, nullptr);
    watch->has_event =
        cuda_check(backend, cudaEventCreateWithFlags(&watch->done, cudaEventDisableTiming), "collectives");
    if (watch->has_event ? start(watch, error) : backend_check(backend, error))
        return watch;
    collective_watch_close(watch);
    return nullptr;
}

void collective_watch_close(struct collective_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->closing = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    if (watch->runs)
        pthread_join(watch->thread, nullptr);
    if (watch->has_event)
        cudaEventDestroy(watch->done);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}
