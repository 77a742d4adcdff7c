/* experiments/filters.c, choice.c, arms.c and controls.c on a data set small enough to check by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "experiments/arms.h"
#include "experiments/controls.h"
#include "experiments/filters.h"

/* Users 0, 1, 2 with the items {0, 1}, {2} and {0, 1, 2, 3} of 6. */
static int64_t train_starts[] = {0, 2, 3, 7};
static int32_t train_indices[] = {0, 1, 2, 0, 1, 2, 3};
static const struct csr train = {.rows = 3, .columns = 6, .starts = train_starts, .indices = train_indices};

static int32_t reason_of(const struct candidate *candidates, int count, int32_t user, int32_t item,
                         int32_t position)
{
    for (int i = 0; i < count; i++)
        if (candidates[i].user == user && candidates[i].item == item && candidates[i].position == position)
            return candidates[i].reason;
    fail_msg("user %d, item %d is lost", user, item);
    return 0;
}

static void apply(struct candidate *candidates, int64_t count, const struct filter *filters, int filter_count)
{
    struct error error = ERROR_INITIALIZER;
    assert_true(filters_apply(candidates, count, filters, filter_count, &train, &error));
}

static void test_each_reason(void **state)
{
    (void)state;
    struct candidate candidates[] = {
        {.user = 0, .item = 9, .log_probability = -1, .votes = 1},                /* no such item */
        {.user = 0, .item = 1, .log_probability = -1, .votes = 1},                /* seen */
        {.user = 0, .item = 4, .log_probability = -3, .votes = 2, .position = 1}, /* less probable twin */
        {.user = 0, .item = 4, .log_probability = -2, .votes = 2, .position = 2},
        {.user = 0, .item = 5, .log_probability = -8, .votes = 5}, /* not confident */
        {.user = 1, .item = 5, .log_probability = -1, .votes = 1}, /* too few votes */
        {.user = 2, .item = 5, .log_probability = -1, .votes = 3}, /* long history */
        {.user = 1, .item = 4, .log_probability = -1, .votes = 3},
    };
    enum { COUNT = sizeof candidates / sizeof *candidates };
    const struct filter filters[] = {
        {.kind = FILTER_CATALOGUE},
        {.kind = FILTER_SEEN},
        {.kind = FILTER_DUPLICATE},
        {.kind = FILTER_CONFIDENCE, .minimum_log_probability = -5, .minimum_votes = 2},
        {.kind = FILTER_HISTORY_QUANTILE, .quantile = 0.5},
    };
    apply(candidates, COUNT, filters, 5);
    assert_int_equal(reason_of(candidates, COUNT, 0, 9, 0), FILTER_CATALOGUE);
    assert_int_equal(reason_of(candidates, COUNT, 0, 1, 0), FILTER_SEEN);
    assert_int_equal(reason_of(candidates, COUNT, 0, 4, 1), FILTER_DUPLICATE);
    assert_int_equal(reason_of(candidates, COUNT, 0, 4, 2), CANDIDATE_ACCEPTED);
    assert_int_equal(reason_of(candidates, COUNT, 0, 5, 0), FILTER_CONFIDENCE);
    assert_int_equal(reason_of(candidates, COUNT, 1, 5, 0), FILTER_CONFIDENCE);
    assert_int_equal(reason_of(candidates, COUNT, 2, 5, 0), FILTER_HISTORY_QUANTILE);
    assert_int_equal(reason_of(candidates, COUNT, 1, 4, 0), CANDIDATE_ACCEPTED);
}

static void test_caps_keep_the_best(void **state)
{
    (void)state;
    struct candidate candidates[] = {
        {.user = 0, .item = 2, .log_probability = -3, .votes = 1},
        {.user = 0, .item = 4, .log_probability = -1, .votes = 1},
        {.user = 0, .item = 5, .log_probability = -2, .votes = 1},
        {.user = 1, .item = 4, .log_probability = -4, .votes = 1},
        {.user = 2, .item = 4, .log_probability = -0.5F, .votes = 1},
    };
    const struct filter filters[] = {{.kind = FILTER_CAP_USER, .maximum = 2},
                                     {.kind = FILTER_CAP_ITEM, .maximum = 2}};
    apply(candidates, 5, filters, 2);
    assert_int_equal(reason_of(candidates, 5, 0, 2, 0), FILTER_CAP_USER);
    assert_int_equal(reason_of(candidates, 5, 0, 4, 0), CANDIDATE_ACCEPTED);
    assert_int_equal(reason_of(candidates, 5, 0, 5, 0), CANDIDATE_ACCEPTED);
    assert_int_equal(reason_of(candidates, 5, 1, 4, 0), FILTER_CAP_ITEM);
    assert_int_equal(reason_of(candidates, 5, 2, 4, 0), CANDIDATE_ACCEPTED);
}

