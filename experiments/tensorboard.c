#include "experiments/tensorboard.h"

#include <fts.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/array.h"
#include "core/event_file.h"
#include "core/file.h"

/* ---- curves -------------------------------------------------------------------------------------------- */

struct point {
    char stage[32], tag[96];
    int64_t step;
    double time, value;
};

struct curves {
    struct point *points; /* in the order of the log */
    size_t count, capacity;
};

static bool add_point(struct curves *curves, const char *stage, const char *tag, int64_t step, double time,
                      double value, struct error *error)
{
    struct point *grown =
        array_room(curves->points, curves->count, &curves->capacity, sizeof *grown, "learning curves", error);
    if (!grown)
        return false;
    curves->points = grown;
    struct point *point = &curves->points[curves->count++];
    *point = (struct point){.step = step, .time = time, .value = value};
    snprintf(point->stage, sizeof point->stage, "%s", stage);
    snprintf(point->tag, sizeof point->tag, "%s/%s", stage, tag);
    return true;
}

/* Whether a record tells a value anew. One that it only repeats is taken out of it: what was written stays as it was. */
static bool is_told_anew(const struct point *point, json_t *record)
{
    const char *key = point->tag + strlen(point->stage) + 1;
    const json_t *value = json_object_get(record, key);
    if (!json_is_number(value))
        return false;
    if (json_number_value(value) != point->value)
        return true;
    json_object_del(record, key);
    return false;
}

/* What an interrupted stage did behind the state that it went on from, it has done and logged again. */
static void rewind_stage(struct curves *curves, const char *stage, int64_t step, json_t *record)
{
    size_t kept = 0;
    for (size_t i = 0; i < curves->count; i++) {
        const struct point *point = &curves->points[i];
        const bool dropped = strcmp(point->stage, stage) == 0 &&
                             (point->step > step || (point->step == step && is_told_anew(point, record)));
        if (!dropped)
            curves->points[kept++] = *point;
    }
    curves->count = kept;
}

/* The last step of a stage that is logged; -1: none. */
static int64_t last_step(const struct curves *curves, const char *stage)
{
    for (size_t i = curves->count; i > 0; i--)
        if (strcmp(curves->points[i - 1].stage, stage) == 0)
            return curves->points[i - 1].step;
    return -1;
}

/* `prefix` NULL: points are called after the stage. */
static bool add_record(struct curves *curves, const char *prefix, json_t *record, struct error *error)
{
    const char *stage = json_string_value(json_object_get(record, "stage"));
    const int64_t step = json_integer_value(json_object_get(record, "step"));
    const json_t *time = json_object_get(record, "time");
    if (!stage || step < 0)
        return true;
    stage = prefix ? prefix : stage;
    if (step <= last_step(curves, stage))
        rewind_stage(curves, stage, step, record);
    const char *key;
    json_t *value;
    bool done = true;
    json_object_foreach(record, key, value)
    {
        if (done && json_is_number(value) && strcmp(key, "step") != 0 && strcmp(key, "time") != 0)
            done = add_point(curves, stage, key, step, time ? json_number_value(time) : (double)step,
                             json_number_value(value), error);
    }
    return done;
}

/* A line that is not whole is being written, or was when the process was killed. */
static bool read_log(struct curves *curves, const char *prefix, const char *path, struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    if (!path_exists(path))
        return true;
    bool done = file_read(path, &text, &length, error);
    for (char *line = text, *end; done && (end = strchr(line, '\n')); line = end + 1) {
        json_t *record = json_loadb(line, (size_t)(end - line), 0, NULL);
        done = !record || add_record(curves, prefix, record, error);
        json_decref(record);
    }
    free(text);
    return done;
}

/* The final metrics of a fit, at the epoch whose model is kept. */
static bool read_metrics(struct curves *curves, const char *path, struct error *error)
{
    static const char *const parts[] = {"validation", "test"};
    json_error_t problem;
    if (!path_exists(path))
        return true;
    json_t *metrics = json_load_file(path, 0, &problem);
    if (!metrics)
        return error_at(error, ERROR_RUN, path, 0, "cannot be read: %s", problem.text);
    const int64_t epoch = json_integer_value(json_object_get(metrics, "best_epoch"));
    bool done = true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(metrics, parts[i]), key, value)
        {
            done = done &&
                   add_point(curves, parts[i], key, epoch, (double)epoch, json_number_value(value), error);
        }
    }
    json_decref(metrics);
    return done;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static bool save_curves(const struct curves *curves, const char *folder, struct error *error)
{
    char *bytes = NULL, *path = path_format("%s/events.out.tfevents.1.idrec", folder);
    size_t length = 0;
    FILE *stream = open_memstream(&bytes, &length);
    bool done = stream != NULL;
    if (done) {
        event_write_version(stream, curves->points[0].time);
        for (size_t i = 0; i < curves->count; i++) {
            const struct point *point = &curves->points[i];
            event_write_scalar(stream, point->time, point->step, point->tag, point->value);
        }
        done = fclose(stream) == 0;
    }
    done = done ? folder_create(folder, error) && event_file_update(path, bytes, length, error)
                : error_memory(error, "events of TensorBoard", length, NULL);
    free(bytes);
    free(path);
    return done;
}

/* From the logs of `source`; writes nothing where there is nothing yet. */
static bool write_folder(const char *source, const char *prefix, const char *target, int *files,
                         struct error *error)
{
    struct curves curves = {0};
    char *log = path_format("%s/metrics.jsonl", source), *metrics = path_format("%s/metrics.json", source);
    bool done = read_log(&curves, prefix, log, error) && read_metrics(&curves, metrics, error);
    if (done && curves.count > 0) {
        done = save_curves(&curves, target, error);
        ++*files;
    }
    free(curves.points);
    free(metrics);
    free(log);
    return done;
}

static bool write_fits(const char *run_folder, int *files, struct error *error)
{
    enum { FIT_LEVEL = 3 }; /* recommenders/LABEL/ARM/seed-N */
    char *const roots[] = {path_format("%s/recommenders", run_folder), NULL};
    FTS *walk = path_exists(roots[0]) ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    bool done = true;
    for (FTSENT *entry; done && walk && (entry = fts_read(walk));) {
        if (entry->fts_info != FTS_D || entry->fts_level != FIT_LEVEL)
            continue;
        char *target = path_format("%s/tensorboard%s", run_folder, entry->fts_path + strlen(roots[0]));
        done = write_folder(entry->fts_path, "training", target, files, error);
        fts_set(walk, entry, FTS_SKIP);
        free(target);
    }
    if (walk)
        fts_close(walk);
    free(roots[0]);
    return done;
}

bool tensorboard_write(const char *run_folder, int *files, struct error *error)
{
    int count = 0;
    char *target = path_format("%s/tensorboard/language_model", run_folder);
    const bool done =
        write_folder(run_folder, NULL, target, &count, error) && write_fits(run_folder, &count, error);
    if (files)
        *files = count;
    free(target);
    return done;
}
