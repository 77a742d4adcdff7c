/*
 * item_weights.h: models whose scores are s_u = x_u W, x_u the weights of a user's training rows and W a sparse
 * matrix of weights from items to items: item_knn and slim. They score on the host.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_ITEM_WEIGHTS_H
#define IDREC_MODELS_RECOMMENDERS_ITEM_WEIGHTS_H

#include "models/recommenders/model.h"
#include "models/recommenders/sparse_matrix.h"

struct item_weights {
    struct sparse_matrix history; /* X [users, items] */
    struct sparse_matrix targets; /* W [items, items]: of source items, their targets */
};

/* row [items] = x_u W. */
void item_weights_multiply(const struct item_weights *weights, int32_t user, real *row);
void item_weights_free(struct item_weights *weights);

/* Makes the recommender's parameters, with the history alone. */
bool item_weights_create(struct recommender *recommender, const struct training_set *data,
                         struct error *error);
/* W = the transpose of `sources` [items, items]: of target items, their sources. */
bool item_weights_set(struct recommender *recommender, const struct sparse_matrix *sources,
                      struct error *error);

/* As functions of a model whose parameters are item_weights. */
bool item_weights_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                        struct error *error);
bool item_weights_save(const struct recommender *recommender, struct store *store, struct error *error);
bool item_weights_load(struct recommender *recommender, struct store *store, struct error *error);
void item_weights_release(void *parameters);

#endif
