#include "experiments/fits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/comm.h"
#include "core/file.h"
#include "core/json_file.h"
#include "core/store.h"
#include "experiments/claims.h"
#include "experiments/manifest.h"
#include "experiments/shared_stages.h"
#include "experiments/stages.h"
#include "experiments/top_k_file.h"
#include "models/recommenders/fit_checkpoint.h"
#include "models/recommenders/settings.h"

void metric_label(char name[METRIC_NAME_SIZE], enum metric metric, int64_t cut)
{
    snprintf(name, METRIC_NAME_SIZE, "%s@%lld", metric_name(metric), (long long)cut);
}

/* A fit under way: what it watches and where it writes. */
struct fit_work {
    const struct fit_task *task;
    const struct arm_rows *rows;
    struct backend *backend;
    struct csr hidden_at_validation, hidden_at_test; /* own copies with mask: augmented, else empty */
    const struct csr *validation_mask, *test_mask;
    struct fit_watch watch;
    char *folder;
    struct fit_fingerprint fingerprint;
    char inputs[64], judgement[384];
    char *awaited; /* [SHARED_FIT_NAME_SIZE]; of fit_run() */
    struct recommender *recommender;
    struct fit_report report;
};

static bool choose_masks(struct fit_work *work, struct error *error)
{
    const struct study *study = work->task->study;
    work->validation_mask = &study->train;
    work->test_mask = &study->known;
    if (study->mask_augmented) {
        if (!csr_union(&work->hidden_at_validation, &study->train, &work->rows->positives, error) ||
            !csr_union(&work->hidden_at_test, &study->known, &work->rows->positives, error))
            return false;
        work->validation_mask = &work->hidden_at_validation;
        work->test_mask = &work->hidden_at_test;
    }
    bool on_test = study->test_selected && !work->task->trial;
    work->watch = (struct fit_watch){
        .truth = on_test ? &study->test : &study->validation,
        .mask = on_test ? work->test_mask : work->validation_mask,
        .history = on_test ? &study->history : NULL,
        .metric = study->select_metric,
        .k = study->select_cut,
    };
    return true;
}

/* What the metrics depend on besides the fit. Of a trial it is what the fit watches, and nothing else. */
static void describe_judgement(struct fit_work *work)
{
    const struct study *study = work->task->study;
    char metric[METRIC_NAME_SIZE];
    if (work->task->trial)
        return;
    metric_label(metric, study->select_metric, study->select_cut);
    int length = snprintf(work->judgement, sizeof work->judgement, "data %s mask %s select %s cuts",
                          manifest_outputs_hash(study->run->manifest, "prepare"),
                          study->mask_augmented ? "augmented" : "original", metric);
    for (int i = 0; i < study->cut_count; i++)
        length += snprintf(work->judgement + length, sizeof work->judgement - (size_t)length, " %lld",
                           (long long)study->cuts[i]);
    if (work->task->fusion) {
        char *text = json_dumps(work->task->fusion, JSON_REAL_PRECISION(17));
        snprintf(work->judgement + length, sizeof work->judgement - (size_t)length, " fusion %016llx",
                 (unsigned long long)XXH3_64bits(text, strlen(text)));
        free(text);
    }
}

static struct training_set training_set_of(const struct fit_work *work)
{
    const struct study *study = work->task->study;
    struct training_set data = arm_training_set(work->rows, &study->dataset.train);
    data.rankings = work->task->rankings;
    data.ranking_count = work->task->ranking_count;
    return data;
}

/* Everything that decides what the folder will hold: of the fit, and of how it is judged. */
static bool describe_inputs(struct fit_work *work, struct error *error)
{
    struct training_set data = training_set_of(work);
    if (!fit_fingerprint_compute(&work->fingerprint, work->backend, work->task->settings, &data, &work->watch,
                                 work->task->seed, error))
        return false;
    snprintf(work->inputs, sizeof work->inputs, "%s version %s", work->fingerprint.digits, artefact_version);
    describe_judgement(work);
    return true;
}

