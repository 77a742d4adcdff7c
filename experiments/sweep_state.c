#include "experiments/sweep_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json_file.h"
#include "experiments/claims.h"
#include "experiments/manifest.h"
#include "experiments/shared_fits.h"
#include "experiments/stages.h"

const char *trial_state_name(enum trial_state state)
{
    static const char *const names[] = {"waiting", "running", "interrupted", "done", "failed"};
    return names[state];
}

/* ---- outcomes ------------------------------------------------------------------------------------------ */

static char *outcome_path(const struct sweep_trial *trial)
{
    return path_format("%s/trial.json", trial->folder);
}

/* Adds size and time of an input file; a missing one counts as such. */
static void add_file(XXH3_state_t *state, const struct config *config, const char *key)
{
    char *path = config_data_path(config, key);
    struct stat status = {0};
    if (path && stat(path, &status) == 0) {
        XXH3_128bits_update(state, &status.st_size, sizeof status.st_size);
        XXH3_128bits_update(state, &status.st_mtim.tv_sec, sizeof status.st_mtim.tv_sec);
        XXH3_128bits_update(state, &status.st_mtim.tv_nsec, sizeof status.st_mtim.tv_nsec);
    }
    free(path);
}

/* Adds the resolved configuration but for where it is worked with, which changes no result. */
static void add_settings(XXH3_state_t *state, const char *text)
{
    for (const char *line = text; *line;) {
        const size_t length = strcspn(line, "\n") + 1;
        if (strncmp(line, "device:", 7) != 0 && strncmp(line, "threads:", 8) != 0)
            XXH3_128bits_update(state, line, length);
        line += length;
    }
}

/* Adds by which rules the stages work. */
static void add_rules(XXH3_state_t *state)
{
    XXH3_128bits_update(state, artefact_version, strlen(artefact_version));
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        XXH3_128bits_update(state, &stages[stage].rules, sizeof stages[stage].rules);
}

static void add_files(XXH3_state_t *state, const struct config *config)
{
    for (int i = 0; i < INPUT_FILES; i++)
        add_file(state, config, input_files[i]);
    for (int i = 0; i < (int)config_length(config, "evaluate.attributes"); i++) {
        char key[64];
        snprintf(key, sizeof key, "evaluate.attributes[%d].path", i);
        add_file(state, config, key);
    }
}

bool trial_signature(char digits[33], const struct config *config, struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    XXH3_state_t *state = XXH3_createState();
    const bool done = (stream && state && config_write(config, NULL, stream)) ||
                      error_memory(error, "the configuration of a trial", 0, NULL);
    if (stream)
        fclose(stream);
    if (done) {
        XXH3_128bits_reset(state);
        add_rules(state);
        add_settings(state, text);
        add_files(state, config);
        hash_digits(digits, XXH3_128bits_digest(state));
    }
    XXH3_freeState(state);
    free(text);
    return done;
}

static void copy_text(char *target, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(target, size, "%s", text ? text : "");
}

bool trial_outcome_read(struct trial_outcome *outcome, const struct sweep_trial *trial)
{
    char *path = outcome_path(trial), state[16];
    struct stat status;
    *outcome = (struct trial_outcome){0};
    json_t *record = stat(path, &status) == 0 ? json_load_file(path, 0, NULL) : NULL;
    free(path);
    if (!json_is_object(record)) {
        json_decref(record);
        return false;
    }
    copy_text(state, sizeof state, record, "state");
    copy_text(outcome->signature, sizeof outcome->signature, record, "signature");
    copy_text(outcome->stage, sizeof outcome->stage, record, "stage");
    copy_text(outcome->reason, sizeof outcome->reason, record, "reason");
    outcome->done = strcmp(state, "done") == 0;
    outcome->seconds = json_number_value(json_object_get(record, "seconds"));
    outcome->memory_bytes = json_integer_value(json_object_get(record, "peak_memory_bytes"));
    outcome->ended = status.st_mtim;
    json_decref(record);
    return true;
}

