#include "experiments/trial.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json_file.h"
#include "experiments/stages.h"
#include "models/recommenders/fit_checkpoint.h"

struct trial_work {
    const struct trial_task *task;
    struct fit_watch watch; /* with the rung's pause */
    char *inputs;
    json_t *record; /* metrics.json */
};

/* A checkpoint of other rungs may be beyond the end of this one, and so the rungs count as well. */
static bool describe_inputs(struct trial_work *work, const struct backend *backend, struct error *error)
{
    const struct trial_task *task = work->task;
    struct fit_fingerprint fingerprint;
    if (!fit_fingerprint_compute(&fingerprint, backend, task->settings, task->data, &task->watch, task->seed,
                                 error))
        return false;
    work->inputs = path_format("%s version %s rungs", fingerprint.digits, artefact_version);
    for (int rung = 0; rung < task->rung_count; rung++) {
        char *longer = path_format("%s %lld", work->inputs, (long long)task->pauses[rung]);
        free(work->inputs);
        work->inputs = longer;
    }
    return true;
}

static int64_t member(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* The entry of this rung, or that of a trial that was over before its rung was. */
static bool find_result(struct trial_result *result, const struct trial_work *work)
{
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(work->record, "rungs"), index, entry)
    {
        const int64_t pause = member(entry, "pause_after"), epochs = member(entry, "epochs");
        if (pause != work->watch.pause_after && (pause == 0 || epochs >= pause))
            continue;
        *result = (struct trial_result){
            .epochs = epochs,
            .best_epoch = member(entry, "best_epoch"),
            .score = json_number_value(json_object_get(entry, "score")),
            .seconds = json_number_value(json_object_get(entry, "seconds")),
        };
        return true;
    }
    return false;
}

static bool save_record(const struct trial_work *work, struct error *error)
{
    char *path = path_format("%s/metrics.json", work->task->folder);
    const bool done = json_file_write(path, work->record, error);
    free(path);
    return done;
}

/* Takes what is there of the same inputs; what is there of others goes. */
static bool open_record(struct trial_work *work, struct error *error)
{
    const char *folder = work->task->folder;
    char *path = path_format("%s/metrics.json", folder);
    work->record = json_load_file(path, 0, NULL);
    free(path);
    const char *inputs = json_string_value(json_object_get(work->record, "inputs"));
    if (inputs && strcmp(inputs, work->inputs) == 0 && json_is_array(json_object_get(work->record, "rungs")))
        return true;
    json_decref(work->record);
    work->record = json_pack("{s:s, s:[]}", "inputs", work->inputs, "rungs");
    if (!work->record)
        return error_memory(error, "a trial", 0, NULL);
    return path_remove(folder, error) && folder_create(folder, error) && save_record(work, error);
}

static bool save_result(const struct trial_work *work, const struct trial_result *result, struct error *error)
{
    json_object_del(work->record, "failed");
    if (*result->failure)
        json_object_set_new(work->record, "failed", json_string(result->failure));
    else
        json_array_append_new(
            json_object_get(work->record, "rungs"),
            json_pack("{s:I, s:I, s:I, s:f, s:f}", "pause_after", (json_int_t)work->watch.pause_after,
                      "epochs", (json_int_t)result->epochs, "best_epoch", (json_int_t)result->best_epoch,
                      "score", result->score, "seconds", result->seconds));
    return save_record(work, error);
}

static bool fit(struct trial_result *result, const struct trial_work *work, struct backend *backend,
                struct error *error)
{
    const struct trial_task *task = work->task;
    char *checkpoint = path_format("%s/checkpoint.h5", task->folder);
    struct log *log = log_open(task->folder);
    struct recommender *recommender = NULL;
    struct fit_report report;
    struct error reason = ERROR_INITIALIZER;
    const bool fitted = recommender_fit(&recommender, backend, task->settings, task->data, &work->watch,
                                        task->seed, checkpoint, log, &report, &reason);
    recommender_free(recommender);
    log_close(log);
    free(checkpoint);
    *result = (struct trial_result){0};
    if (fitted)
        *result = (struct trial_result){.epochs = report.epochs,
                                        .best_epoch = report.best_epoch,
                                        .score = report.best_score,
                                        .seconds = report.seconds};
    else if (reason.kind != ERROR_DIVERGED && reason.kind != ERROR_USAGE)
        return error_set(error, reason.kind, "%s", reason.message);
    else
        snprintf(result->failure, sizeof result->failure, "%.255s", reason.message);
    return save_result(work, result, error);
}

bool trial_train(struct trial_result *result, const struct trial_task *task, struct backend *backend,
                 struct error *error)
{
    struct trial_work work = {.task = task, .watch = task->watch};
    work.watch.pause_after = task->pauses[task->rung];
    const bool done = describe_inputs(&work, backend, error) && open_record(&work, error) &&
                      (find_result(result, &work) || fit(result, &work, backend, error));
    json_decref(work.record);
    free(work.inputs);
    return done;
}

bool trial_drop_checkpoint(const char *folder, struct error *error)
{
    char *path = path_format("%s/checkpoint.h5", folder);
    const bool done = path_remove(path, error);
    free(path);
    return done;
}
