/* core/statistics.c, core/resampling.c and experiments/comparison.c against scipy and statsmodels
 * (tests/goldens/make_statistics.py), and against what they must do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "core/random.h"
#include "core/resampling.h"
#include "core/statistics.h"
#include "experiments/comparison.h"

enum { NUMBERS_MAXIMUM = 512 };

static void assert_close(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fmax(1e-3, fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void check_signs(const double *v, bool exact)
{
    const int64_t count = (int64_t)v[0];
    struct sign_flip_test test;
    assert_true(sign_flip_test(&test, v + 3, count, (int64_t)v[1], (uint64_t)v[2]));
    assert_int_equal(test.exact, exact);
    assert_close(test.p, v[3 + count], 1e-12);
}

static void check_bootstrap(const double *v)
{
    const int64_t seeds = (int64_t)v[0], users = (int64_t)v[1];
    const double *a = v + 4, *b = a + seeds * users, *expected = b + seeds * users;
    struct bootstrap_interval found;
    assert_true(paired_bootstrap(&found, a, b, seeds, users, (int64_t)v[2], (uint64_t)v[3]));
    for (int end = 0; end < 2; end++) {
        assert_close(found.difference[end], expected[end], 1e-9);
        assert_close(found.relative_gain[end], expected[2 + end], 1e-9);
        assert_close(found.effect_size[end], expected[4 + end], 1e-9);
    }
}

static void check_holm(const double *v)
{
    const int64_t count = (int64_t)v[0];
    double corrected[32];
    assert_in_range(count, 1, 32);
    holm_correction(v + 1, count, corrected);
    for (int64_t i = 0; i < count; i++)
        assert_close(corrected[i], v[1 + count + i], 1e-12);
}

static double number(const json_t *record, const char *key)
{
    const json_t *value = json_object_get(record, key);
    if (!json_is_number(value))
        fail_msg("%s is no number", key);
    return json_number_value(value);
}

static void check_fields(const json_t *record, const double *expected)
{
    static const char *const fields[] = {"mean",
                                         "against_mean",
                                         "relative_gain",
                                         "effect_size",
                                         "deviation_seeds",
                                         "deviation_users",
                                         "p_seeds",
                                         "p_users",
                                         "p",
                                         "detectable_difference",
                                         "detectable_relative_gain"};
    static const char *const intervals[] = {"difference_ci95", "ci95", "effect_size_ci95"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        assert_close(number(record, fields[i]), *expected++, 1e-9);
    for (size_t i = 0; i < 6; i++) {
        const json_t *interval = json_object_get(record, intervals[i / 2]);
        assert_close(json_number_value(json_array_get(interval, i % 2)), *expected++, 1e-9);
    }
    assert_close(number(record, "p_holm"), number(record, "p"), 0);
    assert_null(json_object_get(record, "note"));
}

static void check_comparison(const double *v)
{
    const int64_t seeds = (int64_t)v[0], users = (int64_t)v[1];
    const struct compared compared = {
        .values = v + 5, .against = v + 5 + seeds * users, .seeds = seeds, .users = users};
    const struct comparison_settings settings = {
        .resamples = (int64_t)v[2], .flips = (int64_t)v[3], .seed = (uint64_t)v[4]};
    struct error error = ERROR_INITIALIZER;
    json_t *record = json_pack("{s:s}", "metric", "recall@20"), *comparisons = json_pack("[O]", record);
    assert_true(comparison_add(record, &compared, &settings, &error));
    assert_true(comparisons_correct(comparisons, "metric", &error));
    check_fields(record, compared.against + seeds * users);
    json_decref(comparisons);
    json_decref(record);
}

static void check_power(const char *name, const double *v)
{
    if (strcmp(name, "noncentral") == 0)
        assert_close(noncentral_student_two_sided(v[0], v[1], v[2]), v[3], 1e-9);
    else if (strcmp(name, "power") == 0)
        assert_close(paired_test_power(v[0], (int64_t)v[1], v[2]), v[3], 1e-9);
    else if (strcmp(name, "detectable") == 0)
        assert_close(detectable_effect((int64_t)v[0], v[1], v[2]), v[3], 1e-9);
    else
        fail_msg("unknown line %s", name);
}

static void check_line(const char *name, const double *v)
{
    if (strcmp(name, "incomplete_beta") == 0) {
        assert_close(incomplete_beta(v[0], v[1], v[2]), v[3], 1e-10);
    } else if (strcmp(name, "student_two_sided") == 0) {
        assert_close(student_two_sided(v[0], v[1]), v[2], 1e-10);
    } else if (strcmp(name, "student_quantile") == 0) {
        assert_close(student_quantile_two_sided(v[0], v[1]), v[2], 1e-9);
    } else if (strcmp(name, "paired") == 0) {
        int64_t count = (int64_t)v[0];
        const double *a = v + 1, *b = a + count, *expected = b + count;
        struct paired_test test = paired_t_test(a, b, count);
        assert_close(test.difference, expected[0], 1e-10);
        assert_close(test.t, expected[1], 1e-10);
        assert_close(test.p, expected[2], 1e-9);
        assert_close(paired_effect_size(a, b, count), expected[3], 1e-10);
    } else if (strcmp(name, "quantile") == 0) {
        int64_t count = (int64_t)v[0];
        assert_close(sorted_quantile(v + 1, count, v[1 + count]), v[2 + count], 1e-12);
    } else if (strcmp(name, "holm") == 0) {
        check_holm(v);
    } else if (strcmp(name, "all_signs") == 0 || strcmp(name, "drawn_signs") == 0) {
        check_signs(v, *name == 'a');
    } else if (strcmp(name, "bootstrap") == 0) {
        check_bootstrap(v);
    } else if (strcmp(name, "comparison") == 0) {
        check_comparison(v);
    } else {
        check_power(name, v);
    }
}

static void test_against_scipy(void **state)
{
    (void)state;
    FILE *stream = fopen(IDREC_SOURCE_DIR "/tests/goldens/statistics.txt", "re");
    assert_non_null(stream);
    char line[16384];
    int lines = 0;
    while (fgets(line, sizeof line, stream) != NULL) {
        double values[NUMBERS_MAXIMUM];
        int count = 0;
        assert_non_null(strchr(line, '\n'));
        char *rest, *name = strtok_r(line, " \n", &rest);
        for (char *word = strtok_r(NULL, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest))
            if (count < NUMBERS_MAXIMUM)
                values[count++] = strtod(word, NULL);
        assert_true(count < NUMBERS_MAXIMUM);
        check_line(name, values);
        lines++;
    }
    fclose(stream);
    assert_true(lines > 65);
}

static void test_nothing_to_test(void **state)
{
    (void)state;
    const double a[] = {0.5, 0.6, 0.7}, shifted[] = {0.25, 0.35, 0.45};
    assert_true(isnan(paired_t_test(a, shifted, 1).p));
    assert_true(isnan(paired_t_test(a, shifted, 3).p));
    assert_close(paired_t_test(a, a, 3).p, 1, 0);
    assert_true(isnan(paired_effect_size(a, a, 3)));
    assert_true(isnan(standard_deviation(a, 1)));
}

static void test_holm(void **state)
{
    (void)state;
    const double p[] = {0.01, NAN, 0.04, 0.03, 0.005}, expected[] = {0.03, NAN, 0.06, 0.06, 0.02};
    double corrected[5];
    holm_correction(p, 5, corrected);
    for (int i = 0; i < 5; i++)
        if (isnan(expected[i]))
            assert_true(isnan(corrected[i]));
        else
            assert_close(corrected[i], expected[i], 1e-14);
}

enum { SEEDS = 5, USERS = 400 };

/* Normal values of users, with a gain of 0.02 of the first arm. */
static void make_arms(double *a, double *b, uint64_t seed)
{
    for (int s = 0; s < SEEDS; s++)
        for (int u = 0; u < USERS; u++) {
            struct random_stream user = random_stream_open(seed, RANDOM_TEST, 0, (uint64_t)u);
            struct random_stream noise = random_stream_open(seed, RANDOM_TEST, (uint64_t)s + 1, (uint64_t)u);
            b[s * USERS + u] = 0.3 + 0.1 * random_normal(&user) + 0.02 * random_normal(&noise);
            a[s * USERS + u] = b[s * USERS + u] + 0.02 + 0.05 * random_normal(&noise);
        }
}

