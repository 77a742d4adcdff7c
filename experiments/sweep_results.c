#include "experiments/sweep_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "core/json_file.h"
#include "core/progress.h"
#include "experiments/claims.h"
#include "experiments/report.h"
#include "experiments/sweep_compare.h"
#include "experiments/sweep_report.h"
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

/* Of a trial that is done. */
static bool add_results(json_t *record, json_t **results, const char *path, struct error *error)
{
    json_error_t problem;
    *results = json_load_file(path, 0, &problem);
    json_t *entries = *results ? summarize(*results) : NULL;
    bool done = true;
    if (*results)
        done = json_object_set_new(record, "recommenders", entries) == 0;
    else
        done = json_object_set_new(record, "state", json_string("failed")) == 0 &&
               json_object_set_new(record, "stage", json_string("evaluate")) == 0 &&
               json_object_set_new(
                   record, "reason",
                   json_sprintf("%s: cannot be read: %s; delete it and run again", path, problem.text)) == 0;
    return done || error_memory(error, "results.json", 0, NULL);
}

static bool add_failure(json_t *record, const struct trial_outcome *outcome, struct error *error)
{
    return (json_object_set_new(record, "stage", json_string(outcome->stage)) == 0 &&
            json_object_set_new(record, "reason", json_string(outcome->reason)) == 0) ||
           error_memory(error, "results.json", 0, NULL);
}

static const char *state_of(const struct trial_outcome *outcome, bool ended)
{
    return !ended ? "missing" : outcome->done ? "done" : "failed";
}

/* Its line in the study's results; *results: its own, of a trial that is done. It counts as failed where they cannot be read. */
static bool add_trial(json_t *trials, json_t **results, const struct sweep_trial *trial, struct error *error)
{
    struct trial_outcome outcome;
    const bool ended = trial_outcome_read(&outcome, trial);
    char *folder = path_format("trials/%s", trial->name),
         *path = path_format("%s/results.json", trial->folder);
    json_t *record = json_pack("{s:s, s:s, s:o, s:s}", "trial", trial->name, "folder", folder, "settings",
                               sweep_settings_json(trial), "state", state_of(&outcome, ended));
    bool done = record || error_memory(error, "results.json", 0, NULL);
    if (done && ended)
        done =
            outcome.done ? add_results(record, results, path, error) : add_failure(record, &outcome, error);
    if (record)
        json_array_append_new(trials, record);
    free(path);
    free(folder);
    return done;
}

