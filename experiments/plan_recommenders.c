/* plan_recommenders.c: what tuning, training and comparing the recommenders will take. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/jobs.h"
#include "experiments/plan.h"
#include "experiments/plan_fit.h"
#include "experiments/plan_schedule.h"
#include "experiments/stages.h"
#include "experiments/train.h"
#include "experiments/tune_settings.h"
#include "models/recommenders/settings.h"
#include "models/recommenders/symmetric_matrix.h"

/* One recommender: a fit of the original rows, and how many there will be. */
struct contestant_plan {
    const struct recommender_settings *settings;
    struct fit_rate rate;
    struct fit_count count;
    struct plan_range epochs;   /* of a fit */
    struct plan_range fit;      /* seconds of a fit of the original rows */
    int64_t fits, trials;       /* trials: of candidates */
    int64_t taken, taken_kept;  /* of an earlier trial of the study; those among them that keep a model */
    int64_t taken_rankings[2];  /* those among these of control.generator and control.fusion */
    struct plan_range seconds;  /* of all fits that are not taken, one after another */
    double saved;               /* of those that are, at most */
    struct plan_range searches; /* of tuning, likewise; with the candidates on whose rows it searches */
    double memory, model_file;
};

/* Fits that are done together, in order: the candidates and those that they are compared with, then the other arms. */
enum { PHASES = 2 };
struct phase {
    int64_t count;
    double *low, *high; /* seconds */
};

struct recommenders_plan {
    struct plan *plan;
    int parallel;                /* fits at a time; of a study, of each trial */
    int copies;                  /* fits at a time on the whole machine */
    struct plan_range neighbors; /* of control.itemknn */
    struct phase phases[PHASES];
    struct expected_fit *fits;
    int64_t fit_count;
    bool tunes;
    struct tune_settings tuning;
    int64_t validated, tested;
    struct contestant_plan *contestants;
};

/* ---- one fit ------------------------------------------------------------------------------------------ */

struct plan_range plan_fit_epochs(const struct recommender_settings *settings, bool watched)
{
    const double every = (double)settings->evaluate_every, most = (double)settings->epochs;
    if (!recommender_has_epochs(settings))
        return (struct plan_range){1, 1};
    double least = most;
    if (watched && settings->patience > 0)
        least = fmin(most, every + ceil((double)settings->patience / every) * every);
    return (struct plan_range){least, most};
}

double plan_fit_seconds(const struct recommender_settings *settings, const struct fit_rate *rate,
                        double epochs)
{
    const double every = recommender_has_epochs(settings) ? (double)settings->evaluate_every : 1;
    return epochs * rate->epoch_seconds + ceil(epochs / every) * rate->judge_seconds;
}

static double seconds_of_epochs(const struct contestant_plan *contestant, double epochs)
{
    return plan_fit_seconds(contestant->settings, &contestant->rate, epochs);
}

double plan_memory_at_once(const struct recommender_settings *settings, const struct csr *train)
{
    const double users = (double)train->rows, items = (double)train->columns;
    const double history = plan_csr_bytes(train) * 3;
    if (strcmp(settings->model, "ease") == 0)
        return (double)symmetric_matrix_bytes(train->columns) + history;
    if (strcmp(settings->model, "item_knn") == 0 || strcmp(settings->model, "slim") == 0)
        return items * fmin((double)(settings->neighbors > 0 ? settings->neighbors : train->columns), items) *
                   12 +
               history;
    if (strcmp(settings->model, "als") == 0)
        return 3 * (users + items) * (double)settings->width * sizeof(float) + history;
    if (strcmp(settings->model, "gf_cf") == 0)
        return 4 * (users + items) * (double)settings->components * sizeof(float) + history;
    return history;
}

