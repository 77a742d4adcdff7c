#include <stdlib.h>

#include "core/file.h"
#include "experiments/csv.h"
#include "experiments/report_files.h"
#include "experiments/sweep_report.h"
#include "experiments/table_columns.h"

/* Appends the records of a trial, each with its name. */
static void add_records(json_t *lines, const char *trial, const json_t *records)
{
    const json_t *record;
    size_t index;
    json_array_foreach(records, index, record)
    {
        json_t *line = json_pack("{s:s}", "trial", trial);
        json_object_update(line, (json_t *)record);
        json_array_append_new(lines, line);
    }
}

static bool write_table(const struct sweep_report *report, const char *name, const json_t *lines,
                        const char *const *order, struct error *error)
{
    char *path = sweep_path(report->sweep, "tables/%s.csv", name);
    const bool done = csv_write_records(path, lines, order, error);
    free(path);
    return done;
}

/* A table of the trials' own, joined. */
static bool join(const struct sweep_report *report, const char *key, const char *const *order,
                 struct error *error)
{
    json_t *lines = json_array();
    for (int i = 0; i < report->sweep->trial_count; i++)
        add_records(lines, report->sweep->trials[i].name, json_object_get(report->trials[i], key));
    const bool done = write_table(report, key, lines, order, error);
    json_decref(lines);
    return done;
}

static bool write_candidates(const struct sweep_report *report, struct error *error)
{
    json_t *lines = json_array();
    for (int i = 0; i < report->sweep->trial_count; i++) {
        json_t *candidates = report_candidates(report->trials[i]);
        add_records(lines, report->sweep->trials[i].name, candidates);
        json_decref(candidates);
    }
    const bool done = write_table(report, "selection", lines, table_selection_columns, error);
    json_decref(lines);
    return done;
}

/* What each trial sets, as the configuration has it, and how it ended. */
static bool write_trials(const struct sweep_report *report, struct error *error)
{
    const struct sweep *sweep = report->sweep;
    const json_t *trials = json_object_get(report->results, "trials");
    json_t *lines = json_array();
    for (int i = 0; i < sweep->trial_count; i++) {
        const json_t *trial = json_array_get(trials, (size_t)i);
        json_t *line = json_pack("{s:s, s:s, s:b, s:O?, s:O?}", "trial", sweep->trials[i].name, "state",
                                 sweep_report_state(report, i), "reference", i == sweep->reference, "stage",
                                 json_object_get(trial, "stage"), "reason", json_object_get(trial, "reason"));
        for (int key = 0; key < sweep->key_count; key++) {
            const char *value = sweep_setting(&sweep->trials[i], sweep->keys[key]);
            json_object_set_new(line, sweep->keys[key], value ? json_string(value) : json_null());
        }
        json_array_append_new(lines, line);
    }
    const bool done = write_table(report, "trials", lines, table_trial_columns, error);
    json_decref(lines);
    return done;
}

bool sweep_tables_write(const struct sweep_report *report, struct error *error)
{
    char *folder = sweep_path(report->sweep, "tables");
    const bool done =
        folder_create(folder, error) && report_files_remove_tables(report->sweep->folder, error);
    free(folder);
    return done && write_trials(report, error) && join(report, "runs", table_run_columns, error) &&
           join(report, "cost", table_cost_columns, error) && write_candidates(report, error) &&
           write_table(report, "comparisons", json_object_get(report->results, "comparisons"),
                       table_comparison_columns, error);
}
