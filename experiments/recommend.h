/* recommend.h: the top items of users from a trained recommender of a run. */
#ifndef IDREC_EXPERIMENTS_RECOMMEND_H
#define IDREC_EXPERIMENTS_RECOMMEND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

/* Writes `user<TAB>item<TAB>rank<TAB>score` in raw ids, known items left out. users_file: ids, one a line;
 * NULL: all users. The train stage of the run must be complete and of the data set that the folder holds. */
bool recommend(const char *run_folder, const char *recommender, const char *users_file, int64_t k, FILE *out,
               struct error *error);

#endif
