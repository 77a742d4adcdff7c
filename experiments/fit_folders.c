#include "experiments/fit_folders.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

static bool add(json_t *planned, char *path, struct error *error)
{
    const bool added = json_object_set_new(planned, path, json_true()) == 0;
    free(path);
    return added || error_memory(error, "the plan of fits", 0, NULL);
}

bool fit_folders_plan(json_t *planned, const char *label, const char *arm, uint64_t seed, struct error *error)
{
    return add(planned, path_format("%s", label), error) &&
           add(planned, path_format("%s/%s", label, arm), error) &&
           add(planned, path_format("%s/%s/seed-%llu", label, arm, (unsigned long long)seed), error);
}

bool fit_folders_plan_file(json_t *planned, const char *label, const char *name, struct error *error)
{
    return add(planned, path_format("%s", label), error) &&
           add(planned, path_format("%s/%s", label, name), error);
}

/* Whoever did not mean to drop a recommender learns it while its folder is still there. */
static bool announce(const json_t *planned, const struct run *run, const char *folder, const char *path,
                     struct error *error)
{
    struct dirent **entries;
    const int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return error_system(error, path, "cannot read this", NULL);
    char *names = path_format("%s", "");
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (name[0] != '.' && !json_object_get(planned, name)) {
            char *longer = path_format("%s%s%s", names, *names ? ", " : "", name);
            free(names);
            names = longer;
        }
        free(entries[i]);
    }
    free(entries);
    if (*names)
        log_line(run->log, "%s: removes %s: no longer in the configuration", folder, names);
    free(names);
    return true;
}

enum { LEVEL_OF_FITS = 3 };

/* Removes an entry that is not planned; `skip`: nothing below it is of interest. */
static bool visit(const FTSENT *entry, const json_t *planned, size_t folder_length, bool *skip,
                  struct error *error)
{
    *skip = false;
    if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) {
        errno = entry->fts_errno;
        return error_system(error, entry->fts_path, "cannot read this", NULL);
    }
    if (entry->fts_level < 1 || entry->fts_info == FTS_DP)
        return true;
    const bool keep = json_object_get(planned, entry->fts_path + folder_length + 1) != NULL;
    *skip = !keep || entry->fts_level == LEVEL_OF_FITS;
    return keep || path_remove(entry->fts_path, error);
}

bool fit_folders_remove_others(const json_t *planned, const struct run *run, const char *folder,
                               struct error *error)
{
    char *const roots[] = {run_path(run, "%s", folder), NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    bool done = (walk != NULL || error_system(error, roots[0], "cannot read this", NULL)) &&
                announce(planned, run, folder, roots[0], error);
    for (FTSENT *entry; done && (entry = fts_read(walk)) != NULL;) {
        bool skip;
        done = visit(entry, planned, strlen(roots[0]), &skip, error);
        if (skip)
            fts_set(walk, entry, FTS_SKIP);
    }
    if (walk != NULL)
        fts_close(walk);
    free(roots[0]);
    return done;
}
