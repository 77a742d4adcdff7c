#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "experiments/command.h"
#include "experiments/document.h"
#include "experiments/shared_folder.h"
#include "experiments/sweep.h"
#include "experiments/sweep_expect.h"
#include "experiments/sweep_state.h"

enum { STATE_COUNT = TRIAL_FAILED + 1 };

struct study_status {
    struct sweep sweep;
    bool with_configs; /* signatures of the trials can be told */
    struct trial_status *trials;
    int count[STATE_COUNT];
    double left; /* seconds; -1: not known, for no trial has ended */
    struct shared_amount shared, unused;
    struct sweep_expectation comparisons; /* with_configs */
};

/* From the mean time of trials that are done; those that run now go on running side by side. */
static void estimate(struct study_status *status)
{
    double done_seconds = 0.0, remaining = 0.0;
    for (int i = 0; i < status->sweep.trial_count; i++)
        if (status->trials[i].state == TRIAL_DONE)
            done_seconds += status->trials[i].outcome.seconds;
    const int done = status->count[TRIAL_DONE], running = status->count[TRIAL_RUNNING];
    status->left = -1.0;
    if (done == 0)
        return;
    for (int i = 0; i < status->sweep.trial_count; i++) {
        const struct trial_status *trial = &status->trials[i];
        if (trial->state == TRIAL_RUNNING)
            remaining += fmax(0.0, done_seconds / done - trial->elapsed);
        else if (trial->state == TRIAL_WAITING || trial->state == TRIAL_INTERRUPTED)
            remaining += done_seconds / done;
    }
    status->left = remaining / (running > 1 ? running : 1);
}

static bool read_trial(struct study_status *status, int number, struct error *error)
{
    char signature[33];
    if (status->with_configs) {
        struct config *config;
        if (!sweep_trial_config(&config, &status->sweep, number, error))
            return false;
        const bool done = trial_signature(signature, config, error);
        config_free(config);
        if (!done)
            return false;
    }
    trial_status_read(&status->trials[number], &status->sweep, number,
                      status->with_configs ? signature : NULL);
    status->count[status->trials[number].state]++;
    return true;
}

static bool open_study(struct study_status *status, const struct invocation *invocation, struct error *error)
{
    struct stat place;
    const char *path = invocation->words[0];
    *status = (struct study_status){.with_configs = stat(path, &place) != 0 || !S_ISDIR(place.st_mode)};
    bool done = status->with_configs ? sweep_open(&status->sweep, path, invocation->word_count - 1,
                                                  (char *const *)invocation->words + 1, error)
                                     : sweep_open_folder(&status->sweep, path, error);
    if (done && status->sweep.trial_count == 0)
        done = error_at(error, ERROR_USAGE, path, 0,
                        "declares no study; `idrec info` tells about the folder of a single run");
    if (done) {
        status->trials = calloc((size_t)status->sweep.trial_count, sizeof *status->trials);
        done = status->trials || error_memory(error, "the states of trials", 0, NULL);
    }
    for (int i = 0; done && i < status->sweep.trial_count; i++)
        done = read_trial(status, i, error);
    char *shared = sweep_path(&status->sweep, "shared");
    done = done && shared_folder_measure(&status->shared, &status->unused, shared, error);
    free(shared);
    if (done)
        estimate(status);
    return done && (!status->with_configs || sweep_expect(&status->comparisons, &status->sweep, error));
}

/* ---- printing ------------------------------------------------------------------------------------------ */

static void add_details(struct table *table, const struct trial_status *trial)
{
    if (trial->state == TRIAL_RUNNING)
        table_cell(table, "%s (%s)", *trial->progress ? trial->progress : "begins", trial->owner);
    else if (trial->awaited_fits > 0)
        table_cell(table, "for %d fit%s that other trials train", trial->awaited_fits,
                   trial->awaited_fits > 1 ? "s" : "");
    else
        table_cell(table, "%s", trial->state == TRIAL_FAILED ? trial->outcome.reason : " ");
}

static void print_shared(const struct study_status *status)
{
    if (status->shared.entries == 0)
        return;
    printf("shared: %lld stages and fits, %.1f MB", (long long)status->shared.entries,
           (double)status->shared.bytes / 1e6);
    if (status->unused.entries > 0)
        printf("; no trial uses %lld of them, %.1f MB, which go when the study ends",
               (long long)status->unused.entries, (double)status->unused.bytes / 1e6);
    putchar('\n');
}