static void test_bootstrap_interval(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    struct bootstrap_interval interval, again;
    int covered = 0;
    for (uint64_t trial = 0; trial < 100; trial++) {
        make_arms(a, b, trial);
        assert_true(paired_bootstrap(&interval, a, b, SEEDS, USERS, 200, trial));
        covered += interval.difference[0] <= 0.02 && 0.02 <= interval.difference[1];
    }
    assert_in_range(covered, 85, 100);
    assert_true(paired_bootstrap(&again, a, b, SEEDS, USERS, 200, 99));
    assert_memory_equal(&interval, &again, sizeof interval);
    assert_true(interval.relative_gain[0] > 0.02 / 0.5 && interval.relative_gain[1] < 0.02 / 0.2);
}

static void test_number_of_threads(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS], differences[USERS];
    struct bootstrap_interval intervals[2];
    struct sign_flip_test tests[2];
    make_arms(a, b, 6);
    for (int u = 0; u < USERS; u++)
        differences[u] = a[u] - b[u] - 0.02;
    const int threads = omp_get_max_threads();
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i == 0 ? 1 : 5);
        assert_true(paired_bootstrap(&intervals[i], a, b, SEEDS, USERS, 300, 1));
        assert_true(sign_flip_test(&tests[i], differences, USERS, 3000, 1));
    }
    omp_set_num_threads(threads);
    assert_memory_equal(&intervals[0], &intervals[1], sizeof *intervals);
    assert_true(tests[0].p == tests[1].p && tests[0].p > 0.001 && tests[0].p < 1);
}

