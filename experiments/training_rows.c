#include "experiments/training_rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/controls.h"
#include "experiments/ensemble.h"

struct choice arm_choice(enum arm arm, const struct selection *selection)
{
    if (arm == ARM_ORIGINAL || arm_is_ranking(arm))
        return (struct choice){.use = USE_NONE};
    return arm == ARM_AUGMENTED ? selection->chosen : selection->control;
}

bool arm_adds_nothing(enum arm arm, const struct selection *selection)
{
    return !arm_is_ranking(arm) && arm_choice(arm, selection).use == USE_NONE;
}

/* Whose rows are made up. */
struct owner {
    const struct study *study;
    int contestant;
    enum arm arm;
    uint64_t seed;
};

static bool rows_of_self(struct csr *rows, const struct csr *amounts, const struct owner *owner,
                         struct backend *backend, struct error *error)
{
    const struct study *study = owner->study;
    char *folder = study_fit_folder(study, owner->contestant, arm_name(ARM_ORIGINAL), owner->seed);
    char *path = path_format("%s/model.h5", folder);
    struct recommender *recommender = NULL;
    bool done = recommender_load(&recommender, backend, path, error) &&
                recommender_set_history(recommender, &study->dataset.train, error) &&
                control_recommender(rows, amounts, &study->train, recommender, backend, error);
    recommender_free(recommender);
    free(folder);
    free(path);
    return done;
}

/* The synthetic rows of a control arm; the caller frees them. */
static bool rows_of_control(struct csr *rows, const struct owner *owner, const struct csr *amounts,
                            const struct csr *neighbor_rows, struct backend *backend, struct error *error)
{
    const struct study *study = owner->study;
    switch (owner->arm) {
    case ARM_RANDOM:
        return control_random(rows, amounts, &study->train, owner->seed, error);
    case ARM_POPULARITY:
        return control_popularity(rows, amounts, &study->train, owner->seed, error);
    case ARM_PERMUTED:
        return control_permuted(rows, amounts, &study->train, &study->lists, owner->seed, error);
    case ARM_ENSEMBLE:
        return control_listed(rows, amounts, &study->train, &study->ensemble_rows, error);
    case ARM_SELF:
        return rows_of_self(rows, amounts, owner, backend, error);
    default:
        return csr_sorted(rows, neighbor_rows, error);
    }
}

bool training_rows_build(struct arm_rows *rows, const struct study *study, int contestant, enum arm arm,
                         const struct choice *choice, uint64_t seed, const struct csr *neighbor_rows,
                         struct backend *backend, struct error *error)
{
    const struct owner owner = {.study = study, .contestant = contestant, .arm = arm, .seed = seed};
    struct csr generated = {0}, control = {0};
    bool is_control = arm != ARM_ORIGINAL && arm != ARM_AUGMENTED && !arm_is_ranking(arm);
    bool done =
        choice_rows(&generated, choice, &study->lists, &study->train, error) &&
        (!is_control || rows_of_control(&control, &owner, &generated, neighbor_rows, backend, error)) &&
        arm_rows_build(rows, &study->train, is_control ? &control : &generated, choice->use, study->weight,
                       error);
    csr_free(&generated);
    csr_free(&control);
    return done;
}

static bool fit_neighbors(struct recommender **recommender, const struct study *study, struct error *error)
{
    const struct fit_watch watch = {.k = 1, .metric = METRIC_NDCG};
    return ranker_fit(recommender, study->run, &study->neighbors, &study->train, &study->dataset.train,
                      &watch, error);
}

bool neighbor_rows_like(struct csr *rows, const struct study *study, const struct csr *amounts,
                        struct error *error)
{
    struct recommender *recommender = NULL;
    const bool done =
        fit_neighbors(&recommender, study, error) &&
        control_recommender(rows, amounts, &study->train, recommender, study->run->backend, error);
    recommender_free(recommender);
    return done;
}

bool neighbor_rows_find(struct csr *rows, const struct study *study, const struct selection *selections,
                        struct error *error)
{
    struct recommender *recommender = NULL;
    bool done = fit_neighbors(&recommender, study, error);
    for (int contestant = 0; done && contestant < study->contestant_count; contestant++) {
        struct csr amounts = {0};
        done = choice_rows(&amounts, &selections[contestant].control, &study->lists, &study->train, error) &&
               control_recommender(&rows[contestant], &amounts, &study->train, recommender,
                                   study->run->backend, error);
        csr_free(&amounts);
    }
    recommender_free(recommender);
    return done;
}
