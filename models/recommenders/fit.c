#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "models/recommenders/fit_checkpoint.h"
#include "models/recommenders/steps.h"

static const double checkpoint_interval = 60.0; /* seconds */

/* A fit under way. */
struct fit {
    struct recommender *recommender;
    void *training; /* the model's own */
    const struct fit_watch *watch;
    int32_t *watched_users; /* users with truth; NULL: nothing to watch */
    int64_t watched_count;
    struct tensor *published; /* what the recommender scores with now */
    struct arena best_arena;
    struct tensor best; /* like it, of progress.best_epoch */
    struct fit_progress progress;
    const char *checkpoint;
    struct fit_fingerprint fingerprint;
    struct log *log;
    double started, saved; /* clock_seconds() when this process began, and wrote a checkpoint last */
    int64_t bytes_sent, epochs_here; /* in the training of epochs, by this process */
    double bytes_expected;           /* of one of them */
};

/* The watched metric of the recommender as it is. */
static bool watched_score(struct recommender *recommender, const struct fit_watch *watch,
                          const int32_t *users, int64_t count, double *score, struct error *error)
{
    const struct scorer scorer = recommender_scorer(recommender);
    struct top_k top;
    if (!top_k_rank(&top, recommender->backend, &scorer, users, count, watch->k, watch->mask, error))
        return false;
    struct evaluation evaluation;
    evaluate_top_k(&evaluation, &top, watch->truth, &watch->k, 1, NULL);
    top_k_free(&top);
    *score = evaluation.value[watch->metric][0];
    return true;
}

static void copy_published(const struct fit *fit, struct tensor *to, const struct tensor *from)
{
    struct backend *backend = fit->recommender->backend;
    backend->copy(backend, to->data, from->data, tensor_bytes(to));
}

/* Scores the epoch just done; what is better than ever before is kept. Of equal scores the earlier epoch stays. */
static bool judge_epoch(struct fit *fit, double loss, struct error *error)
{
    struct fit_progress *progress = &fit->progress;
    double score;
    if (!fit->recommender->model->publish(fit->training, error) ||
        !watched_score(fit->recommender, fit->watch, fit->watched_users, fit->watched_count, &score, error))
        return false;
    if (progress->best_epoch == 0 || score > progress->best_score) {
        progress->best_epoch = progress->epoch;
        progress->best_score = score;
        copy_published(fit, &fit->best, fit->published);
    }
    const char *const names[] = {"loss", metric_name(fit->watch->metric)};
    const double values[] = {loss, score};
    if (fit->log)
        log_metric(fit->log, fit->recommender->settings.model, progress->epoch, 2, names, values);
    return true;
}

static bool is_over(const struct fit *fit)
{
    const struct recommender_settings *settings = &fit->recommender->settings;
    const struct fit_progress *progress = &fit->progress;
    return progress->epoch >= settings->epochs ||
           (progress->best_epoch > 0 && settings->patience > 0 &&
            progress->epoch - progress->best_epoch >= settings->patience);
}

static bool is_paused(const struct fit *fit)
{
    return fit->watch->pause_after > 0 && fit->progress.epoch >= fit->watch->pause_after && !is_over(fit);
}

static bool save_state(struct fit *fit, struct error *error)
{
    struct fit_progress progress = fit->progress;
    progress.seconds += clock_seconds() - fit->started;
    fit->saved = clock_seconds();
    const struct training_state state = fit->recommender->model->training_state(fit->training);
    return fit_checkpoint_save(fit->checkpoint, &fit->fingerprint, fit->recommender->backend, &state,
                               &fit->best, &progress, error);
}

/* The ranks that do a fit together do the same: a signal that one has got ends all, and rank 0 knows the time to save. */
static bool agree(const struct fit *fit, bool *due, struct error *error)
{
    struct communicator *const ranks = fit_ranks(fit->recommender->backend);
    int64_t flags[] = {interrupt_requested(), *due && ranks && ranks->rank == 0};
    struct tensor x = tensor_1d(flags, DTYPE_I64, DEVICE_CPU, 2);
    if (!ranks)
        return true;
    if (!comm_all_reduce(ranks, &x, COMM_MAXIMUM, error))
        return false;
    if (flags[0]) {
        ranks->ending = true;
        interrupt_request();
    }
    *due = flags[1];
    return true;
}