static double file_at_once(const struct recommender_settings *settings, const struct csr *train)
{
    const double items = (double)train->columns;
    if (strcmp(settings->model, "item_knn") == 0 || strcmp(settings->model, "slim") == 0)
        return items * fmin((double)(settings->neighbors > 0 ? settings->neighbors : train->columns), items) *
                   6 +
               plan_csr_file_bytes(train);
    if (strcmp(settings->model, "als") == 0)
        return 3.7 * ((double)train->rows + items) * (double)settings->width;
    if (strcmp(settings->model, "gf_cf") == 0)
        return 3.7 * items * (double)settings->components + plan_csr_file_bytes(train);
    return plan_csr_file_bytes(train) + 4 * items;
}

/* Rows of the arm, the lists of the candidates and the score blocks are the host's besides. */
static void find_memory(struct contestant_plan *contestant, const struct plan *plan)
{
    const double floats_to_file = 0.93;
    const bool by_epochs = recommender_has_epochs(contestant->settings);
    contestant->memory =
        by_epochs ? contestant->count.memory : plan_memory_at_once(contestant->settings, &plan->train);
    contestant->memory += 4 * plan_csr_bytes(&plan->train);
    contestant->model_file = by_epochs ? floats_to_file * contestant->count.published + 1e4
                                       : file_at_once(contestant->settings, &plan->train) + 1e4;
}

/* ---- all fits ----------------------------------------------------------------------------------------- */

/* By how much a choice's rows lengthen an epoch. */
static double growth_of(const struct choice *choice, const struct csr *train)
{
    const double mean = (double)csr_count(train) / (double)train->rows;
    if (choice->use != USE_POSITIVES && choice->use != USE_BOTH)
        return 1;
    return 1 + (choice->proportional ? choice->amount : choice->amount / mean);
}

static struct plan_range growth_of_fit(const struct expected_fit *fit, const struct study *study,
                                       const struct csr *train)
{
    struct plan_range range = {1, 1};
    bool first = true;
    for (int c = 0; fit->arm != ARM_ORIGINAL && c < study->choice_count; c++) {
        const double growth = growth_of(&study->choices[c], train);
        if ((fit->choice >= 0 && fit->choice != c) || (study->choices[c].use == USE_NONE && fit->choice < 0))
            continue;
        range.low = first ? growth : fmin(range.low, growth);
        range.high = first ? growth : fmax(range.high, growth);
        first = false;
    }
    return range;
}

/* Of everything that decides what the fit's folder will hold. */
static void key_of_fit(char key[PLAN_KEY_SIZE], const struct recommenders_plan *all,
                       const struct expected_fit *fit)
{
    const struct plan *const plan = all->plan;
    const struct config *const config = plan->run.config;
    /* A candidate's settings may have been searched on the rows of the best one. */
    const bool by_choice = fit->arm != ARM_ORIGINAL && (fit->choice < 0 || all->tunes);
    const char *const parts[] = {"evaluate.k",
                                 "evaluate.mask",
                                 "evaluate.protocol",
                                 "augment.select_metric",
                                 "augment.select_k",
                                 by_choice ? "augment" : NULL,
                                 fit->arm == ARM_FUSION ? "experiment.fusion" : NULL,
                                 all->tunes ? "tune" : NULL};
    char choice[CHOICE_NAME_SIZE] = "", settings[PLAN_KEY_SIZE], data[PLAN_KEY_SIZE], rest[PLAN_KEY_SIZE];
    plan_key_of_settings(settings, &plan->study.contestants[fit->contestant].settings);
    stage_settings_hash(config, stage_number(fit->arm == ARM_ORIGINAL ? "prepare" : "augment"), data);
    if (fit->choice >= 0)
        choice_name(choice, &plan->study.choices[fit->choice]);
    plan_key_of_text(rest, "%s", "");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *text = parts[i] ? config_canonical(config, parts[i]) : NULL;
        char before[PLAN_KEY_SIZE];
        memcpy(before, rest, sizeof before);
        plan_key_of_text(rest, "%s %s", before, text ? text : "");
        free(text);
    }
    plan_key_of_text(key, "fit %s %s %s %s %s %llu", settings, data, rest, arm_name(fit->arm), choice,
                     (unsigned long long)fit->seed);
}

/* Whether a trial before this one does the fit: of those that run at the same time one alone does. *error is set where there
 * is no memory. */
