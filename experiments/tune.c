#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/fit_folders.h"
#include "experiments/jobs.h"
#include "experiments/train.h"
#include "experiments/training_rows.h"
#include "experiments/tuning.h"

/* The stage at work. */
struct tune {
    struct study study;
    struct tune_settings settings;
    struct selection *selections; /* [contestants], once they are made */
    struct csr *neighbor_rows;    /* [contestants]: the rows of control.itemknn */
    struct search *searches;      /* [contestants * arms] */
    int search_count;
    json_t *folders; /* what belongs below tune/; see fit_folders.h */
};

static bool is_tuned(const struct tune *tune, int contestant)
{
    return tune_space(&tune->settings, &tune->study, contestant).count > 0;
}

static bool plan_path(const struct tune *tune, const char *format, const char *label, enum arm arm,
                      const char *name, struct error *error)
{
    char *path = path_format(format, label, arm_name(arm), name);
    const bool done = json_object_set_new(tune->folders, path, json_true()) == 0;
    free(path);
    return done || error_memory(error, "the plan of trials", 0, NULL);
}

static bool plan_folders(const struct tune *tune, int contestant, enum arm arm, bool shared,
                         struct error *error)
{
    static const char *const files[] = {"best.yaml", "tuning.json", "trials.tsv"};
    const char *label = tune->study.contestants[contestant].label;
    bool done =
        plan_path(tune, "%s", label, arm, "", error) && plan_path(tune, "%s/%s", label, arm, "", error);
    for (int i = 0; done && i < (shared ? 2 : 3); i++)
        done = plan_path(tune, "%s/%s/%s", label, arm, files[i], error);
    for (int trial = 0; done && !shared && trial < tune->settings.trials; trial++) {
        char name[32];
        snprintf(name, sizeof name, "trial-%d", trial);
        done = plan_path(tune, "%s/%s/%s", label, arm, name, error);
    }
    return done;
}

/* ---- searches ----------------------------------------------------------------------------------------- */

static bool rows_of_arm(struct arm_rows *rows, const struct tune *tune, int contestant, enum arm arm,
                        struct error *error)
{
    const struct study *study = &tune->study;
    if (arm == ARM_ORIGINAL)
        return arm_rows_build(rows, &study->train, NULL, USE_NONE, 1, error);
    return training_rows_build(rows, study, contestant, arm, &tune->selections[contestant].control,
                               study->first_seed, &tune->neighbor_rows[contestant], study->run->backend,
                               error);
}

static bool add_search(struct tune *tune, int contestant, enum arm arm, struct error *error)
{
    struct arm_rows rows = {0};
    struct search *search = &tune->searches[tune->search_count];
    bool done = rows_of_arm(&rows, tune, contestant, arm, error);
    if (done) {
        tune->search_count++;
        done = search_open(search, &tune->study, &tune->settings, contestant, arm, &rows, error) &&
               plan_folders(tune, contestant, arm, false, error);
    }
    arm_rows_free(&rows);
    return done;
}

static void close_searches(struct tune *tune)
{
    for (int i = 0; i < tune->search_count; i++)
        search_close(&tune->searches[i]);
    tune->search_count = 0;
}

/* Does the searches that were added, and writes what they found, for all ranks to read. */
static bool do_searches(struct tune *tune, struct error *error)
{
    const struct run *run = tune->study.run;
    bool done = search_run(tune->searches, tune->search_count, run, error);
    for (int i = 0; done && run_leads(run) && i < tune->search_count; i++)
        done = tuning_save(&tune->searches[i], &tune->settings, error);
    close_searches(tune);
    return done && run_wait_for_ranks(run, error);
}

static void say_what_is_searched(const struct tune *tune, int contestant)
{
    const struct contestant *contestant_of = &tune->study.contestants[contestant];
    struct log *log = tune->study.run->log;
    if (!is_tuned(tune, contestant))
        log_line(log, "%s: tune.space has no setting that it reads; it stays as written",
                 contestant_of->label);
    else if (tune->settings.halving && !recommender_has_epochs(&contestant_of->settings))
        log_line(log, "%s: fitted at once, without epochs to halve: every trial is a whole fit",
                 contestant_of->label);
}

static bool tune_originals(struct tune *tune, struct error *error)
{
    for (int contestant = 0; contestant < tune->study.contestant_count; contestant++) {
        say_what_is_searched(tune, contestant);
        if (is_tuned(tune, contestant) && !add_search(tune, contestant, ARM_ORIGINAL, error))
            return false;
    }
    return do_searches(tune, error);
}

