#include "experiments/selection.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json_file.h"
#include "core/statistics.h"
#include "experiments/fits.h"

struct choice_score choice_score(const double *scores, const double *baseline, int64_t seeds, int64_t users)
{
    int64_t count = seeds * users;
    struct choice_score result = {.mean = mean(scores, count),
                                  .same = memcmp(scores, baseline, (size_t)count * sizeof *scores) == 0};
    result.gain = result.mean - mean(baseline, count);
    double over_seeds = 0, over_users = 0;
    for (int64_t s = 0; s < seeds; s++) {
        double gain = mean(scores + s * users, users) - mean(baseline + s * users, users);
        over_seeds += (gain - result.gain) * (gain - result.gain);
    }
    for (int64_t u = 0; u < users; u++) {
        double gain = 0;
        for (int64_t s = 0; s < seeds; s++)
            gain += (scores[s * users + u] - baseline[s * users + u]) / (double)seeds;
        over_users += (gain - result.gain) * (gain - result.gain);
    }
    double seed_variance = seeds > 1 ? over_seeds / (double)((seeds - 1) * seeds) : 0;
    double user_variance = users > 1 ? over_users / (double)((users - 1) * users) : 0;
    result.standard_error = sqrt(fmax(seed_variance, user_variance));
    return result;
}

static bool is_better(const struct choice_score *result, const struct choice_score *best)
{
    return result->same == best->same ? result->gain > best->gain : best->same;
}

int selection_decide(const struct choice_score *results, int *best, const struct choice *choices,
                     int choice_count, double margin)
{
    *best = -1;
    for (int c = 0; c < choice_count; c++)
        if (choices[c].use != USE_NONE && (*best < 0 || is_better(&results[c], &results[*best])))
            *best = c;
    bool adopted =
        *best >= 0 && results[*best].gain > 0 && results[*best].gain > margin * results[*best].standard_error;
    return adopted ? *best : -1;
}

uint64_t selection_seed(const struct study *study, int contestant, int64_t index)
{
    bool same = contestant_is_deterministic(&study->contestants[contestant]);
    return study->first_seed + (same ? 0 : (uint64_t)index);
}

void selection_folder(char *name, size_t size, const struct choice *choice)
{
    char text[CHOICE_NAME_SIZE];
    choice_name(text, choice);
    snprintf(name, size, "trial-%s", text);
}

/* The fit that the trials are compared with has chosen its epoch as they have: on validation. */
static void baseline_folder(char *name, size_t size, const struct study *study)
{
    if (study_tries_none(study))
        selection_folder(name, size, &study->choices[0]);
    else
        snprintf(name, size, "%s", arm_name(ARM_ORIGINAL));
}

/* values [seeds, users] of one folder. */
static bool read_user_scores(double *values, const struct study *study, int contestant, const char *arm,
                             struct error *error)
{
    int64_t users = study->validation_count;
    for (int64_t s = 0; s < study->select_seeds; s++) {
        double *scores = NULL;
        bool done = fit_user_scores_load(&scores, study, contestant, arm,
                                         selection_seed(study, contestant, s), error);
        if (done)
            memcpy(values + s * users, scores, (size_t)users * sizeof *values);
        free(scores);
        if (!done)
            return false;
    }
    return true;
}

/* A table of one recommender's candidates. */
struct score_table {
    int64_t seeds, users;
    double *baseline, *values;    /* [seeds, users]: the original arm's, and those of the choice being read */
    double *means;                /* [choices + 1, seeds]; the original arm's last */
    struct choice_score *results; /* [choices] */
};

static bool score_table_open(struct score_table *table, const struct study *study, struct error *error)
{
    size_t seeds = (size_t)study->select_seeds, choices = (size_t)study->choice_count;
    size_t values = seeds * (size_t)study->validation_count;
    *table = (struct score_table){
        .seeds = study->select_seeds,
        .users = study->validation_count,
        .baseline = malloc(values * sizeof *table->baseline),
        .values = malloc(values * sizeof *table->values),
        .means = malloc((choices + 1) * seeds * sizeof *table->means),
        .results = calloc(choices, sizeof *table->results),
    };
    return (table->baseline && table->values && table->means && table->results) ||
           error_memory(error, "scores of the selection", 2 * values * sizeof *table->values, NULL);
}

static void score_table_close(struct score_table *table)
{
    free(table->baseline);
    free(table->values);
    free(table->means);
    free(table->results);
}

static void take_means(struct score_table *table, int row, const double *values)
{
    for (int64_t s = 0; s < table->seeds; s++)
        table->means[row * table->seeds + s] = mean(values + s * table->users, table->users);
}