static bool is_taken(const struct recommenders_plan *all, const struct expected_fit *fit, struct error *error)
{
    const struct plan_place *const place = &all->plan->place;
    char key[PLAN_KEY_SIZE];
    if (place->at_once == 0)
        return false;
    key_of_fit(key, all, fit);
    const int *const first = plan_memo_find(all->plan->memo, key);
    if (!first && !plan_memo_keep(all->plan->memo, key, &place->trial, sizeof place->trial))
        error_memory(error, "the plan of a study", sizeof place->trial, NULL);
    return first && *first < place->trial;
}

/* Arms that are rankings train nothing: lists are judged, and of a fusion the recommender's two rankings made before. */
static struct plan_range seconds_of_fit(const struct recommenders_plan *all, const struct expected_fit *fit)
{
    const struct contestant_plan *const contestant = &all->contestants[fit->contestant];
    const struct plan_range growth = growth_of_fit(fit, &all->plan->study, &all->plan->train);
    const double tested = (double)all->tested / (double)(all->validated > 0 ? all->validated : 1);
    const double judged = contestant->rate.judge_seconds * (1 + tested) * (fit->arm == ARM_FUSION ? 2 : 1);
    if (arm_is_ranking(fit->arm))
        return (struct plan_range){judged, judged};
    return (struct plan_range){fit->certain ? contestant->fit.low * growth.low : 0,
                               contestant->fit.high * growth.high};
}

static bool is_searched(const struct recommenders_plan *all, int contestant)
{
    return all->tunes && tune_space(&all->tuning, &all->plan->study, contestant).count > 0;
}

/* A candidate is fitted by `tune`, to know on which rows to search, and by `train` again where the augmented arm has settings of
 * its own; these may turn out to be the same. */
static bool add_fit(struct recommenders_plan *all, const struct expected_fit *fit, struct error *error)
{
    struct contestant_plan *const contestant = &all->contestants[fit->contestant];
    struct plan_range seconds = seconds_of_fit(all, fit);
    contestant->fits++;
    contestant->trials += fit->choice >= 0;
    if (fit->choice >= 0 && all->tunes && all->tuning.arm_count > 1) {
        contestant->searches.low += seconds.low;
        contestant->searches.high += seconds.high;
        if (!is_searched(all, fit->contestant) || !tune_has_arm(&all->tuning, ARM_AUGMENTED))
            return true;
        seconds.low = 0;
    }
    if (is_taken(all, fit, error)) {
        contestant->taken++;
        contestant->taken_kept += fit->choice < 0;
        if (arm_is_ranking(fit->arm))
            contestant->taken_rankings[fit->arm == ARM_FUSION]++;
        contestant->saved += seconds.high;
        return true;
    }
    struct phase *const phase = &all->phases[fit->choice < 0 && fit->arm != ARM_ORIGINAL];
    phase->low[phase->count] = seconds.low;
    phase->high[phase->count++] = seconds.high;
    contestant->seconds.low += seconds.low;
    contestant->seconds.high += seconds.high;
    return error->kind == ERROR_NONE;
}

/* All fits, as they follow each other: at the end of a phase some workers wait. */
static struct plan_range schedule_fits(const struct recommenders_plan *all)
{
    struct plan_range sum = {0, 0};
    for (int i = 0; i < PHASES; i++) {
        sum.low += schedule_pieces(all->phases[i].low, all->phases[i].count, all->parallel);
        sum.high += schedule_pieces(all->phases[i].high, all->phases[i].count, all->parallel);
    }
    return sum;
}

