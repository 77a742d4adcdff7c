/*
 * selection.h: the choice of how synthetic rows are used, made for each recommender on validation data, with
 * nothing among the choices. The whole table is kept in recommenders/LABEL/selection.json.
 */
#ifndef IDREC_EXPERIMENTS_SELECTION_H
#define IDREC_EXPERIMENTS_SELECTION_H

#include "experiments/study.h"

/* How one choice did against the original arm, with the same seeds. */
struct choice_score {
    double mean, gain;     /* of the metric; the mean difference */
    double standard_error; /* of the gain: over seeds or over users, whichever is larger */
    bool same; /* nobody's lists have changed: a recommender without negatives keeps none out of them */
};
struct choice_score choice_score(const double *scores /* [seeds, users] */,
                                 const double *baseline /* [seeds, users] */, int64_t seeds, int64_t users);

/* The rule: the choice with the largest mean gain (of equals the first) is adopted when that gain is positive
 * and larger than `margin` of its standard errors. One that changes nothing is passed over while another does. Returns its index, or -1: nothing is adopted. `best` is
 * its index either way, -1 without any choice that adds something. USE_NONE is never a candidate. */
int selection_decide(const struct choice_score *results, int *best, const struct choice *choices,
                     int choice_count, double margin);

/* What was decided for one recommender. */
struct selection {
    struct choice chosen;  /* of the augmented arm; USE_NONE: nothing */
    struct choice control; /* of the control arms: chosen, or the best that adds something */
};

/* Reads the scores of the trials, decides, and writes selection.json. With select: fixed the first choice is
 * taken. */
bool selection_make(struct selection *selection, const struct study *study, int contestant,
                    struct error *error);

/* The seed's index 0 .. select_seeds - 1 that is fitted in its place: 0 for deterministic models. */
uint64_t selection_seed(const struct study *study, int contestant, int64_t index);
/* The folder of a choice on trial: "trial-NAME". */
void selection_folder(char *name, size_t size, const struct choice *choice);

#endif
