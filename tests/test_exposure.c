/* core/exposure.c and core/groups.c on cases whose answers are known by hand. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exposure.h"
#include "tests/support.h"

static void assert_near(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-12 * fmax(1.0, fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void test_gini_of_known_distributions(void **state)
{
    (void)state;
    int64_t alike[4] = {3, 3, 3, 3}, one[5] = {0, 7, 0, 0, 0}, none[3] = {0}, single[1] = {9};
    int64_t rising[4] = {4, 1, 3, 2};
    assert_near(gini_index(alike, 4), 0);
    assert_near(gini_index(one, 5), 1 - 1.0 / 5);
    assert_near(gini_index(single, 1), 0);
    assert_near(gini_index(rising, 4), 0.25); /* mean absolute difference 1.25 over twice the mean 2.5 */
    assert_true(isnan(gini_index(none, 3)));
}

static void test_entropy_of_known_distributions(void **state)
{
    (void)state;
    const int64_t alike[8] = {5, 5, 5, 5, 5, 5, 5, 5}, one[3] = {0, 4, 0}, halves[3] = {2, 1, 1},
                  none[2] = {0};
    assert_near(entropy_bits(alike, 8), 3);
    assert_near(entropy_bits(one, 3), 0);
    assert_near(entropy_bits(halves, 3), 1.5);
    assert_true(isnan(entropy_bits(none, 2)));
}

static void test_disparity_of_two_sides(void **state)
{
    (void)state;
    const int64_t alike[2] = {5, 1}, of_alike[2] = {50, 10}, one_side[2] = {3, 0}, apart[2] = {3, 1};
    const int64_t tens[2] = {10, 10}, nobody[2] = {10, 0}, none[2] = {0};
    assert_near(disparity(alike, of_alike), 0);
    assert_near(disparity(one_side, tens), 1);
    assert_near(disparity(apart, tens), 0.5); /* deviation 0.1 over mean 0.2 */
    assert_true(isnan(disparity(apart, nobody)));
    assert_true(isnan(disparity(none, tens)));
}

/* Four users, six items; popularity 4, 2, 1, 1, 1, 0. */
static int64_t train_starts[] = {0, 4, 6, 8, 9};
static int32_t train_items[] = {0, 1, 2, 3, 0, 4, 0, 1, 0};
static const struct csr train = {4, 6, train_starts, train_items};
/* User 3 has no list; user 2's is shorter than the cut. */
static int64_t list_starts[] = {0, 2, 5, 6, 6};
static int32_t list_items[] = {4, 5, 1, 2, 3, 4};
static const struct csr lists = {4, 6, list_starts, list_items};
static int64_t truth_starts[] = {0, 1, 3, 4, 5};
static int32_t truth_items[] = {5, 1, 3, 5, 1};
static const struct csr truth = {4, 6, truth_starts, truth_items};

static void test_long_tail_is_what_the_head_leaves(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    int64_t popularity[6];
    bool tail[6];
    item_popularity(popularity, &train);
    const int64_t expected[6] = {4, 2, 1, 1, 1, 0};
    assert_memory_equal(popularity, expected, sizeof expected);
    require(long_tail(tail, popularity, 6, 0.6, &error), &error); /* 4 + 2 of 9 are enough, 4 are not */
    const bool outside[6] = {false, false, true, true, true, true};
    assert_memory_equal(tail, outside, sizeof outside);
    require(long_tail(tail, popularity, 6, 2.0 / 3, &error), &error); /* 6 of 9 are two thirds */
    assert_memory_equal(tail, outside, sizeof outside);
    require(long_tail(tail, popularity, 6, 0.67, &error), &error); /* of equals the lower number is head */
    const bool further[6] = {false, false, false, true, true, true};
    assert_memory_equal(tail, further, sizeof further);
    require(long_tail(tail, popularity, 6, 0, &error), &error); /* never an empty head */
    assert_false(tail[0]);
    assert_true(tail[1]);
}

static void measure(double values[EXPOSURE_COUNT], int64_t k)
{
    struct error error = ERROR_INITIALIZER;
    int64_t popularity[6];
    bool tail[6];
    item_popularity(popularity, &train);
    require(long_tail(tail, popularity, 6, 0.6, &error), &error);
    const struct exposure_context context = {&train, &train, &truth, popularity, tail};
    require(exposure_measure(values, &lists, k, &context, &error), &error);
}

