#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/fit_folders.h"
#include "experiments/fits.h"
#include "experiments/fused_rankings.h"
#include "experiments/jobs.h"
#include "experiments/language_rankings.h"
#include "experiments/train.h"
#include "experiments/training_rows.h"
#include "experiments/tuning.h"

/* One fit that is to be done, or copied from one that has the same result. */
struct planned_fit {
    struct fit_task task;
    enum arm arm, settings_arm;         /* whose rows it trains on; with whose settings */
    int choice;                         /* on trial, an index of study->choices; -1: an arm */
    char awaited[SHARED_FIT_NAME_SIZE]; /* of fit_run(), once it was called */
};

struct plan {
    const struct study *study;
    int64_t count, capacity;
    struct planned_fit *fits;
    int64_t whole; /* of them, the first: done by one rank each; the others by all ranks together */
    struct selection *selections; /* [contestants], once they are made */
    struct csr *neighbor_rows;    /* [contestants]: the rows of control.itemknn */
    json_t *folders;              /* of all fits and copies; see fit_folders.h */
};

static bool plan_folder(const struct plan *plan, const struct fit_task *task, struct error *error)
{
    return fit_folders_plan(plan->folders, plan->study->contestants[task->contestant].label, task->arm,
                            task->seed, error);
}

static bool plan_add(struct plan *plan, struct planned_fit fit, struct error *error)
{
    if (plan->count == plan->capacity) {
        int64_t capacity = plan->capacity > 0 ? 2 * plan->capacity : 64;
        struct planned_fit *fits = realloc(plan->fits, (size_t)capacity * sizeof *fits);
        if (fits == NULL)
            return error_memory(error, "the plan of fits", (size_t)capacity * sizeof *fits, NULL);
        plan->fits = fits;
        plan->capacity = capacity;
    }
    fit.task.study = plan->study;
    fit.task.settings = &plan->study->contestants[fit.task.contestant].arm_settings[fit.settings_arm];
    plan->fits[plan->count++] = fit;
    return plan_folder(plan, &fit.task, error);
}

static bool plan_arm(struct plan *plan, int contestant, enum arm arm, uint64_t seed, struct error *error)
{
    struct planned_fit fit = {
        .task = {.contestant = contestant, .seed = seed}, .arm = arm, .settings_arm = arm, .choice = -1};
    snprintf(fit.task.arm, sizeof fit.task.arm, "%s", arm_name(arm));
    return plan_add(plan, fit, error);
}

/* With the settings of the augmented arm: rows are not judged by settings that were found without them. */
static bool plan_trial(struct plan *plan, int contestant, int choice, uint64_t seed, struct error *error)
{
    const bool adds = plan->study->choices[choice].use != USE_NONE;
    struct planned_fit fit = {.task = {.contestant = contestant, .seed = seed, .trial = true},
                              .arm = ARM_AUGMENTED,
                              .settings_arm = adds ? ARM_AUGMENTED : ARM_ORIGINAL,
                              .choice = choice};
    selection_folder(fit.task.arm, sizeof fit.task.arm, &plan->study->choices[choice]);
    return plan_add(plan, fit, error);
}

/* Only the original arm asked for: nothing needs choosing. */
static bool chooses(const struct study *study)
{
    return study->arm_count > 1;
}

static bool selects(const struct study *study)
{
    return chooses(study) && study->select;
}

/* The language model's ranking is the same beside every recommender: it is kept once, in the folder of the first that has
 * the arm. */
static int source_of(const struct study *study, int contestant, enum arm arm)
{
    int first = 0;
    while (arm == ARM_GENERATOR && first < contestant && !study_has_fit(study, first, arm))
        first++;
    return arm == ARM_GENERATOR ? first : contestant;
}

/* A deterministic recommender is fitted again only where its rows are drawn anew. */
static bool is_copy(const struct study *study, int contestant, enum arm arm, uint64_t seed)
{
    if (arm == ARM_GENERATOR)
        return seed != study->first_seed || source_of(study, contestant, arm) != contestant;
    return seed != study->first_seed && contestant_is_deterministic(&study->contestants[contestant]) &&
           (!arm_depends_on_seed(arm) || arm == ARM_SELF);
}

