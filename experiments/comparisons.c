#include "experiments/comparisons.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/statistics.h"
#include "experiments/fits.h"

/* One serie of two arms, gathered: [seeds, users] each, with the means of seeds and of users. */
struct paired_arms {
    int64_t seeds, users;
    double *values[2], *seed_means[2], *user_means[2];
};

static bool paired_arms_open(struct paired_arms *pair, int64_t seeds, int64_t users, struct error *error)
{
    *pair = (struct paired_arms){.seeds = seeds, .users = users};
    for (int side = 0; side < 2; side++) {
        pair->values[side] = malloc((size_t)(seeds * users) * sizeof(double));
        pair->seed_means[side] = malloc((size_t)seeds * sizeof(double));
        pair->user_means[side] = malloc((size_t)users * sizeof(double));
        if (!pair->values[side] || !pair->seed_means[side] || !pair->user_means[side])
            return error_memory(error, "paired metrics of two arms", (size_t)(seeds * users) * sizeof(double),
                                NULL);
    }
    return true;
}

static void paired_arms_close(struct paired_arms *pair)
{
    for (int side = 0; side < 2; side++) {
        free(pair->values[side]);
        free(pair->seed_means[side]);
        free(pair->user_means[side]);
    }
}

static void paired_arms_fill(struct paired_arms *pair, const struct user_values *values, const int arms[2],
                             int64_t serie)
{
    int64_t seeds = pair->seeds, users = pair->users;
    for (int side = 0; side < 2; side++) {
        double *gathered = pair->values[side];
        for (int64_t s = 0; s < seeds; s++) {
            memcpy(gathered + s * users,
                   values->value + ((arms[side] * seeds + s) * values->series + serie) * users,
                   (size_t)users * sizeof *gathered);
            pair->seed_means[side][s] = mean(gathered + s * users, users);
        }
        for (int64_t u = 0; u < users; u++) {
            double sum = 0;
            for (int64_t s = 0; s < seeds; s++)
                sum += gathered[s * users + u];
            pair->user_means[side][u] = sum / (double)seeds;
        }
    }
}

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *interval_json(const double interval[2])
{
    if (!isfinite(interval[0]) || !isfinite(interval[1]))
        return json_null();
    return json_pack("[f, f]", interval[0], interval[1]);
}

static const char *note_on(const struct study *study, int contestant, bool copied, double p)
{
    if (copied)
        return "nothing was adopted: the arms are the same";
    if (study->seeds < 2)
        return "one seed: no comparison can be stated";
    if (isnan(p) && contestant_is_deterministic(&study->contestants[contestant]))
        return "deterministic: the interval is over users only, and seeds test nothing";
    if (study->seeds < 5)
        return "fewer than 5 seeds: weak evidence";
    return NULL;
}

static bool add_tests(json_t *record, const struct paired_arms *pair, bool stated, uint64_t seed,
                      int64_t resamples, double *p, struct error *error)
{
    struct bootstrap_interval interval = {{NAN, NAN}, {NAN, NAN}};
    double effect = NAN;
    *p = NAN;
    if (stated) {
        *p = paired_t_test(pair->seed_means[0], pair->seed_means[1], pair->seeds).p;
        effect = paired_effect_size(pair->user_means[0], pair->user_means[1], pair->users);
        if (!paired_bootstrap(&interval, pair->values[0], pair->values[1], pair->seeds, pair->users,
                              resamples, seed))
            return error_memory(error, "bootstrap resamples", (size_t)resamples * sizeof(double), NULL);
    }
    json_object_set_new(record, "ci95", interval_json(interval.relative_gain));
    json_object_set_new(record, "difference_ci95", interval_json(interval.difference));
    json_object_set_new(record, "effect_size", number_or_null(effect));
    json_object_set_new(record, "p", number_or_null(*p));
    return true;
}

