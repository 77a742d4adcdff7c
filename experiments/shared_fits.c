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

bool shared_fit_remove(const struct run *run, const char *name, struct error *error)
{
    char *folder = shared_fit_folder(run->shared, name);
    const bool done = path_remove(folder, error);
    free(folder);
    return done;
}

/* The part has a name of its own for a process that seemed dead, whose claim was taken over, and that lives. */
bool shared_fit_offer(const struct run *run, const char *name, const char *folder, struct error *error)
{
    struct utsname host;
    uname(&host);
    char *to = shared_fit_folder(run->shared, name);
    char *part = path_format("%s.of-%s-%ld", to, host.nodename, (long)getpid());
    const bool done = path_remove(part, error) && link_files(folder, part, error) &&
                      (rename(part, to) == 0 || errno == ENOTEMPTY || errno == EEXIST ||
                       error_system(error, to, "cannot make this folder", NULL)) &&
                      path_remove(part, error);
    free(part);
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