static bool score_table_fill(struct score_table *table, const struct study *study, int contestant,
                             struct error *error)
{
    char original[CHOICE_NAME_SIZE + 16];
    baseline_folder(original, sizeof original, study);
    if (!read_user_scores(table->baseline, study, contestant, original, error))
        return false;
    take_means(table, study->choice_count, table->baseline);
    for (int c = 0; c < study->choice_count; c++) {
        const bool same = !contestant_is_changed(&study->contestants[contestant], &study->choices[c]);
        char arm[CHOICE_NAME_SIZE + 16];
        selection_folder(arm, sizeof arm, &study->choices[c]);
        if (!same && !read_user_scores(table->values, study, contestant, arm, error))
            return false;
        const double *values = same ? table->baseline : table->values;
        take_means(table, c, values);
        table->results[c] = choice_score(values, table->baseline, table->seeds, table->users);
    }
    return true;
}

static json_t *numbers_json(const double *values, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *choice_json(const struct choice *choice)
{
    char name[CHOICE_NAME_SIZE];
    choice_name(name, choice);
    return json_pack("{s:s, s:s, s:f, s:b, s:f}", "choice", name, "use", use_name(choice->use), "amount",
                     choice->amount, "proportional", choice->proportional, "threshold_quantile",
                     choice->quantile);
}

static json_t *candidates_json(const struct study *study, const double *scores,
                               const struct choice_score *results)
{
    json_t *list = json_array();
    for (int c = 0; c < study->choice_count; c++) {
        json_t *candidate = choice_json(&study->choices[c]);
        json_object_set_new(candidate, "scores",
                            numbers_json(scores + c * study->select_seeds, study->select_seeds));
        json_object_set_new(candidate, "mean", json_real(results[c].mean));
        json_object_set_new(candidate, "gain", json_real(results[c].gain));
        json_object_set_new(candidate, "standard_error", json_real(results[c].standard_error));
        json_array_append_new(list, candidate);
    }
    return list;
}

static char *explain(const struct study *study, const struct choice_score *results, int best, int adopted)
{
    if (best < 0)
        return path_format("no candidate adds anything");
    char name[CHOICE_NAME_SIZE];
    choice_name(name, &study->choices[best]);
    return path_format("the best candidate, %s, gained %+.5f on validation with a standard error of %.5f: %s",
                       name, results[best].gain, results[best].standard_error,
                       adopted >= 0 ? "adopted" : "not enough, nothing is adopted");
}

static bool write_selection(const struct study *study, int contestant, json_t *record,
                            const struct selection *selection, const char *reason, struct error *error)
{
    char chosen[CHOICE_NAME_SIZE], control[CHOICE_NAME_SIZE];
    choice_name(chosen, &selection->chosen);
    choice_name(control, &selection->control);
    json_object_set_new(record, "recommender", json_string(study->contestants[contestant].label));
    json_object_set_new(record, "chosen", json_string(chosen));
    json_object_set_new(record, "controls", json_string(control));
    json_object_set_new(record, "reason", json_string(reason));
    if (!run_leads(study->run))
        return true;
    char *path = run_path(study->run, "%s/%s/selection.json", study->fits_folder,
                          study->contestants[contestant].label);
    const bool done = json_file_write(path, record, error);
    log_line(study->run->log, "%s: %s", study->contestants[contestant].label, reason);
    free(path);
    return done;
}

static bool select_on_validation(struct selection *selection, const struct study *study, int contestant,
                                 struct score_table *table, struct error *error)
{
    if (!score_table_fill(table, study, contestant, error))
        return false;
    int best,
        adopted = selection_decide(table->results, &best, study->choices, study->choice_count, study->margin);
    if (best >= 0)
        selection->control = study->choices[best];
    if (adopted >= 0)
        selection->chosen = study->choices[adopted];
    char metric[METRIC_NAME_SIZE];
    metric_label(metric, study->select_metric, study->select_cut);
    json_t *record = json_pack("{s:s, s:s, s:I, s:f}", "select", "validation", "metric", metric, "seeds",
                               (json_int_t)study->select_seeds, "margin_standard_errors", study->margin);
    json_object_set_new(record, "baseline",
                        numbers_json(table->means + study->choice_count * table->seeds, table->seeds));
    json_object_set_new(record, "candidates", candidates_json(study, table->means, table->results));
    char *reason = explain(study, table->results, best, adopted);
    bool done = write_selection(study, contestant, record, selection, reason, error);
    free(reason);
    json_decref(record);
    return done;
}

static bool select_first(struct selection *selection, const struct study *study, int contestant,
                         struct error *error)
{
    selection->chosen = study->choices[0];
    for (int c = study->choice_count - 1; c >= 0; c--)
        if (study->choices[c].use != USE_NONE)
            selection->control = study->choices[c];
    json_t *record = json_pack("{s:s}", "select", "fixed");
    bool done = write_selection(study, contestant, record, selection,
                                "augment.select is fixed: the first choice is taken", error);
    json_decref(record);
    return done;
}

bool selection_make(struct selection *selection, const struct study *study, int contestant,
                    struct error *error)
{
    *selection = (struct selection){.chosen.use = USE_NONE, .control.use = USE_NONE};
    if (!study->select)
        return select_first(selection, study, contestant, error);
    struct score_table table;
    bool done = score_table_open(&table, study, error) &&
                select_on_validation(selection, study, contestant, &table, error);
    score_table_close(&table);
    return done;
}
