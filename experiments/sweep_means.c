#include <string.h>

#include "experiments/sweep_report.h"

static double validation_of(const struct sweep_report *report, const json_t *entry)
{
    const json_t *value = json_object_get(json_object_get(entry, "validation"), report->metric);
    return value ? json_number_value(value) : -1.0;
}

/* Whether no trial of the recommender in this arm is better on validation. */
static bool is_best(const struct sweep_report *report, const json_t *entry)
{
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *other =
            sweep_report_entry(report, i, json_text_at(entry, "recommender"), json_text_at(entry, "arm"));
        if (validation_of(report, other) > validation_of(report, entry))
            return false;
    }
    return validation_of(report, entry) >= 0.0;
}

void sweep_report_add_validation(struct table *table, const struct sweep_report *report, const json_t *entry)
{
    if (validation_of(report, entry) >= 0.0)
        table_cell(table, "%.4f%s", validation_of(report, entry), is_best(report, entry) ? " best" : "");
    else
        table_cell(table, " ");
}

static void add_metric(struct table *table, const struct sweep_report *report, const json_t *entry,
                       const char *name)
{
    char metric[32];
    snprintf(metric, sizeof metric, "%.16s@%lld", name, (long long)report->cut);
    const json_t *test = json_object_get(entry, "test"),
                 *deviation = json_object_get(entry, "test_deviation");
    if (!json_has(test, metric))
        table_cell(table, " ");
    else if (json_has(deviation, metric))
        table_cell(table, "%.4f ± %.4f", json_number_at(test, metric), json_number_at(deviation, metric));
    else
        table_cell(table, "%.4f", json_number_at(test, metric));
}

/* Most trials set it; others are told by the trials' names, as all are in LaTeX, whose pages are narrow. */
static bool is_shown_key(const struct sweep_report *report, const struct document *document, int key)
{
    int set = 0;
    for (int i = 0; i < report->sweep->trial_count; i++)
        set += sweep_setting(&report->sweep->trials[i], report->sweep->keys[key]) != NULL;
    return document->format != DOCUMENT_LATEX && 2 * set > report->sweep->trial_count;
}

static void add_row(struct table *table, const struct sweep_report *report, const struct document *document,
                    const struct sweep_trial *trial, const json_t *entry)
{
    const struct config *config = report->sweep->config;
    table_cell(table, "%s", trial->name);
    for (int i = 0; i < report->sweep->key_count; i++) {
        const char *value = sweep_setting(trial, report->sweep->keys[i]);
        if (is_shown_key(report, document, i))
            table_cell(table, "%s", value ? value : " ");
    }
    table_cell(table, "%s", json_text_at(entry, "arm"));
    table_cell(table, "%.0f", json_number_at(entry, "seeds"));
    sweep_report_add_validation(table, report, entry);
    for (int i = 0; i < (int)config_length(config, "evaluate.metrics"); i++)
        add_metric(table, report, entry, config_string(config, "evaluate.metrics[%d]", i));
}

static void write_means(const struct sweep_report *report, const struct document *document,
                        const char *recommender)
{
    const struct config *config = report->sweep->config;
    const int metrics = (int)config_length(config, "evaluate.metrics");
    char name[96];
    snprintf(name, sizeof name, "trials-%s", recommender);
    struct table table = {.name = name, .columns = 4 + metrics};
    table_cell(&table, "%s", recommender);
    for (int i = 0; i < report->sweep->key_count; i++)
        if (is_shown_key(report, document, i)) {
            table_cell(&table, "%s", report->sweep->keys[i]);
            table.columns++;
        }
    table_cell(&table, "arm");
    table_cell(&table, "seeds");
    table_cell(&table, "validation %s", report->metric);
    for (int i = 0; i < metrics; i++)
        table_cell(&table, "test %s@%lld", config_string(config, "evaluate.metrics[%d]", i),
                   (long long)report->cut);
    const json_t *trial, *entry;
    size_t index, number;
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            if (strcmp(json_text_at(entry, "recommender"), recommender) == 0)
                add_row(&table, report, document, &report->sweep->trials[index], entry);
        }
    }
    document_table(document, &table);
}

void sweep_report_write_trials(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "Trials");
    document_paragraph(document, "Means ± standard deviations over the seeds of a trial; a column for each "
                                 "key that most trials set. Where it is left empty, the trial has what the "
                                 "configuration of the study says. \"best\" marks the trial that is best on "
                                 "validation, for each arm: what is chosen by a look at test is better there "
                                 "than it is.");
    sweep_report_links(report, document);
    document_fold_begin(document, "Means of every trial and arm");
    for (int i = 0; i < report->recommender_count; i++)
        write_means(report, document, report->recommenders[i]);
    document_fold_end(document);
}
