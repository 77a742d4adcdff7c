/*
 * ensemble.h: augment.ensemble: other rankers, fitted on the train interactions, whose lists of unseen items are
 * fused with those of the language model by reciprocal ranks (fusion.h, constant 60): all of them, or those chosen on
 * validation (ensemble_choice.h), which the language model's always are among. A ranker has the settings of the first of its
 * model among `recommenders:`, else the usual ones.
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
    bool choose; /* augment.ensemble_select: validation */
    enum metric metric;
    int64_t cut;
};

/* Refuses a ranker that is named twice. */
bool ensemble_read(struct ensemble *ensemble, const struct config *config, struct error *error);

/* Whether lists are chosen on validation. */
bool ensemble_chooses(const struct config *config);

/* Whether validation has a say: in the choice of lists, or in when a ranker's training ends. */
bool ensemble_validates(const struct config *config);

enum { ENSEMBLE_NAMES_SIZE = 128 };
struct ensemble_lists {
    struct fused_lists all;    /* the language model's and the members' */
    struct fused_lists others; /* the members' alone: what the ensemble says without the language model */
    /* Whose lists these are, such as "language_model ease", and how they rank on validation (NAN: nothing was chosen). */
    char all_names[ENSEMBLE_NAMES_SIZE], others_names[ENSEMBLE_NAMES_SIZE];
    double all_score, others_score;
};

/* `language` [users, items]: the language model's rows, best first; `train` has those of the data set in ascending order. Each
 * ranker is read as deep as the longest row of `language`, and a fused list has no more items. */
bool ensemble_fuse(struct ensemble_lists *lists, const struct ensemble *ensemble, const struct run *run,
                   const struct csr *language, const struct dataset *dataset, const struct csr *train,
                   struct error *error);
void ensemble_lists_free(struct ensemble_lists *lists);

/* Fits a recommender on the train interactions, by one seed; `watch` says when one that trains by epochs ends. */
bool ranker_fit(struct recommender **recommender, const struct run *run,
                const struct recommender_settings *settings, const struct csr *train,
                const struct csr *history, const struct fit_watch *watch, struct error *error);

#endif