static void print_equal(const struct study_status *status)
{
    const json_t *equal;
    size_t index;
    json_array_foreach(status->comparisons.equal, index, equal)
    {
        char *warning = sweep_expect_warning(equal);
        printf("%s\n", warning);
        free(warning);
    }
}

static void print_text(const struct study_status *status)
{
    struct table table = {.columns = 5};
    static const char *const head[] = {"trial", "state", "stage", "seconds", " "};
    bool incomplete = false;
    const struct document document = {
        .stream = stdout, .format = DOCUMENT_TEXT, .folder = status->sweep.folder, .incomplete = &incomplete};
    table_cells(&table, head, sizeof head / sizeof *head);
    for (int i = 0; i < status->sweep.trial_count; i++) {
        const struct trial_status *trial = &status->trials[i];
        const double seconds = trial->state == TRIAL_RUNNING ? trial->elapsed : trial->outcome.seconds;
        table_cell(&table, "%s", status->sweep.trials[i].name);
        table_cell(&table, "%s", trial_state_name(trial->state));
        table_cell(&table, "%s", *trial->stage ? trial->stage : " ");
        table_cell(&table, seconds > 0.0 ? "%.0f" : " ", seconds);
        add_details(&table, trial);
    }
    document_table(&document, &table);
    printf("%d of %d done", status->count[TRIAL_DONE], status->sweep.trial_count);
    for (int state = 0; state < STATE_COUNT; state++)
        if (state != TRIAL_DONE && status->count[state] > 0)
            printf(", %d %s", status->count[state], trial_state_name((enum trial_state)state));
    if (status->left > 0.0)
        printf("; about %.0f %s left", status->left < 120.0 ? status->left : status->left / 60.0,
               status->left < 120.0 ? "s" : "min");
    putchar('\n');
    print_shared(status);
    print_equal(status);
}

static json_t *trial_json(const struct sweep_trial *trial, const struct trial_status *status)
{
    json_t *record =
        json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "trial", trial->name, "folder", trial->folder, "state",
                  trial_state_name(status->state), "settings", sweep_settings_json(trial), "stage",
                  status->stage, "progress", status->progress);
    if (status->state == TRIAL_RUNNING) {
        json_object_set_new(record, "owner", json_string(status->owner));
        json_object_set_new(record, "elapsed_seconds", json_real(status->elapsed));
    }
    if (status->awaited_fits > 0)
        json_object_set_new(record, "awaited_fits", json_integer(status->awaited_fits));
    if (status->state == TRIAL_DONE || status->state == TRIAL_FAILED)
        json_object_set_new(record, "seconds", json_real(status->outcome.seconds));
    if (status->state == TRIAL_FAILED)
        json_object_set_new(record, "reason", json_string(status->outcome.reason));
    return record;
}

static void print_json(const struct study_status *status)
{
    json_t *trials = json_array(), *counts = json_object();
    for (int i = 0; i < status->sweep.trial_count; i++)
        json_array_append_new(trials, trial_json(&status->sweep.trials[i], &status->trials[i]));
    for (int state = 0; state < STATE_COUNT; state++)
        json_object_set_new(counts, trial_state_name((enum trial_state)state),
                            json_integer(status->count[state]));
    json_t *all = json_pack("{s:s, s:o, s:o, s:o}", "study", config_string(status->sweep.config, "name"),
                            "counts", counts, "seconds_left",
                            status->left < 0.0 ? json_null() : json_real(status->left), "trials", trials);
    json_object_set_new(all, "shared",
                        json_pack("{s:I, s:I, s:I, s:I}", "entries", (json_int_t)status->shared.entries,
                                  "bytes", (json_int_t)status->shared.bytes, "unused_entries",
                                  (json_int_t)status->unused.entries, "unused_bytes",
                                  (json_int_t)status->unused.bytes));
    if (status->with_configs)
        json_object_set(all, "equal_trials", status->comparisons.equal);
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(all);
}

bool command_status(const struct invocation *invocation, struct error *error)
{
    struct study_status status;
    const bool done = open_study(&status, invocation, error);
    if (done && invocation->option[0])
        print_json(&status);
    else if (done)
        print_text(&status);
    free(status.trials);
    sweep_expectation_free(&status.comparisons);
    sweep_close(&status.sweep);
    return done;
}
