/*
 * controls.h: rows that any method could have made up, as many for each user as the augmented arm has. A gain
 * counts only where it beats these.
 */
#ifndef IDREC_EXPERIMENTS_CONTROLS_H
#define IDREC_EXPERIMENTS_CONTROLS_H

#include "experiments/choice.h"
#include "models/recommenders/recommender.h"

/* All give rows [users, items] with as many items for each user as `amounts` has, fewer only where the user
 * has no more unseen items. `train` ascends. Draws come from (seed, RANDOM_CONTROL, kind, user). */
bool control_random(struct csr *rows, const struct csr *amounts, const struct csr *train, uint64_t seed,
                    struct error *error);
bool control_popularity(struct csr *rows, const struct csr *amounts, const struct csr *train, uint64_t seed,
                        struct error *error);
/* Users change places within groups of GROUP users of similar history; seen items are skipped, and what then
 * lacks comes from the next user of the group, and after the last from the next group. */
bool control_permuted(struct csr *rows, const struct csr *amounts, const struct csr *train,
                      const struct ranked_lists *lists, uint64_t seed, struct error *error);
/* The first items of lists, in their order. */
bool control_listed(struct csr *rows, const struct csr *amounts, const struct csr *train,
                    const struct csr *lists, struct error *error);
/* The best unseen items of a fitted recommender. */
bool control_recommender(struct csr *rows, const struct csr *amounts, const struct csr *train,
                         struct recommender *recommender, struct backend *backend, struct error *error);

#endif
