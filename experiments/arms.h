/*
 * arms.h: what each arm trains on: the real rows and, with all but the original arm, rows that were made up. Two arms train
 * nothing: they show what the language model's ranking is worth without a recommender that learns from it.
 */
#ifndef IDREC_EXPERIMENTS_ARMS_H
#define IDREC_EXPERIMENTS_ARMS_H

#include "experiments/choice.h"
#include "models/recommenders/recommender.h"

enum arm {
    ARM_ORIGINAL,
    ARM_AUGMENTED,
    ARM_RANDOM,     /* unseen items, uniform */
    ARM_POPULARITY, /* unseen items in proportion to their training rows */
    ARM_ITEM_KNN,   /* the best unseen items of item_knn */
    ARM_SELF,       /* the best unseen items of the recommender itself, fitted on the original rows */
    ARM_ENSEMBLE,   /* the rows of augment.ensemble without the language model */
    ARM_PERMUTED,   /* the synthetic rows of another user with a history of similar length */
    ARM_GENERATOR,  /* the language model's own ranking of all items */
    ARM_FUSION,     /* that ranking fused with the recommender's of the original arm, see fused_rankings.h */
    ARM_COUNT
};
/* "original", "augmented", "control.random", ... */
const char *arm_name(enum arm arm);
/* ARM_COUNT when unknown. */
enum arm arm_from_name(const char *name);
/* Whether the arm's rows are drawn anew for every seed. */
bool arm_depends_on_seed(enum arm arm);

/* Whether it lists rankings that are given, rather than train a recommender on rows. */
bool arm_is_ranking(enum arm arm);

/* A training set that owns its arrays. */
struct arm_rows {
    struct csr positives, excluded; /* rows ascend; excluded.rows 0: none */
    struct csr synthetic;           /* those among the positives, in the order given; rows 0: none */
    float *weights;
    int64_t rows_added; /* synthetic rows among the positives or kept out of the negatives */
};
/* `synthetic` [users, items], each user's best first, without rows of train; `train` ascends. */
bool arm_rows_build(struct arm_rows *arm, const struct csr *train, const struct csr *synthetic,
                    enum augmentation_use use, double weight, struct error *error);
void arm_rows_free(struct arm_rows *arm);
/* `history`: the rows of train in order of time. */
struct training_set arm_training_set(const struct arm_rows *arm, const struct csr *history);

#endif