static void test_measures_of_lists(void **state)
{
    (void)state;
    double values[EXPOSURE_COUNT];
    measure(values, 2); /* lists 4 5 | 1 2 | 4: places 0 1 1 0 2 1 */
    assert_near(values[EXPOSURE_COVERAGE], 4.0 / 6);
    assert_near(values[EXPOSURE_GINI], (-5 * 0 - 3 * 0 - 1 + 1 + 3 + 5 * 2) / 30.0);
    assert_near(values[EXPOSURE_ENTROPY], 3 * 0.2 * log2(5) + 0.4 * log2(2.5));
    assert_near(values[EXPOSURE_POPULARITY], (0.5 + 1.5 + 1) / 3);
    assert_near(values[EXPOSURE_LIFT], (0.5 + 1.5 + 1) / (2 + 2.5 + 3) - 1);
    assert_near(values[EXPOSURE_NOVELTY],
                (2 + 1.5 + 2) / 3); /* item 5, without a row, counts as having one */
    assert_near(values[EXPOSURE_TAIL_SHARE], (1 + 0.5 + 1) / 3);
    assert_near(values[EXPOSURE_TAIL_COUNT], 4.0 / 3);
    assert_near(values[EXPOSURE_TAIL_COVERAGE], 3.0 / 4);
    /* Of the held-out items 1 1 | 3 5 5: shown one each. */
    assert_near(values[EXPOSURE_OPPORTUNITY], (1.0 / 2 - 1.0 / 3) / (1.0 / 2 + 1.0 / 3));
    /* Users 0, 1, 2 could be shown 0 + 1 + 0 items of the head and 2 + 3 + 4 of the tail. */
    assert_near(values[EXPOSURE_PARITY], (1.0 - 4.0 / 9) / (1.0 + 4.0 / 9));
    measure(values, 3); /* item 3 as well */
    assert_near(values[EXPOSURE_COVERAGE], 5.0 / 6);
    assert_near(values[EXPOSURE_TAIL_COUNT], 5.0 / 3);
    assert_near(values[EXPOSURE_OPPORTUNITY], (2.0 / 3 - 1.0 / 2) / (2.0 / 3 + 1.0 / 2));
}

static void test_nothing_shown_measures_nothing(void **state)
{
    (void)state;
    int64_t starts[5] = {0};
    const struct csr empty = {4, 6, starts, list_items};
    struct error error = ERROR_INITIALIZER;
    int64_t popularity[6];
    bool tail[6] = {false};
    double values[EXPOSURE_COUNT];
    item_popularity(popularity, &train);
    const struct exposure_context context = {&train, &train, NULL, popularity, tail};
    require(exposure_measure(values, &empty, 10, &context, &error), &error);
    for (int metric = 0; metric < EXPOSURE_COUNT; metric++)
        if (metric == EXPOSURE_COVERAGE)
            assert_near(values[metric], 0);
        else
            assert_true(isnan(values[metric]));
}

static void test_groups_by_history(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct groups groups;
    const int32_t everyone[] = {0, 1, 2, 3}, two[] = {1, 2};
    require(groups_by_history(&groups, &train, everyone, 4, 4, &error), &error);
    assert_int_equal(groups.count, 3); /* the two users of two rows stay together */
    assert_string_equal(groups.name[0], "up to 1");
    assert_string_equal(groups.name[1], "2");
    assert_string_equal(groups.name[2], "over 2");
    const int32_t expected[] = {2, 1, 1, 0};
    assert_memory_equal(groups.of, expected, sizeof expected);
    assert_int_equal(groups_size(&groups, 1), 2);
    groups_free(&groups);
    const int32_t odd[] = {0, 1, 3}; /* of lengths 4, 2, 1: half of them, or more, do not exceed 2 */
    require(groups_by_history(&groups, &train, odd, 3, 2, &error), &error);
    assert_int_equal(groups.count, 2);
    assert_string_equal(groups.name[0], "up to 2");
    groups_free(&groups);
    require(groups_by_history(&groups, &train, two, 2, 4, &error), &error);
    assert_int_equal(groups.count, 1);
    assert_string_equal(groups.name[0], "all");
    groups_free(&groups);
    require(groups_by_history(&groups, &train, two, 0, 4, &error), &error);
    assert_int_equal(groups.count, 1);
    groups_free(&groups);
}

