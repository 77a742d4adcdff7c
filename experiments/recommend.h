/* recommend.h: the top items of users from a trained recommender of a run. */
#ifndef IDREC_EXPERIMENTS_RECOMMEND_H
#define IDREC_EXPERIMENTS_RECOMMEND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

struct recommend_request {
    const char *run_folder, *recommender;
    const char *users_file; /* ids, one a line; NULL: all users */
    const char *device;     /* as in the configuration; NULL: that of the run's */
    int64_t k;
};

/* Writes `user<TAB>item<TAB>rank<TAB>score` in raw ids, known items left out. The train stage of the run must be
 * complete and of the data set that the folder holds. */
bool recommend(const struct recommend_request *request, FILE *out, struct error *error);

#endif
