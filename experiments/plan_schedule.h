/*
 * plan_schedule.h: how long it takes to do pieces of work of known length, several at a time: the fits of a trial, and the
 * trials of a study.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_SCHEDULE_H
#define IDREC_EXPERIMENTS_PLAN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

enum { SCHEDULE_WORKERS_MAXIMUM = 1024 };

/* Seconds until the last of the pieces is done when each of `workers` takes the next in order. */
double schedule_pieces(const double *seconds, int64_t count, int workers);

/* A stage of a trial. */
struct schedule_part {
    double seconds; /* on the whole machine */
    bool scales; /* a part of the machine takes as many times as long; else one thread is all that it uses */
    double memory; /* bytes, while it lasts */
    int owner;     /* the trial whose part of the same number must be over first; -1: none */
};

/* A trial: its parts in order, the first `shared` of which others may wait for. */
struct schedule_trial {
    const struct schedule_part *parts;
    int part_count, shared;
    int chain; /* trials with the same have their shared parts in common; -1: nobody has them in common with it */
};

struct schedule_result {
    double seconds, memory; /* until the last trial is over; the most that is held at a time */
};

/* As sweep_run.c does it: `at_once` trials side by side in their order, of those whose shared parts are missing one for each
 * chain, and the threads divided among those that run and could. */
bool schedule_trials(struct schedule_result *result, const struct schedule_trial *trials, int count,
                     int at_once, struct error *error);

#endif
