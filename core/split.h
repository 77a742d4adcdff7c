/*
 * split.h: train, validation and test. A split is a function of the rows, the settings and the seed alone.
 *
 *   random         per user: floor(ratio * n) rows for validation and for test, at least 1 each where its
 * ratio is above 0 and train keeps one; the rest is train leave_one_out  per user: the last in time is test,
 * the last but one validation; fewer than 3 rows: all train temporal       two instants for all users: train
 * is before the first, test from the second on; rows of the same time are never separated. Users that start
 * late may have no train row. provided       the parts come with the rows; where none of them is validation,
 * floor(validation_ratio * n) of a user's train rows become it, at random, and one at least stays in train
 */
#ifndef IDREC_CORE_SPLIT_H
#define IDREC_CORE_SPLIT_H

#include "core/interactions.h"

enum dataset_part { PART_TRAIN, PART_VALIDATION, PART_TEST };
enum split_method { SPLIT_RANDOM, SPLIT_LEAVE_ONE_OUT, SPLIT_TEMPORAL, SPLIT_PROVIDED };

struct split_settings {
    enum split_method method;
    double ratios[3];        /* random, temporal: train, validation, test; they sum to 1 */
    double validation_ratio; /* provided: of train; 0: none */
    uint64_t seed;
};

/* Builds the data set; takes the id maps over from `interactions`. parts [count]: enum dataset_part, needed
 * by SPLIT_PROVIDED. dataset->name and counts are the caller's to set. */
bool dataset_split(struct dataset *dataset, struct interactions *interactions, const uint8_t *parts,
                   struct split_settings settings, struct error *error);

#endif