static void test_bootstrap_of_equal_arms(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    struct bootstrap_interval interval;
    make_arms(a, b, 1);
    assert_true(paired_bootstrap(&interval, a, a, SEEDS, USERS, 200, 1));
    assert_close(interval.difference[0], 0, 0);
    assert_close(interval.difference[1], 0, 0);
}

/* One user alone has any hits: many resamples leave him out, and a gain over nothing is no number. */
static void test_bootstrap_over_nothing(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    struct bootstrap_interval interval;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    for (int64_t s = 0; s < SEEDS; s++) {
        a[s * USERS] = 1;
        b[s * USERS] = 0.5;
    }
    assert_true(paired_bootstrap(&interval, a, b, SEEDS, USERS, 200, 1));
    assert_true(isnan(interval.relative_gain[0]) && isnan(interval.relative_gain[1]));
    assert_true(interval.difference[0] == 0 && interval.difference[1] > 0);
}

/* The record of one comparison, outside any family. */
static json_t *compare(const double *a, const double *b, int64_t seeds, bool deterministic)
{
    const struct compared compared = {
        .values = a, .against = b, .seeds = seeds, .users = USERS, .deterministic = deterministic};
    const struct comparison_settings settings = {.resamples = 100, .flips = 1000, .seed = 1};
    struct error error = ERROR_INITIALIZER;
    json_t *record = json_pack("{s:s}", "metric", "recall@20");
    assert_true(comparison_add(record, &compared, &settings, &error));
    return record;
}

static void assert_note(const json_t *record, const char *beginning)
{
    const char *note = json_string_value(json_object_get(record, "note"));
    assert_non_null(note);
    assert_memory_equal(note, beginning, strlen(beginning));
}

/* What has no test has no p, no interval, no part in the family, and a note. The same results have none even where a
 * recommender would stand on its users alone. */
static void test_no_comparison(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    make_arms(a, b, 3);
    json_t *records = json_array();
    json_array_append_new(records, compare(a, b, 1, false));
    json_array_append_new(records, compare(a, a, SEEDS, false));
    json_array_append_new(records, compare(a, b, SEEDS, false));
    json_array_append_new(records, compare(b, a, SEEDS, false));
    json_array_append_new(records, compare(b, b, SEEDS, true));
    json_array_append_new(records, compare(b, b, 1, false));
    struct error error = ERROR_INITIALIZER;
    assert_true(comparisons_correct(records, "metric", &error));
    assert_note(json_array_get(records, 0), "one seed");
    static const size_t same[] = {1, 4, 5}, other[] = {0, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        assert_note(json_array_get(records, same[i]), "the same results: nothing to test");
        assert_true(json_is_true(json_object_get(json_array_get(records, same[i]), "same_results")));
        assert_true(json_is_false(json_object_get(json_array_get(records, other[i]), "same_results")));
    }
    static const char *const fields[] = {
        "p", "p_seeds", "p_users", "p_holm", "ci95", "effect_size_ci95", "detectable_difference"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        assert_true(json_is_null(json_object_get(json_array_get(records, 0), fields[i])));
        for (size_t j = 0; j < 3; j++)
            assert_true(json_is_null(json_object_get(json_array_get(records, same[j]), fields[i])));
        assert_false(json_is_null(json_object_get(json_array_get(records, 2), fields[i])));
    }
    for (size_t i = 0; i < json_array_size(records); i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(records, i), "family")), 2);
    assert_close(number(json_array_get(records, 2), "p_holm"), 2 * number(json_array_get(records, 2), "p"),
                 1e-12);
    json_decref(records);
}

