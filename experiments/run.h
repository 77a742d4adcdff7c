/*
 * run.h: one experiment on its way: its configuration, folder, manifest, device and log, and the stages.
 */
#ifndef IDREC_EXPERIMENTS_RUN_H
#define IDREC_EXPERIMENTS_RUN_H

#include <jansson.h>

#include "core/backend.h"
#include "core/comm.h"
#include "core/config.h"
#include "core/error.h"
#include "core/progress.h"

struct manifest;
struct meter;

struct run {
    struct config *config;
    char *folder; /* runs/NAME, or the config's `output` */
    char *
        shared; /* of a trial: where the trials of its study keep what they have in common (shared_stages.h), else NULL */
    struct manifest *manifest;
    struct backend *backend;
    struct log *log;
    struct meter *meter;               /* of this process; see cost.h */
    bool worked;                       /* on some stage */
    const char *stage;                 /* that is looked at or worked on; NULL: none yet */
    struct communicator *communicator; /* NULL: one process; borrowed */
    struct trace *trace;               /* of its trainings; NULL: none is wanted */
};

/* A configuration that declares a sweep is none of one experiment, and refused. All ranks open the run; rank 0 alone locks
 * the folder and tells. The others have no log that anyone sees, and a manifest, to read, while they work on a stage. */
bool run_open(struct run *run, struct communicator *communicator, const char *config_path, int override_count,
              char *const *overrides, struct error *error);
/* The same with a configuration that is loaded and checked, which the run owns from here on, even when it fails. threads 0:
 * as many as the configuration says. `shared` is copied and may be NULL. */
bool run_open_config(struct run *run, struct communicator *communicator, struct config *config, int threads,
                     const char *shared, struct error *error);
/* The first steps of each training are to be traced in the file (core/trace.h); NULL: they are not. */
bool run_open_trace(struct run *run, const char *path, struct error *error);
/* Whether this rank is the one that writes. */
bool run_leads(const struct run *run);
/* Returns when all ranks have called it, in a stage that they do together. */
bool run_wait_for_ranks(const struct run *run, struct error *error);
void run_close(struct run *run);
/* The process does nothing but this run: its start counts among the costs. */
void run_count_start(struct run *run);
/* Where the experiment of a configuration keeps its results; malloc'ed. */
char *run_folder(const struct config *config);
/* A malloc'ed path below the run's folder. */
char *run_path(const struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a stage did, for manifest.json and the cost table of results.json. */
struct stage_cost {
    int64_t tokens; /* processed by the language model, 0 elsewhere */
    double floating_point_operations;
    int at_once;    /* fits that share the device; 0: the stage fits none */
    bool put_aside; /* the stage will be begun again: what it did is part of that attempt */
};

/* The stages, in order; each reads and writes artefacts below run->folder and nothing else. */
typedef bool stage_function(struct run *run, struct stage_cost *cost, struct error *error);
stage_function stage_prepare;  /* dataset.h5 */
stage_function stage_pretrain; /* language_model/base/ */
stage_function stage_finetune; /* language_model/adapter/ */
stage_function stage_generate; /* generated.h5 */
stage_function stage_augment;  /* augmented.h5 */
stage_function stage_tune;     /* tune/, tune_candidates/ */
stage_function stage_train;    /* recommenders/ */
stage_function stage_evaluate; /* results.json */
stage_function stage_report;   /* report.md, report.html, plots/, tables/, tensorboard/ */

/* All ranks call it. Stages that they do not divide are rank 0's, and the others wait.
 * Runs `stage` ("prepare" ... "report"), or with through=true every stage that it needs, too. A stage whose
 * inputs' hash is in the manifest and whose outputs are there is skipped. */
bool run_stage(struct run *run, const char *stage, bool through, struct error *error);

/* Whether the results of a stage are in `folder`, complete, and of the configuration and the data that the folder
 * holds now; an error that says so where they are not. */
bool run_check_stage(const char *folder, const char *stage, struct error *error);
/* Opens the folder of such a run to be read and no more: its configuration and manifest, without lock, device and log.
 * Needs run_close() as well where it fails. */
bool run_open_done(struct run *run, const char *folder, const char *stage, struct error *error);

/* What the stages before `evaluate` cost: array of {"stage", "seconds", "device", "tokens", ...}. */
json_t *run_cost_table(const struct run *run);

#endif