/* The original arm of every seed that is compared, or that the trials are compared with. */
static bool plan_originals(struct plan *plan, int contestant, struct error *error)
{
    const struct study *study = plan->study;
    bool is_baseline = selects(study) && !study_tries_none(study);
    int64_t seeds = is_baseline && study->select_seeds > study->seeds ? study->select_seeds : study->seeds;
    for (int64_t s = 0; s < seeds; s++) {
        uint64_t seed = study->first_seed + (uint64_t)s;
        if (!is_copy(study, contestant, ARM_ORIGINAL, seed) &&
            !plan_arm(plan, contestant, ARM_ORIGINAL, seed, error))
            return false;
    }
    return true;
}

static bool is_on_trial(const struct study *study, int contestant, const struct choice *choice)
{
    return choice->use == USE_NONE ? study_tries_none(study)
                                   : contestant_is_changed(&study->contestants[contestant], choice);
}

static bool plan_trials(struct plan *plan, int contestant, struct error *error)
{
    const struct study *study = plan->study;
    int64_t seeds = contestant_is_deterministic(&study->contestants[contestant]) ? 1 : study->select_seeds;
    if (!study_has_fit(study, contestant, ARM_AUGMENTED))
        return true;
    for (int choice = 0; choice < study->choice_count; choice++)
        for (int64_t s = 0; s < seeds && is_on_trial(study, contestant, &study->choices[choice]); s++)
            if (!plan_trial(plan, contestant, choice, selection_seed(study, contestant, s), error))
                return false;
    return true;
}

static bool plan_selection(struct plan *plan, struct error *error)
{
    for (int contestant = 0; contestant < plan->study->contestant_count; contestant++)
        if ((!plan->study->candidates_only && !plan_originals(plan, contestant, error)) ||
            (selects(plan->study) && !plan_trials(plan, contestant, error)))
            return false;
    return true;
}

static bool adds_nothing(const struct plan *plan, int contestant, enum arm arm)
{
    return arm_adds_nothing(arm, &plan->selections[contestant]);
}

static bool plan_arms(struct plan *plan, struct error *error)
{
    const struct study *study = plan->study;
    plan->count = 0;
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        for (int a = 1; a < study->arm_count; a++)
            for (int64_t s = 0; s < study->seeds; s++) {
                uint64_t seed = study->first_seed + (uint64_t)s;
                if (study_has_fit(study, contestant, study->arms[a]) &&
                    !adds_nothing(plan, contestant, study->arms[a]) &&
                    !is_copy(study, contestant, study->arms[a], seed) &&
                    !plan_arm(plan, contestant, study->arms[a], seed, error))
                    return false;
            }
    return true;
}

/* Fits on rows; a recommender that is given rankings gets its own, control.generator those that the arm is about. */
static bool fit_on_rows(const struct plan *plan, struct planned_fit *fit, struct backend *backend,
                        struct error *error)
{
    const int contestant = fit->task.contestant;
    const struct contestant *given =
        arm_is_ranking(fit->arm) ? study_generator(plan->study) : &plan->study->contestants[contestant];
    struct fit_task task = fit->task;
    if (given->rankings) {
        task.rankings = given->rankings->given;
        task.ranking_count = given->rankings->count;
    }
    struct choice choice = {.use = USE_NONE};
    if (fit->choice >= 0)
        choice = plan->study->choices[fit->choice];
    else if (fit->arm != ARM_ORIGINAL)
        choice = arm_choice(fit->arm, &plan->selections[contestant]);
    struct arm_rows rows = {0};
    bool done =
        training_rows_build(&rows, plan->study, contestant, fit->arm, &choice, fit->task.seed,
                            plan->neighbor_rows ? &plan->neighbor_rows[contestant] : NULL, backend, error) &&
        fit_run(fit->awaited, &task, &rows, backend, error);
    arm_rows_free(&rows);
    return done;
}

