#include "experiments/sweep_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "experiments/claims.h"
#include "experiments/report.h"
#include "experiments/sweep_state.h"
#include "models/recommenders/settings.h"

/* ---- results.json -------------------------------------------------------------------------------------- */

/* Mean and deviation of the metrics over the runs of one recommender in one arm. */
struct mean {
    json_t *record, *sums, *squares, *validation_sums;
    int64_t seeds;
};

static void add_values(json_t *sums, json_t *squares, const json_t *values)
{
    const char *metric;
    json_t *value;
    json_object_foreach((json_t *)values, metric, value)
    {
        const double number = json_number_value(value);
        json_object_set_new(sums, metric, json_real(json_number_at(sums, metric) + number));
        if (squares)
            json_object_set_new(squares, metric,
                                json_real(json_number_at(squares, metric) + number * number));
    }
}

/* The entry of a recommender in an arm, made where it is missing. */
static json_t *find_entry(json_t *entries, const json_t *run)
{
    size_t index;
    json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), json_text_at(run, "recommender")) == 0 &&
            strcmp(json_text_at(entry, "arm"), json_text_at(run, "arm")) == 0)
            return entry;
    }
    entry = json_pack("{s:s, s:s, s:i, s:{}, s:{}, s:{}}", "recommender", json_text_at(run, "recommender"),
                      "arm", json_text_at(run, "arm"), "seeds", 0, "validation", "test", "test_deviation");
    json_array_append_new(entries, entry);
    return entry;
}

/* Turns sums over the seeds into means and deviations. */
static void finish_entry(json_t *entry)
{
    const double seeds = json_number_at(entry, "seeds");
    json_t *squares = json_object_get(entry, "test_deviation"), *test = json_object_get(entry, "test"),
           *value;
    const char *metric;
    json_object_foreach(json_object_get(entry, "validation"), metric, value)
        json_real_set(value, json_real_value(value) / seeds);
    json_object_foreach(test, metric, value)
    {
        const double mean = json_real_value(value) / seeds;
        const double rest = json_number_at(squares, metric) - seeds * mean * mean;
        json_real_set(value, mean);
        json_object_set_new(squares, metric,
                            json_real(seeds > 1 ? sqrt(fmax(0.0, rest) / (seeds - 1)) : 0.0));
    }
    if (seeds < 2)
        json_object_del(entry, "test_deviation");
}

static json_t *summarize(const json_t *results)
{
    json_t *entries = json_array(), *run, *entry;
    size_t index;
    json_array_foreach(json_object_get(results, "runs"), index, run)
    {
        entry = find_entry(entries, run);
        json_object_set_new(entry, "seeds", json_integer((json_int_t)json_number_at(entry, "seeds") + 1));
        add_values(json_object_get(entry, "validation"), NULL, json_object_get(run, "validation"));
        add_values(json_object_get(entry, "test"), json_object_get(entry, "test_deviation"),
                   json_object_get(run, "metrics"));
    }
    json_array_foreach(entries, index, entry) finish_entry(entry);
    return entries;
}

static bool add_trial(json_t *trials, const struct sweep_trial *trial, struct error *error)
{
    struct trial_outcome outcome;
    const bool ended = trial_outcome_read(&outcome, trial);
    char *folder = path_format("trials/%s", trial->name),
         *path = path_format("%s/results.json", trial->folder);
    json_t *record = json_pack("{s:s, s:s, s:o, s:s}", "trial", trial->name, "folder", folder, "settings",
                               sweep_settings_json(trial), "state",
                               !ended         ? "missing"
                               : outcome.done ? "done"
                                              : "failed");
    bool done = record || error_memory(error, "results.json", 0, NULL);
    if (done && ended && outcome.done) {
        json_error_t problem;
        json_t *results = json_load_file(path, 0, &problem);
        done = results || error_at(error, ERROR_RUN, path, 0, "cannot be read: %s", problem.text);
        if (done)
            json_object_set_new(record, "recommenders", summarize(results));
        json_decref(results);
    } else if (done && ended) {
        json_object_set_new(record, "reason", json_string(outcome.reason));
    }
    if (record)
        json_array_append_new(trials, record);
    free(path);
    free(folder);
    return done;
}

static bool collect(json_t **results, const struct sweep *sweep, struct error *error)
{
    *results = json_pack("{s:s, s:[]}", "study", config_string(sweep->config, "name"), "trials");
    bool done = *results || error_memory(error, "results.json", 0, NULL);
    for (int i = 0; done && i < sweep->trial_count; i++)
        done = add_trial(json_object_get(*results, "trials"), &sweep->trials[i], error);
    return done;
}

/* ---- the report ---------------------------------------------------------------------------------------- */

