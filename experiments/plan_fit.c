#include "experiments/plan_fit.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/file.h"
#include "models/recommenders/model.h"
#include "models/recommenders/settings.h"

enum { JUDGED_USERS = 256, COPIES_MAXIMUM = 16, SHARES = 4 };
static const double shares[SHARES] = {1.0 / 64, 1.0 / 16, 1.0 / 4, 1};

/* ---- a share of the data ------------------------------------------------------------------------------ */

/* Rows of every 1/share-th user; of a model that is fitted at once also of the first `share` of the items, and no other
 * users and items at all, since its work is that of its matrices. */
static bool take_share(struct csr *part, const struct csr *matrix, double share, bool shrink,
                       struct error *error)
{
    const int64_t stride = llround(1 / share);
    const int64_t columns = shrink ? (matrix->columns + stride - 1) / stride : matrix->columns;
    const int64_t rows = shrink ? (matrix->rows + stride - 1) / stride : matrix->rows;
    *part = (struct csr){.rows = rows, .columns = columns};
    part->starts = calloc((size_t)rows + 1, sizeof *part->starts);
    part->indices = malloc((size_t)(csr_count(matrix) + 1) * sizeof *part->indices);
    if (!part->starts || !part->indices)
        return error_memory(error, "a share of the data", (size_t)csr_count(matrix) * sizeof *part->indices,
                            NULL);
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t user = shrink ? row * stride : row;
        for (int64_t i = matrix->starts[user]; user % stride == 0 && i < matrix->starts[user + 1]; i++)
            if (matrix->indices[i] % stride == 0 || !shrink)
                part->indices[count++] = shrink ? matrix->indices[i] / (int32_t)stride : matrix->indices[i];
        part->starts[row + 1] = count;
    }
    return true;
}

/* ---- one fit for a moment ----------------------------------------------------------------------------- */

struct moment {
    const struct plan *plan;
    const struct recommender_settings *settings;
    struct backend *backend;
    struct csr positives, history;
    double seconds; /* most that epochs may take */
    double epoch_seconds, judge_seconds;
    int epochs;
    bool done;
    struct error error;
};

/* Ranks some users and scales to all who are validated. */
static bool judge(struct moment *moment, struct recommender *recommender, struct error *error)
{
    const struct csr *const validation = &moment->plan->validation;
    const struct scorer scorer = recommender_scorer(recommender);
    int32_t *users = NULL;
    int64_t count = 0;
    struct top_k top = {.users = 0};
    if (csr_count(validation) == 0)
        return true;
    if (!recommender_set_history(recommender, &moment->history, error) ||
        !users_with_truth(&users, &count, validation, error))
        return false;
    const int64_t some = count < JUDGED_USERS ? count : JUDGED_USERS;
    for (int64_t i = 0; i < some; i++)
        users[i] = (int32_t)(users[i * count / some] % moment->positives.rows);
    const double begun = clock_seconds();
    const bool done = top_k_rank(&top, moment->backend, &scorer, users, some, 20, &moment->positives, error);
    moment->judge_seconds = (clock_seconds() - begun) * (double)count / (double)some *
                            (double)validation->columns / (double)moment->positives.columns;
    top_k_free(&top);
    free(users);
    return done;
}

static bool train_moment(struct moment *moment, struct recommender *recommender,
                         const struct training_set *data, struct error *error)
{
    const struct recommender_model *const model = recommender->model;
    void *training = NULL;
    double loss;
    bool done = model->training_open(&training, recommender, data, 1, error) &&
                model->train_epoch(training, 1, &loss, error) && backend_synchronize(moment->backend, error);
    double begun = clock_seconds(), spent = 0;
    for (int64_t epoch = 2; done && epoch < 50 && (epoch == 2 || spent < moment->seconds / 4); epoch++) {
        done =
            model->train_epoch(training, epoch, &loss, error) && backend_synchronize(moment->backend, error);
        spent = clock_seconds() - begun;
        moment->epochs++;
        moment->epoch_seconds = spent / moment->epochs;
    }
    begun = clock_seconds();
    done = done && model->publish(training, error);
    const double publishing = clock_seconds() - begun;
    done = done && judge(moment, recommender, error);
    moment->judge_seconds += publishing;
    if (training)
        model->training_close(training);
    return done;
}

