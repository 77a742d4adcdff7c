/* The rule by which augmentation is adopted, or not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "experiments/selection.h"

static const struct choice choices[] = {
    {.use = USE_NONE}, {.use = USE_POSITIVES, .amount = 1}, {.use = USE_EXCLUDE_FROM_NEGATIVES, .amount = 5}};

static void test_adopts_only_beyond_the_margin(void **state)
{
    (void)state;
    struct choice_score results[] = {{.gain = 0}, {.gain = 0.010, .standard_error = 0.004}, {.gain = 0.005}};
    int best;
    assert_int_equal(selection_decide(results, &best, choices, 3, 1), 1);
    assert_int_equal(selection_decide(results, &best, choices, 3, 2), 1);
    assert_int_equal(selection_decide(results, &best, choices, 3, 3), -1);
    assert_int_equal(best, 1);
}

static void test_never_adopts_a_loss(void **state)
{
    (void)state;
    struct choice_score results[] = {{.gain = 0}, {.gain = -0.001}, {.gain = 0}};
    int best;
    assert_int_equal(selection_decide(results, &best, choices, 3, 0), -1);
    assert_int_equal(best, 2);
}

/* What changes nothing is no better than what does harm: it leaves the controls nothing to add. */
static void test_what_changes_nothing_is_passed_over(void **state)
{
    (void)state;
    struct choice_score results[] = {{.gain = 0}, {.gain = 0, .same = true}, {.gain = -0.001}};
    int best;
    assert_int_equal(selection_decide(results, &best, choices, 3, 0), -1);
    assert_int_equal(best, 2);
    results[2].same = true;
    assert_int_equal(selection_decide(results, &best, choices, 3, 0), -1);
    assert_int_equal(best, 1);
    const double values[] = {1, 0.5}, others[] = {0.5, 1};
    assert_true(choice_score(values, values, 1, 2).same);
    assert_false(choice_score(values, others, 1, 2).same);
}

static void test_nothing_to_choose_from(void **state)
{
    (void)state;
    struct choice_score results[] = {{.gain = 0}};
    int best;
    assert_int_equal(selection_decide(results, &best, choices, 1, 0), -1);
    assert_int_equal(best, -1);
}

static void test_first_of_equals(void **state)
{
    (void)state;
    struct choice_score results[] = {{.gain = 0}, {.gain = 0.01}, {.gain = 0.01}};
    int best;
    assert_int_equal(selection_decide(results, &best, choices, 3, 1), 1);
}

/* Two seeds that agree to the last digit say nothing about users who do not. */
static void test_error_over_users_counts_too(void **state)
{
    (void)state;
    const double baseline[] = {0, 0, 0, 0, 0, 0, 0, 0}, scores[] = {1, -1, 1, 0, 1, -1, 1, 0};
    struct choice_score score = choice_score(scores, baseline, 2, 4);
    assert_true(fabs(score.gain - 0.25) < 1e-15);
    /* deviation of {1, -1, 1, 0} over the root of 4 */
    assert_true(fabs(score.standard_error - sqrt(2.75 / 3) / 2) < 1e-15);
}

static void test_error_over_seeds_counts_too(void **state)
{
    (void)state;
    const double baseline[] = {0, 0, 0, 0}, scores[] = {1, 1, 0, 0};
    struct choice_score score = choice_score(scores, baseline, 2, 2);
    assert_true(fabs(score.standard_error - 0.5) < 1e-15);
}

static void test_names(void **state)
{
    (void)state;
    char name[CHOICE_NAME_SIZE];
    const struct choice share = {.use = USE_BOTH, .proportional = true, .amount = 0.1, .quantile = 0.5};
    choice_name(name, &choices[1]);
    assert_string_equal(name, "positives-1");
    choice_name(name, &share);
    assert_string_equal(name, "both-0.1x-q0.5");
    choice_name(name, &choices[0]);
    assert_string_equal(name, "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopts_only_beyond_the_margin),
        cmocka_unit_test(test_never_adopts_a_loss),
        cmocka_unit_test(test_what_changes_nothing_is_passed_over),
        cmocka_unit_test(test_nothing_to_choose_from),
        cmocka_unit_test(test_first_of_equals),
        cmocka_unit_test(test_error_over_users_counts_too),
        cmocka_unit_test(test_error_over_seeds_counts_too),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
