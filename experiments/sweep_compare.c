#include "experiments/sweep_compare.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "experiments/comparison.h"
#include "experiments/comparisons.h"
#include "experiments/fits.h"
#include "experiments/name_index.h"
#include "experiments/report.h"

/* ---- families ------------------------------------------------------------------------------------------- */

const char *question_name(enum question question)
{
    static const char *const names[QUESTION_COUNT] = {"original", "controls", "reference"};
    return names[question];
}

static bool ask(json_t *record, enum question question, struct error *error)
{
    json_t *name = json_sprintf("%s, %s", json_text_at(record, "metric"), question_name(question));
    return (json_object_set_new(record, "question", json_string(question_name(question))) == 0 &&
            json_object_set_new(record, "family_name", name) == 0) ||
           error_memory(error, "a comparison", 0, NULL);
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

/* ---- of one trial -------------------------------------------------------------------------------------- */

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
        const bool original = strcmp(json_text_at(comparison, "against"), arm_name(ARM_ORIGINAL)) == 0;
        if (!ask(record, original ? QUESTION_ORIGINAL : QUESTION_CONTROLS, error))
            return false;
    }
    return true;
}

/* ---- of two trials ------------------------------------------------------------------------------------- */

/* A trial that is done, with the values of every user in its original and its augmented arm. */
struct side {
    const char *name;
    struct run run;
    struct study study;
    struct user_values *values; /* [study.contestant_count] */
};

static void side_close(struct side *side)
{
    for (int i = 0; side->values && i < side->study.contestant_count; i++)
        user_values_free(&side->values[i]);
    free(side->values);
    study_close(&side->study);
    config_free(side->run.config);
    *side = (struct side){0};
}

/* The number of the augmented arm among those that are loaded; 0: the recommender has none. */
static int augmented_arm(const struct side *side, int contestant)
{
    return study_has_arm(&side->study, ARM_AUGMENTED) &&
           study_has_fit(&side->study, contestant, ARM_AUGMENTED);
}

static bool load_values(struct side *side, struct error *error)
{
    struct study *study = &side->study;
    struct name_index items;
    bool done = name_index_open(&items, &study->dataset.item_ids, error);
    for (int i = 0; done && i < study->contestant_count; i++) {
        struct study pair = *study;
        pair.arms[1] = ARM_AUGMENTED;
        pair.arm_count = 1 + augmented_arm(side, i);
        done = user_values_load(&side->values[i], &pair, &items, i, error);
    }
    name_index_close(&items);
    return done;
}

/* Its configuration is the one that it was done with. */
static bool side_open(struct side *side, const struct sweep_trial *trial, struct error *error)
{
    *side = (struct side){.name = trial->name, .run = {.folder = trial->folder}};
    char *path = path_format("%s/config.yaml", trial->folder);
    bool done = config_load(&side->run.config, path, 0, NULL, error);
    free(path);
    done = done && study_open(&side->study, &side->run, error);
    if (done) {
        const size_t count = (size_t)side->study.contestant_count;
        side->values = calloc(count, sizeof *side->values);
        done =
            (side->values || error_memory(error, "metrics of users", count * sizeof *side->values, NULL)) &&
            load_values(side, error);
    }
    if (!done)
        side_close(side);
    return done;
}

static bool same_ids(const struct id_map *a, const struct id_map *b)
{
    return a->count == b->count &&
           memcmp(a->offsets, b->offsets, (size_t)(a->count + 1) * sizeof *a->offsets) == 0 &&
           memcmp(a->bytes, b->bytes, (size_t)a->offsets[a->count]) == 0;
}

static bool same_rows(const struct csr *a, const struct csr *b)
{
    return a->rows == b->rows && a->columns == b->columns &&
           memcmp(a->starts, b->starts, (size_t)(a->rows + 1) * sizeof *a->starts) == 0 &&
           memcmp(a->indices, b->indices, (size_t)csr_count(a) * sizeof *a->indices) == 0;
}

