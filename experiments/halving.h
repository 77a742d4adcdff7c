/*
 * halving.h: which trial of a search trains next, and how far: random search, and asynchronous successive halving (Li et
 * al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2).
 *
 * Every trial trains to the first rung; of the trials at a rung the best 1/reduction go on to the next one. With one rung
 * this is random search. Workers never wait for a whole rung, and yet the outcome is the same whatever the workers' number
 * and speed: a rung keeps its trials in a sequence, and scores count only once all before them in the sequence have one.
 * After the first m scores, floor(m / reduction) trials have been promoted, each time the best of the first m that have not
 * been; they join the next rung's sequence in that order. So the sequences, and with them every decision, follow from the
 * scores alone. When a rung is complete at least one of its trials has been promoted, so that one reaches the last rung.
 *
 * Trial 0 stands in the last rung from the start: what the others are compared with is trained to its end.
 */
#ifndef IDREC_EXPERIMENTS_HALVING_H
#define IDREC_EXPERIMENTS_HALVING_H

#include "core/error.h"

enum { RUNGS_MAXIMUM = 32 };

struct halving_member {
    int trial;
    double score;
    bool scored, promoted;
};

struct halving_rung {
    int count, final_count; /* trials in the sequence; when the rung is complete */
    int taken;              /* first of the sequence that have been handed out */
    int counting;           /* first of the sequence whose scores count */
    int promoted;
    struct halving_member *members; /* [final_count], the sequence */
};

struct halving {
    int reduction, rung_count;
    struct halving_rung rungs[RUNGS_MAXIMUM];
};

/* reduction >= 2, 1 <= rung_count <= RUNGS_MAXIMUM, trials >= 1. */
bool halving_open(struct halving *halving, int trials, int reduction, int rung_count, struct error *error);
void halving_close(struct halving *halving);
/* How many trainings from one rung to the next there are in all. */
int halving_training_count(const struct halving *halving);

/* The next training that can begin, of the highest rung that has one. False: none can before a score arrives, or at all. */
bool halving_take(struct halving *halving, int *trial, int *rung);
/* The score of a training that was taken; the higher the better, -INFINITY: it failed. */
void halving_score(struct halving *halving, int trial, int rung, double score);
/* Whether all trials that ever come to `rung` have their scores. */
bool halving_is_complete(const struct halving *halving, int rung);
/* Whether a trial that has a score at `rung` is certain by now to train no further. */
bool halving_is_out(const struct halving *halving, int trial, int rung);

#endif
