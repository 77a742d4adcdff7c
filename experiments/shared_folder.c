#include "experiments/shared_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "experiments/claims.h"

struct entry {
    int64_t bytes;
    bool used;
};

/* Claims, notes and what is not yet whole have a dot in their names. */
static int is_entry(const struct dirent *entry)
{
    return strchr(entry->d_name, '.') == NULL;
}

/* An entry that another process removes meanwhile has what was seen of it. */
static bool measure_entry(struct entry *found, const char *path, struct error *error)
{
    char *const roots[] = {(char *)path, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    *found = (struct entry){0};
    bool done = walk || error_system(error, path, "cannot read this", NULL);
    for (FTSENT *entry; done && (entry = fts_read(walk)) != NULL;) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
            errno = entry->fts_errno;
            done = errno == ENOENT || error_system(error, entry->fts_path, "cannot read this", NULL);
        } else if (entry->fts_info == FTS_F) {
            found->bytes += entry->fts_statp->st_size;
            found->used = found->used || entry->fts_statp->st_nlink > 1;
        }
    }
    if (walk)
        fts_close(walk);
    return done;
}

/* Another name first, so that nobody takes half of it. */
static bool remove_entry(const char *path, struct error *error)
{
    char *part = path_format("%s.part", path);
    const bool done = path_remove(part, error) &&
                      (rename(path, part) == 0 || error_system(error, path, "cannot remove this", NULL)) &&
                      path_remove(part, error);
    free(part);
    return done;
}

/* Of the names in the folder, [count]; `found` and `paths` have room for as many. */
static bool measure_entries(struct entry *found, char **paths, struct dirent **names, int count,
                            const char *folder, struct error *error)
{
    bool done = true;
    for (int i = 0; done && i < count; i++) {
        paths[i] = path_format("%s/%s", folder, names[i]->d_name);
        done = measure_entry(&found[i], paths[i], error);
    }
    return done;
}

static bool visit(struct shared_amount *all, struct shared_amount *unused, const char *folder, bool removes,
                  struct error *error)
{
    struct dirent **names = NULL;
    const int count = path_exists(folder) ? scandir(folder, &names, is_entry, alphasort) : 0;
    *all = *unused = (struct shared_amount){0};
    if (count < 0)
        return error_system(error, folder, "cannot read this folder", NULL);
    struct entry *found = calloc((size_t)count + 1, sizeof *found);
    char **paths = calloc((size_t)count + 1, sizeof *paths);
    bool links = false;
    bool done = (found && paths) || error_memory(error, "the entries of a folder", (size_t)count, NULL);
    done = done && measure_entries(found, paths, names, count, folder, error);
    for (int i = 0; done && i < count; i++)
        links = links || found[i].used;
    for (int i = 0; done && i < count; i++) {
        struct shared_amount *const amounts[] = {all, links && !found[i].used ? unused : NULL};
        for (int j = 0; j < 2 && amounts[j]; j++) {
            amounts[j]->entries++;
            amounts[j]->bytes += found[i].bytes;
        }
        done = !amounts[1] || !removes || remove_entry(paths[i], error);
    }
    for (int i = 0; i < count; i++) {
        free(names[i]);
        free(paths ? paths[i] : NULL);
    }
    free(names);
    free(paths);
    free(found);
    return done;
}

bool shared_folder_measure(struct shared_amount *all, struct shared_amount *unused, const char *folder,
                           struct error *error)
{
    return visit(all, unused, folder, false, error);
}

bool shared_folder_tidy(struct shared_amount *removed, const char *folder, struct error *error)
{
    struct shared_amount all;
    struct claim *claim = NULL;
    *removed = (struct shared_amount){0};
    if (!path_exists(folder))
        return true;
    char *path = path_format("%s/tidy", folder);
    const bool done =
        claim_take(&claim, path, error) && (!claim || visit(&all, removed, folder, true, error));
    claim_release(claim);
    free(path);
    return done;
}