static bool same_series(const struct study *a, const struct study *b)
{
    struct serie series[2][METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series[0], a);
    if (a->cut_count != b->cut_count ||
        memcmp(a->cuts, b->cuts, (size_t)a->cut_count * sizeof *a->cuts) != 0 ||
        series_of(series[1], b) != count)
        return false;
    for (int64_t s = 0; s < count; s++)
        if (series[0][s].metric != series[1][s].metric)
            return false;
    return true;
}

/* Why nothing of the two trials can be paired; NULL: it can. */
static const char *why_not(const struct side *side, const struct side *reference)
{
    const struct study *a = &side->study, *b = &reference->study;
    if (!same_ids(&a->dataset.user_ids, &b->dataset.user_ids) ||
        !same_ids(&a->dataset.item_ids, &b->dataset.item_ids) || !same_rows(&a->test, &b->test))
        return "another test part than the reference's: figures of other users or items";
    if (a->seeds != b->seeds)
        return "another number of seeds than the reference's";
    if (a->first_seed != b->first_seed)
        return "other seeds than the reference's";
    if (!same_series(a, b))
        return "other metrics or cuts than the reference's";
    return NULL;
}

/* Two arms of the same name in two trials. */
struct arms_of_trials {
    const struct side *side, *reference;
    int contestants[2], arms[2];
    double *gathered[2]; /* [seeds, users] of one serie */
    struct comparison_settings settings;
};

static bool is_same_throughout(const struct arms_of_trials *pair)
{
    const struct user_values *a = &pair->side->values[pair->contestants[0]],
                             *b = &pair->reference->values[pair->contestants[1]];
    const int64_t size = pair->side->study.seeds * a->series * a->users;
    return memcmp(a->value + pair->arms[0] * size, b->value + pair->arms[1] * size,
                  (size_t)size * sizeof(double)) == 0;
}

static const char *other_rules(const struct study *a, const struct study *b)
{
    if (a->test_selected != b->test_selected)
        return "one of both chose its epochs on test";
    if (a->mask_augmented != b->mask_augmented)
        return "one of both hides synthetic rows from the rankings";
    if (!same_rows(&a->train, &b->train))
        return "the trials learn from other train interactions";
    return NULL;
}

/* What else differs between the two, so that the figures don't mean the same. */
static bool add_rules(json_t *record, const struct arms_of_trials *pair, struct error *error)
{
    const char *rule = other_rules(&pair->side->study, &pair->reference->study);
    if (rule == NULL)
        return true;
    const char *note = json_text_at(record, "note");
    json_t *both = json_sprintf("%s%s%s", note, *note ? "; " : "", rule);
    return json_object_set_new(record, "note", both) == 0 || error_memory(error, "a note", 0, NULL);
}

static bool compare_serie(json_t *comparisons, const struct arms_of_trials *pair, struct serie serie,
                          int64_t place, struct error *error)
{
    const struct study *study = &pair->side->study;
    const struct contestant *contestant = &study->contestants[pair->contestants[0]],
                            *other = &pair->reference->study.contestants[pair->contestants[1]];
    const char *arm = arm_name(pair->arms[0] ? ARM_AUGMENTED : ARM_ORIGINAL);
    const struct compared compared = {.values = pair->gathered[0],
                                      .against = pair->gathered[1],
                                      .seeds = study->seeds,
                                      .users = study->test_count,
                                      .deterministic = contestant_is_deterministic(contestant) &&
                                                       contestant_is_deterministic(other)};
    char metric[METRIC_NAME_SIZE];
    metric_label(metric, serie.metric, study->cuts[serie.cut]);
    json_t *record = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "trial", pair->side->name, "against_trial",
                               pair->reference->name, "recommender", contestant->label, "arm", arm, "against",
                               arm, "metric", metric);
    if (record == NULL)
        return error_memory(error, "a comparison", 0, NULL);
    json_array_append_new(comparisons, record);
    user_values_gather(pair->gathered[0], &pair->side->values[pair->contestants[0]], study->seeds,
                       pair->arms[0], place);
    user_values_gather(pair->gathered[1], &pair->reference->values[pair->contestants[1]], study->seeds,
                       pair->arms[1], place);
    return comparison_add(record, &compared, &pair->settings, error) &&
           ask(record, QUESTION_REFERENCE, error) && add_rules(record, pair, error);
}

