#include <stdlib.h>

#include "core/json_file.h"
#include "experiments/audit.h"
#include "experiments/comparison.h"
#include "experiments/comparisons.h"
#include "experiments/coverage.h"
#include "experiments/efficiency.h"
#include "experiments/fits.h"
#include "experiments/provenance.h"
#include "experiments/quality.h"
#include "experiments/top_k_file.h"
#include "experiments/truth.h"
#include "experiments/tuning.h"
#include "models/recommenders/settings.h"

static bool dataset_json(json_t **record, const struct study *study, struct error *error)
{
    struct coverage coverage;
    if (!coverage_count(&coverage, &study->dataset, error))
        return false;
    *record = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
        study->dataset.name ? study->dataset.name : "", "users", (json_int_t)study->train.rows, "items",
        (json_int_t)study->train.columns, "train", (json_int_t)csr_count(&study->train), "validation",
        (json_int_t)csr_count(&study->validation), "test", (json_int_t)csr_count(&study->test),
        "validation_users", (json_int_t)study->validation_count, "test_users", (json_int_t)study->test_count,
        "unseen_users", (json_int_t)coverage.unseen_users, "unseen_items", (json_int_t)coverage.unseen_items,
        "test_of_unseen_items", (json_int_t)coverage.test_of_unseen);
    return *record != NULL || error_memory(error, "the description of the data", 0, NULL);
}

static bool add_run(json_t *runs, const struct study *study, int contestant, enum arm arm, uint64_t seed,
                    struct error *error)
{
    json_t *fit;
    if (!fit_metrics_load(&fit, study, contestant, arm_name(arm), seed, error))
        return false;
    json_t *record = json_pack(
        "{s:s, s:s, s:I, s:O, s:O, s:O, s:O, s:O}", "recommender", study->contestants[contestant].label,
        "arm", arm_name(arm), "seed", (json_int_t)seed, "epochs", json_object_get(fit, "epochs"),
        "best_epoch", json_object_get(fit, "best_epoch"), "seconds", json_object_get(fit, "seconds"),
        "metrics", json_object_get(fit, "test"), "validation", json_object_get(fit, "validation"));
    static const char *const further[] = {"rows_added", "ties", "copied_from", "still_improving", "fusion"};
    for (size_t i = 0; record != NULL && i < sizeof further / sizeof *further; i++)
        if (json_object_get(fit, further[i]) != NULL)
            json_object_set(record, further[i], json_object_get(fit, further[i]));
    json_decref(fit);
    if (record == NULL)
        return error_set(error, ERROR_RUN,
                         "metrics.json of %s, %s, seed %llu lacks a field; delete it and run again",
                         study->contestants[contestant].label, arm_name(arm), (unsigned long long)seed);
    json_array_append_new(runs, record);
    return true;
}

/* As the configuration gives them: those that the recommender reads; numbers where they are numbers. */
static json_t *settings_json(const struct recommender_settings *settings)
{
    json_t *record = json_object();
    const char *name;
    for (int place = 0; (name = recommender_setting_name(place)) != NULL; place++) {
        if (!recommender_reads_setting(settings->model, name))
            continue;
        char *text = recommender_setting_text(settings, name);
        json_t *value = text != NULL ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        json_object_set_new(record, name, value != NULL ? value : json_string(text != NULL ? text : ""));
        free(text);
    }
    return record;
}

static bool add_recommenders(json_t *results, const struct study *study, struct error *error)
{
    json_t *recommenders = json_array();
    bool done = json_object_set_new(results, "recommenders", recommenders) == 0;
    for (int i = 0; done && i < study->contestant_count; i++) {
        const struct contestant *contestant = &study->contestants[i];
        json_t *entry = json_pack("{s:s, s:b, s:o}", "recommender", contestant->label, "deterministic",
                                  contestant_is_deterministic(contestant), "settings",
                                  settings_json(&contestant->settings));
        done = json_array_append_new(recommenders, entry) == 0;
    }
    return done || error_memory(error, "the settings of the recommenders", 0, NULL);
}

static bool add_runs(json_t *runs, const struct study *study, struct error *error)
{
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        for (int a = 0; a < study->arm_count; a++)
            for (int64_t s = 0; s < study->seeds; s++)
                if (study_has_fit(study, contestant, study->arms[a]) &&
                    !add_run(runs, study, contestant, study->arms[a], study->first_seed + (uint64_t)s, error))
                    return false;
    return true;
}

