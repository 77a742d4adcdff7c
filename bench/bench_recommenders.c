/*
 * bench_recommenders.c: seconds and quality of a fit, seconds and bytes of an epoch, and of a full-ranking evaluation.
 *
 *   bench_recommenders [--device cpu|cuda] [--small] fit TRAIN TRUTH SEED THREADS SAVE [setting=value ...]
 *   bench_recommenders [...] steps TRAIN COUNT THREADS [setting=value ...]
 *   bench_recommenders [...] epochs TRAIN COUNT THREADS [setting=value ...]
 *   bench_recommenders [...] evaluate TRAIN TRUTH MODEL.h5 THREADS
 *
 * TRAIN and TRUTH are interaction files of any format; TRUTH `-` trains without evaluation, SAVE `-` keeps
 * nothing. Settings are those of an entry of `recommenders:`. `epochs` prints the device's ceilings first; --small
 * measures these at sizes that say nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/written_settings.h"
#include "core/config.h"
#include "core/file.h"
#include "core/readers.h"
#include "models/recommenders/steps.h"

enum { CUT = 20, EVALUATIONS = 3 };

struct files {
    struct csr train, truth;
    bool has_truth;
};

static bool group(struct csr *matrix, const struct interactions *interactions, int64_t first, int64_t end,
                  struct error *error)
{
    const int64_t users = interactions->user_ids.count;
    struct csr unsorted = {.rows = users,
                           .columns = interactions->item_ids.count,
                           .starts = calloc((size_t)users + 2, sizeof *unsorted.starts),
                           .indices = malloc((size_t)(end - first) * sizeof *unsorted.indices + 1)};
    bool done = unsorted.starts && unsorted.indices;
    if (!done)
        error_memory(error, "the interactions", (size_t)(end - first) * sizeof *unsorted.indices, NULL);
    for (int64_t row = first; done && row < end; row++)
        unsorted.starts[interactions->users[row] + 2]++;
    for (int64_t user = 2; done && user <= users; user++)
        unsorted.starts[user] += unsorted.starts[user - 1];
    for (int64_t row = first; done && row < end; row++)
        unsorted.indices[unsorted.starts[interactions->users[row] + 1]++] = interactions->items[row];
    done = done && csr_sorted(matrix, &unsorted, error);
    csr_free(&unsorted);
    return done;
}

static bool read_files(struct files *files, const char *train, const char *truth, struct error *error)
{
    const char *const paths[] = {train, truth};
    files->has_truth = strcmp(truth, "-") != 0;
    const struct reader_settings settings = {.format = "auto"};
    struct interactions interactions;
    int64_t first_rows[3];
    if (!interactions_read(&interactions, paths, files->has_truth ? 2 : 1, &settings, first_rows, NULL,
                           error))
        return false;
    const bool done =
        group(&files->train, &interactions, 0, first_rows[1], error) &&
        (!files->has_truth || group(&files->truth, &interactions, first_rows[1], first_rows[2], error));
    interactions_free(&interactions);
    return done;
}

/* fit TRAIN TRUTH SEED THREADS SAVE [setting=value ...] */
static bool fit(struct measured_device device, int count, char **values, struct error *error)
{
    struct files files = {0};
    struct recommender_settings settings;
    struct recommender *recommender = NULL;
    struct fit_report report;
    struct backend *backend = backend_open(device.name, atoi(values[3]), error);
    bool done = backend && read_written_settings(&settings, count - 5, values + 5, error) &&
                read_files(&files, values[0], values[1], error);
    const struct training_set data = {.positives = &files.train};
    const struct fit_watch watch = {.truth = files.has_truth ? &files.truth : NULL,
                                    .mask = &files.train,
                                    .metric = METRIC_NDCG,
                                    .k = CUT};
    const double started = processor_seconds();
    done = done && recommender_fit(&recommender, backend, &settings, &data, &watch,
                                   strtoull(values[2], NULL, 10), NULL, NULL, &report, error);
    const double epochs = done && report.epochs > 0 ? (double)report.epochs : 1.0;
    if (done)
        printf("%s threads %s seed %s: %lld epochs in %.3f s, an epoch %.4f s wall and %.4f s processor, "
               "best epoch "
               "%lld, ndcg@%d %.5f\n",
               settings.model, values[3], values[2], (long long)report.epochs, report.seconds,
               report.seconds / epochs, (processor_seconds() - started) / epochs,
               (long long)report.best_epoch, CUT, report.best_score);
    done = done && (strcmp(values[4], "-") == 0 || recommender_save(recommender, values[4], error));
    recommender_free(recommender);
    csr_free(&files.train);
    csr_free(&files.truth);
    backend_close(backend);
    return done;
}

