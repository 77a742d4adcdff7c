#include "experiments/jobs.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/interrupt.h"
#include "core/store.h"
#include "experiments/turns.h"

enum { GPU_PARALLEL = 4 };

struct queue {
    const struct run *run;
    struct turns *turns;
    int64_t begun, done; /* by this rank */
    int threads;         /* of a worker's backend */
    size_t memory_peak;  /* of all workers' backends */
    job_function work;
    void *context;
    struct progress *progress;
    struct error *error; /* the first */
    bool failed;
    pthread_mutex_t lock;
};

static void note_failure(struct queue *queue, const struct error *error)
{
    if (queue->failed)
        return;
    queue->failed = true;
    *queue->error = *error;
}

/* The next piece, or -1 when there is none or a piece has failed. */
static int64_t queue_take(struct queue *queue)
{
    struct error error = ERROR_INITIALIZER;
    int64_t index = -1;
    pthread_mutex_lock(&queue->lock);
    if (!queue->failed && !turns_take(queue->turns, &index, &error))
        note_failure(queue, &error);
    queue->begun += index >= 0;
    pthread_mutex_unlock(&queue->lock);
    return index;
}

static void queue_report(struct queue *queue, bool done, const struct error *error)
{
    pthread_mutex_lock(&queue->lock);
    if (done) {
        queue->done++;
        progress_update(queue->progress, turns_taken(queue->turns) - (queue->begun - queue->done), NULL);
    } else {
        note_failure(queue, error);
    }
    pthread_mutex_unlock(&queue->lock);
}

static void queue_work(struct queue *queue, struct backend *backend)
{
    for (int64_t index = queue_take(queue); index >= 0; index = queue_take(queue)) {
        struct error error = ERROR_INITIALIZER;
        bool done = queue->work(queue->context, index, backend, &error);
        queue_report(queue, done, &error);
    }
}

static void *worker(void *argument)
{
    struct queue *queue = argument;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open(queue->run->backend->address, queue->threads, &error);
    if (backend == NULL) {
        queue_report(queue, false, &error);
        return NULL;
    }
    backend->fast = queue->run->backend->fast;
    queue_work(queue, backend);
    pthread_mutex_lock(&queue->lock);
    queue->memory_peak += backend->memory.peak;
    backend_add_counters(queue->run->backend, &backend->counters);
    pthread_mutex_unlock(&queue->lock);
    backend_close(backend);
    return NULL;
}

/* Fewer threads than asked for slow the work but do not fail it: without any, the caller works. OpenBLAS's
 * own threads would serve one worker at a time and make the others wait. */
static void run_workers(struct queue *queue, int parallel)
{
    struct backend *backend = queue->run->backend;
    pthread_t *threads = calloc((size_t)parallel, sizeof *threads);
    int started = 0, blas_threads = openblas_get_num_threads();
    const int share = backend->threads / parallel;
    queue->threads = backend->device == DEVICE_CPU || share < 1 ? 1 : share;
    openblas_set_num_threads(1);
    while (threads != NULL && started < parallel &&
           pthread_create(&threads[started], NULL, worker, queue) == 0)
        started++;
    if (started == 0)
        queue_work(queue, backend);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (backend->memory.bytes + queue->memory_peak > backend->memory.peak)
        backend->memory.peak = backend->memory.bytes + queue->memory_peak;
    openblas_set_num_threads(blas_threads);
    free(threads);
}

/* Takes pieces until there are none. */
static void queue_empty(struct queue *queue, int parallel)
{
    pthread_mutex_init(&queue->lock, NULL);
    if (parallel <= 1 || !store_is_thread_safe())
        queue_work(queue, queue->run->backend);
    else
        run_workers(queue, parallel);
    pthread_mutex_destroy(&queue->lock);
}

/* What is to be done, and how it is told. */
struct pieces {
    int64_t count;
    const char *stage, *unit;
    bool by_ranks;
};

static bool run_pieces(struct queue *queue, const struct pieces *pieces, int parallel, struct error *error)
{
    const int64_t count = pieces->count;
    if (count == 0)
        return true;
    bool done = turns_open(&queue->turns, queue->run, pieces->by_ranks, count, error);
    if (done) {
        queue->progress = progress_start(queue->run->log, pieces->stage, pieces->unit, count);
        progress_update(queue->progress, 0, NULL);
        queue_empty(queue, parallel < count ? parallel : (int)count);
        done = turns_end(queue->turns, !queue->failed, error);
        progress_finish(queue->progress, "%lld of %lld %s", (long long)(done ? count : queue->done),
                        (long long)count, pieces->unit);
    }
    turns_close(queue->turns);
    return done;
}

bool jobs_run(const struct run *run, int parallel, int64_t count, job_function work, void *context,
              const char *stage, const char *unit, struct error *error)
{
    struct queue queue = {.run = run, .work = work, .context = context, .error = error};
    const struct pieces pieces = {.count = count, .stage = stage, .unit = unit};
    return run_pieces(&queue, &pieces, parallel, error);
}

bool jobs_run_by_ranks(const struct run *run, int parallel, int64_t count, job_function work, void *context,
                       const char *stage, const char *unit, struct error *error)
{
    struct queue queue = {.run = run, .work = work, .context = context, .error = error};
    const struct pieces pieces = {.count = count, .stage = stage, .unit = unit, .by_ranks = true};
    return run_pieces(&queue, &pieces, parallel, error);
}

/* ---- pieces that ranks do together ------------------------------------------------------------------------ */

/* A signal that one rank has got ends all. */
static bool go_on_together(struct communicator *ranks, struct error *error)
{
    int64_t interrupted = interrupt_requested();
    struct tensor x = tensor_1d(&interrupted, DTYPE_I64, DEVICE_CPU, 1);
    if (!comm_all_reduce(ranks, &x, COMM_MAXIMUM, error))
        return false;
    if (interrupted) {
        ranks->ending = true;
        interrupt_request();
    }
    return interrupt_check(error);
}

bool jobs_run_together(const struct run *run, int64_t count, job_function work, void *context,
                       const char *stage, const char *unit, struct error *error)
{
    if (count == 0)
        return true;
    struct progress *progress = progress_start(run->log, stage, unit, count);
    int64_t index = 0;
    progress_update(progress, 0, NULL);
    run->backend->fit_ranks = run->communicator;
    while (index < count && go_on_together(run->communicator, error) &&
           work(context, index, run->backend, error))
        progress_update(progress, ++index, NULL);
    run->backend->fit_ranks = NULL;
    progress_finish(progress, "%lld of %lld %s", (long long)index, (long long)count, unit);
    return index == count && run_wait_for_ranks(run, error);
}

/* ---- what jobs take --------------------------------------------------------------------------------------- */

int jobs_parallel(const struct run *run)
{
    int64_t parallel = config_integer(run->config, "experiment.parallel");
    if (parallel > 0)
        return (int)parallel;
    return run->backend->device == DEVICE_CPU ? run->backend->threads : GPU_PARALLEL;
}

struct stage_cost jobs_cost(const struct run *run)
{
    return (struct stage_cost){.floating_point_operations = run->backend->counters.floating_point_operations,
                               .at_once = jobs_parallel(run)};
}

bool jobs_cost_by_ranks(struct stage_cost *cost, const struct run *run, struct error *error)
{
    *cost = jobs_cost(run);
    return !run->communicator ||
           comm_sum_numbers(run->communicator, &cost->floating_point_operations, 1, error);
}
