/*
 * bench_sequences.c: seconds of an epoch of a sequential recommender, writing and uploading it included.
 *
 *   bench_sequences [--device NAME] [--threads N] DATA COUNT [setting=value ...]
 *
 * DATA is an interaction file in order of time; the last two items of each user are left out, as leave-one-out does. The
 * settings are those of an entry of `recommenders:`. Times COUNT epochs after one that is not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/written_settings.h"
#include "core/config.h"
#include "core/file.h"
#include "core/readers.h"
#include "models/recommenders/sequence_training.h"

enum { HELD_OUT = 2 };

/* Rows of users in the file's order, but the last HELD_OUT of each. */
static bool group(struct csr *history, const struct interactions *rows, struct error *error)
{
    const int64_t users = rows->user_ids.count;
    int64_t *left = calloc((size_t)users, sizeof *left);
    *history = (struct csr){.rows = users,
                            .columns = rows->item_ids.count,
                            .starts = calloc((size_t)users + 2, sizeof *history->starts),
                            .indices = malloc((size_t)rows->count * sizeof *history->indices)};
    const bool done = left && history->starts && history->indices;
    if (!done)
        error_memory(error, "the interactions", (size_t)rows->count * sizeof *history->indices, NULL);
    for (int64_t row = 0; done && row < rows->count; row++)
        left[rows->users[row]]++;
    for (int64_t user = 0; done && user < users; user++) {
        left[user] = left[user] > HELD_OUT ? left[user] - HELD_OUT : 0;
        history->starts[user + 2] = history->starts[user + 1] + left[user];
    }
    for (int64_t row = 0; done && row < rows->count; row++)
        if (left[rows->users[row]]-- > 0)
            history->indices[history->starts[rows->users[row] + 1]++] = rows->items[row];
    free(left);
    return done;
}

static bool read_history(struct csr *history, const char *path, struct error *error)
{
    const struct reader_settings settings = {.format = "auto"};
    struct interactions interactions;
    if (!interactions_read(&interactions, &path, 1, &settings, NULL, NULL, error))
        return false;
    const bool done = group(history, &interactions, error);
    interactions_free(&interactions);
    return done;
}

static bool read_settings(struct recommender_settings *settings, int count, char **values,
                          struct error *error)
{
    return read_written_settings(settings, count, values, error) &&
           (recommender_reads_history(settings) ||
            error_set(error, ERROR_USAGE, "%s is not a sequential recommender; give model=sasrec or alike",
                      settings->model));
}

static bool time_epochs(struct sequence_training *training, int64_t count, struct error *error)
{
    struct backend *backend = training->backend;
    double loss = 0.0, *walls = calloc((size_t)count, sizeof *walls),
           *processors = calloc((size_t)count, sizeof *processors);
    bool done =
        (walls && processors) || error_memory(error, "the times", 2 * (size_t)count * sizeof *walls, NULL);
    for (int64_t epoch = 0; done && epoch <= count; epoch++) {
        backend_reset_counters(backend);
        const double started = clock_seconds(), processor_started = processor_seconds();
        done = sequence_train_epoch(training, epoch + 1, &loss, error) && backend_synchronize(backend, error);
        if (epoch > 0) {
            walls[epoch - 1] = clock_seconds() - started;
            processors[epoch - 1] = processor_seconds() - processor_started;
        }
    }
    if (done) {
        const double wall = median(walls, count);
        const struct sequence_counts *held = &training->epoch.written;
        printf("epoch of %s, %lld sequences, %lld tokens, %lld steps, on %s with %d threads: median of %lld "
               "%.3f s wall, %.3f s processor, %.0f tokens/s, %.1f GFLOP/s, loss %.5f\n",
               training->settings.model, (long long)held->sequences, (long long)held->tokens,
               (long long)held->batches, backend->name, backend->threads, (long long)count, wall,
               median(processors, count), (double)held->tokens / wall,
               1e-9 * backend->counters.floating_point_operations / wall, loss);
    }
    free(walls);
    free(processors);
    return done;
}

static bool run(struct measured_device device, int count, char **values, struct error *error)
{
    if (count < 3 || atoll(values[2]) < 1)
        return error_set(
            error, ERROR_USAGE,
            "usage: bench_sequences [--device NAME] [--threads N] DATA COUNT [setting=value ...]");
    struct csr history = {0}, positives = {0};
    struct recommender_settings settings;
    struct recommender *recommender = NULL;
    void *training = NULL;
    const struct training_set data = {.positives = &positives, .history = &history};
    struct backend *backend = backend_open(device.name, device.threads, error);
    const bool done =
        backend && read_settings(&settings, count - 3, values + 3, error) &&
        read_history(&history, values[1], error) && csr_sorted(&positives, &history, error) &&
        recommender_create(&recommender, backend, &settings, history.rows, history.columns, error) &&
        recommender->model->training_open(&training, recommender, &data, 1, error) &&
        time_epochs(training, atoll(values[2]), error);
    sequence_training_close(training);
    recommender_free(recommender);
    csr_free(&history);
    csr_free(&positives);
    backend_close(backend);
    return done;
}

int main(int count, char **values)
{
    backend_prepare_process(values);
    const struct measured_device device = measured_device_read(&count, &values);
    struct error error = ERROR_INITIALIZER;
    const bool done = run(device, count, values, &error);
    error_print(&error, stderr);
    return done ? 0 : (int)error.kind;
}