static void test_groups_by_popularity(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct groups groups;
    const int64_t popularity[] = {1, 5, 1, 0, 9, 1, 4};
    require(groups_by_popularity(&groups, popularity, 7, 3, &error), &error);
    const int32_t expected[] = {1, 0, 1, 2, 0, 2, 0};
    assert_memory_equal(groups.of, expected, sizeof expected);
    groups_free(&groups);
}

static void test_metrics_of_groups(void **state)
{
    (void)state;
    int32_t of_user[] = {0, 0, 1, -1}, of_item[] = {0, 0, 0, 1, 1, 1};
    const struct groups users = {.members = 4, .of = of_user, .count = 3};
    const struct groups items = {.members = 6, .of = of_item, .count = 2};
    struct group_metrics metrics[3];
    user_group_metrics(metrics, &lists, &truth, 2, &users);
    assert_int_equal(metrics[0].users, 2);
    assert_near(metrics[0].recall, (1 + 0.5) / 2);
    assert_near(metrics[0].ndcg, (1 / log2(3) + 1 / (1 + 1 / log2(3))) / 2);
    assert_int_equal(metrics[1].users, 1);
    assert_near(metrics[1].recall, 0);
    assert_int_equal(metrics[2].users, 0);
    assert_true(isnan(metrics[2].recall));
    item_group_metrics(metrics, &lists, &truth, 2, &items);
    assert_int_equal(metrics[0].users, 2); /* 1 and 3: item 1, found for user 1 */
    assert_near(metrics[0].recall, 0.5);
    assert_near(metrics[0].ndcg, 0.5);
    assert_int_equal(metrics[1].users, 3);
    assert_near(metrics[1].recall, 1.0 / 3);
    assert_near(metrics[1].ndcg, 1 / log2(3) / 3);
}

static void test_shares_and_lifts_of_groups(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    int64_t popularity[6];
    bool tail[6];
    item_popularity(popularity, &train);
    require(long_tail(tail, popularity, 6, 0.6, &error), &error);
    int32_t of_user[] = {0, 0, 1, 2}, of_item[] = {0, 0, 0, 1, 1, -1};
    const struct groups users = {.members = 4, .of = of_user, .count = 3};
    const struct groups items = {.members = 6, .of = of_item, .count = 2};
    const struct exposure_context context = {&train, &train, &truth, popularity, tail};
    double shares[2], lifts[3];
    exposure_shares(shares, &lists, 2, &items);
    assert_near(shares[0], 2.0 / 5);
    assert_near(shares[1], 2.0 / 5);
    popularity_lifts(lifts, &lists, 2, &context, &users);
    assert_near(lifts[0], 2.0 / 4.5 - 1);
    assert_near(lifts[1], 1.0 / 3 - 1);
    assert_true(isnan(lifts[2]));
}

static void test_spread_of_groups(void **state)
{
    (void)state;
    const double values[] = {NAN, 0.5, 0.2, 0.9}, none[] = {NAN};
    const struct group_spread spread = group_spread(values, 4);
    assert_int_equal(spread.worst, 2);
    assert_near(spread.lowest, 0.2);
    assert_near(spread.gap, 0.7);
    assert_int_equal(group_spread(none, 1).worst, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gini_of_known_distributions),
        cmocka_unit_test(test_entropy_of_known_distributions),
        cmocka_unit_test(test_disparity_of_two_sides),
        cmocka_unit_test(test_long_tail_is_what_the_head_leaves),
        cmocka_unit_test(test_measures_of_lists),
        cmocka_unit_test(test_nothing_shown_measures_nothing),
        cmocka_unit_test(test_groups_by_history),
        cmocka_unit_test(test_groups_by_popularity),
        cmocka_unit_test(test_metrics_of_groups),
        cmocka_unit_test(test_shares_and_lifts_of_groups),
        cmocka_unit_test(test_spread_of_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