static bool collect(struct sweep_report *report, struct error *error)
{
    const struct sweep *sweep = report->sweep;
    const size_t count = (size_t)sweep->trial_count;
    report->results = json_pack("{s:s, s:[]}", "study", config_string(sweep->config, "name"), "trials");
    report->trials = calloc(count, sizeof *report->trials);
    bool done = (report->results && report->trials) || error_memory(error, "results.json", 0, NULL);
    for (size_t i = 0; done && i < count; i++)
        done = add_trial(json_object_get(report->results, "trials"), &report->trials[i], &sweep->trials[i],
                         error);
    return done && sweep_compare(report->results, sweep, report->trials, error);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static bool save_results(const struct sweep_report *report, struct error *error)
{
    char *path = sweep_path(report->sweep, "results.json");
    const bool done = json_file_write(path, report->results, error);
    free(path);
    return done;
}

static bool write_all(const struct sweep *sweep, struct error *error)
{
    struct sweep_report report = {.sweep = sweep};
    const bool done = collect(&report, error) && save_results(&report, error) &&
                      sweep_cost_write(sweep, error) && sweep_report_write(&report, error);
    for (int i = 0; report.trials && i < sweep->trial_count; i++)
        json_decref(report.trials[i]);
    free(report.trials);
    json_decref(report.results);
    return done;
}

/* Malloc'ed. */
static bool config_text(char **text, size_t *length, const struct sweep *sweep, struct error *error)
{
    *text = NULL;
    FILE *stream = open_memstream(text, length);
    bool done = stream && config_write(sweep->config, recommender_reads_setting, stream);
    if (stream)
        done = fclose(stream) == 0 && done;
    return done || error_memory(error, "the configuration", 0, NULL);
}

static bool save_config(const struct sweep *sweep, const char *name, struct error *error)
{
    char *text, *path = sweep_path(sweep, "%s", name);
    size_t length = 0;
    const bool done = config_text(&text, &length, sweep, error) && file_write(path, text, length, error);
    free(text);
    free(path);
    return done;
}

/* ---- one of the workers --------------------------------------------------------------------------------- */

/* For what configuration the results were written last, and, by the file's time, when that began. */
static const char written[] = "claims/.results", writing[] = "claims/.results-begun";

enum { FILE_CLOCK_MILLISECONDS = 20 };

static bool is_after(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static bool holds(const char *path, const char *text, size_t length)
{
    char *found = NULL;
    size_t found_length;
    struct error reason = ERROR_INITIALIZER;
    const bool same = path_exists(path) && file_read(path, &found, &found_length, &reason) &&
                      found_length == length && memcmp(found, text, length) == 0;
    free(found);
    return same;
}

/* Whether another worker began to write the same after `since` and after every trial's end, and came to an end with it. */
static bool find_written(bool *found, const struct sweep *sweep, const struct timespec *since,
                         struct error *error)
{
    struct stat status;
    char *text, *path = sweep_path(sweep, "%s", written);
    size_t length = 0;
    const bool done = config_text(&text, &length, sweep, error);
    *found =
        done && stat(path, &status) == 0 && is_after(&status.st_mtim, since) && holds(path, text, length);
    for (int i = 0; *found && i < sweep->trial_count; i++) {
        struct trial_outcome outcome;
        *found = trial_outcome_read(&outcome, &sweep->trials[i]) && is_after(&status.st_mtim, &outcome.ended);
    }
    free(path);
    free(text);
    return done;
}

static bool mark_written(const struct sweep *sweep, struct error *error)
{
    char *from = sweep_path(sweep, "%s", writing), *to = sweep_path(sweep, "%s", written);
    const bool done = rename(from, to) == 0 || error_system(error, to, "cannot make this file", NULL);
    free(from);
    free(to);
    return done;
}

static bool write_results(const struct sweep *sweep, const struct timespec *since, struct error *error)
{
    bool found;
    if (!find_written(&found, sweep, since, error))
        return false;
    if (found)
        log_line(NULL, "results and report: written by another worker");
    /* Clocks of files go in steps: what is written now must be seen to be later than the last trial's end. */
    if (!found)
        nanosleep(&(struct timespec){.tv_nsec = FILE_CLOCK_MILLISECONDS * 1000000L}, NULL);
    return found ||
           (save_config(sweep, writing, error) && write_all(sweep, error) && mark_written(sweep, error));
}

static bool write_config(const struct sweep *sweep, const struct timespec *since, struct error *error)
{
    (void)since;
    return save_config(sweep, "config.yaml", error);
}

/* One process at a time writes into the study's own folder. */
static bool in_turn(bool (*write)(const struct sweep *, const struct timespec *, struct error *),
                    const struct sweep *sweep, const struct timespec *since, struct error *error)
{
    char *folder = sweep_path(sweep, "claims"), *path = sweep_path(sweep, "claims/.study");
    struct claim *claim = NULL;
    bool done = folder_create(folder, error);
    while (done && !claim) {
        done = claim_take(&claim, path, error) && interrupt_check(error);
        if (done && !claim)
            nanosleep(&(struct timespec){.tv_nsec = 50000000L}, NULL);
    }
    done = done && write(sweep, since, error);
    claim_release(claim);
    free(path);
    free(folder);
    return done;
}

bool sweep_config_write(const struct sweep *sweep, struct error *error)
{
    return in_turn(write_config, sweep, NULL, error);
}

bool sweep_results_write(const struct sweep *sweep, const struct timespec *since, struct error *error)
{
    return in_turn(write_results, sweep, since, error);
}

/* ---- after the end ---------------------------------------------------------------------------------------- */

static bool load_results(json_t **results, const struct sweep *sweep, struct error *error)
{
    char *path = sweep_path(sweep, "results.json");
    json_error_t problem;
    *results = json_load_file(path, 0, &problem);
    const bool done = *results || error_at(error, ERROR_RUN, path, 0, "cannot be read: %s", problem.text);
    free(path);
    return done;
}

bool sweep_results_print(const struct sweep *sweep, FILE *stream, struct error *error)
{
    struct sweep_report report = {.sweep = sweep};
    const bool done =
        load_results(&report.results, sweep, error) && sweep_report_print(&report, stream, error);
    json_decref(report.results);
    return done;
}

/* A trial that is done, or was when it ended, and whose own results could not be read. */
static bool is_unreadable(const struct sweep *sweep, size_t trial, const json_t *record)
{
    struct trial_outcome outcome;
    return strcmp(json_text_at(record, "state"), "failed") == 0 &&
           trial_outcome_read(&outcome, &sweep->trials[trial]) && outcome.done;
}

static bool tell_problem(const json_t *record)
{
    log_line(NULL, "%s: left out of the report: %s", json_text_at(record, "trial"),
             json_text_at(record, "reason"));
    return true;
}

bool sweep_results_check(const struct sweep *sweep, struct error *error)
{
    json_t *results, *record;
    size_t index;
    bool told = false;
    if (!load_results(&results, sweep, error))
        return false;
    json_array_foreach(json_object_get(results, "trials"), index, record)
    {
        told = (is_unreadable(sweep, index, record) && tell_problem(record)) || told;
    }
    json_array_foreach(json_object_get(results, "not_compared"), index, record)
    {
        told = (json_is_true(json_object_get(record, "failed")) && tell_problem(record)) || told;
    }
    json_decref(results);
    return !told || error_at(error, ERROR_RUN, sweep->folder, 0,
                             "the report lacks what is told above; delete each file that is named, and the "
                             "same command makes it anew");
}
