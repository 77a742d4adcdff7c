/*
 * efficiency.h: whether augmentation was worth its time, of each recommender:
 *   parts   what augmentation cost: pretrain, finetune, generate, augment, which serve all recommenders and are counted in full,
 *           and "choice", the fits that the choice on validation tried
 *   gains   of the augmented arm on test, from the comparisons, each divided by the hours of these parts
 *   validation  what the choice saw: the metric without augmentation and with the one adopted
 *   tuning  what a search for settings of the original arm had reached on validation after as many seconds
 * Seconds are those of the device: of fits, of which several share it, their sum divided by how many did ("at_once").
 */
#ifndef IDREC_EXPERIMENTS_EFFICIENCY_H
#define IDREC_EXPERIMENTS_EFFICIENCY_H

#include <jansson.h>

#include "experiments/study.h"

/* `results`: results.json with its comparisons, selection, tuning and cost. *list: a new array, empty without the arm augmented.
 *   [{"recommender", "seconds", "hours", "parts": [{"part", "seconds", "device", ...}],
 *     "gains": [{"metric", "difference", "difference_ci95", "relative_gain", "ci95", "difference_per_hour",
 *                "relative_gain_per_hour"}],
 *     "validation": {"metric", "chosen", "original", "augmented", "gain", "standard_error"} or null,
 *     "tuning": {"metric", "as_written", "budget_seconds", "reached", "gain", "gain_per_hour", "best", "seconds", "ended"},
 *               or null: not tuned}] */
bool efficiency_json(json_t **list, const struct study *study, const json_t *results, struct error *error);

/* What a search had reached within a budget: the last point of a curve (tuning.h) by whose seconds / at_once no more than
 * `budget` seconds had passed; NULL: none. */
const json_t *efficiency_reached(const json_t *curve, double at_once, double budget);

#endif
