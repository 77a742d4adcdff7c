/*
 * search.h: the search for the best settings of one recommender on the rows of one arm: its trials, in the order that
 * halving.h gives, several at a time. The result is the same whatever their number, and after a kill.
 */
#ifndef IDREC_EXPERIMENTS_SEARCH_H
#define IDREC_EXPERIMENTS_SEARCH_H

#include "experiments/trial.h"
#include "experiments/tune_settings.h"

struct trial {
    struct recommender_settings settings;
    char (*drawn)[SETTING_SIZE]; /* [space.count]; of trial 0 as written */
    int rung;                    /* the highest that it has reached; -1: none yet */
    struct trial_result result;  /* there; or why it failed, after which it reaches nothing more */
    double scores[RUNGS_MAXIMUM],
        seconds[RUNGS_MAXIMUM]; /* at each rung that it has reached; a failed one: -INFINITY */
};

struct search {
    const struct study *study;
    int contestant;
    enum arm arm;
    struct search_space space;
    struct arm_rows rows; /* what the arm trains on */
    struct training_set data;
    struct csr hidden; /* own copy with mask: augmented, else empty */
    struct fit_watch watch;
    int rung_count;
    int64_t pauses[RUNGS_MAXIMUM];
    struct halving halving;
    int trial_count;
    struct trial *trials;
};

/* Takes the rows over, which the arm trains on. */
bool search_open(struct search *search, const struct study *study, const struct tune_settings *settings,
                 int contestant, enum arm arm, struct arm_rows *rows, struct error *error);
void search_close(struct search *search);
/* Does all trials of all searches. */
bool search_run(struct search *searches, int count, const struct run *run, struct error *error);

/* The trials, best first (of equals the earlier one), failed ones last: order [trial_count]. */
void search_rank(int *order, const struct search *search);
/* tune/LABEL/ARM below the run's folder; malloc'ed. */
char *search_folder(const struct search *search);

#endif
