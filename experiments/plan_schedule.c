#include "experiments/plan_schedule.h"

#include <math.h>
#include <stdlib.h>

double schedule_pieces(const double *seconds, int64_t count, int workers)
{
    double free_at[SCHEDULE_WORKERS_MAXIMUM] = {0}, last = 0;
    if (workers > SCHEDULE_WORKERS_MAXIMUM)
        workers = SCHEDULE_WORKERS_MAXIMUM;
    for (int64_t i = 0; i < count; i++) {
        int next = 0;
        for (int worker = 1; worker < workers; worker++)
            if (free_at[worker] < free_at[next])
                next = worker;
        free_at[next] += seconds[i];
        last = fmax(last, free_at[next]);
    }
    return last;
}

/* ---- trials -------------------------------------------------------------------------------------------- */

struct progress {
    int part; /* the one under way, or next */
    double left;
    double share; /* of the machine; 0: its process does not run */
    bool preparing, begun;
};

struct simulation {
    const struct schedule_trial *trials;
    int count, at_once, running, first_open; /* trials before first_open are over */
    struct progress *progress;
    bool *chain_done; /* by trial, of its chain */
};

static bool is_over(const struct simulation *simulation, int trial)
{
    return simulation->progress[trial].part >= simulation->trials[trial].part_count;
}

static bool is_prepared_by_another(const struct simulation *simulation, int trial)
{
    for (int i = simulation->first_open; i < simulation->count; i++)
        if (simulation->progress[i].preparing &&
            simulation->trials[i].chain == simulation->trials[trial].chain)
            return true;
    return false;
}

static bool may_start(const struct simulation *simulation, int trial)
{
    return !is_over(simulation, trial) && simulation->progress[trial].share == 0 &&
           (simulation->chain_done[trial] || !is_prepared_by_another(simulation, trial));
}

/* How many could start if there were room, as far as more than `most` do not matter. */
static int count_startable(const struct simulation *simulation, int most)
{
    int count = 0;
    for (int i = simulation->first_open; i < simulation->count && count < most; i++) {
        bool first = may_start(simulation, i);
        for (int j = simulation->first_open; first && !simulation->chain_done[i] && j < i; j++)
            first = is_over(simulation, j) || simulation->trials[j].chain != simulation->trials[i].chain;
        count += first;
    }
    return count;
}

static void begin_part(struct simulation *simulation, int trial)
{
    struct progress *const progress = &simulation->progress[trial];
    if (!is_over(simulation, trial))
        progress->left = simulation->trials[trial].parts[progress->part].seconds;
}

/* Those that were begun come first. */
static void start_trials(struct simulation *simulation)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = simulation->first_open; i < simulation->count; i++) {
            struct progress *const progress = &simulation->progress[i];
            if (simulation->running >= simulation->at_once)
                return;
            if (progress->begun != (pass == 0) || !may_start(simulation, i))
                continue;
            const int startable = count_startable(simulation, simulation->at_once);
            const int together = simulation->running + startable < simulation->at_once
                                     ? simulation->running + startable
                                     : simulation->at_once;
            progress->share = 1.0 / (double)together;
            progress->preparing = !simulation->chain_done[i];
            progress->begun = true;
            simulation->running++;
            begin_part(simulation, i);
        }
}

/* Whether a trial waits for another's part, which must not be itself one that only waits. */
static bool waits(const struct simulation *simulation, int trial)
{
    const struct progress *const progress = &simulation->progress[trial];
    const int owner = simulation->trials[trial].parts[progress->part].owner;
    return owner >= 0 && owner != trial && simulation->progress[owner].share > 0 &&
           simulation->progress[owner].part <= progress->part;
}

static double seconds_left(const struct simulation *simulation, int trial)
{
    const struct progress *const progress = &simulation->progress[trial];
    const struct schedule_part *const part = &simulation->trials[trial].parts[progress->part];
    if (waits(simulation, trial))
        return INFINITY;
    return part->scales ? progress->left / progress->share : progress->left;
}

static void end_process(struct simulation *simulation, int trial)
{
    simulation->progress[trial].share = 0;
    simulation->progress[trial].preparing = false;
    simulation->running--;
}

/* The part under way is over. */
static void end_part(struct simulation *simulation, int trial)
{
    struct progress *const progress = &simulation->progress[trial];
    const struct schedule_trial *const ended = &simulation->trials[trial];
    progress->part++;
    if (progress->part == ended->part_count) {
        end_process(simulation, trial);
    } else if (progress->preparing && progress->part == ended->shared) {
        for (int i = simulation->first_open; i < simulation->count; i++)
            if (simulation->trials[i].chain == ended->chain)
                simulation->chain_done[i] = true;
        end_process(simulation, trial);
    } else {
        begin_part(simulation, trial);
    }
    while (simulation->first_open < simulation->count && is_over(simulation, simulation->first_open))
        simulation->first_open++;
}

static void advance(struct simulation *simulation, struct schedule_result *result)
{
    double memory = 0, least = INFINITY;
    int next = -1;
    for (int i = simulation->first_open; i < simulation->count; i++) {
        if (simulation->progress[i].share == 0)
            continue;
        const double left = seconds_left(simulation, i);
        memory += simulation->trials[i].parts[simulation->progress[i].part].memory;
        if (next < 0 || left < least) {
            next = i;
            least = left;
        }
    }
    result->memory = fmax(result->memory, memory);
    if (!isfinite(least))
        least = 0;
    result->seconds += least;
    for (int i = simulation->first_open; i < simulation->count; i++) {
        struct progress *const progress = &simulation->progress[i];
        if (progress->share > 0 && !waits(simulation, i))
            progress->left -=
                simulation->trials[i].parts[progress->part].scales ? least * progress->share : least;
    }
    end_part(simulation, next);
}

bool schedule_trials(struct schedule_result *result, const struct schedule_trial *trials, int count,
                     int at_once, struct error *error)
{
    struct simulation simulation = {.trials = trials, .count = count, .at_once = at_once};
    *result = (struct schedule_result){0, 0};
    simulation.progress = calloc((size_t)count + 1, sizeof *simulation.progress);
    simulation.chain_done = calloc((size_t)count + 1, sizeof *simulation.chain_done);
    const bool done =
        (simulation.progress && simulation.chain_done) ||
        error_memory(error, "the plan of a study", (size_t)count * sizeof(struct progress), NULL);
    for (int i = 0; done && i < count; i++)
        simulation.chain_done[i] = trials[i].chain < 0 || trials[i].shared == 0;
    while (done && simulation.first_open < count) {
        start_trials(&simulation);
        advance(&simulation, result);
    }
    free(simulation.progress);
    free(simulation.chain_done);
    return done;
}
