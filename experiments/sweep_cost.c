#include <string.h>

#include "experiments/sweep_report.h"

/* Whether a stage is part of what synthetic rows cost. */
static bool is_of_rows(const char *stage)
{
    static const char *const names[] = {"pretrain", "finetune", "generate", "augment"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(stage, names[i]) == 0)
            return true;
    return false;
}

double sweep_report_seconds(const struct sweep_report *report, int trial, const char *recommender)
{
    const json_t *results = report->trials[trial], *entry;
    double rows = 0, fits = 0;
    int count = 0;
    size_t index;
    json_array_foreach(json_object_get(results, "cost"), index, entry)
    {
        if (is_of_rows(json_text_at(entry, "stage")))
            rows += json_number_at(entry, "seconds");
    }
    json_array_foreach(json_object_get(results, "runs"), index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), recommender) != 0 ||
            strcmp(json_text_at(entry, "arm"), "augmented") != 0)
            continue;
        fits += json_number_at(entry, "seconds");
        count++;
    }
    return rows + (count > 0 ? fits / count : 0);
}

void sweep_report_cost(const struct sweep_report *report, const struct document *document)
{
    struct table table = {.name = "cost", .columns = 1 + 2 * report->recommender_count};
    document_heading(document, 2, "Cost");
    document_paragraph(
        document, "Seconds of the language model (pretraining to filters) and of one fit of the augmented "
                  "arm, beside the gain. Stages that trials share count in each. All stages: "
                  "tables/cost.csv.");
    table_cell(&table, "trial");
    for (int i = 0; i < report->recommender_count; i++) {
        table_cell(&table, "%s, seconds", report->recommenders[i]);
        table_cell(&table, "gain");
    }
    for (int trial = 0; trial < report->sweep->trial_count; trial++) {
        if (strcmp(sweep_report_state(report, trial), "done") != 0)
            continue;
        table_cell(&table, "%d %s", trial + 1, report->sweep->trials[trial].name);
        for (int i = 0; i < report->recommender_count; i++) {
            const json_t *gain = sweep_report_comparison(report, trial, report->recommenders[i], "augmented",
                                                         "original", NULL);
            if (gain != NULL)
                table_cell(&table, "%.1f", sweep_report_seconds(report, trial, report->recommenders[i]));
            else
                table_cell(&table, " ");
            if (gain != NULL && json_has(gain, "relative_gain"))
                table_cell(&table, "%+.2f %%", 100 * json_number_at(gain, "relative_gain"));
            else
                table_cell(&table, " ");
        }
    }
    document_table(document, &table);
    document_figure(
        document, "plots/cost.svg",
        "Gain against the seconds that it took; the numbers are those of the trials in the table above.");
}
