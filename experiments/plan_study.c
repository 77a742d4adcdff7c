#include "experiments/plan_study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/sweep_run.h"

/* Starting a trial's process, reading its data and looking whether it has ended. */
#define TRIAL_SECONDS 0.2

/* ---- one trial ----------------------------------------------------------------------------------------- */

static void add_to_schedule(struct planned_trial *planned, const struct plan_stage *stage, int number)
{
    const bool scales = strcmp(stage->name, "report") != 0 && strcmp(stage->name, "prepare") != 0 &&
                        strcmp(stage->name, "augment") != 0;
    const double memory = stage->taken ? 0 : plan_stage_memory(stage);
    planned->low[number] = (struct schedule_part){.seconds = stage->seconds.low,
                                                  .scales = scales,
                                                  .memory = memory,
                                                  .owner = stage->taken ? stage->trial : -1};
    planned->high[number] = planned->low[number];
    planned->high[number].seconds = stage->seconds.high;
}

static void open_schedule(struct planned_trial *planned)
{
    for (int i = 0; i < STAGE_COUNT; i++)
        planned->low[i] = planned->high[i] = (struct schedule_part){.owner = -1};
}

static bool keep_stages(struct planned_trial *planned, const struct plan *plan, struct error *error)
{
    const size_t bytes = (size_t)plan->stage_count * sizeof *planned->stages;
    planned->stages = malloc(bytes);
    if (!planned->stages)
        return error_memory(error, "the plan of a trial", bytes, NULL);
    memcpy(planned->stages, plan->stages, bytes);
    planned->stage_count = plan->stage_count;
    open_schedule(planned);
    for (int i = 0; i < plan->stage_count; i++)
        if (!plan->stages[i].part)
            add_to_schedule(planned, &plan->stages[i], stage_number(plan->stages[i].name));
    planned->low[STAGE_COUNT - 1].seconds += TRIAL_SECONDS;
    planned->high[STAGE_COUNT - 1].seconds += TRIAL_SECONDS;
    return true;
}

static void keep_description(struct study_plan *study, const struct plan *plan)
{
    study->measured = plan->device != NULL;
    snprintf(study->device, sizeof study->device, "%s",
             plan->device ? plan->device->description : "a device that is assumed");
    snprintf(study->source, sizeof study->source, "%s", plan->data->source);
    study->users = plan->dataset.train.rows;
    study->items = plan->dataset.train.columns;
    study->rows = csr_count(&plan->dataset.train);
    study->memory_available = plan->memory_available;
}

/* As sweep_run.c finds what a trial has in common with others. */
static void find_chain(struct planned_trial *planned, const struct config *config)
{
    const int last = stage_last_shared(config);
    stage_settings_hash(config, last, planned->chain);
    planned->shared = last + 1;
}