static void test_tail_of_a_cut_text(void **state)
{
    (void)state;
    struct candidate candidates[] = {{.user = 0, .item = 4, .position = 8},
                                     {.user = 0, .item = 5, .position = 9, .cut = true}};
    const struct filter filters[] = {{.kind = FILTER_INCOMPLETE_TAIL}};
    apply(candidates, 2, filters, 1);
    assert_int_equal(reason_of(candidates, 2, 0, 4, 8), CANDIDATE_ACCEPTED);
    assert_int_equal(reason_of(candidates, 2, 0, 5, 9), FILTER_INCOMPLETE_TAIL);
}

static void test_ranks(void **state)
{
    (void)state;
    struct candidate candidates[] = {
        {.user = 1, .item = 4, .log_probability = -1, .votes = 1, .reason = CANDIDATE_ACCEPTED},
        {.user = 0, .item = 4, .log_probability = -9, .votes = 3, .reason = CANDIDATE_ACCEPTED},
        {.user = 0, .item = 5, .log_probability = -2, .votes = 1, .reason = CANDIDATE_ACCEPTED},
        {.user = 0, .item = 2, .log_probability = -2, .votes = 1, .reason = CANDIDATE_ACCEPTED},
        {.user = 0, .item = 3, .log_probability = 0, .votes = 9, .reason = FILTER_SEEN},
    };
    candidates_rank(candidates, 5, true);
    const int32_t by_votes[] = {4, 2, 5, 4, 3};
    for (int i = 0; i < 5; i++)
        assert_int_equal(candidates[i].item, by_votes[i]);
    assert_int_equal(candidates[2].rank, 3);
    assert_int_equal(candidates[3].rank, 1);
    assert_int_equal(candidates[4].rank, 0);
    candidates_rank(candidates, 5, false);
    const int32_t by_probability[] = {2, 5, 4, 4, 3};
    for (int i = 0; i < 5; i++)
        assert_int_equal(candidates[i].item, by_probability[i]);
}

static int64_t list_starts[] = {0, 3, 5, 7};
static int32_t list_items[] = {5, 4, 2, 0, 5, 5, 4};
static float list_probabilities[] = {-1, -2, -5, -1, -6, -3, -4};
static const struct ranked_lists lists = {
    .items = {.rows = 3, .columns = 6, .starts = list_starts, .indices = list_items},
    .log_probability = list_probabilities};

static void test_choices(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct csr rows = {0};
    const struct choice fixed = {.use = USE_POSITIVES, .amount = 2};
    assert_true(choice_rows(&rows, &fixed, &lists, &train, &error));
    assert_int_equal(csr_count(&rows), 6);
    assert_int_equal(rows.indices[1], 4);
    csr_free(&rows);
    const struct choice share = {.use = USE_POSITIVES, .proportional = true, .amount = 0.5};
    assert_true(choice_rows(&rows, &share, &lists, &train, &error));
    assert_int_equal(csr_row_length(&rows, 0), 1);
    assert_int_equal(csr_row_length(&rows, 1), 1);
    assert_int_equal(csr_row_length(&rows, 2), 2);
    csr_free(&rows);
    const struct choice confident = {.use = USE_POSITIVES, .amount = 9, .quantile = 0.5};
    assert_true(choice_rows(&rows, &confident, &lists, &train, &error));
    assert_int_equal(csr_count(&rows), 4);
    csr_free(&rows);
    const struct choice none = {.use = USE_NONE, .amount = 9};
    assert_true(choice_rows(&rows, &none, &lists, &train, &error));
    assert_int_equal(csr_count(&rows), 0);
    csr_free(&rows);
}

