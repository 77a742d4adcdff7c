#include <string.h>

#include "experiments/sweep_report.h"

void sweep_report_write_not_compared(const struct sweep_report *report, const struct document *document)
{
    const json_t *reasons = json_object_get(report->results, "not_compared"), *entry;
    size_t index;
    static const char *const head[] = {"trial", "recommender", "reason"};
    struct table table = {.columns = sizeof head / sizeof *head};
    if (json_array_size(reasons) == 0)
        return;
    document_heading(document, 2, "Not compared with the reference");
    table_cells(&table, head, sizeof head / sizeof *head);
    json_array_foreach(reasons, index, entry)
    {
        table_cell(&table, "%s", json_text_at(entry, "trial"));
        table_cell(&table, "%s", json_text_at(entry, "recommender"));
        table_cell(&table, "%s", json_text_at(entry, "reason"));
    }
    document_table(document, &table);
}

void sweep_report_write_failures(const struct sweep_report *report, const struct document *document)
{
    const json_t *trial;
    size_t index;
    struct table table = {.columns = 2};
    table_cell(&table, "trial");
    table_cell(&table, "reason");
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        if (strcmp(json_text_at(trial, "state"), "done") == 0)
            continue;
        table_cell(&table, "%s", json_text_at(trial, "trial"));
        table_cell(&table, "%s", json_has(trial, "reason") ? json_text_at(trial, "reason") : "did not end");
    }
    if (table_is_empty(&table)) {
        table_discard(&table);
        return;
    }
    document_heading(document, 2, "Failed");
    document_table(document, &table);
}