/* Trials of a search: every rung's, from its beginning to its pause. */
static bool add_searches(struct recommenders_plan *all, int index, struct error *error)
{
    struct contestant_plan *const contestant = &all->contestants[index];
    int64_t pauses[RUNGS_MAXIMUM];
    struct halving halving;
    if (!is_searched(all, index))
        return true;
    const int rungs = tune_rungs(pauses, &all->tuning, contestant->settings);
    if (!halving_open(&halving, all->tuning.trials, all->tuning.reduction, rungs, error))
        return false;
    struct plan_range epochs = {0, 0};
    double before = 0;
    for (int rung = 0; rung < rungs; rung++) {
        const double low = pauses[rung] > 0 ? (double)pauses[rung] : fmax(contestant->epochs.low, before);
        const double high = pauses[rung] > 0 ? (double)pauses[rung] : contestant->epochs.high;
        epochs.low += halving.rungs[rung].final_count * (low - before);
        epochs.high += halving.rungs[rung].final_count * (high - before);
        before = (double)pauses[rung];
    }
    halving_close(&halving);
    const double arms = (double)all->tuning.arm_count;
    contestant->searches.low += arms * seconds_of_epochs(contestant, epochs.low);
    contestant->searches.high += arms * seconds_of_epochs(contestant, epochs.high);
    return true;
}

/* ---- stages ------------------------------------------------------------------------------------------- */

static double top_k_bytes(const struct recommenders_plan *all)
{
    const struct plan *const plan = all->plan;
    const double rank_score_tabs = 14;
    return (double)all->tested * (double)plan->study.largest_cut *
           (plan_id_bytes(&plan->dataset.user_ids) + plan_id_bytes(&plan->dataset.item_ids) +
            rank_score_tabs);
}

/* Fits and their copies that keep a model, of one recommender. */
static double kept_fits(const struct recommenders_plan *all)
{
    return (double)(all->plan->study.arm_count * all->plan->study.seeds);
}

/* model.h5 of all of them; that of control.generator is with the rankings. */
static double model_bytes(const struct recommenders_plan *all, const struct contestant_plan *contestant)
{
    const struct study *const study = &all->plan->study;
    const double items = (double)all->plan->train.columns, bytes_per_row = 5;
    const double fused_rows = (double)all->plan->train.rows * fmin((double)study->fusion.depth, items) +
                              (double)all->validated * fmin((double)study->largest_cut, items);
    int64_t kept = study->arm_count * study->seeds - contestant->taken_kept, rankings[2];
    for (int i = 0; i < 2; i++) {
        const bool has = study_has_arm(study, i == 0 ? ARM_GENERATOR : ARM_FUSION);
        rankings[i] = (has ? study->seeds : 0) - contestant->taken_rankings[i];
        kept -= rankings[i];
    }
    return (double)kept * contestant->model_file + (double)rankings[1] * bytes_per_row * fused_rows;
}

static void say_fits(struct plan_stage *stage, const struct contestant_plan *contestant)
{
    const struct fit_rate *const rate = &contestant->rate;
    char epochs[64] = "at once";
    if (contestant->epochs.high > 1 && contestant->epochs.low < contestant->epochs.high)
        snprintf(epochs, sizeof epochs, "%.0f to %.0f epochs", contestant->epochs.low,
                 contestant->epochs.high);
    else if (contestant->epochs.high > 1)
        snprintf(epochs, sizeof epochs, "%.0f epochs", contestant->epochs.high);
    snprintf(stage->work, sizeof stage->work, "%lld fits %s%s, %lld of them of candidates",
             (long long)contestant->fits, strcmp(epochs, "at once") == 0 ? "" : "of ", epochs,
             (long long)contestant->trials);
    if (contestant->taken > 0)
        snprintf(stage->work + strlen(stage->work), sizeof stage->work - strlen(stage->work),
                 "; %lld are taken from trials before", (long long)contestant->taken);
    if (rate->epochs == 0 && contestant->count.epoch.floating_point_operations <= 0)
        snprintf(stage->rate, sizeof stage->rate, "not counted: it is fitted at once, on the host");
    else if (rate->epochs == 0)
        snprintf(stage->rate, sizeof stage->rate, "assumed: %.3g s an epoch", rate->epoch_seconds);
    else if (rate->share < 1)
        snprintf(
            stage->rate, sizeof stage->rate,
            "measured on 1/%.0f of the data, extended by the power %.2f: %.3g s an epoch, %.2g s a ranking",
            1 / rate->share, rate->exponent, rate->epoch_seconds, rate->judge_seconds);
    else
        snprintf(stage->rate, sizeof stage->rate, "measured: %.3g s an epoch, %.2g s a ranking",
                 rate->epoch_seconds, rate->judge_seconds);
}

