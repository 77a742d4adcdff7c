#include <stdlib.h>

#include "core/file.h"
#include "experiments/csv.h"
#include "experiments/report.h"
#include "experiments/table_columns.h"

static bool write_table(const struct report *report, const char *name, const json_t *records,
                        const char *const *order, struct error *error)
{
    char *path = run_path(report->run, "tables/%s.csv", name);
    const bool done = csv_write_records(path, records, order, error);
    free(path);
    return done;
}

json_t *report_candidates(const json_t *results)
{
    json_t *lines = json_array();
    const json_t *selection, *candidate;
    size_t index, place;
    json_array_foreach(json_object_get(results, "selection"), index, selection)
    {
        json_array_foreach(json_object_get(selection, "candidates"), place, candidate)
        {
            json_t *line = json_pack("{s:O, s:O}", "recommender", json_object_get(selection, "recommender"),
                                     "metric", json_object_get(selection, "metric"));
            json_object_update(line, (json_t *)candidate);
            json_object_set_new(line, "chosen",
                                json_boolean(json_equal(json_object_get(candidate, "choice"),
                                                        json_object_get(selection, "chosen"))));
            json_array_append_new(lines, line);
        }
    }
    return lines;
}

bool report_tables_write(const struct report *report, struct error *error)
{
    json_t *candidates = report_candidates(report->results);
    const bool done =
        write_table(report, "runs", json_object_get(report->results, "runs"), table_run_columns, error) &&
        write_table(report, "comparisons", json_object_get(report->results, "comparisons"),
                    table_comparison_columns, error) &&
        write_table(report, "selection", candidates, table_selection_columns, error) &&
        write_table(report, "cost", json_object_get(report->results, "cost"), table_cost_columns, error);
    json_decref(candidates);
    return done;
}