static bool fit_fusion(const struct plan *plan, struct planned_fit *fit, struct backend *backend,
                       struct error *error)
{
    const struct study *study = plan->study;
    struct fit_task task = fit->task;
    struct arm_rows rows = {0};
    struct fused_rankings fused;
    const bool done = fused_rankings_make(&fused, study, task.contestant, task.seed, backend, error) &&
                      arm_rows_build(&rows, &study->train, NULL, USE_NONE, 1, error);
    task.rankings = fused.given;
    task.ranking_count = fused.count;
    task.fusion = fused.choice;
    const bool fitted = done && fit_run(fit->awaited, &task, &rows, backend, error);
    arm_rows_free(&rows);
    fused_rankings_free(&fused);
    return fitted;
}

static bool do_fit(void *context, int64_t index, struct backend *backend, struct error *error)
{
    const struct plan *plan = context;
    struct planned_fit *fit = &plan->fits[index];
    return fit->arm == ARM_FUSION ? fit_fusion(plan, fit, backend, error)
                                  : fit_on_rows(plan, fit, backend, error);
}

static bool do_divided_fit(void *context, int64_t index, struct backend *backend, struct error *error)
{
    const struct plan *plan = context;
    return do_fit(context, plan->whole + index, backend, error);
}

static bool is_divided(const struct planned_fit *fit)
{
    return fit->arm != ARM_FUSION && recommender_divides(fit->task.settings);
}

/* Fits that ranks do together come behind the others. */
static bool sort_plan(struct plan *plan, struct error *error)
{
    struct planned_fit *sorted = malloc((size_t)(plan->count + 1) * sizeof *sorted);
    if (!sorted)
        return error_memory(error, "the plan of fits", (size_t)plan->count * sizeof *sorted, NULL);
    int64_t divided = 0;
    plan->whole = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!is_divided(&plan->fits[i]))
            sorted[plan->whole++] = plan->fits[i];
    for (int64_t i = 0; i < plan->count; i++)
        if (is_divided(&plan->fits[i]))
            sorted[plan->whole + divided++] = plan->fits[i];
    free(plan->fits);
    plan->fits = sorted;
    plan->capacity = plan->count + 1;
    return true;
}

static void tell_division(const struct plan *plan)
{
    const struct run *run = plan->study->run;
    log_line(run->log, "train: %lld fits are done by %d ranks together, one after another",
             (long long)(plan->count - plan->whole), run->communicator->size);
    for (int c = 0; c < plan->study->contestant_count; c++) {
        int64_t whole = 0;
        for (int64_t i = 0; i < plan->whole; i++)
            whole += plan->fits[i].task.contestant == c;
        if (whole > 0)
            log_line(run->log,
                     "train: %s cannot be divided: %lld fits of it are each done by one rank, in turns",
                     plan->study->contestants[c].label, (long long)whole);
    }
}

/* With experiment.divide_fits ranks do together what they can, and the rest, like everything without it, in turns. */
static bool do_fits(struct plan *plan, const char *unit, struct error *error)
{
    const struct run *run = plan->study->run;
    const bool divides = config_boolean(run->config, "experiment.divide_fits") && run->communicator &&
                         run->communicator->size > 1;
    plan->whole = plan->count;
    if (divides && !sort_plan(plan, error))
        return false;
    if (divides && plan->count > 0)
        tell_division(plan);
    return jobs_run_by_ranks(run, jobs_parallel(run), plan->whole, do_fit, plan, "train", unit, error) &&
           jobs_run_together(run, plan->count - plan->whole, do_divided_fit, plan, "train", unit, error);
}

/* Leaves those in the plan that other trials train. */
static void keep_awaited(struct plan *plan)
{
    int64_t count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (*plan->fits[i].awaited)
            plan->fits[count++] = plan->fits[i];
    plan->count = count;
}

/* Of two fits that are the same one name is enough. */
static bool put_aside(const struct plan *plan, struct error *error)
{
    json_t *names = json_object();
    for (int64_t i = 0; names && i < plan->count; i++)
        json_object_set_new(names, plan->fits[i].awaited, json_true());
    json_t *list = json_array();
    const char *name;
    json_t *ignored;
    json_object_foreach(names, name, ignored) json_array_append_new(list, json_string(name));
    const int64_t count = (int64_t)json_array_size(list);
    const bool noted = awaited_fits_write(plan->study->run->folder, list, error);
    json_decref(names);
    json_decref(list);
    return noted &&
           error_set(error, ERROR_PUT_ASIDE, "waits for %lld fit%s that other trials of the study train",
                     (long long)count, count > 1 ? "s" : "");
}

