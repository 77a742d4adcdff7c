#include "models/language/checkpoint_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"

static bool has_done(const char *folder, const char *suffix)
{
    char *path = path_format("%s%s/DONE", folder, suffix);
    const bool exists = path_exists(path);
    free(path);
    return exists;
}

static bool remove_beside(const char *folder, const char *suffix, struct error *error)
{
    char *path = path_format("%s%s", folder, suffix);
    char *done = path_format("%s/DONE", path);
    const bool removed = path_remove(done, error) && path_remove(path, error);
    free(done);
    free(path);
    return removed;
}

static bool move(const char *folder, const char *from, const char *to, struct error *error)
{
    char *source = path_format("%s%s", folder, from), *target = path_format("%s%s", folder, to);
    const bool moved = rename(source, target) == 0 ||
                       error_system(error, target, "cannot move this folder into place", NULL);
    free(source);
    free(target);
    return moved;
}

/* Makes the entries of a folder outlive a power failure. */
static bool flush_folder(const char *path, struct error *error)
{
    const int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool flushed = descriptor >= 0 && fsync(descriptor) == 0;
    if (!flushed)
        error_system(error, path, "cannot flush this folder to disk", NULL);
    if (descriptor >= 0)
        close(descriptor);
    return flushed;
}

bool checkpoint_folder_begin(char **path, const char *folder, struct error *error)
{
    *path = path_format("%s.new", folder);
    if (remove_beside(folder, ".new", error) && folder_create(*path, error))
        return true;
    free(*path);
    *path = NULL;
    return false;
}

bool checkpoint_folder_commit(const char *folder, struct error *error)
{
    char *fresh = path_format("%s.new", folder), *done = path_format("%s/DONE", fresh);
    const bool written = file_write(done, "", 0, error) && flush_folder(fresh, error);
    free(done);
    free(fresh);
    return written && remove_beside(folder, ".old", error) &&
           (!path_exists(folder) || move(folder, "", ".old", error)) && move(folder, ".new", "", error) &&
           remove_beside(folder, ".old", error);
}

bool checkpoint_complete(const char *folder)
{
    struct error ignored = ERROR_INITIALIZER;
    if (!has_done(folder, "")) {
        const char *suffix = has_done(folder, ".new") ? ".new" : ".old";
        if (!has_done(folder, suffix) || !remove_beside(folder, "", &ignored) ||
            !move(folder, suffix, "", &ignored))
            return false;
    }
    remove_beside(folder, ".new", &ignored);
    remove_beside(folder, ".old", &ignored);
    return true;
}

bool checkpoint_remove(const char *folder, struct error *error)
{
    return remove_beside(folder, ".new", error) && remove_beside(folder, ".old", error) &&
           remove_beside(folder, "", error);
}
