/*
 * plan.h: what a run will take, told before it starts: the memory, disk and time of each stage.
 *
 * Work is counted by the stages' own code on a backend that computes nothing (core/counting.h), so operations agree with
 * those that a run reports. Rates are measured: some batches of the configured models on the configured device. Where the
 * run is for another machine, rates are assumed, and said to be.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_H
#define IDREC_EXPERIMENTS_PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "core/comm.h"
#include "core/interactions.h"
#include "experiments/plan_exchange.h"
#include "experiments/plan_memo.h"
#include "experiments/run.h"
#include "experiments/study.h"

/* From where early stopping can end it at the earliest to where all is done. */
struct plan_range {
    double low, high;
};

struct plan_amount {
    char name[56];
    double bytes;
};

/* What the program and its libraries take by themselves. */
#define PROGRAM_BYTES 2.4e7

enum { PLAN_AMOUNTS_MAXIMUM = 24, PLAN_STAGES_MAXIMUM = 96 };

/* A stage, or a part of one (a recommender). */
struct plan_stage {
    char name[64];
    bool part;  /* of the stage above, whose figures hold it already */
    bool taken; /* of an earlier trial that computes it: neither its time nor its files count again */
    int trial;  /* that computes it */
    int64_t fits, fits_taken; /* of recommenders; those among them that earlier trials do */
    struct plan_range
        saved;        /* seconds that this stage, or its fits, would take besides if nothing were taken */
    char work[200];   /* what there is to do, for people */
    int memory_count; /* at the stage's peak */
    struct plan_amount memory[PLAN_AMOUNTS_MAXIMUM];
    int file_count; /* that stay in the run's folder */
    struct plan_amount files[PLAN_AMOUNTS_MAXIMUM];
    double passing_bytes; /* of disk besides, until the stage is over */
    struct plan_range tokens, operations, seconds;
    struct plan_range moved; /* bytes that operators of generation read and write */
    struct plan_exchange exchange;
    char rate[160];    /* where the seconds come from */
    const char *lower; /* the setting to lower when memory does not suffice */
};

struct plan_options {
    int64_t users, items, interactions; /* 0: of the data */
    double mean_spread;                 /* deviation of the logarithm of a user's rows, without data */
    double tokens_per_item;             /* text; 0: by the digits of the index */
    double memory;                      /* bytes to fit into; 0: what the device or the host has */
    double operations_per_second;       /* of another device; 0: rates are measured */
    double efficiency, bytes_per_second;
    int64_t ranks;  /* that the run is to have, each with such a device */
    double link;    /* bytes a second that a rank can send the others; 0: not known */
    double seconds; /* most that measuring one thing may take */
};

/* Where a run stands in a study; zeros for a run by itself. */
struct plan_place {
    int trial;   /* its number */
    int at_once; /* trials that run side by side; 0: the run is no trial */
};

struct plan {
    struct plan_options options;
    struct plan_memo *memo; /* borrowed */
    struct plan_place place;
    struct run run;             /* without manifest and log; the backend counts */
    struct communicator ranks;  /* the first of as many as there are to be; it exchanges nothing */
    struct backend *device;     /* that measures; NULL: rates are assumed */
    struct study study;         /* its settings alone */
    struct plan_data_set *data; /* the memo's */
    struct dataset dataset;     /* the same, as train and validation are */
    struct csr train, validation;
    bool has_language_model;
    struct plan_stage *rankings; /* [recommenders + 1]: of those that are given some; of study.generator */
    double memory_available;     /* bytes */
    int stage_count;
    struct plan_stage stages[PLAN_STAGES_MAXIMUM];
};

/* Counts and measures everything. The plan owns the configuration from here on, even when it fails. */
bool plan_make(struct plan *plan, struct config *config, const struct plan_options *options,
               struct plan_memo *memo, struct plan_place place, struct error *error);
void plan_free(struct plan *plan);

/* Sums over stages, the largest of memory; which stage takes the most time, and the most memory. */
struct plan_total {
    struct plan_range seconds;
    double memory, disk, passing;
    int slowest, largest; /* stages; -1: none */
};
struct plan_total plan_total(const struct plan *plan);
double plan_stage_memory(const struct plan_stage *stage);
double plan_stage_disk(const struct plan_stage *stage);
/* The seconds that are told where one figure is wanted: the geometric mean of a range. */
double plan_expected(struct plan_range range);

void plan_print(const struct plan *plan, FILE *stream);
json_t *plan_json(const struct plan *plan);
json_t *plan_stage_json(const struct plan_stage *stage, bool measured, double memory_available);

/* ---- the parts of plan_make() ------------------------------------------------------------------------- */

struct plan_stage *plan_add_stage(struct plan *plan, const char *name, bool part);
void plan_add_memory(struct plan_stage *stage, const char *name, double bytes);
void plan_add_file(struct plan_stage *stage, const char *name, double bytes);

/* Adds a stage as an earlier trial computes it; false: none does. */
bool plan_take_stage(struct plan *plan, const char *name);
/* Tells later trials of a stage whose figures are complete. */
bool plan_offer_stage(struct plan *plan, const struct plan_stage *stage, struct error *error);

/* plan_data.c: the data set, read or made up, unless an earlier trial's is the same. */
bool plan_data(struct plan *plan, struct error *error);
/* Bytes of a matrix in memory, and about as many as HDF5 compresses them to. */
double plan_csr_bytes(const struct csr *matrix);
double plan_csr_file_bytes(const struct csr *matrix);
/* Rows that are not empty. */
int64_t plan_users_with_any(const struct csr *matrix);
/* Bytes of an id of the input, on average. */
double plan_id_bytes(const struct id_map *ids);

/* plan_language.c: pretrain, finetune, generate, augment. plan_recommenders.c: tune, train. plan_evaluation.c: evaluate,
 * report. */
bool plan_language(struct plan *plan, struct error *error);
bool plan_recommenders(struct plan *plan, struct error *error);
bool plan_evaluation(struct plan *plan, struct error *error);

/* How long it takes to find what item_knn would give every user: control.itemknn and `evaluate` ask for that. *once: fitting;
 * *users: the users' lists. */
bool plan_neighbors(double *once, double *users, const struct plan *plan, struct error *error);

/* Seconds of work on a device that is not here. */
double plan_assumed_seconds(const struct plan *plan, const struct operation_counters *work);

#endif
