#include "experiments/efficiency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_file.h"
#include "experiments/fits.h"
#include "experiments/manifest.h"
#include "experiments/selection.h"
#include "experiments/train.h"

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static bool has_text(const json_t *object, const char *name, const char *wanted)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value && strcmp(value, wanted) == 0;
}

/* The first record of a list whose field is `wanted`. */
static const json_t *find(const json_t *list, const char *field, const char *wanted)
{
    size_t index;
    json_t *record;
    json_array_foreach(list, index, record)
    {
        if (has_text(record, field, wanted))
            return record;
    }
    return NULL;
}

/* Fits that shared the device while a stage worked. */
static double at_once(const json_t *results, const char *stage)
{
    const double count = number(find(json_object_get(results, "cost"), "stage", stage), "at_once");
    return count > 0 ? count : 1;
}

/* ---- what augmentation cost --------------------------------------------------------------------------- */

static double add_stages(json_t *parts, const json_t *results)
{
    static const char *const names[] = {"pretrain", "finetune", "generate", "augment"};
    double seconds = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *cost = find(json_object_get(results, "cost"), "stage", names[i]);
        if (!cost)
            continue;
        json_t *part = json_pack("{s:s, s:f, s:O}", "part", names[i], "seconds", number(cost, "seconds"),
                                 "device", json_object_get(cost, "device"));
        if (json_is_true(json_object_get(cost, "reused")))
            json_object_set_new(part, "reused", json_true());
        json_array_append_new(parts, part);
        seconds += number(cost, "seconds");
    }
    return seconds;
}

/* Sum over the fits of the candidates, one or more seeds of each. */
static bool sum_candidates(double *seconds, int64_t *count, const struct study *study, int contestant,
                           const struct expected_fit *fits, int64_t fit_count, struct error *error)
{
    int64_t seed = 0;
    for (int64_t i = 0; i < fit_count; i++) {
        if (fits[i].contestant != contestant || fits[i].choice < 0)
            continue;
        seed = i > 0 && fits[i - 1].contestant == contestant && fits[i - 1].choice == fits[i].choice
                   ? seed + 1
                   : 0;
        char folder[CHOICE_NAME_SIZE + 16];
        json_t *metrics;
        selection_folder(folder, sizeof folder, &study->choices[fits[i].choice]);
        if (!fit_metrics_load(&metrics, study, contestant, folder, selection_seed(study, contestant, seed),
                              error))
            return false;
        *seconds += number(metrics, "seconds");
        ++*count;
        json_decref(metrics);
    }
    return true;
}

static bool add_choice(json_t *parts, double *total, const struct study *study, int contestant,
                       const json_t *results, struct error *error)
{
    struct expected_fit *fits = NULL;
    int64_t fit_count = 0, count = 0;
    double seconds = 0;
    const bool done = train_expected_fits(&fits, &fit_count, study, error) &&
                      sum_candidates(&seconds, &count, study, contestant, fits, fit_count, error);
    free(fits);
    if (!done || count == 0)
        return done;
    const json_t *cost = find(json_object_get(results, "cost"), "stage", "train");
    const double together = at_once(results, "train");
    json_t *device = json_object_get(cost, "device");
    json_array_append_new(parts,
                          json_pack("{s:s, s:f, s:o, s:I, s:f, s:f}", "part", "choice", "seconds",
                                    seconds / together, "device", device ? json_incref(device) : json_null(),
                                    "fits", (json_int_t)count, "fit_seconds", seconds, "at_once", together));
    *total += seconds / together;
    return true;
}

/* ---- what it gained ----------------------------------------------------------------------------------- */

static json_t *gain_json(const json_t *comparison, double hours)
{
    static const char *const fields[] = {"metric",        "difference", "difference_ci95",
                                         "relative_gain", "ci95",       "note"};
    json_t *gain = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        json_t *value = json_object_get(comparison, fields[i]);
        if (value)
            json_object_set(gain, fields[i], value);
    }
    json_object_set_new(gain, "difference_per_hour",
                        json_number_or_null(number(comparison, "difference") / hours));
    json_object_set_new(gain, "relative_gain_per_hour",
                        json_is_number(json_object_get(comparison, "relative_gain"))
                            ? json_number_or_null(number(comparison, "relative_gain") / hours)
                            : json_null());
    return gain;
}

static json_t *gains_json(const json_t *results, const char *recommender, double hours)
{
    json_t *gains = json_array(), *comparison;
    size_t index;
    json_array_foreach(json_object_get(results, "comparisons"), index, comparison)
    {
        if (has_text(comparison, "recommender", recommender) && has_text(comparison, "arm", "augmented") &&
            has_text(comparison, "against", "original"))
            json_array_append_new(gains, gain_json(comparison, hours));
    }
    return gains;
}