static json_t *read_metrics(const char *folder)
{
    char *path = path_format("%s/metrics.json", folder);
    json_t *metrics = json_load_file(path, 0, NULL);
    free(path);
    return metrics;
}

static bool is_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL && strcmp(value, text) == 0;
}

/* What is done of a fit. */
enum fit_state { FIT_ABSENT, FIT_TRAINED, FIT_JUDGED };

/* Whether top_k.tsv is what was written beside metrics.json; candidates have none. */
static bool has_lists(const struct fit_work *work, const char *folder, const json_t *metrics)
{
    char *path = path_format("%s/top_k.tsv", folder), digits[33];
    struct error reason = ERROR_INITIALIZER;
    const bool whole =
        work->task->trial || (path_exists(path) && file_hash(path, digits, &reason) &&
                              (!json_object_get(metrics, "top_k") || is_text(metrics, "top_k", digits)));
    free(path);
    return whole;
}

static bool has_model(const struct fit_work *work)
{
    char *path = path_format("%s/model.h5", work->folder);
    const bool found = path_exists(path);
    free(path);
    return found;
}

/* A copy of another fit lacks files that a fit has. */
static enum fit_state state_of(struct fit_work *work, const json_t *metrics)
{
    if (!is_text(metrics, "inputs", work->inputs) || json_object_get(metrics, "copied_from") != NULL)
        return FIT_ABSENT;
    work->report = (struct fit_report){
        .epochs = json_integer_value(json_object_get(metrics, "epochs")),
        .best_epoch = json_integer_value(json_object_get(metrics, "best_epoch")),
        .seconds = json_number_value(json_object_get(metrics, "seconds")),
    };
    if (is_text(metrics, "judgement", work->judgement) && has_lists(work, work->folder, metrics))
        return FIT_JUDGED;
    return work->task->trial || has_model(work) ? FIT_TRAINED : FIT_ABSENT;
}

/* Whether this rank is the one of those that do the fit together that reads what is there, and writes. */
static bool leads(const struct fit_work *work)
{
    const struct communicator *const ranks = fit_ranks(work->backend);
    return !ranks || ranks->rank == 0;
}

/* What rank 0 has found, to all. */
static bool tell_ranks(const struct fit_work *work, int64_t *found, struct error *error)
{
    struct communicator *const ranks = fit_ranks(work->backend);
    return !ranks || comm_broadcast_integer(ranks, found, 0, error);
}

/* A folder that holds neither this fit nor its checkpoint is of no use: it goes. */
static bool look_for_state(enum fit_state *state, struct fit_work *work, struct error *error)
{
    json_t *metrics = read_metrics(work->folder);
    *state = state_of(work, metrics);
    json_decref(metrics);
    if (*state != FIT_ABSENT)
        return true;
    char *checkpoint = path_format("%s/checkpoint.h5", work->folder);
    bool own, done = fit_checkpoint_is_own(&own, checkpoint, &work->fingerprint, error);
    free(checkpoint);
    return done && (own || path_remove(work->folder, error));
}

static bool find_state(enum fit_state *state, struct fit_work *work, struct error *error)
{
    *state = FIT_ABSENT;
    if (leads(work) && !look_for_state(state, work, error))
        return false;
    int64_t found = *state;
    const bool told = tell_ranks(work, &found, error);
    *state = (enum fit_state)found;
    return told;
}

static bool train(struct fit_work *work, struct error *error)
{
    struct training_set data = training_set_of(work);
    if (leads(work) && !folder_create(work->folder, error))
        return false;
    char *checkpoint = path_format("%s/checkpoint.h5", work->folder);
    struct log *log = leads(work) ? log_open(work->folder) : log_open_silent();
    bool done = recommender_fit(&work->recommender, work->backend, work->task->settings, &data, &work->watch,
                                work->task->seed, checkpoint, log, &work->report, error);
    log_close(log);
    free(checkpoint);
    return done;
}

