/*
 * run.h: one experiment on its way: its configuration, folder, manifest, device and log, and the stages.
 */
#ifndef IDREC_EXPERIMENTS_RUN_H
#define IDREC_EXPERIMENTS_RUN_H

#include <jansson.h>

#include "core/backend.h"
#include "core/config.h"
#include "core/error.h"
#include "core/progress.h"

struct manifest;

struct run {
    struct config *config;
    char *folder; /* runs/NAME, or the config's `output` */
    struct manifest *manifest;
    struct backend *backend;
    struct log *log;
};

bool run_open(struct run *run, const char *config_path, int override_count, char *const *overrides,
              struct error *error);
void run_close(struct run *run);
/* A malloc'ed path below the run's folder. */
char *run_path(const struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a stage did, for manifest.json and the cost table of results.json. */
struct stage_cost {
    int64_t tokens;           /* processed by the language model, 0 elsewhere */
    double floating_point_operations;
};

/* The stages, in order; each reads and writes artefacts below run->folder and nothing else. */
bool stage_prepare(struct run *run, struct stage_cost *cost, struct error *error);  /* dataset.h5 */
bool stage_pretrain(struct run *run, struct stage_cost *cost, struct error *error); /* language_model/base/ */
bool stage_finetune(struct run *run, struct stage_cost *cost, struct error *error); /* language_model/adapter/ */
bool stage_generate(struct run *run, struct stage_cost *cost, struct error *error); /* generated.h5 */
bool stage_augment(struct run *run, struct stage_cost *cost, struct error *error);  /* augmented.h5 */
bool stage_train(struct run *run, struct stage_cost *cost, struct error *error);    /* recommenders/ */
bool stage_evaluate(struct run *run, struct stage_cost *cost, struct error *error); /* results.json */
bool stage_report(struct run *run, struct stage_cost *cost, struct error *error);   /* report.md, report.html, plots/ */

/* Runs `stage` ("prepare" ... "report"), or with through=true every stage up to and with it. A stage whose
 * inputs' hash is in the manifest and whose outputs are there is skipped. */
bool run_stage(struct run *run, const char *stage, bool through, struct error *error);

/* What the stages before `evaluate` cost: array of {"stage", "seconds", "device", "tokens", ...}. */
json_t *run_cost_table(const struct run *run);

#endif
