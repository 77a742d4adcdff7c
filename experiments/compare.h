/*
 * compare.h: runs that were tested on the same interactions, compared with the first of them: `idrec compare`. Nothing is
 * written into their folders.
 */
#ifndef IDREC_EXPERIMENTS_COMPARE_H
#define IDREC_EXPERIMENTS_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "core/error.h"
#include "experiments/document.h"

/* Tables name them by a letter. */
enum { COMPARED_RUNS_MAXIMUM = 26 };

struct compare_request {
    int run_count;
    char *const *folders;    /* the others are compared with the first */
    const char *arm;         /* NULL: augmented where both runs have fits of it, else original */
    const char *against_arm; /* of the first run; NULL: the same arm */
    const char *metric;      /* "ndcg@20"; NULL: all that both runs have evaluated */
    const char *recommender; /* NULL: all that both runs have */
};

/* *result becomes
 *   {"runs": [{"run": folder, "name", "seeds": [1, ...], "notes": [...], "cost": [{"stage", "seconds", ...}]}],
 *    "test": {"users", "items", "interactions", "protocol", "mask"},
 *    "differences": [{"key", "values": [YAML of each run, or null]}],
 *    "comparisons": [{"recommender", "run", "against_run", "arm", "against", "metric", as in comparison.h, "p_holm"}],
 *    "left_out": [{"recommender", "run", "reason"}]}
 * p_holm corrects for all comparisons of a metric. Runs that cannot be compared are an error that tells why. */
bool compare_runs(json_t **result, const struct compare_request *request, struct error *error);
/* The same for people; false: out of memory. */
bool compare_print(const json_t *result, enum document_format format, FILE *stream);

#endif