static bool fit_moment(struct moment *moment, struct recommender *recommender,
                       const struct training_set *data, struct error *error)
{
    const double begun = clock_seconds();
    if (!recommender->model->fit(recommender, data, 1, error) || !backend_synchronize(moment->backend, error))
        return false;
    moment->epoch_seconds = clock_seconds() - begun;
    moment->epochs = 1;
    return judge(moment, recommender, error);
}

static void *run_moment(void *argument)
{
    struct moment *const moment = argument;
    struct recommender *recommender = NULL;
    const struct training_set data = {.positives = &moment->positives, .history = &moment->history};
    struct error *const error = &moment->error;
    moment->done = training_set_check(&data, error) &&
                   recommender_create(&recommender, moment->backend, moment->settings, moment->positives.rows,
                                      moment->positives.columns, error);
    if (moment->done)
        moment->done = recommender->model->fit ? fit_moment(moment, recommender, &data, error)
                                               : train_moment(moment, recommender, &data, error);
    recommender_free(recommender);
    return NULL;
}

/* ---- as many at a time as the study has --------------------------------------------------------------- */

static bool open_moment(struct moment *moment, const struct plan *plan,
                        const struct recommender_settings *settings, double share, int parallel,
                        struct error *error)
{
    const struct backend *const device = plan->device;
    const bool shrink = !recommender_has_epochs(settings);
    const int threads = parallel <= 1                    ? device->threads
                        : device->device == DEVICE_CPU   ? 1
                        : device->threads / parallel > 0 ? device->threads / parallel
                                                         : 1;
    *moment = (struct moment){.plan = plan,
                              .settings = settings,
                              .seconds = plan_memo_seconds(plan->memo, plan->options.seconds),
                              .error = ERROR_INITIALIZER};
    moment->backend = backend_open(device->address, threads, error);
    if (!moment->backend)
        return false;
    moment->backend->fast = device->fast;
    return take_share(&moment->positives, &plan->train, share, shrink, error) &&
           take_share(&moment->history, &plan->dataset.train, share, shrink, error);
}

static void close_moment(struct moment *moment)
{
    if (moment->backend)
        backend_close(moment->backend);
    csr_free(&moment->positives);
    csr_free(&moment->history);
}

