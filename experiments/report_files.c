#include "experiments/report_files.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

/* NULL-ended. */
static const char *const plot_endings[] = {".svg", ".gnuplot", ".part", ".messages", NULL},
                         *const table_endings[] = {".csv", ".tex", NULL};

static bool ends_so(const char *name, const char *const *endings)
{
    const size_t length = strlen(name);
    for (int i = 0; endings[i]; i++) {
        const size_t ending = strlen(endings[i]);
        if (length > ending && strcmp(name + length - ending, endings[i]) == 0)
            return true;
    }
    return false;
}

static bool remove_files(const char *parent, const char *child, const char *const *endings,
                         struct error *error)
{
    struct dirent **entries = NULL;
    char *folder = path_format("%s/%s", parent, child);
    const int count = path_exists(folder) ? scandir(folder, &entries, NULL, alphasort) : 0;
    bool done = count >= 0 || error_system(error, folder, "cannot read this", NULL);
    for (int i = 0; i < count; i++) {
        char *path = path_format("%s/%s", folder, entries[i]->d_name);
        if (done && ends_so(entries[i]->d_name, endings))
            done = path_remove(path, error);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(folder);
    return done;
}

bool report_files_remove_plots(const char *folder, struct error *error)
{
    return remove_files(folder, "plots", plot_endings, error);
}

bool report_files_remove_tables(const char *folder, struct error *error)
{
    return remove_files(folder, "tables", table_endings, error);
}

bool report_files_remove(const char *folder, struct error *error)
{
    static const char *const names[] = {"results.json", "report.md", "report.html", "tensorboard"};
    bool done = true;
    for (size_t i = 0; done && i < sizeof names / sizeof *names; i++) {
        char *path = path_format("%s/%s", folder, names[i]);
        done = path_remove(path, error);
        free(path);
    }
    return done && report_files_remove_plots(folder, error) && report_files_remove_tables(folder, error);
}
