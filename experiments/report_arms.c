#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/statistics.h"
#include "experiments/arms.h"
#include "experiments/fits.h"
#include "experiments/report.h"

void report_add_mean(struct table *table, const struct report *report, const char *recommender,
                     const char *arm, const char *metric)
{
    double values[REPORT_SEEDS_MAXIMUM];
    int count = report_values(report, recommender, arm, metric, values, REPORT_SEEDS_MAXIMUM);
    const double deviation = count > 1 ? standard_deviation(values, count) : 0;
    if (count > 1 && (deviation > 0 || !report_is_deterministic(report, recommender)))
        table_cell(table, "%.4f ± %.4f", mean(values, count), deviation);
    else
        table_cell(table, "%.4f", mean(values, count));
}

/* Gain, interval and corrected p of one comparison. */
static void add_comparison(struct table *table, const json_t *comparison)
{
    if (comparison == NULL || !json_has(comparison, "relative_gain"))
        table_cell(table, " ");
    else
        table_cell(table, "%+.2f %%", 100 * json_number_at(comparison, "relative_gain"));
    const json_t *interval = json_object_get(comparison, "ci95");
    if (json_array_size(interval) == 2)
        table_cell(table, "[%+.2f, %+.2f] %%", 100 * json_number_value(json_array_get(interval, 0)),
                   100 * json_number_value(json_array_get(interval, 1)));
    else
        table_cell(table, " ");
    if (json_has(comparison, "p_holm"))
        table_cell(table, "%.3g", json_number_at(comparison, "p_holm"));
    else
        table_cell(table, " ");
}

static double rows_added(const struct report *report, const char *recommender, const char *arm)
{
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        if (strcmp(json_text_at(run, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(run, "arm"), arm) == 0)
            return json_number_at(run, "rows_added");
    }
    return 0;
}

/* The columns of means: every metric of the configuration at the largest cut, at most three. */
static int headline_metrics(const struct report *report, char names[3][METRIC_NAME_SIZE])
{
    const struct config *config = report->run->config;
    const int64_t cut = report_largest_cut(report);
    int count = 0;
    for (int i = 0; count < 3 && i < (int)config_length(config, "evaluate.metrics"); i++)
        metric_label(names[count++], metric_from_name(config_string(config, "evaluate.metrics[%d]", i)), cut);
    return count;
}

void report_arms(const struct report *report, const struct document *document, const char *recommender)
{
    char metrics[3][METRIC_NAME_SIZE];
    int metric_count = headline_metrics(report, metrics);
    const char *arms[ARM_COUNT];
    int arm_count = report_arm_names(report, recommender, arms);
    struct table table = {.columns = metric_count + 5};
    char rules[REPORT_RULES_SIZE];
    report_rules(report, rules);
    table_cell(&table, "%s%s%s", recommender, rules,
               report_is_deterministic(report, recommender) ? " (deterministic)" : "");
    for (int m = 0; m < metric_count; m++)
        table_cell(&table, "%s", metrics[m]);
    table_cell(&table, "gain, %s", report->metric);
    table_cell(&table, "95 %% interval");
    table_cell(&table, "p (Holm)");
    table_cell(&table, "rows added");
    for (int a = 0; a < arm_count; a++) {
        table_cell(&table, "%s", arms[a]);
        for (int m = 0; m < metric_count; m++)
            report_add_mean(&table, report, recommender, arms[a], metrics[m]);
        add_comparison(&table, report_comparison(report, recommender, arms[a], "original", report->metric));
        table_cell(&table, "%.0f", rows_added(report, recommender, arms[a]));
    }
    document_table(document, &table);
}