/* Between two epochs: writes a checkpoint when one is due, before a pause, or when a signal has arrived. */
static bool safe_point(struct fit *fit, struct error *error)
{
    bool due = clock_seconds() - fit->saved >= checkpoint_interval;
    if (!agree(fit, &due, error))
        return false;
    due = due || is_paused(fit) || interrupt_requested();
    if (fit->checkpoint && due && !save_state(fit, error))
        return false;
    return interrupt_check(error);
}

static bool train_epoch(struct fit *fit, double *loss, struct error *error)
{
    const struct recommender_model *model = fit->recommender->model;
    const struct communicator *const ranks = fit_ranks(fit->recommender->backend);
    const int64_t before = ranks ? comm_bytes_sent(ranks) : 0;
    if (!model->train_epoch(fit->training, fit->progress.epoch + 1, loss, error))
        return false;
    fit->progress.epoch++;
    fit->epochs_here++;
    if (ranks)
        fit->bytes_sent += comm_bytes_sent(ranks) - before;
    return true;
}

static bool train_epochs(struct fit *fit, struct error *error)
{
    const struct recommender_settings *settings = &fit->recommender->settings;
    struct fit_progress *progress = &fit->progress;
    while (!is_over(fit) && !is_paused(fit)) {
        double loss;
        if (!train_epoch(fit, &loss, error))
            return false;
        const bool judged =
            progress->epoch % settings->evaluate_every == 0 || progress->epoch == settings->epochs;
        if (fit->watched_users && judged && !judge_epoch(fit, loss, error))
            return false;
        if (!is_over(fit) && !safe_point(fit, error))
            return false;
    }
    if (fit->watched_users) {
        copy_published(fit, fit->published, &fit->best);
        return backend_synchronize(fit->recommender->backend, error);
    }
    progress->best_epoch = progress->epoch;
    return fit->recommender->model->publish(fit->training, error);
}

static bool open_training(struct fit *fit, const struct training_set *data, uint64_t seed,
                          struct error *error)
{
    struct recommender *recommender = fit->recommender;
    if (!recommender->model->training_open(&fit->training, recommender, data, seed, error) ||
        (fit->watch->history && !recommender_set_history(recommender, fit->watch->history, error)))
        return false;
    if (fit_ranks(recommender->backend))
        fit->bytes_expected = recommender->model->epoch_bytes(fit->training);
    fit->published = recommender->model->published(recommender);
    const int64_t rows = fit->published->shape[0], columns = fit->published->shape[1];
    fit->best_arena = arena_measure(recommender->backend, "best parameters");
    arena_tensor_2d(&fit->best_arena, DTYPE_REAL, rows, columns);
    if (!arena_reserve(&fit->best_arena, 0, "lower recommenders.width", error))
        return false;
    fit->best = arena_tensor_2d(&fit->best_arena, DTYPE_REAL, rows, columns);
    return true;
}

static bool leads(const struct fit *fit)
{
    const struct communicator *const ranks = fit_ranks(fit->recommender->backend);
    return !ranks || ranks->rank == 0;
}

/* Each rank has looked for the checkpoint. */
static bool agree_on_epoch(const struct fit *fit, struct error *error)
{
    struct communicator *const ranks = fit_ranks(fit->recommender->backend);
    int64_t bounds[] = {fit->progress.epoch, -fit->progress.epoch};
    struct tensor x = tensor_1d(bounds, DTYPE_I64, DEVICE_CPU, 2);
    if (!ranks)
        return true;
    return comm_all_reduce(ranks, &x, COMM_MAXIMUM, error) &&
           (bounds[0] == -bounds[1] ||
            error_at(error, ERROR_RUN, fit->checkpoint, 0,
                     "some ranks go on after epoch %lld and some after %lld; do all of them see this file?",
                     (long long)-bounds[1], (long long)bounds[0]));
}

