#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/comparisons.h"
#include "experiments/fits.h"
#include "experiments/top_k_file.h"

int64_t series_of(struct serie series[METRIC_COUNT * CUTS_MAXIMUM], const struct study *study)
{
    bool wanted[METRIC_COUNT] = {false};
    const struct config *config = study->config;
    for (int i = 0; i < (int)config_length(config, "evaluate.metrics"); i++)
        wanted[metric_from_name(config_string(config, "evaluate.metrics[%d]", i))] = true;
    int64_t count = 0;
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int cut = 0; wanted[metric] && cut < study->cut_count; cut++)
            series[count++] = (struct serie){.metric = (enum metric)metric, .cut = cut};
    return count;
}

int64_t series_find(const struct study *study, const char *metric)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, study);
    for (int64_t i = 0; i < count; i++) {
        char label[METRIC_NAME_SIZE];
        metric_label(label, series[i].metric, study->cuts[series[i].cut]);
        if (strcmp(label, metric) == 0)
            return i;
    }
    return -1;
}

/* Two programs' parts must agree on a mean: what was written at training and what the lists say. */
static bool check_against_metrics(const struct study *study, const json_t *metrics,
                                  const struct evaluation *found, const char *path, struct error *error)
{
    const json_t *test = json_object_get(metrics, "test");
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int cut = 0; cut < study->cut_count; cut++) {
            char name[METRIC_NAME_SIZE];
            metric_label(name, (enum metric)metric, study->cuts[cut]);
            double written = json_number_value(json_object_get(test, name));
            if (!(fabs(written - found->value[metric][cut]) <= 1e-9))
                return error_set(error, ERROR_RUN,
                                 "%s: its %s is %.12f, metrics.json says %.12f; delete it and run again",
                                 path, name, found->value[metric][cut], written);
        }
    return true;
}

/* One fit's values of every user, into `target` [series, users]. */
static bool load_fit(double *target, const struct study *study, const struct name_index *items,
                     int contestant, enum arm arm, uint64_t seed, double *scratch, struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    int64_t count = series_of(series, study), users = study->test_count;
    char *folder = study_fit_folder(study, contestant, arm_name(arm), seed);
    char *path = path_format("%s/top_k.tsv", folder);
    struct top_k top = {0};
    struct evaluation evaluation;
    json_t *metrics = NULL;
    bool done =
        fit_metrics_load(&metrics, study, contestant, arm_name(arm), seed, error) &&
        (path_exists(path) || error_at(error, ERROR_RUN, path, 0, "is missing; run again to make it anew")) &&
        top_k_read(&top, &study->dataset, items, path, study->test_users, users, study->largest_cut, error);
    if (done) {
        evaluate_top_k(&evaluation, &top, &study->test, study->cuts, study->cut_count, scratch);
        done = check_against_metrics(study, metrics, &evaluation, path, error);
    }
    for (int64_t s = 0; done && s < count; s++)
        memcpy(target + s * users,
               scratch + ((int64_t)series[s].metric * study->cut_count + series[s].cut) * users,
               (size_t)users * sizeof *target);
    json_decref(metrics);
    top_k_free(&top);
    free(path);
    free(folder);
    return done;
}

bool user_values_load(struct user_values *values, const struct study *study, const struct name_index *items,
                      int contestant, struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    *values = (struct user_values){
        .seeds = study->seeds, .series = series_of(series, study), .users = study->test_count};
    int64_t fit_size = values->series * values->users;
    size_t bytes = (size_t)(study->arm_count * study->seeds * fit_size) * sizeof *values->value;
    size_t scratch_bytes = (size_t)(METRIC_COUNT * study->cut_count * values->users) * sizeof(double);
    values->value = malloc(bytes);
    double *scratch = malloc(scratch_bytes);
    bool done = (values->value && scratch) ||
                error_memory(error, "metrics of users", bytes, "lower experiment.seeds or evaluate.k");
    for (int a = 0; done && a < study->arm_count; a++)
        for (int64_t s = 0; done && s < study->seeds; s++)
            done = load_fit(values->value + (a * study->seeds + s) * fit_size, study, items, contestant,
                            study->arms[a], study->first_seed + (uint64_t)s, scratch, error);
    free(scratch);
    return done;
}

void user_values_free(struct user_values *values)
{
    free(values->value);
    values->value = NULL;
}

const double *user_values_at(const struct user_values *values, int arm, int64_t seed, int64_t serie)
{
    return values->value + ((arm * values->seeds + seed) * values->series + serie) * values->users;
}