/* ---- arms with other rows ----------------------------------------------------------------------------- */

/* The other arms are searched on the rows of the candidate that is best with the settings of the original arm, also where it
 * gains nothing with these: whether rows are adopted is decided by `train`, with the settings that were found on them. */
static bool choose_rows(struct tune *tune, struct error *error)
{
    struct study *study = &tune->study;
    for (int contestant = 0; tune->settings.use && contestant < study->contestant_count; contestant++)
        if (is_tuned(tune, contestant) && !tuning_use_original(study, contestant, error))
            return false;
    return train_candidates(tune->selections, study, error) &&
           (!tune_has_arm(&tune->settings, ARM_ITEM_KNN) ||
            neighbor_rows_find(tune->neighbor_rows, study, tune->selections, error));
}

static bool tune_arm(struct tune *tune, int contestant, enum arm arm, struct error *error)
{
    if (tune->selections[contestant].control.use != USE_NONE)
        return add_search(tune, contestant, arm, error);
    return (!run_leads(tune->study.run) || tuning_share(&tune->study, contestant, arm, error)) &&
           plan_folders(tune, contestant, arm, true, error);
}

static bool tune_other_arms(struct tune *tune, struct error *error)
{
    if (!choose_rows(tune, error))
        return false;
    for (int contestant = 0; contestant < tune->study.contestant_count; contestant++)
        for (int a = 1; a < tune->settings.arm_count && is_tuned(tune, contestant); a++)
            if (!tune_arm(tune, contestant, tune->settings.arms[a], error))
                return false;
    return do_searches(tune, error);
}

/* ---- the stage ---------------------------------------------------------------------------------------- */

static bool remove_candidates(const struct run *run, struct error *error)
{
    if (!run_leads(run))
        return true;
    char *path = run_path(run, "tune_candidates");
    const bool done = path_remove(path, error);
    free(path);
    return done;
}

static bool tune_all(struct tune *tune, struct error *error)
{
    const struct run *run = tune->study.run;
    const bool others = tune->settings.arm_count > 1;
    char *folder = run_path(run, "tune");
    const bool done = folder_create(folder, error) && tune_originals(tune, error) &&
                      (others ? tune_other_arms(tune, error) : remove_candidates(run, error)) &&
                      (!run_leads(run) || fit_folders_remove_others(tune->folders, run, "tune", error));
    free(folder);
    return done;
}

static bool tune_open(struct tune *tune, const struct run *run, struct error *error)
{
    struct study settings;
    *tune = (struct tune){.folders = json_object()};
    bool done = study_settings_read(&settings, run->config, error) &&
                tune_settings_read(&tune->settings, &settings, error);
    study_close(&settings);
    if (!done)
        return false;
    if (tune->settings.space.count == 0)
        return config_complain(run->config, "tune.space", error,
                               "is empty; say what is to be tuned, as in "
                               "[{key: learning_rate, low: 1.0e-4, high: 1.0e-1, scale: log}]");
    if (!study_open_for_tuning(&tune->study, run, tune->settings.arm_count > 1, error))
        return false;
    const size_t contestants = (size_t)tune->study.contestant_count;
    tune->selections = calloc(contestants, sizeof *tune->selections);
    tune->neighbor_rows = calloc(contestants, sizeof *tune->neighbor_rows);
    tune->searches = calloc(contestants * ARM_COUNT, sizeof *tune->searches);
    return (tune->folders && tune->selections && tune->neighbor_rows && tune->searches) ||
           error_memory(error, "searches", contestants * ARM_COUNT * sizeof *tune->searches, NULL);
}

static void tune_close(struct tune *tune)
{
    close_searches(tune);
    for (int i = 0; tune->neighbor_rows && i < tune->study.contestant_count; i++)
        csr_free(&tune->neighbor_rows[i]);
    free(tune->searches);
    free(tune->neighbor_rows);
    free(tune->selections);
    json_decref(tune->folders);
    study_close(&tune->study);
}

bool stage_tune(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    struct tune tune;
    const bool done = tune_open(&tune, run, error) && tune_all(&tune, error);
    tune_close(&tune);
    *cost = jobs_cost(run);
    return done && jobs_cost_by_ranks(cost, run, error);
}