static struct plan_range divided(struct plan_range range, double divisor)
{
    return (struct plan_range){range.low / divisor, range.high / divisor};
}

static void add_range(struct plan_range *sum, struct plan_range range)
{
    sum->low += range.low;
    sum->high += range.high;
}

/* Whether an earlier trial asks the same model for the same rankings: those that come to them later wait. */
static bool rankings_are_taken(const struct plan *plan, int contestant, struct error *error)
{
    char model[PLAN_KEY_SIZE], settings[PLAN_KEY_SIZE], key[PLAN_KEY_SIZE];
    if (plan->place.at_once == 0)
        return false;
    stage_settings_hash(plan->run.config, stage_number("finetune"), model);
    plan_key_of_settings(settings, &study_given(&plan->study, contestant)->settings);
    plan_key_of_text(key, "rankings %s %s", model, settings);
    const int *const first = plan_memo_find(plan->memo, key);
    if (!first && !plan_memo_keep(plan->memo, key, &plan->place.trial, sizeof plan->place.trial))
        error_memory(error, "the plan of a study", sizeof plan->place.trial, NULL);
    return first && *first != plan->place.trial;
}

/* A recommender that is given rankings takes what making them does. */
static void add_rankings(struct plan *plan, int contestant, struct error *error)
{
    const char *const label = study_given(&plan->study, contestant)->label;
    struct plan_stage *const part = plan_add_stage(plan, label, true);
    *part = plan->rankings[contestant];
    part->part = true;
    snprintf(part->name, sizeof part->name, "%s", label);
    if (rankings_are_taken(plan, contestant, error)) {
        part->saved = part->seconds;
        part->seconds = (struct plan_range){0, 0};
    }
}

/* The line of one recommender. */
static void add_part(struct recommenders_plan *all, int index, bool tuning, double share)
{
    static const char *const names[] = {"models", "top_k.tsv", "scores and metrics"};
    struct plan *const plan = all->plan;
    struct contestant_plan *const contestant = &all->contestants[index];
    struct plan_stage *const part = plan_add_stage(plan, plan->study.contestants[index].label, true);
    const double kept = kept_fits(all) - (double)contestant->taken_kept;
    const double all_fits = kept_fits(all) + (double)(contestant->trials - contestant->taken);
    part->seconds = divided(tuning ? contestant->searches : contestant->seconds, 1 / share);
    plan_add_memory(part, "one fit", contestant->memory);
    say_fits(part, contestant);
    if (tuning)
        return;
    part->fits = contestant->fits;
    part->fits_taken = contestant->taken;
    part->saved = (struct plan_range){contestant->saved * share, contestant->saved * share};
    plan_add_file(part, names[0], model_bytes(all, contestant));
    plan_add_file(part, names[1], kept * top_k_bytes(all));
    plan_add_file(part, names[2], all_fits * (7.5 * (double)all->validated + 3e3));
}

/* Adds the files of the parts up, in which kinds follow each other. */
static void sum_files(struct plan_stage *stage, const struct plan_stage *part)
{
    for (int i = 0; i < part->file_count; i++) {
        int place = 0;
        while (place < stage->file_count && strcmp(stage->files[place].name, part->files[i].name) != 0)
            place++;
        if (place == stage->file_count)
            plan_add_file(stage, part->files[i].name, part->files[i].bytes);
        else
            stage->files[place].bytes += part->files[i].bytes;
    }
}

static void say_training_of_all(struct plan_stage *stage, const struct recommenders_plan *all, bool tuning)
{
    if (tuning)
        snprintf(stage->work, sizeof stage->work, "%d trials for each recommender and arm, %d at a time",
                 all->tuning.trials, all->parallel);
    else
        snprintf(stage->work, sizeof stage->work,
                 "%lld fits, %d at a time; %lld users are validated, %lld tested", (long long)all->fit_count,
                 all->parallel, (long long)all->validated, (long long)all->tested);
    snprintf(stage->rate, sizeof stage->rate, "the sum of the recommenders");
}

