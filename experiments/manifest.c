#include "experiments/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json_file.h"

struct manifest {
    char *folder, *path;
    json_t *root;
    int lock;
};

static bool lock_folder(struct manifest *manifest, struct error *error)
{
    char *path = path_format("%s/.lock", manifest->folder);
    manifest->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool done = manifest->lock >= 0 || error_system(error, manifest->folder, "cannot write into this folder",
                                                    "choose another with `output`");
    if (done && flock(manifest->lock, LOCK_EX | LOCK_NB) != 0)
        done = errno == EWOULDBLOCK
                   ? error_at(error, ERROR_RUN, manifest->folder, 0,
                              "another process works in this folder; wait for it, or set another `output`")
                   : error_system(error, path, "cannot lock this file", NULL);
    free(path);
    return done;
}

bool manifest_is_locked(const char *folder)
{
    char *path = path_format("%s/.lock", folder);
    const int lock = open(path, O_RDWR | O_CLOEXEC);
    const bool locked = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (lock >= 0)
        close(lock);
    free(path);
    return locked;
}

static bool load(struct manifest *manifest, struct error *error)
{
    if (!path_exists(manifest->path)) {
        manifest->root = json_pack("{s:{}}", "stages");
        return manifest->root || error_memory(error, "manifest.json", 0, NULL);
    }
    json_error_t problem;
    manifest->root = json_load_file(manifest->path, 0, &problem);
    if (json_is_object(manifest->root) && json_is_object(json_object_get(manifest->root, "stages")))
        return true;
    return error_at(error, ERROR_RUN, manifest->path, problem.line > 0 ? problem.line : 0,
                    "is damaged (%s); remove it, and every stage runs again", problem.text);
}

static struct manifest *manifest_create(const char *folder, struct error *error)
{
    struct manifest *manifest = calloc(1, sizeof *manifest);
    if (!manifest) {
        error_memory(error, "manifest.json", sizeof *manifest, NULL);
        return NULL;
    }
    manifest->folder = path_format("%s", folder);
    manifest->path = path_format("%s/manifest.json", folder);
    manifest->lock = -1;
    return manifest;
}

bool manifest_open(struct manifest **manifest, const char *folder, struct error *error)
{
    *manifest = manifest_create(folder, error);
    if (*manifest && lock_folder(*manifest, error) && load(*manifest, error))
        return true;
    manifest_close(*manifest);
    *manifest = NULL;
    return false;
}

bool manifest_read(struct manifest **manifest, const char *folder, struct error *error)
{
    *manifest = manifest_create(folder, error);
    const bool present = *manifest && path_exists((*manifest)->path);
    if (present && load(*manifest, error))
        return true;
    if (*manifest && !present)
        error_at(error, ERROR_RUN, folder, 0, "holds no run: manifest.json is missing");
    manifest_close(*manifest);
    *manifest = NULL;
    return false;
}

void manifest_close(struct manifest *manifest)
{
    if (!manifest)
        return;
    if (manifest->lock >= 0)
        close(manifest->lock);
    json_decref(manifest->root);
    free(manifest->folder);
    free(manifest->path);
    free(manifest);
}

bool manifest_save(const struct manifest *manifest, struct error *error)
{
    return json_file_write(manifest->path, manifest->root, error);
}

void manifest_set(struct manifest *manifest, const char *key, json_t *value)
{
    json_object_set_new(manifest->root, key, value);
}

json_t *manifest_get(const struct manifest *manifest, const char *key)
{
    return json_object_get(manifest->root, key);
}

void manifest_describe(struct manifest *manifest)
{
    struct utsname host;
    char when[32];
    const time_t now = time(NULL);
    struct tm parts;
    uname(&host);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    manifest_set(manifest, "program",
                 json_pack("{s:s, s:s, s:s}", "version", IDREC_VERSION, "commit", IDREC_COMMIT, "compiler",
                           __VERSION__));
    manifest_set(
        manifest, "host",
        json_pack("{s:s, s:s, s:s}", "name", host.nodename, "system", host.release, "machine", host.machine));
    manifest_set(manifest, "started", json_string(when));
}

/* ---- stages ------------------------------------------------------------------------------------------- */

json_t *manifest_stage(const struct manifest *manifest, const char *stage)
{
    json_t *record = json_object_get(json_object_get(manifest->root, "stages"), stage);
    return json_is_object(record) ? record : NULL;
}

json_t *manifest_begin(struct manifest *manifest, const char *stage, const char *inputs)
{
    json_t *record = json_pack("{s:s, s:b, s:[]}", "inputs", inputs, "complete", 0, "outputs");
    json_object_set_new(json_object_get(manifest->root, "stages"), stage, record);
    return record;
}

