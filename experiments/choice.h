/*
 * choice.h: one way of using the synthetic rows: how, how many, and how confident they must be.
 */
#ifndef IDREC_EXPERIMENTS_CHOICE_H
#define IDREC_EXPERIMENTS_CHOICE_H

#include "core/interactions.h"

enum augmentation_use { USE_NONE, USE_POSITIVES, USE_EXCLUDE_FROM_NEGATIVES, USE_BOTH, USE_COUNT };
const char *use_name(enum augmentation_use use);
/* USE_COUNT when unknown. */
enum augmentation_use use_from_name(const char *name);

/* The synthetic items of each user that passed the filters, best first. */
struct ranked_lists {
    struct csr items;       /* [users, items]; a row is in the order of rank */
    float *log_probability; /* one an index */
    int32_t *votes;         /* one an index: lists or contexts that held the item; NULL: not known */
};
void ranked_lists_free(struct ranked_lists *lists);

struct choice {
    enum augmentation_use use;
    bool proportional; /* amount is a share of the user's training rows, rounded up; else rows a user */
    double amount;
    double quantile; /* only rows whose log-probability is at or above this quantile of all rows */
};
enum { CHOICE_NAME_SIZE = 64 };
/* "positives-5", "both-0.1x-q0.5": the name of its folder and of its line in the report. */
void choice_name(char name[CHOICE_NAME_SIZE], const struct choice *choice);

/* The rows of a choice; a row of the result is in the order of rank. USE_NONE takes none. */
bool choice_rows(struct csr *rows, const struct choice *choice, const struct ranked_lists *lists,
                 const struct csr *train, struct error *error);

#endif
