/*
 * sweep_order.h: which trial of a study is begun next where several are worked on at a time: rather one that has fits of its own
 * than one whose fits are under way in others, which it would have to wait for. Which fits trials have in common is told by their
 * configurations alone: a guess, where claims decide.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_ORDER_H
#define IDREC_EXPERIMENTS_SWEEP_ORDER_H

#include "experiments/sweep.h"

struct sweep_order;

/* The fits of no trial are known yet. */
bool sweep_order_open(struct sweep_order **order, int trial_count, struct error *error);
void sweep_order_close(struct sweep_order *order);
/* Adds what decides the fits of a trial: for each of its recommenders the settings, and what all read. */
bool sweep_order_describe(struct sweep_order *order, int trial, const struct config *config,
                          struct error *error);

/* How far a trial is. */
enum order_progress { ORDER_WAITS, ORDER_UNDER_WAY, ORDER_DONE };

/* The first of those that wait and may be begun: where others are under way, of those that have a recommender whose fits nobody
 * has begun, else of those whose fits are done, else of all. -1: there is none.
 * progress, may_begin: [trials] */
int sweep_order_next(const struct sweep_order *order, const enum order_progress *progress,
                     const bool *may_begin);

#endif
