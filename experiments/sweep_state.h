/*
 * sweep_state.h: how far a trial of a study is. STUDY/trials/NAME/trial.json is written when it ended: "done", or "failed"
 * with the stage and a reason; STUDY/claims/NAME.N tells who works on it; trials/NAME/output.txt has what it printed.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_STATE_H
#define IDREC_EXPERIMENTS_SWEEP_STATE_H

#include <time.h>

#include "experiments/sweep.h"

enum trial_state { TRIAL_WAITING, TRIAL_RUNNING, TRIAL_INTERRUPTED, TRIAL_DONE, TRIAL_FAILED };
const char *trial_state_name(enum trial_state state);

/* How a trial ended. */
struct trial_outcome {
    bool done; /* false: failed */
    char signature[33];
    char stage[16], reason[1024]; /* of a failure; the stage is "" where none had begun */
    double seconds;               /* of all attempts of this program, as a clock on the wall has them */
    int64_t memory_bytes;         /* the largest peak of its processes */
    struct timespec ended;        /* by the clock of the folder's server; set by reading */
};

/* 32 digits that change with the configuration of a trial and with its input files (their size and time). */
bool trial_signature(char digits[33], const struct config *config, struct error *error);
/* False: there is none, or a damaged one. */
bool trial_outcome_read(struct trial_outcome *outcome, const struct sweep_trial *trial);
bool trial_outcome_write(const struct trial_outcome *outcome, const struct sweep_trial *trial,
                         struct error *error);
/* Whether the files of a trial that is done are there, in their size, of which the study's report is made. */
bool trial_is_whole(const struct sweep_trial *trial);
/* The claim of a trial; malloc'ed. */
char *trial_claim_path(const struct sweep *sweep, const struct sweep_trial *trial);
/* The last line that the trial printed, of those that begin with `prefix`; "" where there is none. */
void trial_last_line(char *line, size_t size, const struct sweep_trial *trial, const char *prefix);

/* The first stage whose record is not complete, or else the last that has one; unchanged where there is none. */
void trial_find_stage(char *stage, size_t size, const struct sweep_trial *trial);

struct trial_status {
    enum trial_state state;
    char stage[16]; /* that is not complete, or the last that was begun; of a failure the one that failed */
    char progress[256]; /* what it printed last, while it runs */
    char owner[160];    /* "HOST, process N", while it runs */
    double elapsed;     /* seconds since its owner began, while it runs */
    int awaited_fits;   /* which other trials train, while it waits for them */
    struct trial_outcome outcome;
};

/* As the files have it. `signatures`: those of the trials as they are configured now; NULL: an outcome counts whatever the
 * configuration was. */
void trial_status_read(struct trial_status *status, const struct sweep *sweep, int trial,
                       const char *signature);

#endif
