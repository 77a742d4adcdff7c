/*
 * training_rows.h: what a recommender trains on in an arm, or with a choice on trial.
 */
#ifndef IDREC_EXPERIMENTS_TRAINING_ROWS_H
#define IDREC_EXPERIMENTS_TRAINING_ROWS_H

#include "experiments/selection.h"

/* Whether an arm trains on nothing but the original rows, and so has the results of the original arm. */
bool arm_adds_nothing(enum arm arm, const struct selection *selection);
/* How many rows an arm adds for each user, and how they are used: of the original arm, and of rankings, none. */
struct choice arm_choice(enum arm arm, const struct selection *selection);

/* The rows of an arm. `choice`: of arm_choice(), or one on trial, with the arm augmented. neighbor_rows: the recommender's
 * of neighbor_rows_find(), for control.itemknn; NULL elsewhere. control.self needs the model of the original arm. */
bool training_rows_build(struct arm_rows *rows, const struct study *study, int contestant, enum arm arm,
                         const struct choice *choice, uint64_t seed, const struct csr *neighbor_rows,
                         struct backend *backend, struct error *error);

/* The best unseen items of one item_knn with study->neighbors, as many for each user as `amounts` has; a row is in the order
 * of rank. */
bool neighbor_rows_like(struct csr *rows, const struct study *study, const struct csr *amounts,
                        struct error *error);
/* rows [contestants]: what control.itemknn adds for each recommender: the best items of one item_knn with study->neighbors.
 * The caller frees them. */
bool neighbor_rows_find(struct csr *rows, const struct study *study, const struct selection *selections,
                        struct error *error);

#endif
