#include <math.h>
#include <string.h>

#include "experiments/sweep_report.h"

double sweep_report_seconds(const struct sweep_report *report, int trial, const char *recommender)
{
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(report->trials[trial], "efficiency"), index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), recommender) == 0)
            return json_number_at(entry, "seconds");
    }
    return NAN;
}

static void add_cost(struct table *table, const struct sweep_report *report, int trial,
                     const char *recommender)
{
    const json_t *gain = sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL);
    const double seconds = sweep_report_seconds(report, trial, recommender);
    if (isnan(seconds))
        table_cell(table, " ");
    else
        table_cell(table, "%.1f", seconds);
    if (json_has(gain, "relative_gain"))
        table_cell(table, "%+.2f %%", 100 * json_number_at(gain, "relative_gain"));
    else
        table_cell(table, " ");
}

void sweep_report_cost(const struct sweep_report *report, const struct document *document)
{
    struct table table = {.name = "cost", .columns = 1 + 2 * report->recommender_count};
    document_heading(document, 2, "Cost");
    document_paragraph(document, "Seconds that augmentation took, of the language model (pretraining to "
                                 "filters) and of the choice on validation, beside "
                                 "the gain. A stage that trials share counts in each of them. The trials' "
                                 "own reports hold the gain an hour and "
                                 "what the same time of tuning gave; all stages: tables/cost.csv.");
    table_cell(&table, "trial");
    for (int i = 0; i < report->recommender_count; i++) {
        table_cell(&table, "%s, seconds", report->recommenders[i]);
        table_cell(&table, "%s, gain", report->recommenders[i]);
    }
    for (int trial = 0; trial < report->sweep->trial_count; trial++) {
        if (strcmp(sweep_report_state(report, trial), "done") != 0)
            continue;
        table_cell(&table, "%s (%d)", report->sweep->trials[trial].name, trial + 1);
        for (int i = 0; i < report->recommender_count; i++)
            add_cost(&table, report, trial, report->recommenders[i]);
    }
    document_table(document, &table);
    document_figure(
        document, "plots/cost.svg",
        "Gain against the seconds that it took; the numbers are those of the trials in the table above.");
}