/* Fits that other trials train are looked at again when all others are done. */
static bool do_plan(struct plan *plan, const char *unit, struct error *error)
{
    for (int64_t before = INT64_MAX; plan->count > 0 && plan->count < before;) {
        before = plan->count;
        if (!do_fits(plan, unit, error))
            return false;
        keep_awaited(plan);
    }
    return plan->count == 0 || put_aside(plan, error);
}

/* Copies one arm's results from the first seed, or from the original arm, where they are the same. */
static bool copy_arm(const struct plan *plan, int contestant, enum arm arm, uint64_t seed,
                     struct error *error)
{
    const struct study *study = plan->study;
    struct fit_task task = {.study = study, .contestant = contestant, .seed = seed};
    snprintf(task.arm, sizeof task.arm, "%s", arm_name(arm));
    struct fit_task source = task;
    if (!study_has_fit(study, contestant, arm))
        return true;
    if (!plan_folder(plan, &task, error))
        return false;
    if (arm != ARM_ORIGINAL && adds_nothing(plan, contestant, arm)) {
        snprintf(source.arm, sizeof source.arm, "%s", arm_name(ARM_ORIGINAL));
        return fit_copy(&task, &source, error);
    }
    source.contestant = source_of(study, contestant, arm);
    source.seed = study->first_seed;
    return !is_copy(study, contestant, arm, seed) || fit_copy(&task, &source, error);
}

static bool copy_all(const struct plan *plan, int first_arm, int arm_count, struct error *error)
{
    const struct study *study = plan->study;
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        for (int a = first_arm; a < arm_count; a++)
            for (int64_t s = 0; s < study->seeds; s++)
                if (!copy_arm(plan, contestant, study->arms[a], study->first_seed + (uint64_t)s, error))
                    return false;
    return true;
}

/* By one rank, for all. */
static bool copy_results(const struct plan *plan, int first_arm, int arm_count, struct error *error)
{
    const struct run *run = plan->study->run;
    return (!run_leads(run) || copy_all(plan, first_arm, arm_count, error)) && run_wait_for_ranks(run, error);
}

static bool select_choices(struct plan *plan, struct error *error)
{
    const struct study *study = plan->study;
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        if (study_has_fit(study, contestant, ARM_AUGMENTED) &&
            (!selection_make(&plan->selections[contestant], study, contestant, error) ||
             !fit_folders_plan_file(plan->folders, study->contestants[contestant].label, "selection.json",
                                    error)))
            return false;
    return true;
}

static bool train_arms(struct plan *plan, struct error *error)
{
    const struct study *study = plan->study;
    return select_choices(plan, error) &&
           (!study_has_arm(study, ARM_ITEM_KNN) ||
            neighbor_rows_find(plan->neighbor_rows, study, plan->selections, error)) &&
           plan_arms(plan, error) && do_plan(plan, "fits of arms", error) &&
           copy_results(plan, 1, study->arm_count, error);
}

static bool do_all(struct plan *plan, struct error *error)
{
    return language_rankings_plan(plan->folders, plan->study, error) && plan_selection(plan, error) &&
           do_plan(plan, "fits", error) && copy_results(plan, 0, 1, error) &&
           (!chooses(plan->study) || train_arms(plan, error)) &&
           (!run_leads(plan->study->run) ||
            fit_folders_remove_others(plan->folders, plan->study->run, plan->study->fits_folder, error));
}

