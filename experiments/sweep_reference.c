#include "experiments/sweep_reference.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "experiments/compared_run.h"
#include "experiments/duel.h"
#include "experiments/fits.h"
#include "experiments/report.h"

/* ---- what cannot be compared ----------------------------------------------------------------------------- */

static bool add_reason(json_t *results, const char *trial, const char *recommender, const char *reason,
                       struct error *error)
{
    json_t *record =
        json_pack("{s:s, s:s, s:s}", "trial", trial, "recommender", recommender, "reason", reason);
    return json_array_append_new(json_object_get(results, "not_compared"), record) == 0 ||
           error_memory(error, "what is not compared", 0, NULL);
}

/* What went wrong with the files of a trial; an interrupt is passed on. */
static bool add_problem(json_t *results, const char *trial, const char *recommender,
                        const struct error *problem, struct error *error)
{
    if (problem->kind == ERROR_INTERRUPTED)
        return error_set(error, problem->kind, "%s", problem->message);
    if (!add_reason(results, trial, recommender, problem->message, error))
        return false;
    json_t *reasons = json_object_get(results, "not_compared");
    return json_object_set_new(json_array_get(reasons, json_array_size(reasons) - 1), "failed",
                               json_true()) == 0 ||
           error_memory(error, "what is not compared", 0, NULL);
}

/* ---- a trial ----------------------------------------------------------------------------------------------- */

/* The values of every user in a trial's original and augmented arm, of one recommender. */
struct values {
    struct user_values arms;
    bool failed; /* which is told already */
};

struct side {
    const char *name;
    struct compared_run member;
    struct values *values; /* [contestants], of the reference; else NULL */
};

static void side_close(struct side *side)
{
    for (int i = 0; side->values && i < side->member.study.contestant_count; i++)
        user_values_free(&side->values[i].arms);
    free(side->values);
    compared_run_close(&side->member);
}

/* Its configuration is the one that it was done with. */
static bool side_open(struct side *side, const struct sweep_trial *trial, struct error *error)
{
    struct compared_run *member = &side->member;
    *side = (struct side){.name = trial->name, .member.run.folder = path_format("%s", trial->folder)};
    char *path = path_format("%s/config.yaml", trial->folder);
    const bool done = config_load(&member->run.config, path, 0, NULL, error) &&
                      study_open(&member->study, &member->run, error) &&
                      name_index_open(&member->items, &member->study.dataset.item_ids, error);
    free(path);
    return done;
}

/* The place of the augmented arm among those that are loaded; 0: the recommender has none. */
static int augmented_arm(const struct side *side, int contestant)
{
    const struct study *study = &side->member.study;
    return study_has_arm(study, ARM_AUGMENTED) && study_has_fit(study, contestant, ARM_AUGMENTED);
}

static const char *label_of(const struct side *side, int contestant)
{
    return side->member.study.contestants[contestant].label;
}

static bool load_values(struct values *values, json_t *results, const struct side *side, int contestant,
                        struct error *error)
{
    struct study narrowed = side->member.study; /* to what is compared; owns nothing */
    struct error problem = ERROR_INITIALIZER;
    narrowed.arms[1] = ARM_AUGMENTED;
    narrowed.arm_count = 1 + augmented_arm(side, contestant);
    values->failed = !user_values_load(&values->arms, &narrowed, &side->member.items, contestant, &problem);
    return !values->failed || add_problem(results, side->name, label_of(side, contestant), &problem, error);
}

/* ---- a trial and the reference ------------------------------------------------------------------------------ */

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

/* Why nothing of two trials that were tested alike can be paired; NULL: it can. */
static const char *why_not(const struct study *a, const struct study *b)
{
    if (a->seeds != b->seeds)
        return "another number of seeds than the reference's";
    if (a->first_seed != b->first_seed)
        return "other seeds than the reference's";
    return same_series(a, b) ? NULL : "other metrics or cuts than the reference's";
}

/* What else differs between the two, so that the figures don't mean the same; malloc'ed. */
static char *rules_text(const struct side *side, const struct side *reference)
{
    const struct study *a = &side->member.study, *b = &reference->member.study;
    const char *const rules[] = {
        a->test_selected != b->test_selected ? "one of both chose its epochs on test" : NULL,
        a->mask_augmented != b->mask_augmented ? "one of both hides synthetic rows from the rankings" : NULL,
        side->member.same.train_differences > 0 ? "the trials learn from other train interactions" : NULL};
    char text[256] = "";
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i]) {
            const size_t length = strlen(text);
            snprintf(text + length, sizeof text - length, "%s%s", length > 0 ? "; " : "", rules[i]);
        }
    return path_format("%s", text);
}

static bool add_rules(json_t *record, const struct side *side, const struct side *reference,
                      struct error *error)
{
    char *rules = rules_text(side, reference);
    const char *note = json_text_at(record, "note");
    const bool done =
        *rules == '\0' ||
        (json_object_set_new(record, "note", json_sprintf("%s%s%s", note, *note ? "; " : "", rules)) == 0 &&
         json_object_set_new(record, "rules", json_string(rules)) == 0) ||
        error_memory(error, "a note", 0, NULL);
    free(rules);
    return done;
}

