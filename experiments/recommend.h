/* recommend.h: the top items of users from a trained recommender of a run. */
#ifndef IDREC_EXPERIMENTS_RECOMMEND_H
#define IDREC_EXPERIMENTS_RECOMMEND_H

#include <stdio.h>

#include "experiments/trained.h"

/* Writes `user<TAB>item<TAB>rank<TAB>score` in raw ids, known items left out. More items than there are is ERROR_USAGE; the
 * lists of users who have fewer left are shorter, which stderr is told. */
bool recommend(const struct trained_request *request, int64_t k, FILE *out, struct error *error);

#endif
