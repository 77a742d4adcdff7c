#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "experiments/claims.h"
#include "experiments/command.h"
#include "experiments/study_folder.h"
#include "experiments/tensorboard.h"

/* Whether a trial failed and nobody works on it now: what is there may be of other settings than those that failed. */
static bool is_failed(const char *study, const char *name)
{
    char *folder = path_format("%s/trials/%s", study, name),
         *claim = path_format("%s/claims/%s", study, name);
    json_t *trial = folder_trial_json(folder);
    const char *state = json_string_value(json_object_get(trial, "state"));
    const bool failed = state && strcmp(state, "failed") == 0 && !claim_is_taken(claim, NULL);
    json_decref(trial);
    free(claim);
    free(folder);
    return failed;
}

static bool write_trial(const char *study, const char *name, int *files, struct error *error)
{
    char *folder = path_format("%s/trials/%s", study, name), *curves = path_format("%s/tensorboard", folder);
    int found = 0;
    const bool failed = is_failed(study, name),
               done = failed ? path_remove(curves, error) : tensorboard_write(folder, &found, error);
    if (done && failed)
        log_line(NULL, "%s: failed, and is left out; `idrec tensorboard %s` shows what is there of it", name,
                 folder);
    *files += found;
    free(curves);
    free(folder);
    return done;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Of a study, its trials, as far as they have begun. */
static bool write_trials(const char *study, const char *trials, int *files, struct error *error)
{
    struct dirent **entries;
    const int count = scandir(trials, &entries, is_visible, versionsort);
    bool done = count >= 0 || error_system(error, trials, "cannot read this", NULL);
    for (int i = 0; i < count; i++) {
        done = done && write_trial(study, entries[i]->d_name, files, error);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return done;
}

static bool write_all(const char *folder, int *files, struct error *error)
{
    char *trials = path_format("%s/trials", folder), *manifest = path_format("%s/manifest.json", folder);
    *files = 0;
    const bool done = path_exists(trials) ? write_trials(folder, trials, files, error)
                      : path_exists(manifest)
                          ? tensorboard_write(folder, files, error)
                          : error_at(error, ERROR_RUN, folder, 0,
                                     "holds neither a run nor a study: manifest.json is missing");
    free(manifest);
    free(trials);
    return done;
}

/* Folders come and go while a run goes on: what failed in one round is told, and tried again in the next. */
static bool write_again(const char *folder, int *files, struct error *error)
{
    const int before = *files;
    struct error reason = ERROR_INITIALIZER;
    if (!interrupt_check(error))
        return false;
    if (!write_all(folder, files, &reason))
        log_line(NULL, "tensorboard: %s; it is tried again", reason.message);
    else if (*files != before)
        printf("%d file%s of events\n", *files, *files == 1 ? "" : "s");
    return true;
}

bool command_tensorboard(const struct invocation *invocation, struct error *error)
{
    const char *folder = invocation->words[0];
    int64_t seconds = 0;
    int files = 0;
    bool done = option_integer(invocation, 0, 1, &seconds, error) && write_all(folder, &files, error);
    if (done)
        printf("%d file%s of events; tensorboard --logdir %s\n", files, files == 1 ? "" : "s", folder);
    while (done && seconds > 0) {
        fflush(stdout);
        nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
        done = write_again(folder, &files, error);
    }
    return done;
}