static bool compare_serie(json_t *comparisons, const struct study *study, const struct user_values *values,
                          int contestant, const int arms[2], struct serie serie, struct paired_arms *pair,
                          struct error *error)
{
    double means[2] = {mean(pair->seed_means[0], pair->seeds), mean(pair->seed_means[1], pair->seeds)}, p;
    char metric[METRIC_NAME_SIZE];
    metric_label(metric, serie.metric, study->cuts[serie.cut]);
    bool copied = values->copied[arms[0]] && (arms[1] == 0 || values->copied[arms[1]]);
    json_t *record =
        json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:I}", "recommender", study->contestants[contestant].label,
                  "arm", arm_name(study->arms[arms[0]]), "against", arm_name(study->arms[arms[1]]), "metric",
                  metric, "mean", means[0], "against_mean", means[1], "seeds", (json_int_t)study->seeds);
    if (record == NULL)
        return error_memory(error, "a comparison", 0, NULL);
    json_object_set_new(record, "relative_gain", number_or_null(means[0] / means[1] - 1));
    json_object_set_new(record, "difference", json_real(means[0] - means[1]));
    bool done = add_tests(record, pair, !copied && study->seeds > 1, study->first_seed,
                          config_integer(study->run->config, "evaluate.resamples"), &p, error);
    const char *note = note_on(study, contestant, copied, p);
    if (note != NULL)
        json_object_set_new(record, "note", json_string(note));
    json_array_append_new(comparisons, record);
    return done;
}

static bool compare_pair(json_t *comparisons, const struct study *study, const struct user_values *values,
                         int contestant, const int arms[2], struct paired_arms *pair, struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    int64_t count = series_of(series, study);
    for (int64_t s = 0; s < count; s++) {
        paired_arms_fill(pair, values, arms, s);
        if (!compare_serie(comparisons, study, values, contestant, arms, series[s], pair, error))
            return false;
    }
    return true;
}

bool compare_arms(json_t *comparisons, const struct study *study, const struct user_values *values,
                  int contestant, struct error *error)
{
    struct paired_arms pair;
    bool done = paired_arms_open(&pair, study->seeds, values->users, error);
    for (int a = 1; done && a < study->arm_count; a++)
        done = compare_pair(comparisons, study, values, contestant, (int[2]){a, 0}, &pair, error);
    for (int a = 1; done && a < study->arm_count; a++)
        for (int b = 1; done && study->arms[a] == ARM_AUGMENTED && b < study->arm_count; b++)
            if (b != a)
                done = compare_pair(comparisons, study, values, contestant, (int[2]){a, b}, &pair, error);
    paired_arms_close(&pair);
    return done;
}

static const char *metric_of(const json_t *comparison)
{
    return json_string_value(json_object_get(comparison, "metric"));
}

/* Corrects the family of the comparison at `first`, unless an earlier one has that metric. */
static void correct_family(json_t *comparisons, size_t first, double *p, double *corrected)
{
    const char *metric = metric_of(json_array_get(comparisons, first));
    size_t count = json_array_size(comparisons);
    for (size_t i = 0; i < count; i++) {
        const json_t *comparison = json_array_get(comparisons, i);
        bool same = strcmp(metric_of(comparison), metric) == 0;
        if (same && i < first)
            return;
        const json_t *value = json_object_get(comparison, "p");
        p[i] = same && json_is_number(value) ? json_number_value(value) : NAN;
    }
    holm_correction(p, (int64_t)count, corrected);
    for (size_t i = 0; i < count; i++) {
        json_t *comparison = json_array_get(comparisons, i);
        if (strcmp(metric_of(comparison), metric) == 0)
            json_object_set_new(comparison, "p_holm", number_or_null(corrected[i]));
    }
}

bool correct_comparisons(json_t *comparisons, struct error *error)
{
    size_t count = json_array_size(comparisons);
    double *p = malloc((count + 1) * sizeof *p), *corrected = malloc((count + 1) * sizeof *corrected);
    bool done = p && corrected;
    if (!done)
        error_memory(error, "p values", count * 2 * sizeof *p, NULL);
    for (size_t i = 0; done && i < count; i++)
        correct_family(comparisons, i, p, corrected);
    free(p);
    free(corrected);
    return done;
}