/* results.json with the metrics that the report shows. */
struct study_report {
    const struct sweep *sweep;
    const json_t *trials;
    char leading[32]; /* the metric on validation that marks the best */
    int64_t cut;
};

static void choose_metrics(struct study_report *report)
{
    const struct config *config = report->sweep->config;
    for (int i = 0; i < (int)config_length(config, "evaluate.k"); i++)
        if (config_integer(config, "evaluate.k[%d]", i) > report->cut)
            report->cut = config_integer(config, "evaluate.k[%d]", i);
    snprintf(report->leading, sizeof report->leading, "%.16s@%lld",
             config_string(config, "evaluate.metrics[0]"), (long long)report->cut);
}

static double validation_of(const struct study_report *report, const json_t *entry)
{
    const json_t *value = json_object_get(json_object_get(entry, "validation"), report->leading);
    return value ? json_number_value(value) : -1.0;
}

/* Whether no trial of the recommender in this arm is better on validation. */
static bool is_best(const struct study_report *report, const json_t *entry)
{
    size_t index, number;
    json_t *trial, *other;
    json_array_foreach(report->trials, index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, other)
        {
            if (strcmp(json_text_at(other, "recommender"), json_text_at(entry, "recommender")) == 0 &&
                strcmp(json_text_at(other, "arm"), json_text_at(entry, "arm")) == 0 &&
                validation_of(report, other) > validation_of(report, entry))
                return false;
        }
    }
    return validation_of(report, entry) >= 0.0;
}

static void add_metric(struct table *table, const struct study_report *report, const json_t *entry,
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

static void add_row(struct table *table, const struct study_report *report, const struct sweep_trial *trial,
                    const json_t *entry)
{
    const struct config *config = report->sweep->config;
    table_cell(table, "%s", trial->name);
    for (int i = 0; i < report->sweep->key_count; i++) {
        const char *value = sweep_setting(trial, report->sweep->keys[i]);
        table_cell(table, "%s", value ? value : " ");
    }
    table_cell(table, "%s", json_text_at(entry, "arm"));
    table_cell(table, "%.0f", json_number_at(entry, "seeds"));
    if (validation_of(report, entry) >= 0.0)
        table_cell(table, "%.4f%s", validation_of(report, entry), is_best(report, entry) ? " best" : "");
    else
        table_cell(table, " ");
    for (int i = 0; i < (int)config_length(config, "evaluate.metrics"); i++)
        add_metric(table, report, entry, config_string(config, "evaluate.metrics[%d]", i));
}

static void write_table(const struct study_report *report, const struct document *document,
                        const char *recommender)
{
    const struct config *config = report->sweep->config;
    const int metrics = (int)config_length(config, "evaluate.metrics");
    struct table table = {.columns = 4 + report->sweep->key_count + metrics};
    table_cell(&table, "%s", recommender);
    for (int i = 0; i < report->sweep->key_count; i++)
        table_cell(&table, "%s", report->sweep->keys[i]);
    table_cell(&table, "arm");
    table_cell(&table, "seeds");
    table_cell(&table, "validation %s", report->leading);
    for (int i = 0; i < metrics; i++)
        table_cell(&table, "test %s@%lld", config_string(config, "evaluate.metrics[%d]", i),
                   (long long)report->cut);
    size_t index, number;
    json_t *trial, *entry;
    json_array_foreach(report->trials, index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            if (strcmp(json_text_at(entry, "recommender"), recommender) == 0)
                add_row(&table, report, &report->sweep->trials[index], entry);
        }
    }
    document_table(document, &table);
}

/* Every recommender of any trial, once. */
static int find_recommenders(const struct study_report *report, const char **names)
{
    size_t index, number;
    json_t *trial, *entry;
    int count = 0;
    json_array_foreach(report->trials, index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            const char *name = json_text_at(entry, "recommender");
            int place = 0;
            while (place < count && strcmp(names[place], name) != 0)
                place++;
            if (place == count && count < REPORT_NAMES_MAXIMUM)
                names[count++] = name;
        }
    }
    return count;
}

static void write_failures(const struct study_report *report, const struct document *document)
{
    size_t index;
    json_t *trial;
    bool any = false;
    struct table table = {.columns = 2};
    table_cell(&table, "trial");
    table_cell(&table, "reason");
    json_array_foreach(report->trials, index, trial)
    {
        if (strcmp(json_text_at(trial, "state"), "done") == 0)
            continue;
        any = true;
        table_cell(&table, "%s", json_text_at(trial, "trial"));
        table_cell(&table, "%s", json_has(trial, "reason") ? json_text_at(trial, "reason") : "did not end");
    }
    if (any)
        document_heading(document, 2, "Failed");
    if (any)
        document_table(document, &table);
    for (int i = 0; !any && i < table.count; i++)
        free(table.cells[i]);
    if (!any)
        free(table.cells);
}

