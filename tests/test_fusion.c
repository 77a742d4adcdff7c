/* Reciprocal rank fusion against sums that were worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "experiments/fusion.h"

enum { USERS = 3, ITEMS = 6 };

/* The last user has neither list. */
static int64_t first_starts[] = {0, 4, 4, 4}, second_starts[] = {0, 4, 5, 5};
static int32_t first_items[] = {0, 1, 2, 3}, second_items[] = {3, 2, 4, 0, 5};
static const struct csr first = {
    .rows = USERS, .columns = ITEMS, .starts = first_starts, .indices = first_items};
static const struct csr second = {
    .rows = USERS, .columns = ITEMS, .starts = second_starts, .indices = second_items};

static void fuse(struct fused_lists *fused, double weight, struct fusion fusion, int64_t kept)
{
    struct error error = ERROR_INITIALIZER;
    const struct fusion_list lists[] = {{&first, weight}, {&second, 1 - weight}};
    assert_true(fusion_rank(fused, lists, 2, &fusion, kept, &error));
}

static void check_list(const struct fused_lists *fused, int64_t user, int64_t count, const int32_t *items,
                       const double *scores)
{
    const int64_t start = fused->items.starts[user];
    assert_int_equal(csr_row_length(&fused->items, user), count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(fused->items.indices[start + i], items[i]);
        assert_true(fused->scores[start + i] == (float)scores[i]);
    }
}

/* Rank 4 of both lists is beyond the depth, so item 3 has its second list alone, and item 0 its first. */
static void test_weighted_sums(void **state)
{
    (void)state;
    struct fused_lists fused;
    fuse(&fused, 0.25, (struct fusion){.constant = 60, .depth = 3}, 10);
    check_list(&fused, 0, 5, (const int32_t[]){2, 3, 4, 0, 1},
               (const double[]){0.25 / 63 + 0.75 / 62, 0.75 / 61, 0.75 / 63, 0.25 / 61, 0.25 / 62});
    check_list(&fused, 1, 1, (const int32_t[]){5}, (const double[]){0.75 / 61});
    check_list(&fused, 2, 0, NULL, NULL);
    fused_lists_free(&fused);
}

static void test_keeps_the_best(void **state)
{
    (void)state;
    struct fused_lists fused;
    fuse(&fused, 0.25, (struct fusion){.constant = 60, .depth = 3}, 2);
    check_list(&fused, 0, 2, (const int32_t[]){2, 3}, (const double[]){0.25 / 63 + 0.75 / 62, 0.75 / 61});
    check_list(&fused, 1, 1, (const int32_t[]){5}, (const double[]){0.75 / 61});
    fused_lists_free(&fused);
}

/* Items 0 and 3 have the ranks 1 and 4, in opposite lists. */
static void test_ties_go_to_the_smaller_item(void **state)
{
    (void)state;
    struct fused_lists fused;
    fuse(&fused, 0.5, (struct fusion){.constant = 0, .depth = 4}, 10);
    check_list(&fused, 0, 5, (const int32_t[]){0, 3, 2, 1, 4},
               (const double[]){0.625, 0.625, 0.5 / 3 + 0.25, 0.25, 0.5 / 3});
    fused_lists_free(&fused);
}

static void test_a_list_without_weight_is_left_out(void **state)
{
    (void)state;
    struct fused_lists fused;
    fuse(&fused, 1, (struct fusion){.constant = 1, .depth = 4}, 10);
    check_list(&fused, 0, 4, first_items, (const double[]){1. / 2, 1. / 3, 1. / 4, 1. / 5});
    check_list(&fused, 1, 0, NULL, NULL);
    fused_lists_free(&fused);
    fuse(&fused, 0, (struct fusion){.constant = 1, .depth = 4}, 10);
    check_list(&fused, 0, 4, second_items, (const double[]){1. / 2, 1. / 3, 1. / 4, 1. / 5});
    fused_lists_free(&fused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weighted_sums),
        cmocka_unit_test(test_keeps_the_best),
        cmocka_unit_test(test_ties_go_to_the_smaller_item),
        cmocka_unit_test(test_a_list_without_weight_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
