#include "experiments/sweep_memory.h"

#include <math.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/progress.h"
#include "experiments/plan.h"

/* A device is assumed, so that nothing is measured; its rates are of no interest. */
#define ASSUMED_OPERATIONS_PER_SECOND 1e12

enum { NOT_PLANNED = -1, NOT_KNOWN = 0, OWN_OVERRIDES = 2 };

struct sweep_memory {
    struct sweep sweep; /* borrows all of the study's but the overrides */
    char **overrides;   /* the study's, borrowed, and OWN_OVERRIDES, malloc'ed */
    int64_t bytes, peak;
    struct plan_memo *memo;
    int64_t *plans; /* [trials]: bytes, NOT_PLANNED or NOT_KNOWN */
};

static bool add_overrides(struct sweep_memory *memory, int threads, struct error *error)
{
    const size_t count = (size_t)memory->sweep.override_count;
    memory->overrides = calloc(count + OWN_OVERRIDES, sizeof *memory->overrides);
    if (!memory->overrides)
        return error_memory(error, "the memory of trials", count * sizeof *memory->overrides, NULL);
    for (size_t i = 0; i < count; i++)
        memory->overrides[i] = memory->sweep.overrides[i];
    memory->overrides[count] = path_format("device=cpu");
    memory->overrides[count + 1] = path_format("threads=%d", threads > 0 ? threads : 1);
    memory->sweep.overrides = memory->overrides;
    memory->sweep.override_count += OWN_OVERRIDES;
    return true;
}

bool sweep_memory_open(struct sweep_memory **memory, const struct sweep *sweep, int64_t bytes, int threads,
                       struct error *error)
{
    const size_t count = (size_t)sweep->trial_count;
    struct sweep_memory *made = *memory = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "the memory of trials", sizeof *made, NULL);
    made->sweep = *sweep;
    made->bytes = bytes > 0 ? bytes : available_memory_bytes();
    made->plans = calloc(count, sizeof *made->plans);
    if (!made->plans)
        return error_memory(error, "the memory of trials", count * sizeof *made->plans, NULL);
    for (size_t i = 0; i < count; i++)
        made->plans[i] = threads > 0 ? NOT_PLANNED : NOT_KNOWN;
    return add_overrides(made, threads, error) && plan_memo_open(&made->memo, false, error);
}

void sweep_memory_close(struct sweep_memory *memory)
{
    if (!memory)
        return;
    if (memory->memo)
        plan_memo_close(memory->memo);
    for (int i = 0; memory->overrides && i < OWN_OVERRIDES; i++)
        free(memory->overrides[memory->sweep.override_count - 1 - i]);
    free(memory->overrides);
    free(memory->plans);
    free(memory);
}

/* The most that a stage takes, whether or not it will be taken from another trial. */
static int64_t largest_stage(const struct plan *plan)
{
    double largest = 0;
    for (int i = 0; i < plan->stage_count; i++)
        largest = fmax(largest, plan_stage_memory(&plan->stages[i]));
    return (int64_t)largest;
}

/* A trial that cannot be planned fails by itself, or shows what it takes. */
static int64_t plan_trial(const struct sweep_memory *memory, int trial)
{
    const struct plan_options options = {.operations_per_second = ASSUMED_OPERATIONS_PER_SECOND,
                                         .efficiency = 1,
                                         .mean_spread = 1,
                                         .ranks = 1};
    struct error reason = ERROR_INITIALIZER;
    struct config *config;
    struct plan *plan = calloc(1, sizeof *plan);
    int64_t bytes = NOT_KNOWN;
    if (plan && sweep_trial_config(&config, &memory->sweep, trial, &reason)) {
        const bool done =
            plan_make(plan, config, &options, memory->memo, (struct plan_place){.trial = trial}, &reason);
        if (done)
            bytes = largest_stage(plan);
        else
            log_line(NULL, "%s: what it takes of the memory is not known before it runs: %s",
                     memory->sweep.trials[trial].name, reason.message);
        plan_free(plan);
    }
    free(plan);
    return bytes;
}

/* Bytes, or NOT_KNOWN. */
static int64_t need(struct sweep_memory *memory, int trial)
{
    if (memory->plans[trial] == NOT_PLANNED)
        memory->plans[trial] = plan_trial(memory, trial);
    return memory->plans[trial] > memory->peak ? memory->plans[trial] : memory->peak;
}

void sweep_memory_learn(struct sweep_memory *memory, int64_t peak)
{
    if (peak > memory->peak)
        memory->peak = peak;
}

bool sweep_memory_fits(struct sweep_memory *memory, int trial, const int *running, int count)
{
    if (count == 0)
        return true;
    const int64_t own = need(memory, trial);
    int64_t together = own;
    if (own == NOT_KNOWN || own > available_memory_bytes())
        return false;
    for (int i = 0; i < count; i++) {
        const int64_t other = need(memory, running[i]);
        if (other == NOT_KNOWN || other > memory->bytes - together)
            return false;
        together += other;
    }
    return true;
}
