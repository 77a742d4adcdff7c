#include "experiments/shared_fits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json_file.h"
#include "experiments/claims.h"
#include "experiments/shared_stages.h"

/* ---- names --------------------------------------------------------------------------------------------- */

void shared_fit_name(char name[SHARED_FIT_NAME_SIZE], const char *text)
{
    char digits[33];
    hash_digits(digits, XXH3_128bits(text, strlen(text)));
    snprintf(name, SHARED_FIT_NAME_SIZE, "fit-%s", digits);
}

char *shared_fit_folder(const char *shared, const char *name)
{
    return path_format("%s/%s", shared, name);
}

static char *claim_path(const char *shared, const char *name)
{
    return path_format("%s/%s.claim", shared, name);
}

static bool is_there(const char *shared, const char *name)
{
    char *path = path_format("%s/%s/metrics.json", shared, name);
    const bool there = path_exists(path);
    free(path);
    return there;
}

/* ---- taking and offering ------------------------------------------------------------------------------- */

bool shared_fit_claim(struct claim **claim, const struct run *run, const char *name, struct error *error)
{
    char *path = claim_path(run->shared, name);
    const bool done = folder_create(run->shared, error) && claim_take(claim, path, error);
    free(path);
    return done;
}

/* metrics.json, which makes a fit complete, comes last. */
static bool link_files(const char *from, const char *to, struct error *error)
{
    static const char *const names[] = {"model.h5", "top_k.tsv", "validation.h5", "metrics.jsonl",
                                        "metrics.json"};
    bool done = true;
    for (size_t i = 0; done && i < sizeof names / sizeof *names; i++) {
        char *source = path_format("%s/%s", from, names[i]), *target = path_format("%s/%s", to, names[i]);
        done = !path_exists(source) || shared_link(source, target, error);
        free(source);
        free(target);
    }
    return done;
}

bool shared_fit_take(const struct run *run, const char *name, const char *folder, struct error *error)
{
    char *from = shared_fit_folder(run->shared, name);
    const bool done = path_remove(folder, error) && link_files(from, folder, error);
    free(from);
    return done;
}

/* ---- what another trial began -------------------------------------------------------------------------- */

static char *worker_path(const struct run *run, const char *name)
{
    return path_format("%s/%s.by", run->shared, name);
}

/* Of paths below the folder of the study's trials, which is where those of this run's folder begin. */
static size_t trials_length(const struct run *run)
{
    const char *name = strrchr(run->folder, '/');
    return name ? (size_t)(name + 1 - run->folder) : 0;
}

static bool copy_log(const char *from, const char *to, struct error *error)
{
    char *source = path_format("%s/metrics.jsonl", from), *target = path_format("%s/metrics.jsonl", to),
         *bytes = NULL;
    size_t length;
    const bool done = !path_exists(source) ||
                      (file_read(source, &bytes, &length, error) && file_write(target, bytes, length, error));
    free(bytes);
    free(source);
    free(target);
    return done;
}

/* A checkpoint is replaced whole and never changed, so that a link will do. */
static bool take_over(const struct run *run, const char *other, const char *folder, struct error *error)
{
    char *from = path_format("%.*s%s", (int)trials_length(run), run->folder, other);
    char *source = path_format("%s/checkpoint.h5", from), *target = path_format("%s/checkpoint.h5", folder);
    const bool begun = path_exists(source);
    const bool done = !begun || (path_remove(folder, error) && shared_link(source, target, error) &&
                                 copy_log(from, folder, error));
    if (begun && done)
        log_line(run->log, "train: goes on with a fit that %.*s began", (int)strcspn(other, "/"), other);
    free(from);
    free(source);
    free(target);
    return done;
}

/* What is there and could not be taken is damaged. */
static bool remove_damaged(const struct run *run, const char *name, struct error *error)
{
    char *folder = shared_fit_folder(run->shared, name);
    const bool done = path_remove(folder, error);
    free(folder);
    return done;
}

bool shared_fit_begin(const struct run *run, const char *name, const char *folder, struct error *error)
{
    const char *own = folder + trials_length(run);
    char *path = worker_path(run, name), *last = NULL;
    size_t length;
    bool done =
        remove_damaged(run, name, error) && (!path_exists(path) || file_read(path, &last, &length, error));
    if (done && last && strcmp(last, own) != 0)
        done = take_over(run, last, folder, error);
    done = done && file_write(path, own, strlen(own), error);
    free(last);
    free(path);
    return done;
}

/* ---- offering ------------------------------------------------------------------------------------------ */

/* The part has a name of its own for a process that seemed dead, whose claim was taken over, and that lives. */
bool shared_fit_offer(const struct run *run, const char *name, const char *folder, struct error *error)
{
    struct utsname host;
    uname(&host);
    char *to = shared_fit_folder(run->shared, name), *worker = worker_path(run, name);
    char *part = path_format("%s.of-%s-%ld", to, host.nodename, (long)getpid());
    const bool done = path_remove(part, error) && link_files(folder, part, error) &&
                      (rename(part, to) == 0 || errno == ENOTEMPTY || errno == EEXIST ||
                       error_system(error, to, "cannot make this folder", NULL)) &&
                      path_remove(part, error) && path_remove(worker, error);
    free(part);
    free(worker);
    free(to);
    return done;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

static char *awaited_path(const char *folder)
{
    return path_format("%s/awaits.json", folder);
}

bool awaited_fits_write(const char *folder, const json_t *names, struct error *error)
{
    char *path = awaited_path(folder);
    const bool done = json_file_write(path, names, error);
    free(path);
    return done;
}

json_t *awaited_fits_read(const char *folder)
{
    char *path = awaited_path(folder);
    json_t *names = json_load_file(path, 0, NULL);
    free(path);
    return names;
}

bool awaited_fits_forget(const char *folder, struct error *error)
{
    char *path = awaited_path(folder);
    const bool done = path_remove(path, error);
    free(path);
    return done;
}

bool awaited_fits_are_there(const json_t *names, const char *shared)
{
    const json_t *name;
    size_t index;
    json_array_foreach(names, index, name) if (!is_there(shared, json_string_value(name))) return false;
    return true;
}

/* A fit that ends while it is looked at is there when its claim is gone. */
bool awaited_fits_lack_one(const json_t *names, const char *shared)
{
    const json_t *name;
    size_t index;
    bool lacks = false;
    json_array_foreach(names, index, name)
    {
        char *path = claim_path(shared, json_string_value(name));
        lacks = lacks || (!claim_is_taken(path, NULL) && !is_there(shared, json_string_value(name)));
        free(path);
    }
    return lacks;
}
