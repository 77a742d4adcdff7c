#include "experiments/sweep_compare.h"

#include <string.h>

#include "experiments/arms.h"
#include "experiments/comparison.h"
#include "experiments/report.h"
#include "experiments/sweep_reference.h"

/* ---- families ------------------------------------------------------------------------------------------- */

const char *question_name(enum question question)
{
    static const char *const names[QUESTION_COUNT] = {"original", "controls", "reference"};
    return names[question];
}

static enum question question_of(const json_t *comparison)
{
    if (strcmp(json_text_at(comparison, "trial"), json_text_at(comparison, "against_trial")) != 0)
        return QUESTION_REFERENCE;
    return strcmp(json_text_at(comparison, "against"), arm_name(ARM_ORIGINAL)) == 0 ? QUESTION_ORIGINAL
                                                                                    : QUESTION_CONTROLS;
}

static bool ask_all(json_t *comparisons, struct error *error)
{
    json_t *comparison;
    size_t index;
    json_array_foreach(comparisons, index, comparison)
    {
        const char *question = question_name(question_of(comparison));
        json_t *name = json_sprintf("%s, %s", json_text_at(comparison, "metric"), question);
        if (json_object_set_new(comparison, "question", json_string(question)) != 0 ||
            json_object_set_new(comparison, "family_name", name) != 0)
            return error_memory(error, "a comparison", 0, NULL);
    }
    return true;
}

/* Every family once, in the order of its first comparison. */
static bool list_families(json_t *results, struct error *error)
{
    json_t *families = json_array(), *known = json_object(), *comparison;
    size_t index;
    bool done = families && known;
    json_array_foreach(json_object_get(results, "comparisons"), index, comparison)
    {
        const char *name = json_text_at(comparison, "family_name");
        json_t *family = json_object_get(known, name);
        if (!family) {
            family =
                json_pack("{s:s, s:s, s:s, s:O, s:i}", "name", name, "question",
                          json_text_at(comparison, "question"), "metric", json_text_at(comparison, "metric"),
                          "size", json_object_get(comparison, "family"), "comparisons", 0);
            done = done && family && json_array_append_new(families, family) == 0 &&
                   json_object_set(known, name, family) == 0;
        }
        json_object_set_new(family, "comparisons",
                            json_integer((json_int_t)json_number_at(family, "comparisons") + 1));
    }
    json_decref(known);
    json_object_set_new(results, "families", families);
    return done || error_memory(error, "the families of comparisons", 0, NULL);
}

/* ---- of a trial alone -------------------------------------------------------------------------------------- */

/* The comparisons of the augmented arm that the trial made itself, which it corrected for itself alone. */
static bool take_over(json_t *comparisons, const char *trial, const json_t *results, struct error *error)
{
    const json_t *comparison;
    size_t index;
    json_array_foreach(json_object_get(results, "comparisons"), index, comparison)
    {
        if (strcmp(json_text_at(comparison, "arm"), arm_name(ARM_AUGMENTED)) != 0)
            continue;
        json_t *record = json_pack("{s:s, s:s}", "trial", trial, "against_trial", trial);
        if (record == NULL || json_object_update(record, (json_t *)comparison) != 0)
            return error_memory(error, "a comparison", 0, NULL);
        json_array_append_new(comparisons, record);
        comparison_forget_family(record);
    }
    return true;
}

bool sweep_compare(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                   struct error *error)
{
    json_t *comparisons = json_array();
    json_object_set_new(results, "reference", json_string(sweep->trials[sweep->reference].name));
    json_object_set_new(results, "comparisons", comparisons);
    json_object_set_new(results, "not_compared", json_array());
    bool done = comparisons != NULL || error_memory(error, "the comparisons of a study", 0, NULL);
    for (int i = 0; done && i < sweep->trial_count; i++)
        done = trial_results[i] == NULL ||
               take_over(comparisons, sweep->trials[i].name, trial_results[i], error);
    return done && sweep_compare_with_reference(results, sweep, trial_results, error) &&
           ask_all(comparisons, error) && comparisons_correct(comparisons, "family_name", error) &&
           list_families(results, error);
}