/* A pair of arms of the same name, by every metric; the original one only where it is another, or there is no other arm. */
static bool compare_arm(json_t *results, const struct side *side, const struct side *reference,
                        struct duel *duel, struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const struct study *study = duel->sides[0].study;
    const int64_t count = series_of(series, study);
    bool done = duel_open(duel, error);
    const bool repeated = done && duel->sides[0].place == 0 &&
                          augmented_arm(side, duel->sides[0].contestant) && duel_is_same(duel);
    for (int64_t s = 0; done && !repeated && s < count; s++) {
        char metric[METRIC_NAME_SIZE];
        json_t *record = json_pack("{s:s, s:s}", "trial", side->name, "against_trial", reference->name);
        metric_label(metric, series[s].metric, study->cuts[series[s].cut]);
        done = (json_array_append_new(json_object_get(results, "comparisons"), record) == 0 ||
                error_memory(error, "a comparison", 0, NULL)) &&
               interrupt_check(error) && duel_compare(record, duel, metric, error) &&
               add_rules(record, side, reference, error);
    }
    duel_close(duel);
    return done;
}

static bool compare_arms_of(json_t *results, const struct side *side, const struct side *reference,
                            const int contestants[2], const struct user_values *values, struct error *error)
{
    const int arms[2] = {augmented_arm(side, contestants[0]), augmented_arm(reference, contestants[1])};
    bool done = true;
    for (int place = 0; done && place < 2; place++) {
        const enum arm arm = place == 0 ? ARM_ORIGINAL : ARM_AUGMENTED;
        struct duel duel = {.seeds = side->member.study.seeds,
                            .sides = {{.study = &side->member.study,
                                       .contestant = contestants[0],
                                       .arm = arm,
                                       .values = values,
                                       .place = place,
                                       .users = side->member.same.place},
                                      {.study = &reference->member.study,
                                       .contestant = contestants[1],
                                       .arm = arm,
                                       .values = &reference->values[contestants[1]].arms,
                                       .place = place}}};
        if (place == 0 || (arms[0] && arms[1]))
            done = compare_arm(results, side, reference, &duel, error);
    }
    return done &&
           (arms[0] == arms[1] || add_reason(results, side->name, label_of(side, contestants[0]),
                                             arms[0] ? "the reference has no augmented arm"
                                                     : "has no augmented arm, which the reference has",
                                             error));
}

/* One recommender that both trials have. */
static bool compare_recommender(json_t *results, const struct side *side, const struct side *reference,
                                int contestant, int other, struct error *error)
{
    struct values values = {0};
    if (reference->values[other].failed)
        return add_reason(results, side->name, label_of(side, contestant),
                          "the lists of the reference cannot be read", error);
    bool done = load_values(&values, results, side, contestant, error);
    if (done && !values.failed)
        done =
            compare_arms_of(results, side, reference, (const int[]){contestant, other}, &values.arms, error);
    user_values_free(&values.arms);
    return done;
}

static bool compare_recommenders(json_t *results, const struct side *side, const struct side *reference,
                                 const char *reason, struct error *error)
{
    const struct study *study = &side->member.study, *base = &reference->member.study;
    bool done = true;
    for (int i = 0; done && i < study->contestant_count; i++) {
        const int other = study_find_contestant(base, label_of(side, i));
        done = other < 0 || reason
                   ? add_reason(results, side->name, label_of(side, i),
                                reason ? reason : "the reference has no such recommender", error)
                   : compare_recommender(results, side, reference, i, other, error);
    }
    for (int i = 0; done && i < base->contestant_count; i++)
        if (study_find_contestant(study, label_of(reference, i)) < 0)
            done = add_reason(results, side->name, label_of(reference, i),
                              "the trial has no such recommender, which the reference has", error);
    return done;
}

/* Other data are a reason, not a problem. */
static bool compare_opened(json_t *results, struct side *side, const struct side *reference,
                           struct error *error)
{
    struct error other_data = ERROR_INITIALIZER;
    const struct study *study = &side->member.study, *base = &reference->member.study;
    const bool same = same_data_open(&side->member.same, (struct named_study){reference->name, base},
                                     (struct named_study){side->name, study}, &other_data);
    if (!same && other_data.kind != ERROR_USAGE)
        return error_set(error, other_data.kind, "%s", other_data.message);
    return compare_recommenders(results, side, reference, same ? why_not(study, base) : other_data.message,
                                error);
}

static bool compare_trial(json_t *results, const struct sweep_trial *trial, const struct side *reference,
                          struct error *error)
{
    struct error problem = ERROR_INITIALIZER;
    struct side side;
    const bool done = side_open(&side, trial, &problem)
                          ? compare_opened(results, &side, reference, error)
                          : add_problem(results, trial->name, "", &problem, error);
    side_close(&side);
    return done;
}

static bool load_reference(struct side *reference, json_t *results, struct error *error)
{
    const int count = reference->member.study.contestant_count;
    reference->values = calloc((size_t)count, sizeof *reference->values);
    bool done = reference->values ||
                error_memory(error, "metrics of users", (size_t)count * sizeof *reference->values, NULL);
    for (int i = 0; done && i < count; i++)
        done = load_values(&reference->values[i], results, reference, i, error);
    return done;
}

bool sweep_compare_with_reference(json_t *results, const struct sweep *sweep, json_t *const *trial_results,
                                  struct error *error)
{
    const struct sweep_trial *trial = &sweep->trials[sweep->reference];
    struct error problem = ERROR_INITIALIZER;
    struct side reference;
    if (trial_results[sweep->reference] == NULL)
        return add_reason(results, trial->name, "",
                          "the reference trial is not done: nothing can be held against it", error);
    bool done;
    if (!side_open(&reference, trial, &problem)) {
        done = add_problem(results, trial->name, "", &problem, error);
    } else {
        done = load_reference(&reference, results, error);
        for (int i = 0; done && i < sweep->trial_count; i++)
            if (i != sweep->reference && trial_results[i])
                done = compare_trial(results, &sweep->trials[i], &reference, error);
    }
    side_close(&reference);
    return done;
}