/* A gain counts over at least five seeds, with an interval above 0 and a corrected p below 0.05. */
static const char *judgement(const json_t *comparison)
{
    const json_t *interval = json_object_get(comparison, "ci95");
    const bool worse = json_array_size(interval) == 2 && json_number_value(json_array_get(interval, 1)) < 0;
    if (json_number_at(comparison, "seeds") < 5 || json_array_size(interval) != 2)
        return worse ? "seems to do worse than (too few seeds to be sure)"
                     : "cannot be said to beat (too few seeds)";
    if (!json_has(comparison, "p_holm"))
        return worse ? "does worse, over users, than (no test over seeds)"
                     : "cannot be said to beat (no test over seeds)";
    bool significant = json_number_at(comparison, "p_holm") < 0.05;
    if (significant && json_number_value(json_array_get(interval, 0)) > 0)
        return "beats";
    if (significant && worse)
        return "does worse than";
    return "does not beat";
}

/* The control arm with the highest mean; NULL without controls. */
static const char *strongest_control(const struct report *report, const char *recommender)
{
    const char *arms[ARM_COUNT], *strongest = NULL;
    int arm_count = report_arm_names(report, recommender, arms);
    double best = -INFINITY, values[REPORT_SEEDS_MAXIMUM];
    for (int a = 0; a < arm_count; a++) {
        int count = report_values(report, recommender, arms[a], report->metric, values, REPORT_SEEDS_MAXIMUM);
        if (strncmp(arms[a], "control.", strlen("control.")) == 0 && mean(values, count) > best) {
            strongest = arms[a];
            best = mean(values, count);
        }
    }
    return strongest;
}

static void describe(char *text, size_t size, const json_t *comparison)
{
    int length = snprintf(text, size, "%.4f against %.4f, %+.2f %%", json_number_at(comparison, "mean"),
                          json_number_at(comparison, "against_mean"),
                          100 * json_number_at(comparison, "relative_gain"));
    const json_t *interval = json_object_get(comparison, "ci95");
    if (json_array_size(interval) == 2)
        length += snprintf(text + length, size - (size_t)length, ", 95 %% interval %+.2f to %+.2f %%",
                           100 * json_number_value(json_array_get(interval, 0)),
                           100 * json_number_value(json_array_get(interval, 1)));
    if (json_has(comparison, "p_holm"))
        length += snprintf(text + length, size - (size_t)length, ", corrected p %.3g",
                           json_number_at(comparison, "p_holm"));
    if (json_has(comparison, "note"))
        snprintf(text + length, size - (size_t)length, "; %s", json_text_at(comparison, "note"));
}

static void judge_against(const struct report *report, const struct document *document,
                          const char *recommender, const char *against, const char *label)
{
    const json_t *comparison = report_comparison(report, recommender, "augmented", against, report->metric);
    if (comparison == NULL)
        return;
    char text[512];
    describe(text, sizeof text, comparison);
    document_paragraph(document, "%s: on test it %s %s (%s: %s).", recommender, judgement(comparison), label,
                       report->metric, text);
}

void report_verdict(const struct report *report, const struct document *document, const char *recommender)
{
    const json_t *selection = report_selection_of(report, recommender);
    const char *strongest = strongest_control(report, recommender);
    if (selection == NULL) {
        document_paragraph(document,
                           "%s: the language model's own ranking, without a recommender trained on it. "
                           "Synthetic rows do not change it, so it stands in the original arm alone.",
                           recommender);
        return;
    }
    if (strcmp(json_text_at(selection, "chosen"), "none") == 0) {
        document_paragraph(
            document,
            "%s: augmentation was not adopted; %s. The augmented arm therefore equals the original "
            "one, and the controls show what %s would be compared with.",
            recommender, json_text_at(selection, "reason"), json_text_at(selection, "controls"));
        return;
    }
    document_paragraph(document, "%s: augmentation was adopted as %s; %s.", recommender,
                       json_text_at(selection, "chosen"), json_text_at(selection, "reason"));
    judge_against(report, document, recommender, "original", "the original data");
    char label[128];
    snprintf(label, sizeof label, "the strongest control, %s", strongest != NULL ? strongest : "");
    if (strongest != NULL)
        judge_against(report, document, recommender, strongest, label);
}