void manifest_put(struct manifest *manifest, const char *stage, json_t *record)
{
    json_object_set_new(json_object_get(manifest->root, "stages"), stage, record);
}

static int compare_names(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Appends one file to the list and to the hash of all. */
static bool add_output(json_t *outputs, XXH3_state_t *state, const char *path, size_t folder_length,
                       off_t bytes, struct error *error)
{
    char digits[33];
    if (!file_hash(path, digits, error))
        return false;
    const char *relative = path + folder_length + 1;
    XXH3_128bits_update(state, relative, strlen(relative) + 1);
    XXH3_128bits_update(state, digits, 32);
    json_t *output =
        json_pack("{s:s, s:I, s:s}", "path", relative, "bytes", (json_int_t)bytes, "hash", digits);
    return json_array_append_new(outputs, output) == 0 || error_memory(error, "manifest.json", 0, NULL);
}

/* What a process that was killed in file_write() left. */
static bool is_left_over(const FTSENT *entry)
{
    const char *const dot = strrchr(entry->fts_name, '.');
    return dot && strcmp(dot, ".tmp") == 0;
}

static bool add_entry(const struct manifest *manifest, json_t *outputs, XXH3_state_t *state,
                      const FTSENT *entry, struct error *error)
{
    if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) {
        errno = entry->fts_errno;
        return error_system(error, entry->fts_path, "cannot read this", NULL);
    }
    if (entry->fts_info != FTS_F)
        return true;
    if (is_left_over(entry))
        return path_remove(entry->fts_accpath, error);
    return add_output(outputs, state, entry->fts_path, strlen(manifest->folder), entry->fts_statp->st_size,
                      error);
}

static bool add_outputs_below(const struct manifest *manifest, json_t *outputs, XXH3_state_t *state,
                              const char *path, struct error *error)
{
    char *const roots[] = {path_format("%s/%s", manifest->folder, path), NULL};
    const bool present = path_exists(roots[0]);
    FTS *walk = present ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, compare_names) : NULL;
    bool done = walk || !present || error_system(error, roots[0], "cannot read this", NULL);
    for (FTSENT *entry; done && walk && (entry = fts_read(walk));)
        done = add_entry(manifest, outputs, state, entry, error);
    if (walk)
        fts_close(walk);
    free(roots[0]);
    return done;
}

bool manifest_complete(struct manifest *manifest, const char *stage, const char *const *paths,
                       struct error *error)
{
    json_t *record = manifest_stage(manifest, stage), *outputs = json_array();
    XXH3_state_t *state = XXH3_createState();
    bool done = (record && outputs && state) || error_memory(error, "manifest.json", 0, NULL);
    if (done) {
        XXH3_128bits_reset(state);
        for (int i = 0; done && paths[i]; i++)
            done = add_outputs_below(manifest, outputs, state, paths[i], error);
    }
    if (done) {
        char digits[33];
        hash_digits(digits, XXH3_128bits_digest(state));
        json_object_set(record, "outputs", outputs);
        json_object_set_new(record, "hash", json_string(digits));
        json_object_set_new(record, "complete", json_true());
    }
    XXH3_freeState(state);
    json_decref(outputs);
    return done;
}

static bool output_is_present(const struct manifest *manifest, const json_t *output)
{
    const char *relative = json_string_value(json_object_get(output, "path"));
    char *path = path_format("%s/%s", manifest->folder, relative ? relative : "");
    struct stat status;
    const bool present = stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
                         status.st_size == json_integer_value(json_object_get(output, "bytes"));
    free(path);
    return present;
}

static bool has_name(const json_t *output, const char *name)
{
    const char *path = json_string_value(json_object_get(output, "path"));
    const char *slash = path ? strrchr(path, '/') : NULL;
    return path && strcmp(slash ? slash + 1 : path, name) == 0;
}

bool manifest_outputs_present(const struct manifest *manifest, const char *stage, const char *name)
{
    const json_t *record = manifest_stage(manifest, stage);
    if (!json_is_true(json_object_get(record, "complete")))
        return false;
    size_t index;
    json_t *output;
    json_array_foreach(json_object_get(record, "outputs"), index, output)
    {
        if ((!name || has_name(output, name)) && !output_is_present(manifest, output))
            return false;
    }
    return true;
}

const char *manifest_outputs_hash(const struct manifest *manifest, const char *stage)
{
    const json_t *record = manifest_stage(manifest, stage);
    if (!json_is_true(json_object_get(record, "complete")))
        return NULL;
    return json_string_value(json_object_get(record, "hash"));
}
