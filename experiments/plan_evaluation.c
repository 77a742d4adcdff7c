/* plan_evaluation.c: what comparing the arms, the audit and the report will take. */
#include <math.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/random.h"
#include "experiments/comparison.h"
#include "experiments/comparisons.h"
#include "experiments/plan.h"
#include "experiments/plan_fit.h"
#include "experiments/training_rows.h"

/* A comparison is measured on so many users, with so small a share of its resamples. */
enum { MEASURED_USERS = 20000, MEASURED_SHARE = 20 };
/* On a machine that is not here: seconds for a seed of a user in a resample, and for the sign of a user. */
#define ASSUMED_RESAMPLED_SECONDS 1.4e-9
#define ASSUMED_FLIPPED_SECONDS 2.5e-10
/* For a line of top_k.tsv, which is read for the comparisons and for the audit; for a synthetic row; for a recommender's
 * plots. */
#define LINE_SECONDS 6e-7
#define SYNTHETIC_SECONDS 1e-6
#define PLOTS_SECONDS 0.12
/* item_knn with more data than are quickly measured, or on a machine that is not here: a thread's seconds for a pair of a
 * user's items, a pair of items with users in common, and a neighbor of an item of a user. */
#define PAIR_SECONDS 1.2e-9
#define NEIGHBOR_SECONDS 1e-7
#define RANK_SECONDS 2e-9

/* ---- neighbors ------------------------------------------------------------------------------------------ */

static void assume_neighbors(double *once, double *users, const struct plan *plan, int64_t neighbors)
{
    const struct csr *const train = &plan->train;
    const double items = (double)train->columns, threads = plan->device ? (double)plan->device->threads : 1;
    double pairs = 0;
    for (int64_t user = 0; user < train->rows; user++)
        pairs += (double)csr_row_length(train, user) * (double)csr_row_length(train, user);
    *once = (PAIR_SECONDS * pairs + NEIGHBOR_SECONDS * fmin(items * items, pairs)) / threads;
    *users = RANK_SECONDS * (double)csr_count(train) * (double)neighbors / threads;
}

bool plan_neighbors(double *once, double *users, const struct plan *plan, struct error *error)
{
    const struct recommender_settings *const settings = &plan->study.neighbors;
    const int64_t validated = plan_users_with_any(&plan->validation);
    struct fit_speed speed = {.rate = {.share = 0}};
    if (plan->device && validated > 0 && !fit_speed_find(&speed, plan, settings, 1, error))
        return false;
    if (speed.rate.share < 1) {
        assume_neighbors(once, users, plan, settings->neighbors);
        return true;
    }
    *once = speed.rate.epoch_seconds;
    *users = speed.rate.judge_seconds * (double)plan->train.rows / (double)validated;
    return true;
}

/* ---- comparisons ---------------------------------------------------------------------------------------- */

/* Pairs of arms, each with every metric at every cut. */
static double count_comparisons(const struct study *study)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t others = study->arm_count - 1;
    const int64_t pairs = others + (study_has_arm(study, ARM_AUGMENTED) ? others - 1 : 0);
    return (double)(study->contestant_count * pairs * series_of(series, study));
}

static bool time_comparison(double *seconds, const struct plan *plan, const double *values, int64_t users,
                            struct error *error)
{
    const struct study *const study = &plan->study;
    const struct compared compared = {
        .values = values, .against = values + study->seeds * users, .seeds = study->seeds, .users = users};
    struct comparison_settings settings = comparison_settings_read(plan->run.config, study->first_seed);
    settings.resamples /= MEASURED_SHARE;
    settings.flips /= MEASURED_SHARE;
    bool done = true;
    for (int round = 0; done && round < 2; round++) {
        json_t *record = json_object();
        const double begun = clock_seconds();
        done = comparison_add(record, &compared, &settings, error);
        *seconds = (clock_seconds() - begun) * MEASURED_SHARE;
        json_decref(record);
    }
    return done;
}

/* Seconds of one comparison of all tested users. */
static bool measure_comparison(double *seconds, const struct plan *plan, int64_t tested, struct error *error)
{
    const int64_t users = tested < MEASURED_USERS ? tested : MEASURED_USERS;
    const size_t count = (size_t)(2 * plan->study.seeds * users + 1);
    double *const values = malloc(count * sizeof *values);
    if (!values)
        return error_memory(error, "metrics of users", count * sizeof *values, NULL);
    struct random_stream stream = random_stream_open(1, RANDOM_INITIALIZE, 0, 0);
    for (size_t i = 0; i < count; i++)
        values[i] = random_double(&stream);
    const bool done = time_comparison(seconds, plan, values, users, error);
    free(values);
    *seconds *= users > 0 ? (double)tested / (double)users : 0;
    return done;
}