/* Times `count` steps one by one, after two that are not counted. */
static bool time_steps(struct embedding_training *training, int64_t count, struct error *error)
{
    const int64_t batch = training->settings.batch, steps = training->sampler.count / batch;
    double *walls = calloc((size_t)count, sizeof *walls),
           *processors = calloc((size_t)count, sizeof *processors);
    double started = clock_seconds();
    bool done =
        (walls && processors) || error_memory(error, "the times", 2 * (size_t)count * sizeof *walls, NULL);
    done = done && embedding_training_begin_epoch(training, 1, error) &&
           backend_synchronize(training->backend, error);
    const double beginning = clock_seconds() - started;
    for (int64_t place = -2; done && place < count; place++) {
        started = clock_seconds();
        const double processor_started = processor_seconds();
        training->take_step(training, (place + 2) % steps * batch, batch);
        training->backend->wait(training->backend);
        if (place >= 0) {
            walls[place] = clock_seconds() - started;
            processors[place] = processor_seconds() - processor_started;
        }
    }
    done = done && backend_synchronize(training->backend, error);
    if (done) {
        printf(
            "%s, %d threads: an epoch begins with %.3f s, median of %lld steps of %lld triples %.1f ms wall "
            "and %.1f ms "
            "processor\n",
            training->settings.model, training->backend->threads, beginning, (long long)count,
            (long long)batch, 1e3 * median(walls, count), 1e3 * median(processors, count));
    }
    free(walls);
    free(processors);
    return done;
}

/* Times `count` whole epochs, sampling included, after one that is not counted. */
static bool time_epochs(const struct recommender_model *model, struct embedding_training *training,
                        const struct ceilings *ceilings, int64_t count, struct error *error)
{
    struct backend *backend = training->backend;
    double loss = 0.0, *seconds = calloc((size_t)count, sizeof *seconds);
    bool done = seconds || error_memory(error, "the times", (size_t)count * sizeof *seconds, NULL);
    for (int64_t epoch = 0; done && epoch <= count; epoch++) {
        backend_reset_counters(backend);
        const double started = clock_seconds();
        done = model->train_epoch(training, epoch + 1, &loss, error) && backend_synchronize(backend, error);
        if (epoch > 0)
            seconds[epoch - 1] = clock_seconds() - started;
    }
    if (done) {
        const double epoch = median(seconds, count), rate = backend->counters.bytes / epoch;
        printf("epoch of %s, optimizer %s, on %s: median of %lld %.4f s, %.1f GB/s (%.1f %% of copy), loss "
               "%.5f\n",
               training->settings.model, training->settings.optimizer, backend->name, (long long)count, epoch,
               1e-9 * rate, 100.0 * rate / ceilings->copy_bytes, loss);
    }
    free(seconds);
    return done;
}

static bool time_training(const struct recommender_model *model, struct embedding_training *training,
                          bool whole_epochs, bool small, int64_t count, struct error *error)
{
    struct ceilings ceilings;
    if (!whole_epochs)
        return time_steps(training, count, error);
    if (!ceilings_measure(&ceilings, training->backend, small, error))
        return false;
    ceilings_print(&ceilings, training->backend);
    return time_epochs(model, training, &ceilings, count, error);
}