static double mean_of(const json_t *list)
{
    double sum = 0;
    size_t index;
    json_t *value;
    json_array_foreach(list, index, value) sum += json_number_value(value);
    return sum / (double)json_array_size(list);
}

/* Null where nothing was chosen on validation. */
static json_t *validation_json(const json_t *selection)
{
    const char *chosen = json_string_value(json_object_get(selection, "chosen"));
    const json_t *baseline = json_object_get(selection, "baseline");
    if (!chosen || json_array_size(baseline) == 0)
        return json_null();
    const json_t *candidate = find(json_object_get(selection, "candidates"), "choice", chosen);
    const double original = mean_of(baseline);
    return json_pack("{s:O, s:s, s:f, s:f, s:f, s:f}", "metric", json_object_get(selection, "metric"),
                     "chosen", chosen, "original", original, "augmented",
                     candidate ? number(candidate, "mean") : original, "gain",
                     candidate ? number(candidate, "gain") : 0.0, "standard_error",
                     candidate ? number(candidate, "standard_error") : 0.0);
}

/* ---- the same time spent on tuning -------------------------------------------------------------------- */

const json_t *efficiency_reached(const json_t *curve, double at_once, double budget)
{
    const json_t *reached = NULL;
    size_t index;
    json_t *point;
    json_array_foreach(curve, index, point)
    {
        if (number(point, "seconds") / at_once <= budget)
            reached = point;
    }
    return reached;
}

static const json_t *find_search(const json_t *results, const char *recommender)
{
    size_t index;
    json_t *search;
    json_array_foreach(json_object_get(results, "tuning"), index, search)
    {
        if (has_text(search, "recommender", recommender) && has_text(search, "arm", "original"))
            return search;
    }
    return NULL;
}

static json_t *tuning_within(const json_t *results, const char *recommender, double budget)
{
    const json_t *search = find_search(results, recommender), *cost;
    if (!search)
        return json_null();
    cost = find(json_object_get(results, "cost"), "stage", "tune");
    const double together = at_once(results, "tune"), seconds = number(search, "seconds") / together;
    const json_t *written = json_object_get(json_object_get(search, "as_written"), "score");
    const json_t *point = efficiency_reached(json_object_get(search, "curve"), together, budget);
    const double before = json_is_number(written) ? json_number_value(written) : NAN;
    const double reached = point ? number(point, "score") : NAN;
    json_t *device = json_object_get(cost, "device");
    return json_pack("{s:O, s:o, s:f, s:f, s:f, s:b, s:o, s:o, s:o, s:o, s:f}", "metric",
                     json_object_get(search, "metric"), "device", device ? json_incref(device) : json_null(),
                     "at_once", together, "budget_seconds", budget, "seconds", seconds, "ended",
                     seconds <= budget, "as_written", json_number_or_null(before), "reached",
                     json_number_or_null(reached), "gain", json_number_or_null(reached - before),
                     "gain_per_hour",
                     json_number_or_null((reached - before) * 3600.0 / fmin(seconds, budget)), "best",
                     number(json_object_get(search, "best"), "score"));
}

/* ---- together ----------------------------------------------------------------------------------------- */

static bool add_recommender(json_t *list, const struct study *study, int contestant, const json_t *results,
                            struct error *error)
{
    const char *label = study->contestants[contestant].label;
    json_t *parts = json_array();
    double seconds = add_stages(parts, results);
    if (!add_choice(parts, &seconds, study, contestant, results, error)) {
        json_decref(parts);
        return false;
    }
    const json_t *selection = find(json_object_get(results, "selection"), "recommender", label);
    json_t *record =
        json_pack("{s:s, s:f, s:f, s:o, s:o, s:o, s:o}", "recommender", label, "seconds", seconds, "hours",
                  seconds / 3600.0, "parts", parts, "gains", gains_json(results, label, seconds / 3600.0),
                  "validation", validation_json(selection), "tuning", tuning_within(results, label, seconds));
    return (record && json_array_append_new(list, record) == 0) ||
           error_memory(error, "gains per hour", 0, NULL);
}

bool efficiency_json(json_t **list, const struct study *study, const json_t *results, struct error *error)
{
    *list = json_array();
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        if (study_has_arm(study, ARM_AUGMENTED) && study_has_fit(study, contestant, ARM_AUGMENTED) &&
            !add_recommender(*list, study, contestant, results, error))
            return false;
    return true;
}
