/*
 * plan_fit.h: how long a recommender trains, by training it for a moment.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_FIT_H
#define IDREC_EXPERIMENTS_PLAN_FIT_H

#include "experiments/plan.h"

/* Of one fit, with as many others at the same time as the study trains at a time. */
struct fit_rate {
    double epoch_seconds; /* of a model that is fitted at once: of the fit */
    double judge_seconds; /* of ranking all validation users */
    double share;         /* of the data that it was measured on; 1: all */
    double exponent;      /* share^-exponent has extended that to all of them */
    int epochs;           /* that were timed */
};

/* Trains on growing shares of the users until all are in, or the next would take longer than the options allow. */
bool fit_measure(struct fit_rate *rate, const struct plan *plan, const struct recommender_settings *settings,
                 int parallel, struct error *error);

/* Counts one epoch of all data, and the ranking of all validation users, without computing; *memory: the device's at its
 * peak, *published: bytes of what the model file holds. Models that are fitted at once cannot be counted: all zero. */
struct fit_count {
    struct operation_counters epoch, judge;
    double memory, published;
};
bool fit_count(struct fit_count *count, const struct plan *plan, const struct recommender_settings *settings,
               struct error *error);

/* The same, once for all trials of a study. Without a device the rate is what the count takes on the one that is assumed. */
struct fit_speed {
    struct fit_rate rate;
    struct fit_count count;
};
bool fit_speed_find(struct fit_speed *speed, const struct plan *plan,
                    const struct recommender_settings *settings, int parallel, struct error *error);

/* A fit that is watched on validation ends at the earliest when the first judgement stays the best for its patience. */
struct plan_range plan_fit_epochs(const struct recommender_settings *settings, bool watched);
double plan_fit_seconds(const struct recommender_settings *settings, const struct fit_rate *rate,
                        double epochs);

/* What models that are fitted at once hold, in bytes, by what they are made of. */
double plan_memory_at_once(const struct recommender_settings *settings, const struct csr *train);

/* A key of all settings that a recommender reads. */
void plan_key_of_settings(char key[PLAN_KEY_SIZE], const struct recommender_settings *settings);

#endif
