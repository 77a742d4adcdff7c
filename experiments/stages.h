/*
 * stages.h: the table of the stages: what each reads and writes. The hash of a stage's inputs covers the
 * parts of the configuration that it reads, `fast`, the outputs of the stages that it reads, for `prepare` the
 * bytes of the data files, and for `evaluate` those of the truth about artificial data.
 */
#ifndef IDREC_EXPERIMENTS_STAGES_H
#define IDREC_EXPERIMENTS_STAGES_H

#include "experiments/run.h"

enum { STAGE_COUNT = 9, STAGE_PATHS_MAXIMUM = 12 };

struct stage {
    const char *name;
    stage_function *work;
    unsigned reads;                                /* bit i: reads outputs of stage i */
    const char *settings[STAGE_PATHS_MAXIMUM + 1]; /* parts of the configuration, NULL-ended */
    const char *outputs[STAGE_PATHS_MAXIMUM + 1];  /* below the run's folder, NULL-ended */
    const char *state[2];                          /* what an interrupted stage leaves to go on from */
    bool by_device; /* it holds figures that a device computes, which `fast` may change */
    bool by_ranks;  /* ranks do it together; the others are rank 0's */
    bool
        synthetic; /* serves the synthetic rows: left out where nothing but the arm `original` is asked for */
    bool shared;   /* its outputs are never changed in place: trials of a study have them in common */
    bool keeps_outputs; /* sorts out itself which older outputs other inputs would give as well */
    int rules; /* raised where the same inputs give other outputs than before: older folders do the stage again */
};

extern const struct stage stages[STAGE_COUNT];
/* Part of every hash: a new number makes every stage of older folders run again. */
extern const char artefact_version[];
/* Keys of the configuration that name files: DATA_FILES of the data, then those of a pretrained model. */
enum { DATA_FILES = 4, INPUT_FILES = 6 };
extern const char *const input_files[INPUT_FILES];

/* The number of a stage, or -1. */
int stage_number(const char *name);
/* Whether the experiment needs no such stage, and a bit mask of the stages that stage `number` reads in it. */
bool stage_is_left_out(const struct config *config, int number);
unsigned stage_reads(const struct config *config, int number);
/* The last stage that a trial of the experiment can have in common with other trials of its study. */
int stage_last_shared(const struct config *config);
/* The hash of everything in a configuration and of the paths of all files that stage `number` depends on, by those that it
 * reads, 32 digits: where two are the same, so are the stages' inputs. */
void stage_settings_hash(const struct config *config, int number, char digits[33]);
/* The hash of the inputs of stage `number`, 32 digits. The stages that it reads must be complete. */
bool stage_inputs_hash(const struct run *run, int number, char digits[33], struct error *error);

#endif
