/*
 * trained.h: a trained recommender of a run, ready to be asked: with the data set, what each user is known to have had,
 * and the users who are asked about. What `idrec recommend` and `idrec export` share.
 */
#ifndef IDREC_EXPERIMENTS_TRAINED_H
#define IDREC_EXPERIMENTS_TRAINED_H

#include <jansson.h>

#include "core/backend.h"
#include "core/interactions.h"
#include "models/recommenders/recommender.h"

struct trained_request {
    const char *run_folder, *recommender;
    const char *arm;        /* NULL: augmented where the run has it, else original */
    int64_t seed;           /* -1: the lowest */
    const char *users_file; /* ids, one a line; NULL: all users */
    const char *device;     /* as in the configuration; NULL: that of the run's */
};

struct trained {
    char *arm;
    int64_t seed;
    struct dataset dataset;
    struct csr known;   /* train and validation, which the final model may know; rows ascend */
    struct csr history; /* the same in order of time */
    int32_t *users;     /* in the order of the file */
    int64_t user_count;
    struct backend *backend;
    struct recommender *recommender; /* knows the history */
};

/* The train stage of the run must be complete and of the data set that the folder holds. An unknown recommender, arm or
 * seed is an error that tells which there are. */
bool trained_open(struct trained *trained, const struct trained_request *request, struct error *error);
void trained_close(struct trained *trained);

/* The models of a run: {RECOMMENDER: {ARM: [seed, ...]}}. */
json_t *trained_models(const char *run_folder);

#endif