/* steps|epochs TRAIN COUNT THREADS [setting=value ...] */
static bool train(struct measured_device device, bool whole_epochs, int count, char **values,
                  struct error *error)
{
    struct files files = {0};
    struct recommender_settings settings;
    struct recommender *recommender = NULL;
    void *training = NULL;
    struct backend *backend = backend_open(device.name, atoi(values[2]), error);
    const struct training_set data = {.positives = &files.train};
    bool done = backend && read_written_settings(&settings, count - 3, values + 3, error) &&
                read_files(&files, values[0], "-", error);
    done =
        done &&
        recommender_create(&recommender, backend, &settings, files.train.rows, files.train.columns, error) &&
        recommender->model->training_open(&training, recommender, &data, 1, error) &&
        time_training(recommender->model, training, whole_epochs, device.small, atoll(values[1]), error);
    embedding_training_close(training);
    recommender_free(recommender);
    csr_free(&files.train);
    backend_close(backend);
    return done;
}

static bool evaluate_once(struct recommender *recommender, struct backend *backend, const struct files *files,
                          struct error *error)
{
    const double started = clock_seconds(), processor_started = processor_seconds();
    const struct scorer scorer = recommender_scorer(recommender);
    int32_t *users;
    int64_t user_count;
    if (!users_with_truth(&users, &user_count, &files->truth, error))
        return false;
    struct top_k top;
    const bool ranked = top_k_rank(&top, backend, &scorer, users, user_count, CUT, &files->train, error);
    free(users);
    if (!ranked)
        return false;
    struct evaluation evaluation;
    const int64_t cut = CUT;
    evaluate_top_k(&evaluation, &top, &files->truth, &cut, 1, NULL);
    top_k_free(&top);
    printf("full ranking of %lld users, %lld items: %.3f s wall, %.3f s processor, recall@%d %.6f, ndcg@%d "
           "%.6f\n",
           (long long)evaluation.users_tested, (long long)scorer.items, clock_seconds() - started,
           processor_seconds() - processor_started, CUT, evaluation.value[METRIC_RECALL][0], CUT,
           evaluation.value[METRIC_NDCG][0]);
    return true;
}

/* evaluate TRAIN TRUTH MODEL.h5 THREADS */
static bool evaluate(struct measured_device device, char **values, struct error *error)
{
    struct files files = {0};
    struct recommender *recommender = NULL;
    struct backend *backend = backend_open(device.name, atoi(values[3]), error);
    bool done = backend && read_files(&files, values[0], values[1], error) &&
                recommender_load(&recommender, backend, values[2], error);
    for (int repeat = 0; done && repeat < EVALUATIONS; repeat++)
        done = evaluate_once(recommender, backend, &files, error);
    recommender_free(recommender);
    csr_free(&files.train);
    csr_free(&files.truth);
    backend_close(backend);
    return done;
}

static bool command(struct measured_device device, int count, char **values, struct error *error)
{
    const char *name = count > 1 ? values[1] : "";
    const bool epochs = strcmp(name, "epochs") == 0;
    if (count >= 7 && strcmp(name, "fit") == 0)
        return fit(device, count - 2, values + 2, error);
    if (count >= 5 && atoll(values[3]) > 0 && (epochs || strcmp(name, "steps") == 0))
        return train(device, epochs, count - 2, values + 2, error);
    if (count == 6 && strcmp(name, "evaluate") == 0)
        return evaluate(device, values + 2, error);
    return error_set(
        error, ERROR_USAGE,
        "usage: bench_recommenders [--device NAME] [--small] fit TRAIN TRUTH SEED THREADS SAVE "
        "[setting=value ...] | steps|epochs TRAIN COUNT THREADS [setting=value ...] | evaluate TRAIN "
        "TRUTH MODEL.h5 THREADS");
}

int main(int count, char **values)
{
    backend_prepare_process(values);
    const struct measured_device device = measured_device_read(&count, &values);
    struct error error = ERROR_INITIALIZER;
    const bool done = command(device, count, values, &error);
    error_print(&error, stderr);
    return done ? 0 : (int)error.kind;
}
