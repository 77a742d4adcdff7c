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

/* The metric of the choice, where it was evaluated on test as well. */
static void choose_metric(struct report *report)
{
    const struct config *config = report->run->config;
    const json_t *first = json_array_get(json_object_get(report->results, "comparisons"), 0);
    metric_label(report->metric, metric_from_name(config_string(config, "augment.select_metric")),
                 config_integer(config, "augment.select_k"));
    const json_t *comparison;
    size_t index;
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        if (strcmp(json_text_at(comparison, "metric"), report->metric) == 0)
            return;
    }
    if (first != NULL)
        snprintf(report->metric, sizeof report->metric, "%s", json_text_at(first, "metric"));
    else
        metric_label(report->metric, metric_from_name(config_string(config, "evaluate.metrics[0]")),
                     config_integer(config, "evaluate.k[0]"));
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
    choose_metric(report);
    return true;
}

void report_close(struct report *report)
{
    json_decref(report->results);
    report->results = NULL;
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
