/*
 * study.h: what training and evaluation of the recommenders share: the frozen data, the synthetic rows and
 * the rules of the comparison, as the configuration gives them.
 */
#ifndef IDREC_EXPERIMENTS_STUDY_H
#define IDREC_EXPERIMENTS_STUDY_H

#include "experiments/arms.h"
#include "experiments/run.h"

enum { CUTS_MAXIMUM = 8, FUSION_WEIGHTS_MAXIMUM = 16 };

/* The fits of study_open_for_tuning(). */
extern const char tuning_fits_folder[];

/* One entry of `recommenders:`; `label` names its folder: the model, with -2, -3, ... where a model repeats.
 */
struct language_rankings;
struct contestant {
    char label[48];
    struct language_rankings *rankings;   /* of one that is given some, once they are made; else NULL */
    struct recommender_settings settings; /* as written */
    struct recommender_settings arm_settings[ARM_COUNT]; /* what an arm trains with: as written, or tuned */
};

struct study {
    const struct config *config;
    const struct run *run;
    const char *fits_folder; /* below the run's: recommenders, or tuning_fits_folder */
    struct dataset dataset;
    struct csr train, validation, test; /* rows ascend */
    struct csr known;                   /* train and validation: hidden when test is ranked */
    struct csr history;                 /* the same, in order of time: what users are tested from */
    int32_t *validation_users, *test_users;
    int64_t validation_count, test_count;
    struct ranked_lists lists;
    struct csr
        ensemble_rows; /* of control.ensemble: the lists of augment.ensemble without the language model */

    int contestant_count;
    struct contestant *contestants;
    /* A language model as recommenders: would have it, for control.generator and control.fusion where none is among them.
     * Without a label: not needed. */
    struct contestant generator;
    struct recommender_settings neighbors; /* of the item_knn that control.itemknn and `evaluate` ask */
    int arm_count;                         /* of the configuration, without repeats, original first */
    enum arm arms[ARM_COUNT];
    uint64_t first_seed;
    int64_t seeds;
    int cut_count;
    int64_t cuts[CUTS_MAXIMUM], largest_cut;
    bool test_selected, mask_augmented;
    bool
        candidates_only; /* for tuning: no fits but of the candidates of the choice, none among them; no test */

    struct {
        int weight_count;
        double weights[FUSION_WEIGHTS_MAXIMUM], constant;
        int64_t depth;
    } fusion; /* of control.fusion: see fusion.h */

    bool select; /* on validation; false: the first choice */
    int64_t select_seeds, select_cut;
    enum metric select_metric;
    double margin, weight;
    int choice_count; /* choices[0] is none where it is among the candidates */
    struct choice *choices;
};

/* The settings alone, and whether they fit together; needs study_close() as well. */
bool study_settings_read(struct study *study, const struct config *config, struct error *error);
/* The settings, dataset.h5 and augmented.h5. */
bool study_open(struct study *study, const struct run *run, struct error *error);
/* The same for tuning, with candidates_only and without test. `synthetic`: with augmented.h5. */
bool study_open_for_tuning(struct study *study, const struct run *run, bool synthetic, struct error *error);
void study_close(struct study *study);

/* FITS_FOLDER/LABEL/ARM/seed-N, malloc'ed; `arm` may be a choice's folder. */
char *study_fit_folder(const struct study *study, int contestant, const char *arm, uint64_t seed);
bool study_has_arm(const struct study *study, enum arm arm);
/* The recommender with a label; -1: there is none. */
int study_find_contestant(const struct study *study, const char *label);
/* A recommender that is given rankings reads no rows, so that no arm changes it: it is fitted in `original` alone. */
bool study_has_fit(const struct study *study, int contestant, enum arm arm);
/* Who is given rankings, by place: among the recommenders, and behind the last of them study->generator; NULL: the one at
 * this place is given none. */
struct contestant *study_given(const struct study *study, int place);
/* Whose rankings control.generator and control.fusion take: the first recommender that is given some, else study->generator. */
const struct contestant *study_generator(const struct study *study);
/* Whether epochs, the use of synthetic rows or the weight of a fusion are chosen on validation, which must then hold
 * interactions. */
bool study_needs_validation(const struct study *study);
/* Whether the candidates are compared with a trial of none, rather than with the original arm. */
bool study_tries_none(const struct study *study);
/* Whether a choice changes what a recommender trains on: that no row is added does not, nor that items are kept out of negatives
 * where there are none. */
bool contestant_is_changed(const struct contestant *contestant, const struct choice *choice);
/* Fits of these models are the same whatever the seed, as long as their rows are. */
bool contestant_is_deterministic(const struct contestant *contestant);

#endif