/* Threads that cannot be started are done without. */
static void run_together(struct moment *moments, int count)
{
    pthread_t threads[COPIES_MAXIMUM];
    int started = 0;
    while (started < count - 1 &&
           pthread_create(&threads[started], NULL, run_moment, &moments[started + 1]) == 0)
        started++;
    run_moment(&moments[0]);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* One share; the times are the means over those that ran together. */
static bool measure_share(struct fit_rate *rate, const struct plan *plan,
                          const struct recommender_settings *settings, double share, int parallel,
                          struct error *error)
{
    struct moment moments[COPIES_MAXIMUM] = {{.plan = NULL}};
    const int count = parallel < 1 ? 1 : parallel < COPIES_MAXIMUM ? parallel : COPIES_MAXIMUM;
    bool done = true;
    *rate = (struct fit_rate){.share = share};
    for (int i = 0; done && i < count; i++)
        done = open_moment(&moments[i], plan, settings, share, parallel, error);
    if (done)
        run_together(moments, count);
    int finished = 0;
    for (int i = 0; done && i < count; i++) {
        if (moments[i].plan && moments[i].error.kind != ERROR_NONE)
            done = error_set(error, moments[i].error.kind, "%s", moments[i].error.message);
        if (!moments[i].done)
            continue;
        finished++;
        rate->epoch_seconds += moments[i].epoch_seconds;
        rate->judge_seconds += moments[i].judge_seconds;
        rate->epochs += moments[i].epochs;
    }
    for (int i = 0; i < count; i++)
        close_moment(&moments[i]);
    if (finished > 0) {
        rate->epoch_seconds /= finished;
        rate->judge_seconds /= finished;
    }
    return done;
}

/* Extends what a share took to all data by the power of the share that the last two followed. */
static void extend(struct fit_rate *rate, const struct fit_rate *before, bool at_once)
{
    const double most = at_once ? 3 : 2;
    rate->exponent = 1;
    if (before->share > 0 && before->epoch_seconds > 0)
        rate->exponent = log(rate->epoch_seconds / before->epoch_seconds) / log(rate->share / before->share);
    rate->exponent = fmin(fmax(rate->exponent, 1), most);
    rate->epoch_seconds *= pow(rate->share, -rate->exponent);
}

bool fit_measure(struct fit_rate *rate, const struct plan *plan, const struct recommender_settings *settings,
                 int parallel, struct error *error)
{
    const bool at_once = !recommender_has_epochs(settings);
    struct fit_rate before = {.share = 0};
    *rate = before;
    for (int i = 0; i < SHARES; i++) {
        struct fit_rate now;
        const double growth = pow(4, at_once ? 2 : 1.15);
        const bool few = (double)csr_count(&plan->train) * shares[i] < 2000 && shares[i] < 1;
        if (few)
            continue;
        if (rate->share > 0 &&
            rate->epoch_seconds * growth > plan_memo_seconds(plan->memo, plan->options.seconds))
            break;
        if (!measure_share(&now, plan, settings, shares[i], parallel, error))
            return false;
        before = *rate;
        *rate = now;
    }
    if (rate->share < 1)
        extend(rate, &before, at_once);
    return true;
}

/* ---- counting ----------------------------------------------------------------------------------------- */

/* Its epochs are loops of the host over the table, and not of operators: about 16 operations a value of a row. */
static bool is_host_work(const struct recommender_settings *settings)
{
    return recommender_reads_setting(settings->model, "optimizer") && strcmp(settings->optimizer, "sgd") == 0;
}

static bool count_epoch(struct fit_count *count, struct moment *moment, struct recommender *recommender,
                        const struct training_set *data, struct error *error)
{
    const struct recommender_model *const model = recommender->model;
    struct backend *const backend = moment->backend;
    void *training = NULL;
    double loss;
    bool done = model->training_open(&training, recommender, data, 1, error);
    backend_reset_counters(backend);
    done = done && (is_host_work(&recommender->settings) || model->train_epoch(training, 1, &loss, error));
    count->epoch = backend->counters;
    if (is_host_work(&recommender->settings))
        count->epoch.floating_point_operations =
            16.0 * (double)recommender->settings.width * (double)csr_count(data->positives);
    if (done)
        count->published = (double)tensor_bytes(model->published(recommender));
    backend_reset_counters(backend);
    done = done && model->publish(training, error);
    const struct operation_counters publishing = backend->counters;
    backend_reset_counters(backend);
    done = done && judge(moment, recommender, error);
    count->judge = backend->counters;
    const int64_t all = plan_users_with_any(&moment->plan->validation);
    const double times = all > JUDGED_USERS ? (double)all / JUDGED_USERS : 1;
    count->judge.floating_point_operations =
        count->judge.floating_point_operations * times + publishing.floating_point_operations;
    count->judge.bytes = count->judge.bytes * times + publishing.bytes;
    if (training)
        model->training_close(training);
    return done;
}

bool fit_count(struct fit_count *count, const struct plan *plan, const struct recommender_settings *settings,
               struct error *error)
{
    struct backend *const backend = plan->run.backend;
    struct moment moment = {.plan = plan,
                            .settings = settings,
                            .backend = backend,
                            .positives = plan->train,
                            .history = plan->dataset.train};
    const struct training_set data = {.positives = &plan->train, .history = &plan->dataset.train};
    struct recommender *recommender = NULL;
    *count = (struct fit_count){.memory = 0};
    if (!recommender_has_epochs(settings))
        return true;
    const size_t before = backend->memory.bytes;
    backend->memory.peak = before;
    const bool done =
        recommender_create(&recommender, backend, settings, plan->train.rows, plan->train.columns, error) &&
        count_epoch(count, &moment, recommender, &data, error);
    count->memory = (double)(backend->memory.peak - before) + count->published;
    recommender_free(recommender);
    return done;
}