static bool plan_trial(struct study_plan *study, int trial, const struct plan_options *options,
                       struct error *error)
{
    struct planned_trial *const planned = &study->trials[trial];
    struct config *config = NULL;
    struct plan *const plan = calloc(1, sizeof *plan);
    if (!plan)
        return error_memory(error, "the plan of a trial", sizeof *plan, NULL);
    planned->trial = &study->sweep->trials[trial];
    bool done = sweep_trial_config(&config, study->sweep, trial, error);
    if (done) {
        struct error reason = ERROR_INITIALIZER;
        find_chain(planned, config);
        done = plan_make(plan, config, options, study->memo,
                         (struct plan_place){.trial = trial, .at_once = study->at_once}, &reason) ||
               error_set(error, reason.kind, "%.1700s (trial %.200s)", reason.message, planned->trial->name);
        if (done && trial == 0)
            keep_description(study, plan);
        planned->total = plan_total(plan);
        done = done && keep_stages(planned, plan, error);
        plan_free(plan);
    }
    free(plan);
    return done;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static void sum_trials(struct study_plan *study)
{
    for (int i = 0; i < study->trial_count; i++) {
        const struct planned_trial *const planned = &study->trials[i];
        study->work.low += planned->total.seconds.low;
        study->work.high += planned->total.seconds.high;
        study->disk += planned->total.disk;
        study->passing = fmax(study->passing, planned->total.passing);
        for (int j = 0; j < planned->stage_count; j++) {
            const struct plan_stage *const stage = &planned->stages[j];
            if (stage->part)
                continue;
            study->saved.low += stage->saved.low;
            study->saved.high += stage->saved.high;
            study->stages_taken += stage->taken;
            study->fits += stage->fits;
            study->fits_taken += stage->fits_taken;
        }
    }
}

/* The number of the first trial of the same chain, or -1 where there is no other. */
static int chain_of(const struct study_plan *study, int trial)
{
    int first = -1, alike = 0;
    for (int i = 0; i < study->trial_count; i++)
        if (strcmp(study->trials[i].chain, study->trials[trial].chain) == 0) {
            first = first < 0 ? i : first;
            alike++;
        }
    return alike > 1 ? first : -1;
}

static bool schedule(struct study_plan *study, struct error *error)
{
    const size_t count = (size_t)study->trial_count;
    struct schedule_trial *const trials = calloc(count, sizeof *trials);
    struct schedule_result low, high;
    if (!trials)
        return error_memory(error, "the plan of a study", count * sizeof *trials, NULL);
    for (int i = 0; i < study->trial_count; i++)
        trials[i] = (struct schedule_trial){.parts = study->trials[i].low,
                                            .part_count = STAGE_COUNT,
                                            .shared = study->trials[i].shared,
                                            .chain = chain_of(study, i)};
    bool done = schedule_trials(&low, trials, study->trial_count, study->at_once, error);
    for (int i = 0; i < study->trial_count; i++)
        trials[i].parts = study->trials[i].high;
    done = done && schedule_trials(&high, trials, study->trial_count, study->at_once, error);
    free(trials);
    study->seconds = (struct plan_range){low.seconds, high.seconds};
    study->memory = fmax(low.memory, high.memory);
    return done;
}

/* Of another machine it is known only how many there are to be. */
static int trials_at_once(const struct sweep *sweep, const struct plan_options *options)
{
    const int given = (int)config_integer(sweep->config, "experiment.trials_at_once");
    if (options->operations_per_second > 0)
        return given > 0 ? given : 1;
    return sweep_trials_at_once(sweep->config);
}

bool study_plan_make(struct study_plan *study, const struct sweep *sweep, const struct plan_options *options,
                     struct error *error)
{
    const size_t count = (size_t)sweep->trial_count;
    const int at_once = trials_at_once(sweep, options);
    *study = (struct study_plan){.sweep = sweep,
                                 .trial_count = sweep->trial_count,
                                 .at_once = at_once < sweep->trial_count ? at_once : sweep->trial_count};
    study->trials = calloc(count, sizeof *study->trials);
    bool done =
        (study->trials || error_memory(error, "the plan of a study", count * sizeof *study->trials, NULL)) &&
        plan_memo_open(&study->memo, true, error) && sweep_expect(&study->comparisons, sweep, error);
    for (int i = 0; done && i < study->trial_count; i++)
        done = plan_trial(study, i, options, error);
    if (done)
        sum_trials(study);
    return done && schedule(study, error);
}

void study_plan_free(struct study_plan *study)
{
    for (int i = 0; study->trials && i < study->trial_count; i++)
        free(study->trials[i].stages);
    free(study->trials);
    plan_memo_close(study->memo);
    sweep_expectation_free(&study->comparisons);
    *study = (struct study_plan){.trial_count = 0};
}

void study_plan_order(int *order, const struct study_plan *study)
{
    for (int i = 0; i < study->trial_count; i++) {
        const double expected = plan_expected(study->trials[i].total.seconds);
        int place = i;
        for (; place > 0 && plan_expected(study->trials[order[place - 1]].total.seconds) < expected; place--)
            order[place] = order[place - 1];
        order[place] = i;
    }
}