static void test_arm_rows(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct arm_rows arm;
    assert_true(arm_rows_build(&arm, &train, &lists.items, USE_BOTH, 0.5, &error));
    assert_int_equal(csr_count(&arm.positives), 14);
    assert_int_equal(arm.rows_added, 7);
    const int32_t first_user[] = {0, 1, 2, 4, 5};
    const float weights[] = {1, 1, 0.5F, 0.5F, 0.5F};
    assert_memory_equal(arm.positives.indices, first_user, sizeof first_user);
    assert_memory_equal(arm.weights, weights, sizeof weights);
    assert_int_equal(csr_count(&arm.excluded), 7);
    assert_true(csr_contains_sorted(&arm.excluded, 0, 4));
    arm_rows_free(&arm);
    assert_true(arm_rows_build(&arm, &train, &lists.items, USE_EXCLUDE_FROM_NEGATIVES, 1, &error));
    assert_int_equal(csr_count(&arm.positives), 7);
    assert_non_null(arm_training_set(&arm, &train).excluded);
    arm_rows_free(&arm);
    assert_true(arm_rows_build(&arm, &train, NULL, USE_NONE, 1, &error));
    assert_null(arm_training_set(&arm, &train).excluded);
    arm_rows_free(&arm);
}

/* As many rows a user as asked for or as there are unseen items, none seen, none twice. */
static void check_control(const struct csr *rows, const struct csr *amounts)
{
    struct error error = ERROR_INITIALIZER;
    struct csr sorted;
    assert_true(csr_sorted(&sorted, rows, &error));
    for (int64_t user = 0; user < train.rows; user++) {
        int64_t unseen = train.columns - csr_row_length(&train, user), wanted = csr_row_length(amounts, user);
        assert_int_equal(csr_row_length(rows, user), wanted < unseen ? wanted : unseen);
        for (int64_t i = sorted.starts[user]; i < sorted.starts[user + 1]; i++) {
            assert_false(csr_contains_sorted(&train, user, sorted.indices[i]));
            assert_true(i == sorted.starts[user] || sorted.indices[i] > sorted.indices[i - 1]);
        }
    }
    csr_free(&sorted);
}

static void test_controls(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct csr rows = {0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_true(control_random(&rows, &lists.items, &train, seed, &error));
        check_control(&rows, &lists.items);
        csr_free(&rows);
        assert_true(control_popularity(&rows, &lists.items, &train, seed, &error));
        check_control(&rows, &lists.items);
        csr_free(&rows);
    }
}

static void test_permuted_rows_come_from_others(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    int64_t starts[] = {0, 1, 2, 3};
    const struct csr one = {.rows = 3, .columns = 6, .starts = starts, .indices = list_items};
    struct csr rows = {0};
    assert_true(control_permuted(&rows, &one, &train, &lists, 1, &error));
    check_control(&rows, &one);
    for (int64_t user = 0; user < 3; user++) {
        bool from_another = false;
        for (int64_t other = 0; other < 3; other++)
            for (int64_t i = list_starts[other]; other != user && i < list_starts[other + 1]; i++)
                from_another = from_another || list_items[i] == rows.indices[user];
        assert_true(from_another);
    }
    csr_free(&rows);
}

/* Where the lists of a group of similar users hold too little, the next group's serve. */
static void test_permuted_rows_are_as_many(void **state)
{
    (void)state;
    enum { USERS = 64 };
    struct error error = ERROR_INITIALIZER;
    int64_t ones[USERS + 1], twos[USERS + 1];
    int32_t seen[USERS] = {0}, listed[USERS], wanted[2 * USERS] = {0};
    for (int user = 0; user <= USERS; user++) {
        ones[user] = user;
        twos[user] = 2 * user;
    }
    for (int user = 0; user < USERS; user++)
        listed[user] = user < USERS / 2 ? 1 : 2;
    const struct csr history = {.rows = USERS, .columns = 4, .starts = ones, .indices = seen};
    const struct csr amounts = {.rows = USERS, .columns = 4, .starts = twos, .indices = wanted};
    const struct ranked_lists alike = {
        .items = {.rows = USERS, .columns = 4, .starts = ones, .indices = listed}};
    struct csr rows = {0};
    assert_true(control_permuted(&rows, &amounts, &history, &alike, 1, &error));
    for (int64_t user = 0; user < USERS; user++)
        assert_int_equal(csr_row_length(&rows, user), 2);
    csr_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_reason),
        cmocka_unit_test(test_caps_keep_the_best),
        cmocka_unit_test(test_tail_of_a_cut_text),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_arm_rows),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_permuted_rows_come_from_others),
        cmocka_unit_test(test_permuted_rows_are_as_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