static bool resume(struct fit *fit, const struct training_set *data, uint64_t seed, struct error *error)
{
    if (!fit->checkpoint)
        return true;
    bool found;
    const struct training_state state = fit->recommender->model->training_state(fit->training);
    if (!fit_fingerprint_compute(&fit->fingerprint, fit->recommender->backend, &fit->recommender->settings,
                                 data, fit->watch, seed, error) ||
        !fit_checkpoint_load(fit->checkpoint, &fit->fingerprint, fit->recommender->backend, &state,
                             &fit->best, &fit->progress, &found, error))
        return false;
    if (!agree_on_epoch(fit, error))
        return false;
    if (found && fit->watch->pause_after == 0 && leads(fit))
        log_line(fit->log, "%s: goes on after epoch %lld", fit->recommender->settings.model,
                 (long long)fit->progress.epoch);
    return true;
}

/* What a GPU does not do is said. */
static void say_where(const struct fit *fit)
{
    const struct recommender *recommender = fit->recommender;
    const struct recommender_settings *settings = &recommender->settings;
    if (recommender->backend->device == DEVICE_CPU || !leads(fit))
        return;
    if (recommender->model->host_work)
        log_line(fit->log, "%s: %s by the host; device %s does the rest", settings->model,
                 recommender->model->host_work, recommender->backend->name);
    else if (strcmp(settings->optimizer, "sgd") == 0)
        log_line(
            fit->log,
            "%s: optimizer sgd trains on the host's cores; device %s ranks (optimizer: adam trains there)",
            settings->model, recommender->backend->name);
}

static bool fit_by_epochs(struct fit *fit, const struct training_set *data, uint64_t seed,
                          struct error *error)
{
    say_where(fit);
    const bool done =
        open_training(fit, data, seed, error) && resume(fit, data, seed, error) && train_epochs(fit, error);
    if (fit->training)
        fit->recommender->model->training_close(fit->training);
    arena_release(&fit->best_arena);
    return done;
}

static bool fit_at_once(struct fit *fit, const struct training_set *data, uint64_t seed, struct error *error)
{
    struct recommender *recommender = fit->recommender;
    say_where(fit);
    return recommender->model->fit(recommender, data, seed, error) &&
           (!fit->watch->history || recommender_set_history(recommender, fit->watch->history, error)) &&
           (!fit->watched_users || watched_score(recommender, fit->watch, fit->watched_users,
                                                 fit->watched_count, &fit->progress.best_score, error));
}

static bool check_ranks(const struct backend *backend, const struct recommender_settings *settings,
                        struct error *error)
{
    return !fit_ranks(backend) || recommender_divides(settings) ||
           error_set(error, ERROR_RUN, "%s: ranks cannot do such a fit together", settings->model);
}

bool recommender_fit(struct recommender **recommender, struct backend *backend,
                     const struct recommender_settings *settings, const struct training_set *data,
                     const struct fit_watch *watch, uint64_t seed, const char *checkpoint, struct log *log,
                     struct fit_report *report, struct error *error)
{
    *recommender = NULL;
    struct fit fit = {.watch = watch, .checkpoint = checkpoint, .log = log, .started = clock_seconds()};
    fit.saved = fit.started;
    bool done =
        recommender_settings_check(settings, error) && training_set_check(data, error) &&
        check_ranks(backend, settings, error) &&
        recommender_create(&fit.recommender, backend, settings, data->positives->rows,
                           data->positives->columns, error) &&
        (!watch->truth || users_with_truth(&fit.watched_users, &fit.watched_count, watch->truth, error));
    if (done && watch->truth && fit.watched_count == 0)
        done = error_set(error, ERROR_RUN,
                         "nobody has a validation item, so there is nothing to stop at; check data.split");
    if (done)
        done = fit.recommender->model->fit ? fit_at_once(&fit, data, seed, error)
                                           : fit_by_epochs(&fit, data, seed, error);
    free(fit.watched_users);
    if (!done) {
        recommender_free(fit.recommender);
        return false;
    }
    *recommender = fit.recommender;
    *report = (struct fit_report){.epochs = fit.progress.epoch,
                                  .best_epoch = fit.progress.best_epoch,
                                  .best_score = fit.progress.best_score,
                                  .seconds = fit.progress.seconds + clock_seconds() - fit.started};
    if (fit.epochs_here > 0) {
        report->epoch_bytes = (double)fit.bytes_sent / (double)fit.epochs_here;
        report->epoch_bytes_expected = fit.bytes_expected;
    }
    return true;
}
