/*
 * sweep_expect.h: what is known of a study's comparisons before anything is run: how many each family will have, how far
 * apart arms must be to be told apart, and which trials are the same.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_EXPECT_H
#define IDREC_EXPERIMENTS_SWEEP_EXPECT_H

#include <stdio.h>

#include "experiments/sweep.h"
#include "experiments/sweep_compare.h"

struct sweep_expectation {
    /* Comparisons of a metric, at most: of those that hold the same settings against the same, one is counted. */
    int64_t families[QUESTION_COUNT];
    int64_t seeds;
    json_t *equal; /* [["TRIAL", "TRIAL", ...]]: trials of equal configurations */
};

/* Reads the configuration of every trial: the study must have been opened by its file. */
bool sweep_expect(struct sweep_expectation *expectation, const struct sweep *sweep, struct error *error);
void sweep_expectation_free(struct sweep_expectation *expectation);

/* A line on the families, and one for each set of equal trials. */
void sweep_expect_print(const struct sweep_expectation *expectation, FILE *stream);
/* Of one set of equal trials; malloc'ed. */
char *sweep_expect_warning(const json_t *equal);
/* {"families": {"original": 12, ...}, "seeds": 5, "needed_deviations": {"original": 3.1, ...}, "equal_trials"} */
json_t *sweep_expect_json(const struct sweep_expectation *expectation);

#endif
