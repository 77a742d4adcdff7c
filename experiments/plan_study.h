/*
 * plan_study.h: what a study will take: every trial's plan, in which what trials have in common counts once, and how they follow
 * each other.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_STUDY_H
#define IDREC_EXPERIMENTS_PLAN_STUDY_H

#include "experiments/plan.h"
#include "experiments/plan_schedule.h"
#include "experiments/stages.h"
#include "experiments/sweep.h"
#include "experiments/sweep_expect.h"

/* Of one trial: what it does itself. */
struct planned_trial {
    const struct sweep_trial *trial;
    int stage_count;
    struct plan_stage *stages; /* [stage_count], as a plan has them */
    struct plan_total total;   /* of what is not taken from other trials */
    struct schedule_part low[STAGE_COUNT], high[STAGE_COUNT];
    char chain[PLAN_KEY_SIZE]; /* of the last stage that can be shared */
    int shared;                /* parts up to that */
};

struct study_plan {
    const struct sweep *sweep;
    struct plan_memo *memo;
    char device[320], source[256];
    bool measured;
    int64_t users, items, rows; /* of the first trial */
    double memory_available;
    int at_once;
    int trial_count;
    struct planned_trial *trials; /* [trial_count] */

    /* of all trials */
    struct plan_range seconds;     /* until the last is over */
    struct plan_range work, saved; /* seconds that trials take one after another; that taking saves */
    int64_t stages_taken, fits, fits_taken;
    double memory, disk, passing; /* memory: of those that run at a time, at most */
    struct sweep_expectation comparisons;
};

bool study_plan_make(struct study_plan *study, const struct sweep *sweep, const struct plan_options *options,
                     struct error *error);
void study_plan_free(struct study_plan *study);

/* The trials in the order of what they take, the most expensive first: indices [trial_count]. */
void study_plan_order(int *order, const struct study_plan *study);

void study_plan_print(const struct study_plan *study, FILE *stream);
json_t *study_plan_json(const struct study_plan *study);

#endif