static json_t *evaluation_json(const struct evaluation *evaluation, int cut_count)
{
    json_t *values = json_object();
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int cut = 0; cut < cut_count; cut++) {
            char name[METRIC_NAME_SIZE];
            metric_label(name, (enum metric)metric, evaluation->k[cut]);
            json_object_set_new(values, name, json_real(evaluation->value[metric][cut]));
        }
    return values;
}

/* top_k.tsv, and its hash into metrics.json. */
static bool write_top_k(const struct fit_work *work, const struct top_k *top, json_t *metrics,
                        struct error *error)
{
    char *path = path_format("%s/top_k.tsv", work->folder), digits[33];
    const bool written =
        top_k_write(top, &work->task->study->dataset, path, error) && file_hash(path, digits, error);
    free(path);
    return written && (json_object_set_new(metrics, "top_k", json_string(digits)) == 0 ||
                       error_memory(error, "metrics.json", 0, NULL));
}

/* validation.h5: the metric of the choice for each user of study->validation_users. */
static bool write_user_scores(const struct fit_work *work, const double *scores, struct error *error)
{
    char *path = path_format("%s/validation.h5", work->folder);
    struct store *store = NULL;
    bool done =
        store_create(&store, path, error) &&
        store_write(store, "/score", DTYPE_F64, work->task->study->validation_count, 0, scores, error);
    if (done)
        done = store_commit(store, error);
    else
        store_close(store);
    free(path);
    return done;
}

/* The metric of the choice: its mean into metrics.json, its values into validation.h5. */
static bool judge_selection(const struct fit_work *work, const struct top_k *top, json_t *metrics,
                            struct error *error)
{
    const struct study *study = work->task->study;
    size_t bytes = METRIC_COUNT * (size_t)top->users * sizeof(double);
    double *per_user = malloc(bytes);
    if (per_user == NULL)
        return error_memory(error, "metrics of users", bytes, NULL);
    struct evaluation evaluation;
    evaluate_top_k(&evaluation, top, &study->validation, &study->select_cut, 1, per_user);
    json_object_set_new(metrics, "selection_score", json_real(evaluation.value[study->select_metric][0]));
    bool done =
        !leads(work) || write_user_scores(work, per_user + (int64_t)study->select_metric * top->users, error);
    free(per_user);
    return done;
}

static bool judge_validation(const struct fit_work *work, json_t *metrics, struct error *error)
{
    const struct study *study = work->task->study;
    if (study->validation_count == 0) {
        json_object_set_new(metrics, "validation", json_object());
        return true;
    }
    bool trial = work->task->trial;
    int64_t most = !trial && study->largest_cut > study->select_cut ? study->largest_cut : study->select_cut;
    struct scorer scorer = recommender_scorer(work->recommender);
    struct top_k top;
    if (!recommender_set_history(work->recommender, &study->dataset.train, error) ||
        !top_k_rank(&top, work->backend, &scorer, study->validation_users, study->validation_count, most,
                    work->validation_mask, error))
        return false;
    struct evaluation evaluation;
    if (!trial) {
        evaluate_top_k(&evaluation, &top, &study->validation, study->cuts, study->cut_count, NULL);
        json_object_set_new(metrics, "validation", evaluation_json(&evaluation, study->cut_count));
    }
    bool done = judge_selection(work, &top, metrics, error);
    top_k_free(&top);
    return done;
}

static bool judge_test(const struct fit_work *work, json_t *metrics, struct error *error)
{
    const struct study *study = work->task->study;
    struct scorer scorer = recommender_scorer(work->recommender);
    struct top_k top;
    if (!recommender_set_history(work->recommender, &study->history, error) ||
        !top_k_rank(&top, work->backend, &scorer, study->test_users, study->test_count, study->largest_cut,
                    work->test_mask, error))
        return false;
    struct evaluation evaluation;
    evaluate_top_k(&evaluation, &top, &study->test, study->cuts, study->cut_count, NULL);
    json_object_set_new(metrics, "test", evaluation_json(&evaluation, study->cut_count));
    json_object_set_new(metrics, "ties", json_integer(top.ties));
    bool done = !leads(work) || write_top_k(work, &top, metrics, error);
    top_k_free(&top);
    return done;
}