static bool train_all(const struct study *study, struct error *error)
{
    struct plan plan = {.study = study, .folders = json_object()};
    size_t contestants = (size_t)study->contestant_count;
    plan.selections = calloc(contestants, sizeof *plan.selections);
    plan.neighbor_rows = calloc(contestants, sizeof *plan.neighbor_rows);
    bool done = plan.folders && plan.selections && plan.neighbor_rows
                    ? do_all(&plan, error)
                    : error_memory(error, "the plan of fits", contestants * sizeof *plan.selections, NULL);
    for (size_t i = 0; plan.neighbor_rows && i < contestants; i++)
        csr_free(&plan.neighbor_rows[i]);
    free(plan.neighbor_rows);
    free(plan.selections);
    free(plan.fits);
    json_decref(plan.folders);
    return done;
}

bool train_candidates(struct selection *selections, const struct study *study, struct error *error)
{
    struct plan plan = {.study = study, .folders = json_object(), .selections = selections};
    bool done = plan.folders || error_memory(error, "the plan of fits", 0, NULL);
    for (int contestant = 0; done && contestant < study->contestant_count; contestant++) {
        char *folder =
            run_path(study->run, "%s/%s", study->fits_folder, study->contestants[contestant].label);
        done = folder_create(folder, error);
        free(folder);
    }
    done = done && plan_selection(&plan, error) && do_plan(&plan, "fits of candidates", error) &&
           select_choices(&plan, error) &&
           (!run_leads(study->run) ||
            fit_folders_remove_others(plan.folders, study->run, study->fits_folder, error));
    free(plan.fits);
    json_decref(plan.folders);
    return done;
}

/* ---- what there will be to do -------------------------------------------------------------------------- */

struct expected_list {
    int64_t count;
    struct expected_fit *fits;
};

static bool expect_planned(struct expected_list *list, const struct plan *plan, struct error *error)
{
    const int64_t count = list->count + plan->count;
    struct expected_fit *longer = realloc(list->fits, (size_t)(count + 1) * sizeof *longer);
    if (longer == NULL)
        return error_memory(error, "the list of fits", (size_t)count * sizeof *longer, NULL);
    list->fits = longer;
    for (int64_t i = 0; i < plan->count; i++) {
        const struct planned_fit *fit = &plan->fits[i];
        longer[list->count++] = (struct expected_fit){
            .contestant = fit->task.contestant,
            .arm = fit->arm,
            .choice = fit->choice,
            .seed = fit->task.seed,
            .certain = fit->choice >= 0 || fit->arm != ARM_AUGMENTED || !plan->study->select};
    }
    return true;
}

/* As if the first choice that adds something were adopted everywhere. */
static void expect_choices(struct plan *plan)
{
    const struct study *study = plan->study;
    for (int contestant = 0; contestant < study->contestant_count; contestant++) {
        struct selection *selection = &plan->selections[contestant];
        for (int c = study->choice_count - 1; c >= 0; c--)
            if (study->choices[c].use != USE_NONE)
                selection->control = study->choices[c];
        selection->chosen = study->select ? selection->control : study->choices[0];
    }
}

bool train_expected_fits(struct expected_fit **fits, int64_t *count, const struct study *study,
                         struct error *error)
{
    struct plan plan = {.study = study, .folders = json_object()};
    struct expected_list list = {.count = 0};
    plan.selections = calloc((size_t)study->contestant_count, sizeof *plan.selections);
    bool done = (plan.folders && plan.selections) || error_memory(error, "the plan of fits", 0, NULL);
    done = done && plan_selection(&plan, error) && expect_planned(&list, &plan, error);
    if (done && chooses(study)) {
        expect_choices(&plan);
        done = plan_arms(&plan, error) && expect_planned(&list, &plan, error);
    }
    free(plan.fits);
    free(plan.selections);
    json_decref(plan.folders);
    *fits = list.fits;
    *count = list.count;
    return done;
}

/* With the settings that were found for each arm, where that is asked for. */
static bool use_tuning(struct study *study, struct error *error)
{
    struct tune_settings settings;
    return tune_settings_read(&settings, study, error) &&
           (!settings.use || tuning_use(study, &settings, error));
}

bool stage_train(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    struct study study;
    bool done = study_open(&study, run, error) && use_tuning(&study, error) &&
                language_rankings_make(&study, error) && train_all(&study, error);
    study_close(&study);
    *cost = jobs_cost(run);
    return done && jobs_cost_by_ranks(cost, run, error);
}
