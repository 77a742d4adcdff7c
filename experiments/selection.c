#include "experiments/selection.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/statistics.h"
#include "experiments/fits.h"

static struct choice_score score_choice(const double *scores, const double *baseline, int64_t seeds)
{
    double sum = 0, squares = 0;
    for (int64_t s = 0; s < seeds; s++)
        sum += scores[s] - baseline[s];
    double gain = sum / (double)seeds;
    for (int64_t s = 0; s < seeds; s++)
        squares += (scores[s] - baseline[s] - gain) * (scores[s] - baseline[s] - gain);
    double variance = seeds > 1 ? squares / (double)(seeds - 1) : 0;
    return (struct choice_score){
        .mean = mean(scores, seeds), .gain = gain, .standard_error = sqrt(variance / (double)seeds)};
}

int selection_decide(struct choice_score *results, int *best, const struct choice *choices, int choice_count,
                     const double *scores, const double *baseline, int64_t seeds, double margin)
{
    *best = -1;
    for (int c = 0; c < choice_count; c++) {
        results[c] = score_choice(scores + c * seeds, baseline, seeds);
        if (choices[c].use != USE_NONE && (*best < 0 || results[c].gain > results[*best].gain))
            *best = c;
    }
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

/* A fit's score on validation. */
static bool read_score(double *score, const struct study *study, int contestant, const char *arm,
                       uint64_t seed, struct error *error)
{
    json_t *metrics;
    if (!fit_metrics_load(&metrics, study, contestant, arm, seed, error))
        return false;
    *score = json_number_value(json_object_get(metrics, "selection_score"));
    json_decref(metrics);
    return true;
}

/* scores [choices, seeds]; a choice that adds nothing scores what the baseline does. */
static bool read_scores(double *scores, double *baseline, const struct study *study, int contestant,
                        struct error *error)
{
    int64_t seeds = study->select_seeds;
    for (int64_t s = 0; s < seeds; s++) {
        uint64_t seed = selection_seed(study, contestant, s);
        if (!read_score(&baseline[s], study, contestant, arm_name(ARM_ORIGINAL), seed, error))
            return false;
        for (int c = 0; c < study->choice_count; c++) {
            char arm[CHOICE_NAME_SIZE + 16];
            selection_folder(arm, sizeof arm, &study->choices[c]);
            if (study->choices[c].use == USE_NONE)
                scores[c * seeds + s] = baseline[s];
            else if (!read_score(&scores[c * seeds + s], study, contestant, arm, seed, error))
                return false;
        }
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
    char *text = json_dumps(record, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    char *path = run_path(study->run, "recommenders/%s/selection.json", study->contestants[contestant].label);
    bool done = text != NULL ? file_write(path, text, strlen(text), error)
                             : error_memory(error, "selection.json", 0, NULL);
    log_line(study->run->log, "%s: %s", study->contestants[contestant].label, reason);
    free(path);
    free(text);
    return done;
}

static bool select_on_validation(struct selection *selection, const struct study *study, int contestant,
                                 double *scores, double *baseline, struct choice_score *results,
                                 struct error *error)
{
    if (!read_scores(scores, baseline, study, contestant, error))
        return false;
    int best, adopted = selection_decide(results, &best, study->choices, study->choice_count, scores,
                                         baseline, study->select_seeds, study->margin);
    if (best >= 0)
        selection->control = study->choices[best];
    if (adopted >= 0)
        selection->chosen = study->choices[adopted];
    char metric[METRIC_NAME_SIZE];
    metric_label(metric, study->select_metric, study->select_cut);
    json_t *record = json_pack("{s:s, s:s, s:I, s:f}", "select", "validation", "metric", metric, "seeds",
                               (json_int_t)study->select_seeds, "margin_standard_errors", study->margin);
    json_object_set_new(record, "baseline", numbers_json(baseline, study->select_seeds));
    json_object_set_new(record, "candidates", candidates_json(study, scores, results));
    char *reason = explain(study, results, best, adopted);
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
    size_t seeds = (size_t)study->select_seeds, choices = (size_t)study->choice_count;
    double *scores = calloc(choices * seeds, sizeof *scores), *baseline = calloc(seeds, sizeof *baseline);
    struct choice_score *results = calloc(choices, sizeof *results);
    bool done = scores && baseline && results
                    ? select_on_validation(selection, study, contestant, scores, baseline, results, error)
                    : error_memory(error, "scores of the selection", choices * seeds * sizeof *scores, NULL);
    free(scores);
    free(baseline);
    free(results);
    return done;
}