static bool compare_pair(json_t *comparisons, struct arms_of_trials *pair, struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const struct study *study = &pair->side->study;
    const int64_t count = series_of(series, study);
    const size_t bytes = (size_t)(study->seeds * study->test_count + 1) * sizeof(double);
    if (pair->arms[0] == 0 && augmented_arm(pair->side, pair->contestants[0]) && is_same_throughout(pair))
        return true;
    for (int side = 0; side < 2; side++)
        pair->gathered[side] = malloc(bytes);
    bool done = (pair->gathered[0] && pair->gathered[1]) ||
                error_memory(error, "paired metrics of two trials", bytes, NULL);
    for (int64_t s = 0; done && s < count; s++)
        done = interrupt_check(error) && compare_serie(comparisons, pair, series[s], s, error);
    free(pair->gathered[0]);
    free(pair->gathered[1]);
    return done;
}

static int find_contestant(const struct side *side, const char *label)
{
    for (int i = 0; i < side->study.contestant_count; i++)
        if (strcmp(side->study.contestants[i].label, label) == 0)
            return i;
    return -1;
}

static void add_reason(json_t *reasons, const char *trial, const char *recommender, const char *reason)
{
    json_array_append_new(
        reasons, json_pack("{s:s, s:s, s:s}", "trial", trial, "recommender", recommender, "reason", reason));
}

/* One recommender that both trials have. */
static bool compare_recommender(json_t *results, const struct sweep *sweep, const struct side *side,
                                const struct side *reference, int contestant, int other, struct error *error)
{
    json_t *comparisons = json_object_get(results, "comparisons");
    const int arms[2] = {augmented_arm(side, contestant), augmented_arm(reference, other)};
    struct arms_of_trials pair = {
        .side = side,
        .reference = reference,
        .contestants = {contestant, other},
        .settings = comparison_settings_read(sweep->config, (uint64_t)config_integer(sweep->config, "seed"))};
    if (!compare_pair(comparisons, &pair, error))
        return false;
    if (arms[0] != arms[1])
        add_reason(
            json_object_get(results, "not_compared"), side->name, side->study.contestants[contestant].label,
            arms[0] ? "the reference has no augmented arm" : "has no augmented arm, which the reference has");
    pair.arms[0] = pair.arms[1] = 1;
    return !arms[0] || !arms[1] || compare_pair(comparisons, &pair, error);
}

static bool compare_with_reference(json_t *results, const struct sweep *sweep, const struct side *side,
                                   const struct side *reference, struct error *error)
{
    json_t *reasons = json_object_get(results, "not_compared");
    const char *reason = why_not(side, reference);
    bool done = true;
    for (int i = 0; done && i < side->study.contestant_count; i++) {
        const char *label = side->study.contestants[i].label;
        const int other = find_contestant(reference, label);
        if (other < 0 || reason)
            add_reason(reasons, side->name, label, reason ? reason : "the reference has no such recommender");
        else
            done = compare_recommender(results, sweep, side, reference, i, other, error);
    }
    for (int i = 0; i < reference->study.contestant_count; i++) {
        const char *label = reference->study.contestants[i].label;
        if (find_contestant(side, label) < 0)
            add_reason(reasons, side->name, label,
                       "the trial has no such recommender, which the reference has");
    }
    return done;
}

static bool compare_trials(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                           struct error *error)
{
    struct side reference;
    if (trial_results[sweep->reference] == NULL) {
        add_reason(json_object_get(results, "not_compared"), sweep->trials[sweep->reference].name, "",
                   "the reference trial is not done: nothing can be held against it");
        return true;
    }
    bool done = side_open(&reference, &sweep->trials[sweep->reference], error);
    for (int i = 0; done && i < sweep->trial_count; i++) {
        struct side side;
        if (i == sweep->reference || trial_results[i] == NULL)
            continue;
        done = side_open(&side, &sweep->trials[i], error) &&
               compare_with_reference(results, sweep, &side, &reference, error);
        side_close(&side);
    }
    side_close(&reference);
    return done;
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
    return done && compare_trials(results, sweep, trial_results, error) &&
           comparisons_correct(comparisons, "family_name", error) && list_families(results, error);
}
