#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "experiments/fits.h"
#include "experiments/report.h"

double json_number_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

const char *json_text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

bool json_has(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

int64_t report_largest_cut(const struct report *report)
{
    return report_cut_of(report->run->config);
}

int64_t report_cut_of(const struct config *config)
{
    int64_t largest = 0;
    for (int i = 0; i < (int)config_length(config, "evaluate.k"); i++)
        if (config_integer(config, "evaluate.k[%d]", i) > largest)
            largest = config_integer(config, "evaluate.k[%d]", i);
    return largest;
}

static bool is_evaluated(const struct config *config, const char *metric, int64_t cut)
{
    bool has_metric = false, has_cut = false;
    for (int i = 0; i < (int)config_length(config, "evaluate.metrics"); i++)
        has_metric |= strcmp(config_string(config, "evaluate.metrics[%d]", i), metric) == 0;
    for (int i = 0; i < (int)config_length(config, "evaluate.k"); i++)
        has_cut |= config_integer(config, "evaluate.k[%d]", i) == cut;
    return has_metric && has_cut;
}

void report_leading_metric(char label[METRIC_NAME_SIZE], const struct config *config)
{
    const char *metric = config_string(config, "augment.select_metric");
    int64_t cut = config_integer(config, "augment.select_k");
    if (!is_evaluated(config, metric, cut)) {
        metric = config_string(config, "evaluate.metrics[0]");
        cut = report_cut_of(config);
    }
    metric_label(label, metric_from_name(metric), cut);
}

bool report_open(struct report *report, const struct run *run, struct error *error)
{
    *report = (struct report){.run = run};
    char *path = run_path(run, "results.json");
    json_error_t problem;
    report->results = json_load_file(path, 0, &problem);
    if (report->results == NULL)
        error_at(error, ERROR_RUN, path, problem.line > 0 ? problem.line : 0, "%s; run `evaluate` again",
                 problem.text);
    free(path);
    if (report->results == NULL)
        return false;
    report_leading_metric(report->metric, run->config);
    return true;
}

void report_close(struct report *report)
{
    json_decref(report->results);
    report->results = NULL;
    if (report->study)
        sweep_close(report->study);
    free(report->study);
    report->study = NULL;
}

void report_rules(const struct report *report, char rules[REPORT_RULES_SIZE])
{
    const char *protocol = json_text_at(report->results, "protocol");
    const char *mask = json_text_at(report->results, "mask");
    *rules = '\0';
    if (strcmp(protocol, "clean") != 0 || strcmp(mask, "original") != 0)
        snprintf(rules, REPORT_RULES_SIZE, ", protocol %s, mask %s", protocol, mask);
}

int report_names(const struct report *report, const char *key, const char **names, int size)
{
    int count = 0;
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        const char *name = json_text_at(run, key);
        int place = 0;
        while (place < count && strcmp(names[place], name) != 0)
            place++;
        if (place == count && count < size)
            names[count++] = name;
    }
    return count;
}

int report_values(const struct report *report, const char *recommender, const char *arm, const char *metric,
                  double *values, int size)
{
    int count = 0;
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        if (count < size && strcmp(json_text_at(run, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(run, "arm"), arm) == 0)
            values[count++] = json_number_at(json_object_get(run, "metrics"), metric);
    }
    return count;
}

int report_arm_names(const struct report *report, const char *recommender, const char *arms[ARM_COUNT])
{
    const int all = report_names(report, "arm", arms, ARM_COUNT);
    int count = 0;
    for (int a = 0; a < all; a++) {
        double value;
        if (report_values(report, recommender, arms[a], report->metric, &value, 1) > 0)
            arms[count++] = arms[a];
    }
    return count;
}

bool report_is_deterministic(const struct report *report, const char *recommender)
{
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(report->results, "recommenders"), index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), recommender) == 0)
            return json_is_true(json_object_get(entry, "deterministic"));
    }
    return false;
}

bool report_is_plain(const struct report *report)
{
    const char *arms[2];
    return report_names(report, "arm", arms, 2) == 1 && strcmp(arms[0], "original") == 0;
}

const json_t *report_comparison(const struct report *report, const char *recommender, const char *arm,
                                const char *against, const char *metric)
{
    const json_t *comparison;
    size_t index;
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        if (strcmp(json_text_at(comparison, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(comparison, "arm"), arm) == 0 &&
            strcmp(json_text_at(comparison, "against"), against) == 0 &&
            strcmp(json_text_at(comparison, "metric"), metric) == 0)
            return comparison;
    }
    return NULL;
}

const json_t *report_selection_of(const struct report *report, const char *recommender)
{
    const json_t *selection;
    size_t index;
    json_array_foreach(json_object_get(report->results, "selection"), index, selection)
    {
        if (strcmp(json_text_at(selection, "recommender"), recommender) == 0)
            return selection;
    }
    return NULL;
}
