#include "experiments/comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/statistics.h"

/* Means over the users of a seed, and over the seeds of a user, of both arms. */
struct margins {
    double *seeds[2], *users[2];
};

static void margins_close(struct margins *margins)
{
    for (int side = 0; side < 2; side++) {
        free(margins->seeds[side]);
        free(margins->users[side]);
    }
}

static bool margins_open(struct margins *margins, const struct compared *compared, struct error *error)
{
    const int64_t seeds = compared->seeds, users = compared->users;
    *margins = (struct margins){{NULL}, {NULL}};
    for (int side = 0; side < 2; side++) {
        const double *values = side == 0 ? compared->values : compared->against;
        margins->seeds[side] = malloc((size_t)(seeds + 1) * sizeof(double));
        margins->users[side] = calloc((size_t)(users + 1), sizeof(double));
        if (!margins->seeds[side] || !margins->users[side])
            return error_memory(error, "means of two arms", (size_t)(seeds + users) * sizeof(double), NULL);
        for (int64_t s = 0; s < seeds; s++)
            margins->seeds[side][s] = mean(values + s * users, users);
        for (int64_t u = 0; u < users; u++) {
            double sum = 0;
            for (int64_t s = 0; s < seeds; s++)
                sum += values[s * users + u];
            margins->users[side][u] = sum / (double)seeds;
        }
    }
    return true;
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

static const char *note_on(const struct compared *compared, double p)
{
    if (compared->copied)
        return "nothing was adopted: the arms are the same";
    if (compared->seeds < 2)
        return "one seed: no comparison can be stated";
    if (isnan(p) && compared->deterministic)
        return "deterministic: the interval is over users only, and seeds test nothing";
    if (compared->seeds < 5)
        return "fewer than 5 seeds: weak evidence";
    return NULL;
}

static bool add_tests(json_t *record, const struct compared *compared, const struct margins *margins,
                      const struct comparison_settings *settings, double *p, struct error *error)
{
    struct bootstrap_interval interval = {{NAN, NAN}, {NAN, NAN}};
    double effect = NAN;
    *p = NAN;
    if (!compared->copied && compared->seeds > 1) {
        *p = paired_t_test(margins->seeds[0], margins->seeds[1], compared->seeds).p;
        effect = paired_effect_size(margins->users[0], margins->users[1], compared->users);
        if (!paired_bootstrap(&interval, compared->values, compared->against, compared->seeds,
                              compared->users, settings->resamples, settings->seed))
            return error_memory(error, "bootstrap resamples", (size_t)settings->resamples * sizeof(double),
                                NULL);
    }
    json_object_set_new(record, "ci95", interval_json(interval.relative_gain));
    json_object_set_new(record, "difference_ci95", interval_json(interval.difference));
    json_object_set_new(record, "effect_size", number_or_null(effect));
    json_object_set_new(record, "p", number_or_null(*p));
    return true;
}

bool comparison_add(json_t *record, const struct compared *compared,
                    const struct comparison_settings *settings, struct error *error)
{
    struct margins margins;
    double p = NAN;
    bool done = margins_open(&margins, compared, error);
    if (done) {
        const double value = mean(margins.seeds[0], compared->seeds),
                     against = mean(margins.seeds[1], compared->seeds);
        json_object_set_new(record, "mean", json_real(value));
        json_object_set_new(record, "against_mean", json_real(against));
        json_object_set_new(record, "seeds", json_integer((json_int_t)compared->seeds));
        json_object_set_new(record, "relative_gain", number_or_null(value / against - 1));
        json_object_set_new(record, "difference", json_real(value - against));
        done = add_tests(record, compared, &margins, settings, &p, error);
    }
    const char *note = note_on(compared, p);
    if (done && note)
        json_object_set_new(record, "note", json_string(note));
    margins_close(&margins);
    return done;
}

static const char *family_of(const json_t *comparison, const char *key)
{
    return json_string_value(json_object_get(comparison, key));
}

/* Corrects the family of the comparison at `first`, unless an earlier one is of it. */
static void correct_family(json_t *comparisons, const char *key, size_t first, double *p, double *corrected)
{
    const char *family = family_of(json_array_get(comparisons, first), key);
    const size_t count = json_array_size(comparisons);
    for (size_t i = 0; i < count; i++) {
        const json_t *comparison = json_array_get(comparisons, i);
        const bool same = strcmp(family_of(comparison, key), family) == 0;
        if (same && i < first)
            return;
        const json_t *value = json_object_get(comparison, "p");
        p[i] = same && json_is_number(value) ? json_number_value(value) : NAN;
    }
    holm_correction(p, (int64_t)count, corrected);
    for (size_t i = 0; i < count; i++) {
        json_t *comparison = json_array_get(comparisons, i);
        if (strcmp(family_of(comparison, key), family) == 0)
            json_object_set_new(comparison, "p_holm", number_or_null(corrected[i]));
    }
}

bool comparisons_correct(json_t *comparisons, const char *key, struct error *error)
{
    const size_t count = json_array_size(comparisons);
    double *p = malloc((count + 1) * sizeof *p), *corrected = malloc((count + 1) * sizeof *corrected);
    const bool done = (p && corrected) || error_memory(error, "p values", count * 2 * sizeof *p, NULL);
    for (size_t i = 0; done && i < count; i++)
        correct_family(comparisons, key, i, p, corrected);
    free(p);
    free(corrected);
    return done;
}