static bool write_metrics(const char *folder, const json_t *metrics, struct error *error)
{
    char *path = path_format("%s/metrics.json", folder);
    const bool done = json_file_write(path, metrics, error);
    free(path);
    return done;
}

static bool save_model(const struct fit_work *work, struct error *error)
{
    char *path = path_format("%s/model.h5", work->folder);
    bool done = recommender_save(work->recommender, path, error);
    free(path);
    return done;
}

/* Whether it was the limit of epochs that ended the fit, and its last judged epoch was the best. */
static bool is_still_improving(const struct fit_work *work)
{
    const struct recommender_settings *settings = work->task->settings;
    const struct fit_report *report = &work->report;
    return recommender_reads_setting(settings->model, "evaluate_every") && report->epochs > 0 &&
           report->epochs == settings->epochs && report->best_epoch == report->epochs;
}

static bool judge(const struct fit_work *work, struct error *error)
{
    json_t *metrics = json_pack("{s:s, s:s, s:I, s:I, s:f, s:I}", "inputs", work->inputs, "judgement",
                                work->judgement, "epochs", (json_int_t)work->report.epochs, "best_epoch",
                                (json_int_t)work->report.best_epoch, "seconds", work->report.seconds,
                                "rows_added", (json_int_t)work->rows->rows_added);
    if (metrics == NULL)
        return error_memory(error, "metrics of a fit", 0, NULL);
    if (work->task->fusion)
        json_object_set(metrics, "fusion", (json_t *)work->task->fusion);
    if (is_still_improving(work))
        json_object_set_new(metrics, "still_improving", json_true());
    bool done = judge_validation(work, metrics, error);
    if (!work->task->trial)
        done = done && judge_test(work, metrics, error);
    char *checkpoint = path_format("%s/checkpoint.h5", work->folder);
    if (leads(work))
        done = done && path_remove(checkpoint, error) && write_metrics(work->folder, metrics, error);
    free(checkpoint);
    json_decref(metrics);
    return done;
}

static bool load_model(struct fit_work *work, struct error *error)
{
    char *path = path_format("%s/model.h5", work->folder);
    bool done = recommender_load(&work->recommender, work->backend, path, error);
    free(path);
    return done;
}

static bool copy_file(const char *from, const char *to, const char *name, struct error *error)
{
    char *source = path_format("%s/%s", from, name), *target = path_format("%s/%s", to, name);
    char *bytes = NULL;
    size_t length;
    bool done = file_read(source, &bytes, &length, error) && file_write(target, bytes, length, error);
    free(bytes);
    free(source);
    free(target);
    return done;
}

/* A candidate that tuning has fitted already: the same inputs give the same folder. */
static bool take_from_tuning(bool *taken, const struct fit_work *work, struct error *error)
{
    const struct fit_task *task = work->task;
    *taken = false;
    if (!task->trial || task->study->candidates_only)
        return true;
    struct study tuned = {
        .run = task->study->run, .fits_folder = tuning_fits_folder, .contestants = task->study->contestants};
    char *from = study_fit_folder(&tuned, task->contestant, task->arm, task->seed);
    json_t *metrics = read_metrics(from);
    *taken = is_text(metrics, "inputs", work->inputs) && is_text(metrics, "judgement", work->judgement);
    json_decref(metrics);
    char *log = path_format("%s/metrics.jsonl", from);
    const bool done =
        !*taken || (path_remove(work->folder, error) && folder_create(work->folder, error) &&
                    (!path_exists(log) || copy_file(from, work->folder, "metrics.jsonl", error)) &&
                    copy_file(from, work->folder, "validation.h5", error) &&
                    copy_file(from, work->folder, "metrics.json", error));
    free(log);
    free(from);
    return done;
}

