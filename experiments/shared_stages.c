#include "experiments/shared_stages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "experiments/claims.h"
#include "experiments/manifest.h"

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

bool shared_link(const char *from, const char *to, struct error *error)
{
    char *folder = path_format("%.*s", (int)(strrchr(to, '/') - to), to);
    bool done = folder_create(folder, error);
    free(folder);
    if (!done || link(from, to) == 0)
        return done;
    return errno == EXDEV || errno == EPERM || errno == EMLINK || errno == ENOTSUP
               ? copy_file(from, to, error)
               : error_system(error, to, "cannot link this file", NULL);
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
        done = done && shared_link(source, target, error);
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

/* *taken: false when nobody has offered them. */
static bool take(bool *taken, struct run *run, const struct stage *stage, const char *inputs,
                 struct error *error)
{
    char *folder = shared_folder(run, stage, inputs);
    json_t *record = read_record(folder);
    bool done = true;
    *taken = json_is_object(record);
    if (*taken) {
        json_object_set_new(json_object_get(record, "cost"), "reused", json_true());
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

static bool write_record(const json_t *record, const char *folder, struct error *error)
{
    char *path = path_format("%s/record.json", folder), *text = json_dumps(record, JSON_INDENT(1));
    const bool done =
        text ? file_write(path, text, strlen(text), error) : error_memory(error, "record.json", 0, NULL);
    free(text);
    free(path);
    return done;
}

/* The caller holds the claim. The folder appears whole, by its new name. */
static bool offer(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    const json_t *record = manifest_stage(run->manifest, stage->name);
    char *folder = shared_folder(run, stage, inputs), *part = path_format("%s.part", folder);
    const bool done = path_remove(part, error) && folder_create(part, error) &&
                      link_outputs(record, run->folder, part, error) && write_record(record, part, error) &&
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

bool shared_stage_work(struct run *run, const struct stage *stage, const char *inputs, stage_compute *compute,
                       struct error *error)
{
    struct claim *claim = NULL;
    bool taken, told = false;
    while (true) {
        if (!take(&taken, run, stage, inputs, error))
            return false;
        if (taken)
            return true;
        if (!take_claim(&claim, run, stage, inputs, error) || !interrupt_check(error)) {
            claim_release(claim);
            return false;
        }
        if (claim)
            break;
        if (!told)
            log_line(run->log, "%s: waits for another trial, which computes the same", stage->name);
        told = true;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MILLISECONDS * 1000000L}, NULL);
    }
    const bool done = take(&taken, run, stage, inputs, error) &&
                      (taken || (compute(run, stage, inputs, error) && offer(run, stage, inputs, error)));
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
