#include <string.h>

#include "experiments/report_comparison.h"
#include "experiments/sweep_report.h"

enum { PRINTED_NAME = 48, PRINTED_RECOMMENDER = 24 };

static void add_names(struct table *table, const struct sweep_report *report, int trial,
                      const char *recommender)
{
    const char *name = report->sweep->trials[trial].name;
    table_cell(table, "%.*s%s", PRINTED_NAME, name, strlen(name) > PRINTED_NAME ? "…" : "");
    table_cell(table, "%.*s%s", PRINTED_RECOMMENDER, recommender,
               strlen(recommender) > PRINTED_RECOMMENDER ? "…" : "");
}

/* Trial, recommender, gain, interval and p: within 120 columns. */
static bool print_gains(const struct sweep_report *report, const struct document *document)
{
    char head[64];
    struct table table = {.columns = 2 + COMPARISON_SHORT_CELLS};
    table_cell(&table, "trial");
    table_cell(&table, "recommender");
    snprintf(head, sizeof head, "gain, %s", report->metric);
    comparison_add_short_heads(&table, head);
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const char *recommender = report->recommenders[i];
            const json_t *gain =
                sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL);
            if (gain == NULL)
                continue;
            add_names(&table, report, trial, recommender);
            comparison_add_short_cells(&table, gain);
        }
    const bool any = !table_is_empty(&table);
    document_table_if_any(document, &table);
    return any;
}

/* Of a study without augmented arms. */
static void print_means(const struct sweep_report *report, const struct document *document)
{
    struct table table = {.columns = 4};
    table_cell(&table, "trial");
    table_cell(&table, "recommender");
    table_cell(&table, "validation %s", report->metric);
    table_cell(&table, "test");
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const json_t *entry = sweep_report_entry(report, trial, report->recommenders[i], "original");
            if (entry == NULL)
                continue;
            add_names(&table, report, trial, report->recommenders[i]);
            sweep_report_add_validation(&table, report, entry);
            table_cell(&table, "%.4f", json_number_at(json_object_get(entry, "test"), report->metric));
        }
    document_table_if_any(document, &table);
}

bool sweep_report_print(struct sweep_report *report, FILE *stream, struct error *error)
{
    bool incomplete = false;
    struct document document = {.stream = stream,
                                .format = DOCUMENT_TEXT,
                                .folder = report->sweep->folder,
                                .incomplete = &incomplete};
    if (!sweep_report_prepare(report, error))
        return false;
    if (!print_gains(report, &document))
        print_means(report, &document);
    fprintf(stream, "report: %s/report.html\n", report->sweep->folder);
    json_decref(report->comparisons);
    return !incomplete || error_memory(error, "the table of trials", 0, NULL);
}
