#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/statistics.h"
#include "experiments/arms.h"
#include "experiments/fits.h"
#include "experiments/report.h"
#include "experiments/report_comparison.h"

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
    char name[96];
    snprintf(name, sizeof name, "arms-%s", recommender);
    struct table table = {.name = name, .columns = metric_count + 2 + COMPARISON_CELLS};
    char rules[REPORT_RULES_SIZE];
    report_rules(report, rules);
    table_cell(&table, "%s%s%s", recommender, rules,
               report_is_deterministic(report, recommender) ? " (deterministic)" : "");
    for (int m = 0; m < metric_count; m++)
        table_cell(&table, "%s", metrics[m]);
    comparison_add_heads(&table, report->metric);
    table_cell(&table, "rows added");
    for (int a = 0; a < arm_count; a++) {
        table_cell(&table, "%s", arms[a]);
        for (int m = 0; m < metric_count; m++)
            report_add_mean(&table, report, recommender, arms[a], metrics[m]);
        comparison_add_cells(&table,
                             report_comparison(report, recommender, arms[a], "original", report->metric));
        table_cell(&table, "%.0f", rows_added(report, recommender, arms[a]));
    }
    document_table(document, &table);
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

static void judge_against(const struct report *report, const struct document *document,
                          const char *recommender, const char *against, const char *label)
{
    const json_t *comparison = report_comparison(report, recommender, "augmented", against, report->metric);
    if (comparison == NULL)
        return;
    char text[COMPARISON_TEXT_SIZE];
    comparison_describe(text, comparison);
    document_paragraph(document, "%s: on test it %s %s (%s: %s).", recommender, comparison_verb(comparison),
                       label, report->metric, text);
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