static void tell(const struct fit_work *work)
{
    const struct study *study = work->task->study;
    const struct fit_report *report = &work->report;
    char metric[METRIC_NAME_SIZE], epochs[64] = "", score[64] = "";
    metric_label(metric, study->select_metric, study->select_cut);
    if (report->epochs > 0)
        snprintf(epochs, sizeof epochs, "best epoch %lld of %lld, ", (long long)report->best_epoch,
                 (long long)report->epochs);
    if (work->watch.truth)
        snprintf(score, sizeof score, "%s %s %.4f, ",
                 work->watch.truth == &study->test ? "test" : "validation", metric, report->best_score);
    log_piece(study->run->log, "train: %s, %s, seed %llu: %s%s%.1f s",
              study->contestants[work->task->contestant].label, work->task->arm,
              (unsigned long long)work->task->seed, epochs, score, report->seconds);
    if (report->epoch_bytes_expected > 0.0)
        log_piece(study->run->log,
                  "train: rank 0 has sent %.0f bytes an epoch; the model of docs/scaling.md says %.0f",
                  report->epoch_bytes, report->epoch_bytes_expected);
}

static bool link_fit_file(const char *from, const char *to, const char *name, struct error *error)
{
    char *source = path_format("%s/%s", from, name), *target = path_format("%s/%s", to, name);
    const bool done = shared_link(source, target, error);
    free(source);
    free(target);
    return done;
}

/* Of a trial of a study: the name of the fit among those that its trials have in common. */
static void name_shared(char name[SHARED_FIT_NAME_SIZE], const struct fit_work *work)
{
    char *text =
        path_format("%s %s %s", work->inputs, work->judgement, work->task->trial ? "trial" : "whole");
    shared_fit_name(name, text);
    free(text);
}

/* A fit that another trial of the study has done. */
static bool take_from_study(bool *taken, const struct fit_work *work, const char *name, struct error *error)
{
    const struct run *run = work->task->study->run;
    char *from = shared_fit_folder(run->shared, name);
    json_t *metrics = read_metrics(from);
    *taken = is_text(metrics, "inputs", work->inputs) && is_text(metrics, "judgement", work->judgement) &&
             has_lists(work, from, metrics);
    json_decref(metrics);
    free(from);
    return !*taken || shared_fit_take(run, name, work->folder, error);
}

static bool train_and_judge(struct fit_work *work, struct error *error)
{
    const bool saves = leads(work) && !work->task->trial;
    return train(work, error) && (!saves || save_model(work, error)) && judge(work, error);
}

/* Whoever had the claim may have done the fit after it was looked for. */
static bool fit_under_claim(struct fit_work *work, const char *name, struct error *error)
{
    const struct run *run = work->task->study->run;
    bool taken;
    if (!take_from_study(&taken, work, name, error))
        return false;
    if (taken)
        return true;
    const bool done = shared_fit_begin(run, name, work->folder, error) && train_and_judge(work, error) &&
                      shared_fit_offer(run, name, work->folder, error);
    if (done)
        tell(work);
    return done;
}

/* Takes the fit from the study, trains it for all of its trials, or says that another trial does. */
static bool fit_for_study(struct fit_work *work, struct error *error)
{
    char name[SHARED_FIT_NAME_SIZE];
    struct claim *claim = NULL;
    bool taken;
    name_shared(name, work);
    if (!take_from_study(&taken, work, name, error))
        return false;
    if (taken)
        return true;
    bool done = shared_fit_claim(&claim, work->task->study->run, name, error);
    if (done && claim)
        done = fit_under_claim(work, name, error);
    else if (done)
        memcpy(work->awaited, name, sizeof name);
    claim_release(claim);
    return done;
}

static bool take(bool *taken, const struct fit_work *work, struct error *error)
{
    *taken = false;
    if (leads(work) && !take_from_tuning(taken, work, error))
        return false;
    int64_t found = *taken;
    const bool told = tell_ranks(work, &found, error);
    *taken = found != 0;
    return told;
}

