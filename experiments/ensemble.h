/*
 * ensemble.h: augment.ensemble: other rankers, fitted at once on the train interactions, whose lists of unseen items are
 * fused with those of the language model by reciprocal ranks (fusion.h, constant 60), all with the same weight. A ranker has
 * the settings of the first of its model among `recommenders:`, else the usual ones.
 */
#ifndef IDREC_EXPERIMENTS_ENSEMBLE_H
#define IDREC_EXPERIMENTS_ENSEMBLE_H

#include "experiments/fusion.h"
#include "experiments/run.h"
#include "models/recommenders/recommender.h"

enum { ENSEMBLE_MAXIMUM = 8 };

struct ensemble {
    int count;
    struct recommender_settings members[ENSEMBLE_MAXIMUM];
};

/* Refuses a ranker that is named twice. */
bool ensemble_read(struct ensemble *ensemble, const struct config *config, struct error *error);

struct ensemble_lists {
    struct fused_lists all;    /* the language model's and the members' */
    struct fused_lists others; /* the members' alone: what the ensemble says without the language model */
};

/* `language` [users, items]: the language model's rows, best first; `train` ascends, `history` has the same rows in order of
 * time. Each ranker is read as deep as the longest row of `language`, and a fused list has no more items. */
bool ensemble_fuse(struct ensemble_lists *lists, const struct ensemble *ensemble, const struct run *run,
                   const struct csr *language, const struct csr *train, const struct csr *history,
                   struct error *error);
void ensemble_lists_free(struct ensemble_lists *lists);

/* Fits a recommender that needs no epochs on the train interactions. */
bool ranker_fit(struct recommender **recommender, const struct run *run,
                const struct recommender_settings *settings, const struct csr *train,
                const struct csr *history, struct error *error);

#endif
