#include "experiments/comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/hash.h"
#include "core/json_file.h"
#include "core/resampling.h"
#include "core/statistics.h"

#define SIGNIFICANCE 0.05 /* of a family; an interval has the rest */
#define POWER 0.8

struct comparison_settings comparison_settings_read(const struct config *config, uint64_t seed)
{
    return (struct comparison_settings){.resamples = config_integer(config, "evaluate.resamples"),
                                        .flips = config_integer(config, "evaluate.flips"),
                                        .seed = seed};
}

/* Means over the users of a seed, and over the seeds of a user, of both arms, and the latter's differences. */
struct margins {
    double *seeds[2], *users[2], *differences;
};

static void margins_close(struct margins *margins)
{
    for (int side = 0; side < 2; side++) {
        free(margins->seeds[side]);
        free(margins->users[side]);
    }
    free(margins->differences);
}

static bool margins_open(struct margins *margins, const struct compared *compared, struct error *error)
{
    const int64_t seeds = compared->seeds, users = compared->users;
    *margins = (struct margins){.differences = malloc((size_t)(users + 1) * sizeof(double))};
    for (int side = 0; side < 2; side++) {
        const double *values = side == 0 ? compared->values : compared->against;
        margins->seeds[side] = malloc((size_t)(seeds + 1) * sizeof(double));
        margins->users[side] = calloc((size_t)(users + 1), sizeof(double));
        if (!margins->differences || !margins->seeds[side] || !margins->users[side])
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
    for (int64_t u = 0; u < users; u++)
        margins->differences[u] = margins->users[0][u] - margins->users[1][u];
    return true;
}

static json_t *interval_json(const double interval[2])
{
    if (!isfinite(interval[0]) || !isfinite(interval[1]))
        return json_null();
    return json_pack("[f, f]", interval[0], interval[1]);
}

/* NaN: nothing can be said. */
struct tests {
    double deviation_seeds, deviation_users;
    double p_seeds, p_users, p;
    int64_t flips;
};

/* Where the arms have no spread over the seeds, a recommender that is the same whatever the seed stands on its users alone. */
static bool run_tests(struct tests *tests, const struct compared *compared, const struct margins *margins,
                      const struct comparison_settings *settings, struct error *error)
{
    const struct paired_test seeds = paired_t_test(margins->seeds[0], margins->seeds[1], compared->seeds);
    double center;
    struct sign_flip_test users;
    paired_moments(margins->seeds[0], margins->seeds[1], compared->seeds, &center, &tests->deviation_seeds);
    const bool over_users_alone = compared->deterministic && spread_is_zero(center, tests->deviation_seeds);
    paired_moments(margins->users[0], margins->users[1], compared->users, &center, &tests->deviation_users);
    if (!sign_flip_test(&users, margins->differences, compared->users, settings->flips, settings->seed))
        return error_memory(error, "random signs of users", (size_t)compared->users * 4 * sizeof(double),
                            NULL);
    tests->flips = users.exact ? 0 : settings->flips;
    tests->p_users = users.p;
    tests->p_seeds = over_users_alone ? NAN : seeds.p;
    if (over_users_alone)
        tests->p = tests->p_users;
    else if (!isnan(tests->p_seeds))
        tests->p = fmax(tests->p_seeds, tests->p_users);
    return true;
}

/* Widens an interval, if there is one, so that it holds center +- reach as well, both divided by `unit`. */
static void widen(double interval[2], double center, double reach, double unit)
{
    if (isnan(interval[0]))
        return;
    interval[0] = fmin(interval[0], (center - reach) / unit);
    interval[1] = fmax(interval[1], (center + reach) / unit);
}

/* What cannot be told from the truth by seeds or by users is in the interval, as both must reject for the smaller p: the
 * bootstrap, whose five seeds or so are few to draw from, is joined with Student's interval over the seeds. */
static void join_with_seeds(struct bootstrap_interval *interval, const struct tests *tests,
                            const struct margins *margins, int64_t seeds)
{
    const double against = mean(margins->seeds[1], seeds), center = mean(margins->seeds[0], seeds) - against;
    const double reach = student_quantile_two_sided(SIGNIFICANCE, (double)(seeds - 1)) *
                         tests->deviation_seeds / sqrt((double)seeds);
    if (isnan(tests->p_seeds))
        return;
    widen(interval->difference, center, reach, 1);
    if (against > 0)
        widen(interval->relative_gain, center, reach, against);
    if (tests->deviation_users > 0)
        widen(interval->effect_size, center, reach, tests->deviation_users);
}

/* As where nothing was adopted, or rows are kept out of the negatives of a recommender that has none. */
static bool has_same_results(const struct compared *compared)
{
    return memcmp(compared->values, compared->against,
                  (size_t)(compared->seeds * compared->users) * sizeof(double)) == 0;
}

static const char *note_on(const struct compared *compared, const struct tests *tests, bool same)
{
    if (same)
        return "the same results: nothing to test";
    if (compared->seeds < 2)
        return "one seed: no comparison can be stated";
    if (isnan(tests->p_seeds) && compared->deterministic)
        return "deterministic: the interval and the test are over users only";
    if (isnan(tests->p_seeds))
        return "all seeds differ by the same: no test over seeds";
    if (compared->seeds < 5)
        return "fewer than 5 seeds: weak evidence";
    return NULL;
}

/* Of all values of both arms. */
static json_t *fingerprint_json(const struct compared *compared)
{
    const size_t bytes = (size_t)(compared->seeds * compared->users) * sizeof(double);
    const XXH128_hash_t value = XXH3_128bits(compared->values, bytes),
                        against = XXH3_128bits(compared->against, bytes);
    const uint64_t all[] = {value.high64, value.low64, against.high64, against.low64,
                            (uint64_t)compared->seeds};
    char digits[33];
    hash_digits(digits, XXH3_128bits(all, sizeof all));
    return json_string(digits);
}

static bool add_tests(json_t *record, const struct compared *compared, const struct margins *margins,
                      const struct comparison_settings *settings, struct error *error)
{
    struct bootstrap_interval interval = {{NAN, NAN}, {NAN, NAN}, {NAN, NAN}};
    struct tests tests = {NAN, NAN, NAN, NAN, NAN, 0};
    double effect = NAN;
    const bool same = has_same_results(compared);
    if (!same && compared->seeds > 1) {
        effect = paired_effect_size(margins->users[0], margins->users[1], compared->users);
        if (!run_tests(&tests, compared, margins, settings, error))
            return false;
        if (!paired_bootstrap(&interval, compared->values, compared->against, compared->seeds,
                              compared->users, settings->resamples, settings->seed))
            return error_memory(error, "bootstrap resamples", (size_t)settings->resamples * sizeof(double),
                                NULL);
        join_with_seeds(&interval, &tests, margins, compared->seeds);
    }
    json_object_set_new(record, "ci95", interval_json(interval.relative_gain));
    json_object_set_new(record, "difference_ci95", interval_json(interval.difference));
    json_object_set_new(record, "effect_size", json_number_or_null(effect));
    json_object_set_new(record, "effect_size_ci95", interval_json(interval.effect_size));
    json_object_set_new(record, "deviation_seeds", json_number_or_null(tests.deviation_seeds));
    json_object_set_new(record, "deviation_users", json_number_or_null(tests.deviation_users));
    json_object_set_new(record, "p_seeds", json_number_or_null(tests.p_seeds));
    json_object_set_new(record, "p_users", json_number_or_null(tests.p_users));
    json_object_set_new(record, "p", json_number_or_null(tests.p));
    json_object_set_new(record, "flips", json_integer((json_int_t)tests.flips));
    json_object_set_new(record, "fingerprint", fingerprint_json(compared));
    json_object_set_new(record, "same_results", json_boolean(same));
    const char *note = note_on(compared, &tests, same);
    if (note)
        json_object_set_new(record, "note", json_string(note));
    return true;
}

bool comparison_add(json_t *record, const struct compared *compared,
                    const struct comparison_settings *settings, struct error *error)
{
    struct margins margins;
    if (settings->resamples < 1 || settings->flips < 1)
        return error_set(error, ERROR_RUN,
                         "a comparison needs resamples and flips; this is a fault of the program");
    bool done = margins_open(&margins, compared, error);
    if (done) {
        const double value = mean(margins.seeds[0], compared->seeds),
                     against = mean(margins.seeds[1], compared->seeds);
        json_object_set_new(record, "mean", json_real(value));
        json_object_set_new(record, "against_mean", json_real(against));
        json_object_set_new(record, "seeds", json_integer((json_int_t)compared->seeds));
        json_object_set_new(record, "users", json_integer((json_int_t)compared->users));
        json_object_set_new(record, "relative_gain", json_number_or_null(value / against - 1));
        json_object_set_new(record, "difference", json_real(value - against));
        done = add_tests(record, compared, &margins, settings, error);
    }
    margins_close(&margins);
    return done;
}

static const char *family_of(const json_t *comparison, const char *key)
{
    return json_string_value(json_object_get(comparison, key));
}

static double number_at(const json_t *record, const char *key)
{
    const json_t *value = json_object_get(record, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Where no test over seeds was made, there is no spread over them that could hide a difference. */
static void add_detectable(json_t *record, int64_t family)
{
    double difference = NAN;
    if (!isnan(number_at(record, "p"))) {
        const double alpha = SIGNIFICANCE / (double)family;
        const int64_t seeds = (int64_t)number_at(record, "seeds"),
                      users = (int64_t)number_at(record, "users");
        difference = number_at(record, "deviation_users") * detectable_effect(users, alpha, POWER);
        if (!isnan(number_at(record, "p_seeds")))
            difference = fmax(difference,
                              number_at(record, "deviation_seeds") * detectable_effect(seeds, alpha, POWER));
    }
    json_object_set_new(record, "detectable_difference", json_number_or_null(difference));
    json_object_set_new(record, "detectable_relative_gain",
                        json_number_or_null(difference / number_at(record, "against_mean")));
}

static const char flips_note[] = "too few signs were drawn for ";

/* The signs that were drawn bound p from below: times the family it may be too much for any difference. */
static bool add_flips_note(json_t *record, int64_t family, struct error *error)
{
    const double flips = number_at(record, "flips"), least = 1 / (flips + 1);
    if (!(flips > 0 && number_at(record, "p_users") <= least && least * (double)family >= SIGNIFICANCE))
        return true;
    const char *note = json_string_value(json_object_get(record, "note"));
    json_t *text = json_sprintf("%s%s%s%lld comparisons; raise evaluate.flips", note ? note : "",
                                note ? "; " : "", flips_note, (long long)family);
    return json_object_set_new(record, "note", text) == 0 || error_memory(error, "a note", 0, NULL);
}

void comparison_forget_family(json_t *record)
{
    const char *note = json_string_value(json_object_get(record, "note"));
    const char *end = note ? strstr(note, flips_note) : NULL;
    json_object_del(record, "family");
    json_object_del(record, "p_holm");
    json_object_del(record, "detectable_difference");
    json_object_del(record, "detectable_relative_gain");
    if (end == note && note)
        json_object_del(record, "note");
    else if (end)
        json_object_set_new(record, "note", json_stringn(note, (size_t)(end - note) - strlen("; ")));
}

/* Of every comparison, [count]. */
struct correction {
    double *p, *corrected; /* NaN: it is not counted */
    size_t *firsts;        /* the first of those that are the same, whose correction it takes */
};

/* Counts a comparison, unless it is a copy of an earlier one of its family: that has the larger p of both then. */
static void count_comparison(struct correction *correction, json_t *seen, const json_t *comparison,
                             size_t number)
{
    double *const p = correction->p;
    const char *fingerprint = json_string_value(json_object_get(comparison, "fingerprint"));
    p[number] = number_at(comparison, "p");
    correction->firsts[number] = number;
    if (isnan(p[number]) || !fingerprint)
        return;
    const json_t *earlier = json_object_get(seen, fingerprint);
    if (!earlier) {
        json_object_set_new(seen, fingerprint, json_integer((json_int_t)number));
        return;
    }
    const size_t first = (size_t)json_integer_value(earlier);
    p[first] = fmax(p[first], p[number]);
    p[number] = NAN;
    correction->firsts[number] = first;
}

/* *family: the size of the family of the comparison at `first`. False: an earlier one is of it, too. */
static bool count_family(int64_t *family, struct correction *correction, const json_t *comparisons,
                         const char *key, size_t first)
{
    const char *name = family_of(json_array_get(comparisons, first), key);
    const size_t count = json_array_size(comparisons);
    json_t *seen = json_object();
    bool is_new = true;
    *family = 0;
    for (size_t i = 0; is_new && i < count; i++) {
        const json_t *comparison = json_array_get(comparisons, i);
        const bool same = strcmp(family_of(comparison, key), name) == 0;
        is_new = !same || i >= first;
        correction->p[i] = NAN;
        if (same)
            count_comparison(correction, seen, comparison, i);
        *family += !isnan(correction->p[i]);
    }
    json_decref(seen);
    return is_new;
}

/* Corrects the family of the comparison at `first`, unless an earlier one is of it. */
static bool correct_family(json_t *comparisons, const char *key, size_t first, struct correction *correction,
                           struct error *error)
{
    const char *name = family_of(json_array_get(comparisons, first), key);
    const size_t count = json_array_size(comparisons);
    int64_t family;
    if (!count_family(&family, correction, comparisons, key, first))
        return true;
    holm_correction(correction->p, (int64_t)count, correction->corrected);
    bool done = true;
    for (size_t i = 0; done && i < count; i++) {
        json_t *comparison = json_array_get(comparisons, i);
        if (strcmp(family_of(comparison, key), name) != 0)
            continue;
        json_object_set_new(comparison, "family", json_integer((json_int_t)family));
        json_object_set_new(comparison, "p_holm",
                            json_number_or_null(correction->corrected[correction->firsts[i]]));
        add_detectable(comparison, family);
        done = add_flips_note(comparison, family, error);
    }
    return done;
}

bool comparisons_correct(json_t *comparisons, const char *key, struct error *error)
{
    const size_t count = json_array_size(comparisons);
    struct correction correction = {.p = malloc((count + 1) * sizeof(double)),
                                    .corrected = malloc((count + 1) * sizeof(double)),
                                    .firsts = malloc((count + 1) * sizeof(size_t))};
    bool done = (correction.p && correction.corrected && correction.firsts) ||
                error_memory(error, "p values", count * 3 * sizeof(double), NULL);
    for (size_t i = 0; done && i < count; i++)
        done = correct_family(comparisons, key, i, &correction, error);
    free(correction.p);
    free(correction.corrected);
    free(correction.firsts);
    return done;
}

double comparison_needed_deviations(int64_t family, int64_t seeds)
{
    if (seeds < 2 || family < 1)
        return NAN;
    return student_quantile_two_sided(SIGNIFICANCE / (double)family, (double)(seeds - 1)) /
           sqrt((double)seeds);
}