static bool find_comparison_seconds(double *seconds, const struct plan *plan, int64_t tested,
                                    struct error *error)
{
    const struct study *const study = &plan->study;
    const struct comparison_settings settings = comparison_settings_read(plan->run.config, 1);
    const double resampled = (double)(settings.resamples * study->seeds) * (double)tested,
                 flipped = (double)settings.flips * (double)tested;
    char key[PLAN_KEY_SIZE];
    *seconds = ASSUMED_RESAMPLED_SECONDS * resampled + ASSUMED_FLIPPED_SECONDS * flipped;
    if (!plan->device || study->arm_count == 1)
        return true;
    plan_key_of_text(key, "comparison %.0f %.0f", resampled, flipped);
    const double *const found = plan_memo_find(plan->memo, key);
    if (found) {
        *seconds = *found;
        return true;
    }
    return measure_comparison(seconds, plan, tested, error) &&
           (plan_memo_keep(plan->memo, key, seconds, sizeof *seconds) ||
            error_memory(error, "a rate", sizeof *seconds, NULL));
}

/* ---- stages --------------------------------------------------------------------------------------------- */

/* The values of all users and fits of one recommender, and the lists of one fit. */
static void find_memory(struct plan_stage *stage, const struct study *study, int64_t tested, int64_t users)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const double fits = (double)(study->arm_count * study->seeds);
    plan_add_memory(stage, "metrics of users",
                    8 * (fits * (double)series_of(series, study) + 2 * (double)study->seeds) *
                        (double)tested);
    plan_add_memory(stage, "lists", 24 * (double)tested * (double)study->largest_cut + 16 * (double)users);
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    stage->lower = "lower experiment.seeds, or the number of evaluate.k";
}

static bool plan_evaluate(struct plan *plan, struct error *error)
{
    const struct study *const study = &plan->study;
    const int64_t tested = plan_users_with_any(&plan->dataset.test);
    const double fits = (double)(study->contestant_count * study->arm_count * study->seeds);
    const double lines = fits * (double)tested * (double)study->largest_cut;
    const double comparisons = count_comparisons(study);
    double comparison, once = 0, users = 0, rows = 0;
    if (study->arm_count > 1) {
        rows = (double)plan->train.rows * (double)config_integer(plan->run.config, "generate.max_items");
        if (!plan_neighbors(&once, &users, plan, error))
            return false;
    }
    if (!find_comparison_seconds(&comparison, plan, tested, error))
        return false;
    struct plan_stage *const stage = plan_add_stage(plan, "evaluate", false);
    const double seconds =
        0.05 + LINE_SECONDS * lines + SYNTHETIC_SECONDS * rows + once + users + comparisons * comparison;
    stage->seconds = (struct plan_range){seconds, seconds};
    snprintf(stage->work, sizeof stage->work, "%.0f lists, %.0f comparisons, neighbors for %s",
             fits * (double)tested, comparisons, study->arm_count > 1 ? "what was generated" : "nobody");
    snprintf(stage->rate, sizeof stage->rate, "%.2g s a comparison, %.2g s for the neighbors, %.1g us a line",
             comparison, once + users, 1e6 * LINE_SECONDS);
    find_memory(stage, study, tested, plan->train.rows);
    plan_add_file(stage, "results.json", 2e4 + 900 * fits + 1000 * comparisons);
    return true;
}

static void plan_report(struct plan *plan)
{
    const double contestants = (double)plan->study.contestant_count;
    struct plan_stage *const stage = plan_add_stage(plan, "report", false);
    const double seconds = 0.05 + PLOTS_SECONDS * contestants;
    stage->seconds = (struct plan_range){seconds, seconds};
    snprintf(stage->work, sizeof stage->work, "tables and plots");
    snprintf(stage->rate, sizeof stage->rate, "%.2g s for the plots of a recommender", PLOTS_SECONDS);
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    plan_add_file(stage, "report and plots", 6e4 + 4e4 * contestants);
}

bool plan_evaluation(struct plan *plan, struct error *error)
{
    if (!plan_evaluate(plan, error))
        return false;
    plan_report(plan);
    return true;
}