static bool fit_anew(struct fit_work *work, struct error *error)
{
    bool taken;
    if (!take(&taken, work, error) || taken)
        return taken;
    if (work->task->study->run->shared)
        return fit_for_study(work, error);
    const bool done = train_and_judge(work, error);
    if (done && leads(work))
        tell(work);
    return done;
}

static bool complete(struct fit_work *work, enum fit_state state, struct error *error)
{
    switch (state) {
    case FIT_ABSENT:
        return fit_anew(work, error);
    case FIT_TRAINED:
        return load_model(work, error) && judge(work, error);
    default:
        return true;
    }
}

bool fit_run(char awaited[SHARED_FIT_NAME_SIZE], const struct fit_task *task, const struct arm_rows *rows,
             struct backend *backend, struct error *error)
{
    struct fit_work work = {.task = task, .rows = rows, .backend = backend, .awaited = awaited};
    *awaited = '\0';
    work.folder = study_fit_folder(task->study, task->contestant, task->arm, task->seed);
    enum fit_state state;
    bool done = choose_masks(&work, error) && describe_inputs(&work, error) &&
                find_state(&state, &work, error) && complete(&work, state, error);
    recommender_free(work.recommender);
    csr_free(&work.hidden_at_validation);
    csr_free(&work.hidden_at_test);
    free(work.folder);
    return done;
}

/* Of another recommender with its label. */
static void describe_source(json_t *metrics, const struct fit_task *task, const struct fit_task *source)
{
    const struct contestant *other = &task->study->contestants[source->contestant];
    char text[160];
    int length = 0;
    if (source->contestant != task->contestant)
        length = snprintf(text, sizeof text, "%s/", other->label);
    snprintf(text + length, sizeof text - (size_t)length, "%s/seed-%llu", source->arm,
             (unsigned long long)source->seed);
    json_object_set_new(metrics, "copied_from", json_string(text));
}

bool fit_copy(const struct fit_task *task, const struct fit_task *source, struct error *error)
{
    char *from = study_fit_folder(task->study, source->contestant, source->arm, source->seed);
    char *to = study_fit_folder(task->study, task->contestant, task->arm, task->seed);
    json_t *metrics = read_metrics(from);
    bool done = metrics != NULL ? path_remove(to, error) && folder_create(to, error)
                                : error_set(error, ERROR_RUN, "%s is not complete; run `train` again", from);
    done = done && link_fit_file(from, to, "model.h5", error) && link_fit_file(from, to, "top_k.tsv", error);
    if (done) {
        describe_source(metrics, task, source);
        done = write_metrics(to, metrics, error);
    }
    json_decref(metrics);
    free(from);
    free(to);
    return done;
}

bool fit_user_scores_load(double **scores, const struct study *study, int contestant, const char *arm,
                          uint64_t seed, struct error *error)
{
    char *folder = study_fit_folder(study, contestant, arm, seed);
    char *path = path_format("%s/validation.h5", folder);
    struct store *store = NULL;
    int64_t count = 0;
    bool done = store_open(&store, path, error) &&
                store_read(store, "/score", DTYPE_F64, &count, 0, (void **)scores, error);
    store_close(store);
    if (done && count != study->validation_count)
        done =
            error_at(error, ERROR_RUN, path, 0, "holds %lld users, not %lld; delete its folder and run again",
                     (long long)count, (long long)study->validation_count);
    free(path);
    free(folder);
    return done;
}

bool fit_metrics_load(json_t **metrics, const struct study *study, int contestant, const char *arm,
                      uint64_t seed, struct error *error)
{
    char *folder = study_fit_folder(study, contestant, arm, seed);
    *metrics = read_metrics(folder);
    bool done =
        *metrics != NULL ||
        error_set(error, ERROR_RUN, "%s/metrics.json is missing or damaged; delete it and run again", folder);
    free(folder);
    return done;
}