static void write_tables(const struct study_report *report, const struct document *document)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    const int count = find_recommenders(report, names);
    for (int i = 0; i < count; i++)
        write_table(report, document, names[i]);
    write_failures(report, document);
}

static void write_report(const struct study_report *report, const struct document *document)
{
    document_begin(document, config_string(report->sweep->config, "name"));
    document_paragraph(
        document,
        "A study of %d trials. Each is a run of its own, with its report in trials/NAME/report.html. Means ± "
        "standard deviations are over the seeds of a trial; where a key is left empty, the trial has what "
        "the "
        "configuration of the study says. \"best\" marks the trial that is best on validation, for each arm: "
        "what is chosen by a look at test is better there than it is.",
        report->sweep->trial_count);
    if (strcmp(config_string(report->sweep->config, "evaluate.protocol"), "clean") != 0)
        document_paragraph(
            document, "Protocol test_selected: the best epoch was chosen on TEST. These figures are too high "
                      "and only comparable with tables made the same way.");
    document_heading(document, 2, "Trials");
    write_tables(report, document);
    document_end(document);
}

static bool save_report(const struct study_report *report, enum document_format format, const char *name,
                        struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    bool incomplete = false;
    struct document document = {.stream = open_memstream(&text, &length),
                                .format = format,
                                .folder = report->sweep->folder,
                                .incomplete = &incomplete};
    if (document.stream == NULL)
        return error_memory(error, name, 0, NULL);
    write_report(report, &document);
    char *path = sweep_path(report->sweep, "%s", name);
    const bool done = fclose(document.stream) == 0 && !incomplete ? file_write(path, text, length, error)
                                                                  : error_memory(error, name, length, NULL);
    free(path);
    free(text);
    return done;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static bool write_all(const struct sweep *sweep, struct error *error)
{
    json_t *results = NULL;
    bool done = collect(&results, sweep, error);
    char *text = done ? json_dumps(results, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    char *path = sweep_path(sweep, "results.json");
    struct study_report report = {.sweep = sweep, .trials = json_object_get(results, "trials")};
    choose_metrics(&report);
    done =
        done &&
        (text ? file_write(path, text, strlen(text), error) : error_memory(error, "results.json", 0, NULL)) &&
        save_report(&report, DOCUMENT_MARKDOWN, "report.md", error) &&
        save_report(&report, DOCUMENT_HTML, "report.html", error);
    free(path);
    free(text);
    json_decref(results);
    return done;
}

static bool write_config(const struct sweep *sweep, struct error *error)
{
    char *text = NULL, *path = sweep_path(sweep, "config.yaml");
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    bool done = stream && config_write(sweep->config, recommender_reads_setting, stream);
    if (stream)
        fclose(stream);
    done = done ? file_write(path, text, length, error) : error_memory(error, "the configuration", 0, NULL);
    free(text);
    free(path);
    return done;
}

/* One process at a time writes into the study's own folder. */
static bool in_turn(bool (*write)(const struct sweep *, struct error *), const struct sweep *sweep,
                    struct error *error)
{
    char *folder = sweep_path(sweep, "claims"), *path = sweep_path(sweep, "claims/.study");
    struct claim *claim = NULL;
    bool done = folder_create(folder, error);
    while (done && !claim) {
        done = claim_take(&claim, path, error) && interrupt_check(error);
        if (done && !claim)
            nanosleep(&(struct timespec){.tv_nsec = 50000000L}, NULL);
    }
    done = done && write(sweep, error);
    claim_release(claim);
    free(path);
    free(folder);
    return done;
}

bool sweep_config_write(const struct sweep *sweep, struct error *error)
{
    return in_turn(write_config, sweep, error);
}

bool sweep_results_write(const struct sweep *sweep, struct error *error)
{
    return in_turn(write_all, sweep, error);
}

bool sweep_results_print(const struct sweep *sweep, FILE *stream, struct error *error)
{
    json_t *results = NULL;
    if (!collect(&results, sweep, error)) {
        json_decref(results);
        return false;
    }
    bool incomplete = false;
    struct document document = {
        .stream = stream, .format = DOCUMENT_TEXT, .folder = sweep->folder, .incomplete = &incomplete};
    struct study_report report = {.sweep = sweep, .trials = json_object_get(results, "trials")};
    choose_metrics(&report);
    write_tables(&report, &document);
    fprintf(stream, "report: %s/report.html\n", sweep->folder);
    json_decref(results);
    return !incomplete || error_memory(error, "the table of trials", 0, NULL);
}