/* What of a second of fits one after another remains where some are done at a time, and trials at once besides. */
static double share_of(const struct recommenders_plan *all, bool tuning)
{
    const double at_a_time = (double)all->parallel, at_once = (double)all->copies / at_a_time;
    double sum = 0;
    for (int i = 0; !tuning && i < all->plan->study.contestant_count; i++)
        sum += all->contestants[i].seconds.high;
    return sum > 0 ? schedule_fits(all).high / sum / at_once : 1 / at_a_time / at_once;
}

static const char *what_to_lower(const char *model)
{
    if (strcmp(model, "ease") == 0)
        return "lower experiment.parallel, or leave ease out, which holds a value for each pair of items: "
               "raise "
               "data.k_core, or take item_knn, slim or als";
    if (strcmp(model, "item_knn") == 0 || strcmp(model, "slim") == 0)
        return "lower experiment.parallel or recommenders.neighbors";
    return "lower experiment.parallel or recommenders.width";
}

static bool plan_stage_of(struct recommenders_plan *all, bool tuning, struct error *error)
{
    struct plan *const plan = all->plan;
    struct plan_stage *const stage = plan_add_stage(plan, tuning ? "tune" : "train", false);
    const double at_a_time = (double)all->parallel, share = share_of(all, tuning);
    double largest = 0;
    const char *largest_name = "", *largest_model = "";
    say_training_of_all(stage, all, tuning);
    for (int i = 0; i <= plan->study.contestant_count; i++) {
        const bool given = study_given(&plan->study, i) != NULL;
        const int place = plan->stage_count;
        if (given && !tuning)
            add_rankings(plan, i, error);
        else if (!given && i < plan->study.contestant_count)
            add_part(all, i, tuning, share);
        if (plan->stage_count == place)
            continue;
        const struct plan_stage *const part = &plan->stages[place];
        const double memory = plan_stage_memory(part) * (given ? 1 : at_a_time);
        add_range(&stage->seconds, part->seconds);
        add_range(&stage->saved, part->saved);
        stage->fits += part->fits;
        stage->fits_taken += part->fits_taken;
        sum_files(stage, part);
        if (memory > largest) {
            largest_name = part->name;
            largest_model = i < plan->study.contestant_count ? all->contestants[i].settings->model : "";
        }
        largest = fmax(largest, memory);
    }
    if (!tuning)
        add_range(&stage->seconds, all->neighbors);
    char name[sizeof stage->memory->name];
    snprintf(name, sizeof name, "%d fit%s at a time, of %.24s at most", all->parallel,
             all->parallel == 1 ? "" : "s", largest_name);
    plan_add_memory(stage, name, largest);
    plan_add_memory(stage, "the data set", 8 * plan_csr_bytes(&plan->train));
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    stage->lower = what_to_lower(largest_model);
    return error->kind == ERROR_NONE;
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static bool plan_contestant(struct recommenders_plan *all, int index, struct error *error)
{
    const struct plan *const plan = all->plan;
    struct contestant_plan *const contestant = &all->contestants[index];
    contestant->settings = &plan->study.contestants[index].settings;
    contestant->epochs =
        plan_fit_epochs(contestant->settings, all->validated > 0 || plan->study.test_selected);
    if (recommender_is_given(contestant->settings->model))
        return true;
    struct fit_speed speed;
    if (!fit_speed_find(&speed, plan, contestant->settings, all->copies, error))
        return false;
    contestant->rate = speed.rate;
    contestant->count = speed.count;
    /* Test is ranked once more, and the model and its lists are written. */
    const double once = contestant->rate.judge_seconds *
                            (1 + (double)all->tested / (double)(all->validated > 0 ? all->validated : 1)) +
                        2e-7 * (double)all->tested * (double)plan->study.largest_cut;
    contestant->fit = (struct plan_range){seconds_of_epochs(contestant, contestant->epochs.low) + once,
                                          seconds_of_epochs(contestant, contestant->epochs.high) + once};
    find_memory(contestant, plan);
    return true;
}

static bool open_phases(struct recommenders_plan *all, struct error *error)
{
    const size_t count = (size_t)all->fit_count + 1;
    for (int i = 0; i < PHASES; i++) {
        struct phase *const phase = &all->phases[i];
        phase->low = malloc(count * sizeof *phase->low);
        phase->high = malloc(count * sizeof *phase->high);
        if (!phase->low || !phase->high)
            return error_memory(error, "the plan of fits", count * sizeof *phase->low, NULL);
    }
    return true;
}

static void close_plan(struct recommenders_plan *all)
{
    for (int i = 0; i < PHASES; i++) {
        free(all->phases[i].low);
        free(all->phases[i].high);
    }
    free(all->contestants);
    free(all->fits);
}

/* Fitted once, and asked for the rows of every recommender. */
static bool find_neighbors(struct recommenders_plan *all, struct error *error)
{
    const struct study *const study = &all->plan->study;
    double once, users;
    if (!study_has_arm(study, ARM_ITEM_KNN))
        return true;
    if (!plan_neighbors(&once, &users, all->plan, error))
        return false;
    const double seconds = once + (double)study->contestant_count * users;
    all->neighbors = (struct plan_range){seconds, seconds};
    return true;
}

static bool plan_tuning(struct recommenders_plan *all, struct error *error)
{
    struct plan *const plan = all->plan;
    if (!all->tunes || plan_take_stage(plan, "tune"))
        return true;
    const int place = plan->stage_count;
    return plan_stage_of(all, true, error) && plan_offer_stage(plan, &plan->stages[place], error);
}

static bool plan_all(struct recommenders_plan *all, struct error *error)
{
    struct plan *const plan = all->plan;
    const int contestants = plan->study.contestant_count;
    if (!train_expected_fits(&all->fits, &all->fit_count, &plan->study, error) ||
        !tune_settings_read(&all->tuning, &plan->study, error))
        return false;
    for (int i = 0; i < contestants; i++)
        if (!plan_contestant(all, i, error))
            return false;
    if (!open_phases(all, error))
        return false;
    for (int64_t i = 0; i < all->fit_count; i++)
        if (!add_fit(all, &all->fits[i], error))
            return false;
    for (int i = 0; i < contestants; i++)
        if (!add_searches(all, i, error))
            return false;
    if (!plan_tuning(all, error) || !find_neighbors(all, error))
        return false;
    return plan_stage_of(all, false, error) && plan_evaluation(plan, error);
}

/* A trial has its share of the threads. */
static int parallel_of(const struct plan *plan)
{
    struct backend part = plan->device ? *plan->device : *plan->run.backend;
    const struct run run = {.config = plan->run.config, .backend = &part};
    const int at_once = plan->place.at_once;
    if (at_once > 1)
        part.threads = part.threads > at_once ? part.threads / at_once : 1;
    return jobs_parallel(&run);
}

bool plan_recommenders(struct plan *plan, struct error *error)
{
    const int parallel = parallel_of(plan);
    struct recommenders_plan all = {.plan = plan,
                                    .parallel = parallel,
                                    .copies = parallel * (plan->place.at_once > 1 ? plan->place.at_once : 1),
                                    .tunes = config_boolean(plan->run.config, "tune.use"),
                                    .validated = plan_users_with_any(&plan->dataset.validation),
                                    .tested = plan_users_with_any(&plan->dataset.test)};
    const size_t contestants = (size_t)plan->study.contestant_count;
    all.contestants = calloc(contestants, sizeof *all.contestants);
    const bool done = all.contestants ? plan_all(&all, error)
                                      : error_memory(error, "the plan of recommenders",
                                                     contestants * sizeof *all.contestants, NULL);
    close_plan(&all);
    return done;
}
