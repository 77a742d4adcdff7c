#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/statistics.h"
#include "experiments/fits.h"
#include "experiments/report.h"

enum { COLUMNS_MAXIMUM = 8, LABELS_MAXIMUM = 64 };

/* The metrics of the configuration at its cuts; at most `size`. Returns their number. */
static int metric_labels(const struct report *report, bool all_cuts, char (*labels)[METRIC_NAME_SIZE],
                         int size)
{
    const struct config *config = report->run->config;
    const int64_t largest = report_largest_cut(report);
    int count = 0;
    for (int m = 0; m < (int)config_length(config, "evaluate.metrics"); m++)
        for (int i = 0; i < (int)config_length(config, "evaluate.k"); i++) {
            const int64_t cut = config_integer(config, "evaluate.k[%d]", i);
            if (count < size && (all_cuts || cut == largest))
                metric_label(labels[count++],
                             metric_from_name(config_string(config, "evaluate.metrics[%d]", m)), cut);
        }
    return count;
}

static double mean_of(const struct report *report, const char *recommender, const char *metric)
{
    double values[REPORT_SEEDS_MAXIMUM];
    const int count = report_values(report, recommender, "original", metric, values, REPORT_SEEDS_MAXIMUM);
    return mean(values, count);
}

/* The highest mean of the leading metric first; of equal ones the order of the configuration stays. */
static int sorted_names(const struct report *report, const char **names)
{
    const int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    for (int i = 1; i < count; i++) {
        const char *name = names[i];
        const double score = mean_of(report, name, report->metric);
        int place = i;
        for (; place > 0 && mean_of(report, names[place - 1], report->metric) < score; place--)
            names[place] = names[place - 1];
        names[place] = name;
    }
    return count;
}

static double run_mean(const struct report *report, const char *recommender, const char *key)
{
    double sum = 0;
    int count = 0;
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        if (strcmp(json_text_at(run, "recommender"), recommender) != 0)
            continue;
        sum += json_number_at(run, key);
        count++;
    }
    return count > 0 ? sum / count : 0;
}

static void add_recommender(struct table *table, const struct report *report, const char *name,
                            char (*labels)[METRIC_NAME_SIZE], int label_count)
{
    const double epochs = run_mean(report, name, "epochs");
    table_cell(table, "%s%s", name, report_is_deterministic(report, name) ? " (deterministic)" : "");
    for (int i = 0; i < label_count; i++)
        report_add_mean(table, report, name, "original", labels[i]);
    if (epochs > 0)
        table_cell(table, "%.0f of %.0f", run_mean(report, name, "best_epoch"), epochs);
    else
        table_cell(table, " ");
    table_cell(table, "%.1f", run_mean(report, name, "seconds"));
}

void report_recommenders(const struct report *report, const struct document *document)
{
    char labels[LABELS_MAXIMUM][METRIC_NAME_SIZE], rules[REPORT_RULES_SIZE];
    int label_count = metric_labels(report, true, labels, LABELS_MAXIMUM);
    if (label_count > COLUMNS_MAXIMUM)
        label_count = metric_labels(report, false, labels, LABELS_MAXIMUM);
    const char *names[REPORT_NAMES_MAXIMUM];
    const int count = sorted_names(report, names);
    struct table table = {.name = "recommenders", .columns = label_count + 3};
    report_rules(report, rules);
    table_cell(&table, "recommender, by %s%s", report->metric, rules);
    for (int i = 0; i < label_count; i++)
        table_cell(&table, "%s", labels[i]);
    table_cell(&table, "best epoch");
    table_cell(&table, "seconds");
    for (int i = 0; i < count; i++)
        add_recommender(&table, report, names[i], labels, label_count);
    document_table(document, &table);
}

void report_all_cuts(const struct report *report, const struct document *document, const char *recommender)
{
    char labels[LABELS_MAXIMUM][METRIC_NAME_SIZE];
    const int label_count = metric_labels(report, true, labels, LABELS_MAXIMUM);
    const char *arms[ARM_COUNT];
    const int arm_count = report_arm_names(report, recommender, arms);
    if (config_length(report->run->config, "evaluate.k") < 2)
        return;
    char name[96];
    snprintf(name, sizeof name, "cuts-%s", recommender);
    struct table table = {.name = name, .columns = arm_count + 1};
    table_cell(&table, "%s, all cuts", recommender);
    for (int a = 0; a < arm_count; a++)
        table_cell(&table, "%s", arms[a]);
    for (int i = 0; i < label_count; i++) {
        table_cell(&table, "%s", labels[i]);
        for (int a = 0; a < arm_count; a++)
            report_add_mean(&table, report, recommender, arms[a], labels[i]);
    }
    document_table(document, &table);
}

/* Whether a fit of the recommender stopped for the limit of epochs alone; the limit, then. */
static bool stopped_at_limit(const struct report *report, const char *recommender, double *limit)
{
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        *limit = json_number_at(run, "epochs");
        if (strcmp(json_text_at(run, "recommender"), recommender) == 0 &&
            json_is_true(json_object_get(run, "still_improving")))
            return true;
    }
    return false;
}

void report_limits(const struct report *report, const struct document *document)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    const int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    for (int i = 0; i < count; i++) {
        double limit;
        if (stopped_at_limit(report, names[i], &limit))
            document_paragraph(
                document,
                "%s stopped at the limit of %.0f epoch%s while still improving; raise recommenders[].epochs.",
                names[i], limit, limit == 1 ? "" : "s");
    }
}

static void describe_split(const struct report *report, const struct document *document)
{
    const struct config *config = report->run->config;
    const char *method = config_string(config, "data.split.method");
    const long long seeds = config_integer(config, "experiment.seeds"),
                    first = config_integer(config, "seed");
    char ratios[96] = "";
    if (strcmp(method, "random") == 0 || strcmp(method, "temporal") == 0)
        snprintf(ratios, sizeof ratios, " (train, validation, test: %g, %g, %g)",
                 config_number(config, "data.split.ratios[0]"), config_number(config, "data.split.ratios[1]"),
                 config_number(config, "data.split.ratios[2]"));
    char last[32] = "";
    if (seeds > 1)
        snprintf(last, sizeof last, " to %lld", first + seeds - 1);
    document_paragraph(document, "Split: %s%s. Protocol: %s. Mask: %s. Training seed%s: %lld%s.", method,
                       ratios, json_text_at(report->results, "protocol"),
                       json_text_at(report->results, "mask"), seeds > 1 ? "s" : "", first, last);
}

void report_settings(const struct report *report, const struct document *document)
{
    const json_t *entry, *entries = json_object_get(report->results, "recommenders");
    size_t index;
    document_heading(document, 2, "Settings");
    describe_split(report, document);
    if (json_array_size(entries) == 0)
        return;
    struct table table = {.name = "settings", .columns = 2};
    table_cell(&table, "recommender");
    table_cell(&table, "settings that it reads%s",
               json_has(report->results, "tuning") ? ", before tuning" : "");
    json_array_foreach(entries, index, entry)
    {
        char settings[2048];
        report_describe_settings(settings, sizeof settings, json_object_get(entry, "settings"));
        table_cell(&table, "%s", json_text_at(entry, "recommender"));
        table_cell(&table, "%s", settings);
    }
    document_table(document, &table);
}
