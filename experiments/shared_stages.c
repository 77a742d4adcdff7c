#include "experiments/shared_stages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "core/json_file.h"
#include "experiments/claims.h"
#include "experiments/cost.h"
#include "experiments/manifest.h"
#include "models/language/checkpoint.h"

enum { POLL_MILLISECONDS = 200 };

static char *shared_folder(const struct run *run, const struct stage *stage, const char *inputs)
{
    return path_format("%s/%s-%s", run->shared, stage->name, inputs);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static bool copy_file(const char *from, const char *to, struct error *error)
{
    char *bytes = NULL;
    size_t length;
    const bool done = file_read(from, &bytes, &length, error) && file_write(to, bytes, length, error);
    free(bytes);
    return done;
}

static bool create_parent(const char *path, struct error *error)
{
    char *folder = path_format("%.*s", (int)(strrchr(path, '/') - path), path);
    const bool done = folder_create(folder, error);
    free(folder);
    return done;
}

bool shared_link(const char *from, const char *to, struct error *error)
{
    if (!create_parent(to, error))
        return false;
    if (link(from, to) == 0)
        return true;
    return errno == EXDEV || errno == EPERM || errno == EMLINK || errno == ENOTSUP
               ? copy_file(from, to, error)
               : error_system(error, to, "cannot link this file", NULL);
}

/* A file that is appended to must not be the same in two folders. */
static bool is_appended_to(const char *path)
{
    const char *name = strrchr(path, '/');
    return strcmp(name ? name + 1 : path, "metrics.jsonl") == 0;
}

static bool copy_into_folder(const char *from, const char *to, struct error *error)
{
    return create_parent(to, error) && copy_file(from, to, error);
}

/* Links the outputs of a record from one folder into another. */
static bool link_outputs(const json_t *record, const char *from, const char *to, struct error *error)
{
    size_t index;
    json_t *output;
    bool done = true;
    json_array_foreach(json_object_get(record, "outputs"), index, output)
    {
        const char *name = json_string_value(json_object_get(output, "path"));
        char *source = path_format("%s/%s", from, name ? name : "");
        char *target = path_format("%s/%s", to, name ? name : "");
        done = done && (name && is_appended_to(name) ? copy_into_folder(source, target, error)
                                                     : shared_link(source, target, error));
        free(source);
        free(target);
    }
    return done;
}

static bool remove_own(const struct run *run, const char *const *paths, struct error *error)
{
    bool done = true;
    for (int i = 0; done && paths[i]; i++) {
        char *path = run_path(run, "%s", paths[i]);
        done = path_remove(path, error);
        free(path);
    }
    return done;
}

/* ---- taking and offering ------------------------------------------------------------------------------- */

static json_t *read_record(const char *folder)
{
    char *path = path_format("%s/record.json", folder);
    json_t *record = json_load_file(path, 0, NULL);
    free(path);
    return record;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* The name of the trial: the last part of its folder. */
static const char *own_name(const struct run *run)
{
    const char *name = strrchr(run->folder, '/');
    return name ? name + 1 : run->folder;
}

/* *taken: false when nobody has offered them. The trial that offered them, and was killed before it could record that they
 * are its own, takes them as its own. */
static bool take(bool *taken, struct run *run, const struct stage *stage, const char *inputs,
                 struct error *error)
{
    char *folder = shared_folder(run, stage, inputs);
    json_t *record = read_record(folder);
    bool done = true;
    *taken = json_is_object(record);
    if (*taken) {
        if (strcmp(text_of(record, "trial"), own_name(run)) != 0) {
            json_object_set_new(json_object_get(record, "cost"), "reused", json_true());
            cost_replace(run, stage->name);
        }
        json_object_del(record, "trial");
        done = remove_own(run, stage->outputs, error) && remove_own(run, stage->state, error) &&
               link_outputs(record, folder, run->folder, error);
        manifest_put(run->manifest, stage->name, json_incref(record));
        done = done && manifest_save(run->manifest, error);
        if (done)
            log_line(run->log, "%s: taken from %s", stage->name, folder);
    }
    json_decref(record);
    free(folder);
    return done;
}

static bool write_record(const json_t *record, const char *trial, const char *folder, struct error *error)
{
    json_t *named = json_copy((json_t *)record);
    json_object_set_new(named, "trial", json_string(trial));
    char *path = path_format("%s/record.json", folder);
    const bool done = json_file_write(path, named, error);
    json_decref(named);
    free(path);
    return done;
}

/* The caller holds the claim. The folder appears whole, by its new name. */
static bool offer(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    const json_t *record = manifest_stage(run->manifest, stage->name);
    char *folder = shared_folder(run, stage, inputs), *part = path_format("%s.part", folder);
    const bool done = path_remove(part, error) && folder_create(part, error) &&
                      link_outputs(record, run->folder, part, error) &&
                      write_record(record, own_name(run), part, error) &&
                      (rename(part, folder) == 0 || errno == ENOTEMPTY || errno == EEXIST ||
                       error_system(error, folder, "cannot make this folder", NULL));
    free(part);
    free(folder);
    return done;
}

static bool take_claim(struct claim **claim, const struct run *run, const struct stage *stage,
                       const char *inputs, struct error *error)
{
    char *path = path_format("%s/%s-%s.claim", run->shared, stage->name, inputs);
    const bool done = folder_create(run->shared, error) && claim_take(claim, path, error);
    free(path);
    return done;
}

/* ---- what another trial began ---------------------------------------------------------------------------- */

/* Who computes the stage, or did before it was interrupted. */
static char *worker_path(const struct run *run, const struct stage *stage, const char *inputs)
{
    return path_format("%s/%s-%s.by", run->shared, stage->name, inputs);
}

/* The name of the trial; malloc'ed, NULL: nobody has begun. */
static char *read_worker(const struct run *run, const struct stage *stage, const char *inputs)
{
    char *path = worker_path(run, stage, inputs), *name = NULL;
    struct error reason = ERROR_INITIALIZER;
    size_t length;
    const bool found = file_read(path, &name, &length, &reason);
    free(path);
    return found ? name : NULL;
}

static bool write_worker(const struct run *run, const struct stage *stage, const char *inputs,
                         struct error *error)
{
    char *path = worker_path(run, stage, inputs);
    const bool done = file_write(path, own_name(run), strlen(own_name(run)), error);
    free(path);
    return done;
}

/* Of a folder that is replaced whole, whatever is complete of it, and nothing stays behind. */
static bool move_files(const struct run *run, const char *const *paths, const char *from, struct error *error)
{
    bool done = true;
    for (int i = 0; done && paths[i]; i++) {
        char *source = path_format("%s/%s", from, paths[i]), *target = run_path(run, "%s", paths[i]);
        checkpoint_complete(source);
        done = !path_exists(source) ||
               (create_parent(target, error) &&
                (rename(source, target) == 0 ||
                 error_system(error, target, "cannot move what another trial began to here", NULL)));
        done = done && checkpoint_remove(source, error);
        free(source);
        free(target);
    }
    return done;
}

/* The record comes last: without it, what was moved is removed again. */
static bool take_over(struct run *run, const struct stage *stage, const char *inputs, const char *from,
                      struct error *error)
{
    char *path = path_format("%s/manifest.json", from);
    json_t *manifest = json_load_file(path, 0, NULL);
    json_t *record = json_object_get(json_object_get(manifest, "stages"), stage->name);
    const bool begun =
        strcmp(text_of(record, "inputs"), inputs) == 0 && !json_is_true(json_object_get(record, "complete"));
    bool done = true;
    if (begun) {
        done = move_files(run, stage->outputs, from, error) && move_files(run, stage->state, from, error);
        cost_replace(run, stage->name);
        cost_take_over(record);
        manifest_put(run->manifest, stage->name, json_incref(record));
        done = done && manifest_save(run->manifest, error);
        if (done)
            log_line(run->log, "%s: goes on with what %s began", stage->name, strrchr(from, '/') + 1);
    }
    json_decref(manifest);
    free(path);
    return done;
}

/* What lies in this folder unfinished counts when this trial was the last to work on the stage; else what the last one left
 * does. The caller holds the claim. */
static bool begin(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    char *last = read_worker(run, stage, inputs);
    const bool other = last && strcmp(last, own_name(run)) != 0;
    bool done = write_worker(run, stage, inputs, error);
    if (other) {
        char *from = path_format("%.*s%s", (int)(own_name(run) - run->folder), run->folder, last);
        done = done && remove_own(run, stage->outputs, error) && remove_own(run, stage->state, error) &&
               take_over(run, stage, inputs, from, error);
        free(from);
    }
    free(last);
    return done;
}

/* ---- the stage -------------------------------------------------------------------------------------------- */

bool shared_stage_publish(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    char *path = worker_path(run, stage, inputs);
    const bool done = offer(run, stage, inputs, error) && path_remove(path, error);
    free(path);
    return done;
}

/* Until the outputs are there and taken, or the claim to compute them is ours. */
static bool take_or_claim(bool *taken, struct claim **claim, struct run *run, const struct stage *stage,
                          const char *inputs, struct error *error)
{
    const struct spent from = meter_read(run->meter);
    bool waited = false, done;
    while ((done = take(taken, run, stage, inputs, error)) && !*taken &&
           (done = take_claim(claim, run, stage, inputs, error) && interrupt_check(error)) && !*claim) {
        if (!waited)
            log_line(run->log, "%s: waits for another trial, which computes the same", stage->name);
        waited = true;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MILLISECONDS * 1000000L}, NULL);
    }
    if (waited)
        cost_waited(run, from);
    return done;
}

bool shared_stage_work(struct run *run, const struct stage *stage, const char *inputs, stage_compute *compute,
                       struct error *error)
{
    struct claim *claim = NULL;
    bool taken;
    bool done = take_or_claim(&taken, &claim, run, stage, inputs, error);
    if (done && !taken)
        done = take(&taken, run, stage, inputs, error) &&
               (taken || (begin(run, stage, inputs, error) && compute(run, stage, inputs, error)));
    claim_release(claim);
    return done;
}

bool shared_stage_offer(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    char *folder = shared_folder(run, stage, inputs);
    struct claim *claim = NULL;
    const bool present = path_exists(folder);
    const bool done = present || (take_claim(&claim, run, stage, inputs, error) &&
                                  (!claim || offer(run, stage, inputs, error)));
    claim_release(claim);
    free(folder);
    return done;
}
