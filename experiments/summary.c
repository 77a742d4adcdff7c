#include "experiments/summary.h"

#include <stdlib.h>
#include <string.h>

/* The mean of a metric over the seeds of one recommender and arm. */
static double mean_over_seeds(const json_t *runs, const char *recommender, const char *arm,
                              const char *metric, int *seeds)
{
    double sum = 0.0;
    size_t index;
    json_t *run;
    *seeds = 0;
    json_array_foreach(runs, index, run)
    {
        const json_t *value = json_object_get(json_object_get(run, "metrics"), metric);
        const char *its_recommender = json_string_value(json_object_get(run, "recommender"));
        const char *its_arm = json_string_value(json_object_get(run, "arm"));
        if (!json_is_number(value) || !its_recommender || !its_arm ||
            strcmp(its_recommender, recommender) != 0 || strcmp(its_arm, arm) != 0)
            continue;
        sum += json_number_value(value);
        ++*seeds;
    }
    return *seeds > 0 ? sum / *seeds : 0.0;
}

/* The names of the metrics that the configuration asks for, as in results.json. */
static json_t *metric_names(const struct config *config)
{
    json_t *names = json_array();
    for (int64_t i = 0; i < config_length(config, "evaluate.metrics"); i++)
        for (int64_t j = 0; j < config_length(config, "evaluate.k"); j++)
            json_array_append_new(names,
                                  json_sprintf("%s@%d", config_string(config, "evaluate.metrics[%d]", (int)i),
                                               (int)config_integer(config, "evaluate.k[%d]", (int)j)));
    return names;
}

static void print_row(FILE *stream, const json_t *runs, const char *recommender, const char *arm,
                      const json_t *metrics)
{
    size_t index;
    json_t *metric;
    int seeds = 0;
    fprintf(stream, "%-14s %-20s", recommender, arm);
    json_array_foreach(metrics, index, metric) fprintf(
        stream, " %12.4f", mean_over_seeds(runs, recommender, arm, json_string_value(metric), &seeds));
    fprintf(stream, " %6d\n", seeds);
}

/* One row for each pair of recommender and arm, in the order of the file. */
static void print_table(FILE *stream, const json_t *runs, const json_t *metrics)
{
    json_t *metric, *run, *printed = json_object();
    size_t index;
    fprintf(stream, "%-14s %-20s", "recommender", "arm");
    json_array_foreach(metrics, index, metric) fprintf(stream, " %12s", json_string_value(metric));
    fprintf(stream, " %6s\n", "seeds");
    json_array_foreach(runs, index, run)
    {
        const char *recommender = json_string_value(json_object_get(run, "recommender"));
        const char *arm = json_string_value(json_object_get(run, "arm"));
        if (!recommender || !arm)
            continue;
        char key[256];
        snprintf(key, sizeof key, "%s/%s", recommender, arm);
        if (json_object_get(printed, key))
            continue;
        json_object_set_new(printed, key, json_true());
        print_row(stream, runs, recommender, arm, metrics);
    }
    json_decref(printed);
}

bool summary_print(const struct run *run, FILE *stream, struct error *error)
{
    char *path = run_path(run, "results.json");
    json_error_t problem;
    json_t *results = json_load_file(path, 0, &problem);
    const bool done = results || error_at(error, ERROR_RUN, path, problem.line > 0 ? problem.line : 0,
                                          "cannot be read (%s); remove it and run again", problem.text);
    if (done) {
        json_t *metrics = metric_names(run->config);
        print_table(stream, json_object_get(results, "runs"), metrics);
        json_decref(metrics);
        fprintf(stream, "\nreport: %s/report.html\n", run->folder);
    }
    json_decref(results);
    free(path);
    return done;
}
