/*
 * same_data.h: whether two runs were tested on the same interactions, by the raw ids of users and items: their names for the
 * data and their numbers of users and items may differ.
 */
#ifndef IDREC_EXPERIMENTS_SAME_DATA_H
#define IDREC_EXPERIMENTS_SAME_DATA_H

#include "experiments/study.h"

struct same_data {
    int64_t *place; /* [base->test_count]: the same user among the other's test_users */
    /* Pairs of user and item that one of the runs has in this part and the other has not: both are tested alike, but they
     * learn from other rows, or other items are hidden. */
    int64_t train_differences, validation_differences;
};

/* As it is told of in errors: a run by its folder, a trial by its name. */
struct named_study {
    const char *name;
    const struct study *study;
};

/* Other items to rank, or other pairs in the test part, are an error that names one of them. Rows of both studies ascend.
 * Needs same_data_close() as well where it fails. */
bool same_data_open(struct same_data *same, struct named_study base, struct named_study other,
                    struct error *error);
void same_data_close(struct same_data *same);

#endif