bool trial_outcome_write(const struct trial_outcome *outcome, const struct sweep_trial *trial,
                         struct error *error)
{
    json_t *record = json_pack("{s:s, s:s, s:f, s:I}", "state", outcome->done ? "done" : "failed",
                               "signature", outcome->signature, "seconds", outcome->seconds,
                               "peak_memory_bytes", (json_int_t)outcome->memory_bytes);
    if (record && !outcome->done) {
        json_object_set_new(record, "stage", json_string(outcome->stage));
        json_object_set_new(record, "reason", json_string(outcome->reason));
    }
    char *path = outcome_path(trial);
    const bool done = folder_create(trial->folder, error) && json_file_write(path, record, error);
    free(path);
    json_decref(record);
    return done;
}

bool trial_is_whole(const struct sweep_trial *trial)
{
    static const struct {
        const char *stage, *name;
    } files[] = {
        {"prepare", NULL}, {"train", "top_k.tsv"}, {"train", "metrics.json"}, {"evaluate", "results.json"}};
    struct manifest *manifest = NULL;
    struct error reason = ERROR_INITIALIZER;
    bool whole = manifest_read(&manifest, trial->folder, &reason);
    for (size_t i = 0; whole && i < sizeof files / sizeof *files; i++)
        whole = manifest_outputs_present(manifest, files[i].stage, files[i].name);
    manifest_close(manifest);
    return whole;
}

char *trial_claim_path(const struct sweep *sweep, const struct sweep_trial *trial)
{
    return sweep_path(sweep, "claims/%s", trial->name);
}

/* ---- status -------------------------------------------------------------------------------------------- */

void trial_last_line(char *line, size_t size, const struct sweep_trial *trial, const char *prefix)
{
    char *path = path_format("%s/output.txt", trial->folder), text[2048];
    FILE *stream = fopen(path, "r");
    line[0] = '\0';
    free(path);
    if (!stream)
        return;
    while (fgets(text, sizeof text, stream)) {
        text[strcspn(text, "\n")] = '\0';
        if (*text && strncmp(text, prefix, strlen(prefix)) == 0)
            snprintf(line, size, "%.*s", (int)size - 1, text);
    }
    fclose(stream);
}

void trial_find_stage(char *stage, size_t size, const struct sweep_trial *trial)
{
    struct manifest *manifest = NULL;
    struct error error = ERROR_INITIALIZER;
    if (!manifest_read(&manifest, trial->folder, &error))
        return;
    bool complete = true;
    for (int i = 0; complete && i < STAGE_COUNT; i++) {
        const json_t *record = manifest_stage(manifest, stages[i].name);
        complete = !record || json_is_true(json_object_get(record, "complete"));
        if (record)
            snprintf(stage, size, "%s", stages[i].name);
    }
    manifest_close(manifest);
}

static void describe_owner(struct trial_status *status, const json_t *owner)
{
    const char *host = json_string_value(json_object_get(owner, "host"));
    const char *started = json_string_value(json_object_get(owner, "started"));
    struct tm parts = {0};
    snprintf(status->owner, sizeof status->owner, "%.100s, process %lld", host ? host : "?",
             (long long)json_integer_value(json_object_get(owner, "process")));
    if (started && strptime(started, "%Y-%m-%dT%H:%M:%SZ", &parts))
        status->elapsed = difftime(time(NULL), timegm(&parts));
}

void trial_status_read(struct trial_status *status, const struct sweep *sweep, int number,
                       const char *signature)
{
    const struct sweep_trial *trial = &sweep->trials[number];
    char *path = trial_claim_path(sweep, trial);
    json_t *owner = NULL;
    *status = (struct trial_status){0};
    trial_find_stage(status->stage, sizeof status->stage, trial);
    const bool running = claim_is_taken(path, &owner), ended = trial_outcome_read(&status->outcome, trial);
    if (running) {
        status->state = TRIAL_RUNNING;
        describe_owner(status, owner);
        trial_last_line(status->progress, sizeof status->progress, trial, "");
    } else if (ended && (!signature || strcmp(signature, status->outcome.signature) == 0)) {
        status->state = status->outcome.done ? TRIAL_DONE : TRIAL_FAILED;
        if (!status->outcome.done)
            snprintf(status->stage, sizeof status->stage, "%s", status->outcome.stage);
    } else {
        json_t *awaits = awaited_fits_read(trial->folder);
        status->awaited_fits = (int)json_array_size(awaits);
        status->state = *status->stage && status->awaited_fits == 0 ? TRIAL_INTERRUPTED : TRIAL_WAITING;
        json_decref(awaits);
    }
    json_decref(owner);
    free(path);
}