/* Arms that are the same at every seed stand on their users alone. */
static void test_without_spread_over_seeds(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    make_arms(a, b, 4);
    for (int64_t s = 1; s < SEEDS; s++) {
        memcpy(a + s * USERS, a, USERS * sizeof *a);
        memcpy(b + s * USERS, b, USERS * sizeof *b);
    }
    json_t *record = compare(a, b, SEEDS, true), *other = compare(a, b, SEEDS, false);
    assert_true(json_is_null(json_object_get(record, "p_seeds")));
    assert_close(number(record, "p"), number(record, "p_users"), 0);
    assert_true(number(record, "p") < 0.01);
    assert_note(record, "deterministic");
    assert_true(json_is_null(json_object_get(other, "p")));
    assert_note(other, "all seeds differ by the same");
    json_decref(record);
    json_decref(other);
}

/* p cannot be below 1 / 1001: 60 comparisons are too many for it, and those that it holds back say so. */
static void test_too_few_flips(void **state)
{
    (void)state;
    enum { FAMILY = 60 };
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    make_arms(a, b, 5);
    json_t *clear = compare(a, b, SEEDS, false), *records = json_array();
    for (int i = 0; i < FAMILY; i++) {
        json_array_append_new(records, json_deep_copy(clear));
        json_object_set_new(json_array_get(records, (size_t)i), "fingerprint", json_sprintf("%d", i));
    }
    json_object_set_new(json_array_get(records, 1), "p_users", json_real(0.5));
    struct error error = ERROR_INITIALIZER;
    assert_true(comparisons_correct(records, "metric", &error));
    assert_close(number(clear, "p_users"), 1.0 / 1001, 1e-12);
    assert_note(json_array_get(records, 0), "too few signs were drawn for 60 comparisons");
    assert_null(json_object_get(json_array_get(records, 1), "note"));
    json_decref(records);
    json_decref(clear);
}

/* The same fits held against each other count once; a copy with another p, from other draws, has the larger of both. */
static void test_copies(void **state)
{
    (void)state;
    static double a[SEEDS * USERS], b[SEEDS * USERS];
    make_arms(a, b, 6);
    json_t *records = json_array();
    json_array_append_new(records, compare(a, b, SEEDS, false));
    json_array_append_new(records, compare(a, b, SEEDS, false));
    json_array_append_new(records, compare(b, a, SEEDS, false));
    const double p = number(json_array_get(records, 0), "p");
    json_object_set_new(json_array_get(records, 1), "p", json_real(3 * p));
    struct error error = ERROR_INITIALIZER;
    assert_true(comparisons_correct(records, "metric", &error));
    for (size_t i = 0; i < 3; i++)
        assert_close(number(json_array_get(records, i), "family"), 2, 0);
    assert_close(number(json_array_get(records, 2), "p_holm"), 2 * p, 1e-12);
    assert_close(number(json_array_get(records, 0), "p_holm"), 3 * p, 1e-12);
    assert_close(number(json_array_get(records, 1), "p_holm"), 3 * p, 1e-12);
    comparison_forget_family(json_array_get(records, 0));
    assert_null(json_object_get(json_array_get(records, 0), "p_holm"));
    assert_non_null(json_object_get(json_array_get(records, 0), "p"));
    json_decref(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_scipy),
        cmocka_unit_test(test_nothing_to_test),
        cmocka_unit_test(test_holm),
        cmocka_unit_test(test_bootstrap_interval),
        cmocka_unit_test(test_number_of_threads),
        cmocka_unit_test(test_bootstrap_of_equal_arms),
        cmocka_unit_test(test_bootstrap_over_nothing),
        cmocka_unit_test(test_no_comparison),
        cmocka_unit_test(test_without_spread_over_seeds),
        cmocka_unit_test(test_too_few_flips),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