static bool add_comparisons(json_t *comparisons, const struct study *study, struct error *error)
{
    struct name_index items;
    bool done = name_index_open(&items, &study->dataset.item_ids, error);
    for (int contestant = 0; done && contestant < study->contestant_count; contestant++) {
        struct user_values values;
        if (!study_has_fit(study, contestant, ARM_AUGMENTED))
            continue;
        done = user_values_load(&values, study, &items, contestant, error) &&
               compare_arms(comparisons, study, &values, contestant, error);
        user_values_free(&values);
    }
    name_index_close(&items);
    return done && comparisons_correct(comparisons, "metric", error);
}

/* Only an experiment with more than the original arm has chosen anything. */
static bool add_selections(json_t *selections, const struct study *study, struct error *error)
{
    for (int contestant = 0; study->arm_count > 1 && contestant < study->contestant_count; contestant++) {
        if (!study_has_fit(study, contestant, ARM_AUGMENTED))
            continue;
        char *path =
            run_path(study->run, "recommenders/%s/selection.json", study->contestants[contestant].label);
        json_t *selection = json_load_file(path, 0, NULL);
        if (selection == NULL)
            error_at(error, ERROR_RUN, path, 0, "missing or damaged; run `train` again");
        free(path);
        if (selection == NULL)
            return false;
        json_array_append_new(selections, selection);
    }
    return true;
}

/* What was found and used. */
static bool add_tuning(json_t *results, const struct study *study, struct error *error)
{
    struct tune_settings settings;
    json_t *tuning = NULL;
    if (!tune_settings_read(&settings, study, error))
        return false;
    if (!settings.use)
        return true;
    const bool done = tuning_json(&tuning, study, &settings, error);
    json_object_set_new(results, "tuning", tuning);
    return done;
}

static bool fill_results(json_t *results, const struct study *study, struct error *error)
{
    json_t *runs = json_array(), *comparisons = json_array(), *selections = json_array();
    json_object_set_new(results, "protocol", json_string(study->test_selected ? "test_selected" : "clean"));
    json_object_set_new(results, "mask", json_string(study->mask_augmented ? "augmented" : "original"));
    json_object_set_new(results, "runs", runs);
    json_object_set_new(results, "comparisons", comparisons);
    json_object_set_new(results, "selection", selections);
    json_t *dataset = NULL, *generation = NULL, *popularity = NULL, *truth = NULL, *audit = NULL,
           *quality = NULL;
    bool done = dataset_json(&dataset, study, error) && add_recommenders(results, study, error) &&
                add_tuning(results, study, error) && add_runs(runs, study, error) &&
                add_comparisons(comparisons, study, error) && add_selections(selections, study, error) &&
                (study->arm_count == 1 || generation_json(&generation, study, error)) &&
                popularity_json(&popularity, study, selections, error) &&
                truth_json(&truth, study, selections, error) &&
                audit_json(&audit, study, selections, error) && quality_json(&quality, study, error);
    if (dataset != NULL)
        json_object_set_new(results, "dataset", dataset);
    if (generation != NULL)
        json_object_set_new(results, "generation", generation);
    if (popularity != NULL)
        json_object_set_new(results, "popularity", popularity);
    if (truth != NULL)
        json_object_set_new(results, "truth", truth);
    if (audit != NULL)
        json_object_set_new(results, "audit", audit);
    if (quality != NULL)
        json_object_set_new(results, "generation_quality", quality);
    json_object_set_new(results, "cost", run_cost_table(study->run));
    json_t *efficiency = NULL;
    done = done && efficiency_json(&efficiency, study, results, error);
    if (efficiency != NULL)
        json_object_set_new(results, "efficiency", efficiency);
    return done;
}

static bool write_results(const struct run *run, const json_t *results, struct error *error)
{
    char *path = run_path(run, "results.json");
    const bool done = json_file_write(path, results, error);
    free(path);
    return done;
}

bool stage_evaluate(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    struct study study;
    json_t *results = json_object();
    bool done = study_open(&study, run, error) && fill_results(results, &study, error) &&
                write_results(run, results, error);
    json_decref(results);
    study_close(&study);
    return done;
}
