/*
 * als.h: the sweeps of als.c, for it and its test.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_ALS_H
#define IDREC_MODELS_RECOMMENDERS_ALS_H

#include "models/recommenders/sparse_matrix.h"

struct als {
    const struct sparse_matrix *history, *audience; /* weights [users, items], and its transpose */
    int64_t width;
    double regularization, confidence;
    int threads;
    double *users, *items; /* [users, width], [items, width] */
};

/* Users' factors from the items', then items' from the users'. */
bool als_sweep(struct als *als, struct error *error);

#endif
