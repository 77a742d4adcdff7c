/* core/statistics.c against scipy (tests/goldens/make_statistics.py), and the bootstrap against what it must
 * do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/random.h"
#include "core/resampling.h"
#include "core/statistics.h"

enum { NUMBERS_MAXIMUM = 64 };

static void assert_close(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fmax(1e-3, fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
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
    } else {
        fail_msg("unknown line %s", name);
    }
}

static void test_against_scipy(void **state)
{
    (void)state;
    FILE *stream = fopen(IDREC_SOURCE_DIR "/tests/goldens/statistics.txt", "re");
    assert_non_null(stream);
    char line[4096];
    int lines = 0;
    while (fgets(line, sizeof line, stream) != NULL) {
        double values[NUMBERS_MAXIMUM];
        int count = 0;
        char *rest, *name = strtok_r(line, " \n", &rest);
        for (char *word = strtok_r(NULL, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest))
            values[count++] = strtod(word, NULL);
        check_line(name, values);
        lines++;
    }
    fclose(stream);
    assert_true(lines > 30);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_scipy),
        cmocka_unit_test(test_nothing_to_test),
        cmocka_unit_test(test_holm),
        cmocka_unit_test(test_bootstrap_interval),
        cmocka_unit_test(test_bootstrap_of_equal_arms),
        cmocka_unit_test(test_bootstrap_over_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
