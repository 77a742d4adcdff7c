#include "experiments/arms.h"

#include <stdlib.h>
#include <string.h>

static const char *const arm_names[ARM_COUNT] = {
    [ARM_ORIGINAL] = "original",           [ARM_AUGMENTED] = "augmented",
    [ARM_RANDOM] = "control.random",       [ARM_POPULARITY] = "control.popularity",
    [ARM_ITEM_KNN] = "control.itemknn",    [ARM_SELF] = "control.self",
    [ARM_ENSEMBLE] = "control.ensemble",   [ARM_PERMUTED] = "control.permuted",
    [ARM_GENERATOR] = "control.generator", [ARM_FUSION] = "control.fusion",
};

const char *arm_name(enum arm arm)
{
    return arm_names[arm];
}

enum arm arm_from_name(const char *name)
{
    int arm = 0;
    while (arm < ARM_COUNT && strcmp(arm_names[arm], name) != 0)
        arm++;
    return (enum arm)arm;
}

bool arm_depends_on_seed(enum arm arm)
{
    return arm == ARM_RANDOM || arm == ARM_POPULARITY || arm == ARM_SELF || arm == ARM_PERMUTED;
}

bool arm_is_ranking(enum arm arm)
{
    return arm == ARM_GENERATOR || arm == ARM_FUSION;
}

static bool weigh_rows(struct arm_rows *arm, const struct csr *train, double weight, struct error *error)
{
    size_t bytes = (size_t)(csr_count(&arm->positives) + 1) * sizeof *arm->weights;
    arm->weights = malloc(bytes);
    if (arm->weights == NULL)
        return error_memory(error, "weights of training rows", bytes, NULL);
    for (int64_t user = 0; user < train->rows; user++)
        for (int64_t i = arm->positives.starts[user]; i < arm->positives.starts[user + 1]; i++)
            arm->weights[i] =
                csr_contains_sorted(train, user, arm->positives.indices[i]) ? 1.0F : (float)weight;
    return true;
}

bool arm_rows_build(struct arm_rows *arm, const struct csr *train, const struct csr *synthetic,
                    enum augmentation_use use, double weight, struct error *error)
{
    *arm = (struct arm_rows){0};
    bool positives = use == USE_POSITIVES || use == USE_BOTH;
    bool excluded = use == USE_EXCLUDE_FROM_NEGATIVES || use == USE_BOTH;
    if (!positives && !excluded)
        return csr_sorted(&arm->positives, train, error);
    arm->rows_added = csr_count(synthetic);
    struct csr sorted = {0};
    bool done = csr_sorted(&sorted, synthetic, error);
    if (positives)
        done = done && csr_copy(&arm->synthetic, synthetic, error) &&
               csr_union(&arm->positives, train, &sorted, error) && weigh_rows(arm, train, weight, error);
    else
        done = done && csr_sorted(&arm->positives, train, error);
    if (done && excluded)
        arm->excluded = sorted;
    else
        csr_free(&sorted);
    return done;
}

void arm_rows_free(struct arm_rows *arm)
{
    csr_free(&arm->positives);
    csr_free(&arm->excluded);
    csr_free(&arm->synthetic);
    free(arm->weights);
    arm->weights = NULL;
}

struct training_set arm_training_set(const struct arm_rows *arm, const struct csr *history)
{
    return (struct training_set){
        .positives = &arm->positives,
        .weights = arm->weights,
        .excluded = arm->excluded.rows > 0 ? &arm->excluded : NULL,
        .history = history,
        .synthetic = arm->synthetic.rows > 0 ? &arm->synthetic : NULL,
    };
}
