/* coverage.h: who and what a split leaves out: users who are not tested, and what no model can learn from train. */
#ifndef IDREC_EXPERIMENTS_COVERAGE_H
#define IDREC_EXPERIMENTS_COVERAGE_H

#include "core/interactions.h"

struct coverage {
    int64_t untested_users;                       /* without a test row: they only train */
    int64_t unseen_users, unseen_items;           /* without a train row */
    int64_t validation_of_unseen, test_of_unseen; /* held-out rows of such items */
};

bool coverage_count(struct coverage *coverage, const struct dataset *dataset, struct error *error);

#endif
