#include "experiments/study_folder.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/stages.h"
#include "experiments/sweep_state.h"

static bool has(const char *folder, const char *name)
{
    char *path = path_format("%s/%s", folder, name);
    const bool found = path_exists(path);
    free(path);
    return found;
}

bool folder_is_study(const char *folder)
{
    return has(folder, "trials") && !has(folder, "manifest.json");
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The names of the trials' folders, in their order; -1: they cannot be read. */
static int list_trials(struct dirent ***entries, const char *folder)
{
    char *path = path_format("%s/trials", folder);
    const int count = scandir(path, entries, is_visible, versionsort);
    free(path);
    return count;
}

static void free_trials(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++)
        free(entries[i]);
    if (count >= 0)
        free(entries);
}

/* "NAME, NAME, ...", as far as there is room. */
static void name_trials(char text[512], const char *folder)
{
    enum { ROOM = 320 };
    struct dirent **entries;
    const int count = list_trials(&entries, folder);
    int length = 0, named = 0;
    text[0] = '\0';
    for (; named < count && length < ROOM; named++)
        length += snprintf(text + length, (size_t)(512 - length), "%s%.160s", named > 0 ? ", " : "",
                           entries[named]->d_name);
    if (named < count)
        snprintf(text + length, (size_t)(512 - length), " and %d others", count - named);
    free_trials(entries, count);
}

bool folder_check_run(const char *folder, struct error *error)
{
    char names[512];
    if (!folder_is_study(folder))
        return true;
    name_trials(names, folder);
    return error_at(error, ERROR_USAGE, folder, 0,
                    "is a study; name one of its trials, as %s/trials/NAME; they are: %s", folder,
                    *names ? names : "none yet");
}

static bool read_outcome(struct trial_outcome *outcome, const char *folder)
{
    const struct sweep_trial trial = {.folder = (char *)folder};
    return trial_outcome_read(outcome, &trial);
}

bool folder_check_trial(const char *folder, const char *stage, struct error *error)
{
    struct trial_outcome outcome;
    if (!read_outcome(&outcome, folder) || outcome.done ||
        (*outcome.stage && stage_number(outcome.stage) > stage_number(stage)))
        return true;
    return error_at(error, ERROR_RUN, folder, 0,
                    "this trial failed%s%s: %s; `idrec run` of its study tries it again",
                    *outcome.stage ? " in " : "", outcome.stage, outcome.reason);
}

json_t *folder_trial_json(const char *folder)
{
    struct trial_outcome outcome;
    if (!read_outcome(&outcome, folder))
        return NULL;
    return outcome.done ? json_pack("{s:s}", "state", "done")
                        : json_pack("{s:s, s:s, s:s}", "state", "failed", "stage", outcome.stage, "reason",
                                    outcome.reason);
}

json_t *folder_study_json(const char *folder)
{
    struct dirent **entries;
    const int count = list_trials(&entries, folder);
    json_t *trials = count >= 0 ? json_object() : NULL;
    for (int i = 0; i < count; i++) {
        char *path = path_format("%s/trials/%s", folder, entries[i]->d_name);
        json_t *state = folder_trial_json(path);
        json_object_set_new(trials, entries[i]->d_name,
                            state ? state : json_pack("{s:s}", "state", "not ended"));
        free(path);
    }
    free_trials(entries, count);
    return trials ? json_pack("{s:s, s:o}", "kind", "study", "trials", trials) : NULL;
}
