/* Metrics against values worked out by hand, and ranking against a full sort, at 1 and 2 threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/evaluate.h"
#include "core/random.h"

static void test_metrics_by_hand(void **state)
{
    (void)state;
    int32_t users[] = {0, 2, 1},
            items[] = {4, 1, 7, 2, 0, 9, 8, 3, /**/ 5, 4, 3, 2, -1, -1, -1, -1, /**/ 0, 1, 2, 3, 4, 5, 6, 7};
    float scores[24] = {0};
    const struct top_k top = {.users = 3, .k = 8, .user = users, .items = items, .scores = scores};
    int64_t starts[] = {0, 3, 3, 4};
    int32_t indices[] = {2, 1, 6, /* user 2: */ 5}; /* user 1 has no truth */
    const struct csr truth = {.rows = 3, .columns = 10, .starts = starts, .indices = indices};
    const int64_t k[] = {2, 5};
    struct evaluation result;
    double per_user[METRIC_COUNT * 2 * 3];
    evaluate_top_k(&result, &top, &truth, k, 2, per_user);
    assert_int_equal(result.users_tested, 2);
    /* User 0: hits at ranks 2 and 4 of 3 truth items; user 2: a hit at rank 1 of 1. */
    const double gain2 = 1 / log2(3), gain4 = gain2 + 1 / log2(5), ideal2 = 1 + 1 / log2(3),
                 ideal5 = ideal2 + 0.5;
    const double expected[METRIC_COUNT][2] = {
        [METRIC_RECALL] = {(1.0 / 3 + 1) / 2, (2.0 / 3 + 1) / 2},
        [METRIC_NDCG] = {(gain2 / ideal2 + 1) / 2, (gain4 / ideal5 + 1) / 2},
        [METRIC_PRECISION] = {(0.5 + 0.5) / 2, (2.0 / 5 + 1.0 / 5) / 2},
        [METRIC_HIT] = {1, 1},
        [METRIC_MRR] = {(0.5 + 1) / 2, (0.5 + 1) / 2},
        [METRIC_MAP] = {(0.5 / 2 + 1) / 2, ((0.5 + 0.5) / 3 + 1) / 2},
    };
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int j = 0; j < 2; j++)
            assert_true(fabs(result.value[metric][j] - expected[metric][j]) < 1e-15);
    assert_true(fabs(per_user[(METRIC_RECALL * 2 + 1) * 3 + 0] - 2.0 / 3) < 1e-15);
    assert_true(isnan(per_user[(METRIC_RECALL * 2 + 1) * 3 + 2]));
    assert_int_equal(metric_from_name("mrr"), METRIC_MRR);
    assert_int_equal(metric_from_name("auc"), METRIC_COUNT);
}

#define USERS 1500
#define ITEMS 12000 /* three blocks of users */
#define K 20

/* Few different values, so that ties abound. */
static real score_of(int32_t user, int32_t item)
{
    struct random_stream stream = random_stream_open(9, RANDOM_TEST, (uint64_t)user, (uint64_t)(item / 16));
    const uint32_t word = random_word(&stream) >> (item % 16);
    return (real)(word & 0x3ff);
}

static bool score_users(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                        struct error *error)
{
    (void)error;
    (void)context;
    real *values = scores->data;
#pragma omp parallel for
    for (int64_t row = 0; row < count; row++)
        for (int32_t item = 0; item < ITEMS; item++)
            values[row * ITEMS + item] = score_of(users[row], item);
    return true;
}

static struct top_k rank(int threads, const int32_t *users, int64_t count, const struct csr *mask)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open("cpu", threads, &error);
    const struct scorer scorer = {.items = ITEMS, .score = score_users};
    struct top_k top;
    if (!backend || !top_k_rank(&top, backend, &scorer, users, count, K, mask, &error))
        fail_msg("%s", error.message);
    backend_close(backend);
    return top;
}

static void check_row(const struct top_k *top, int64_t row, const struct csr *mask, int64_t *ties)
{
    const int32_t user = top->user[row];
    real scores[ITEMS];
    for (int32_t item = 0; item < ITEMS; item++)
        scores[item] = csr_contains_sorted(mask, user, item) ? -1 : score_of(user, item);
    real last = 0;
    for (int rank_index = 0; rank_index < K; rank_index++) {
        int32_t best = 0;
        for (int32_t item = 1; item < ITEMS; item++)
            if (scores[item] > scores[best])
                best = item;
        assert_int_equal(top->items[row * K + rank_index], best);
        assert_true((real)top->scores[row * K + rank_index] == scores[best]);
        last = scores[best];
        scores[best] = -1;
    }
    for (int32_t item = 0; item < ITEMS; item++)
        if (scores[item] == last) {
            (*ties)++;
            return;
        }
}

static void test_ranking_equals_a_full_sort(void **state)
{
    (void)state;
    int64_t *starts = malloc((USERS + 1) * sizeof *starts);
    int32_t *indices = malloc(USERS * 3 * sizeof *indices), users[USERS];
    for (int32_t user = 0; user <= USERS; user++)
        starts[user] = user * 3;
    for (int32_t index = 0; index < USERS * 3; index++)
        indices[index] = index % 3 * 4000 + index % 971;
    for (int32_t user = 0; user < USERS; user++)
        users[user] = user;
    const struct csr mask = {.rows = USERS, .columns = ITEMS, .starts = starts, .indices = indices};
    struct top_k one = rank(1, users, USERS, &mask), two = rank(2, users, USERS, &mask);
    assert_memory_equal(one.items, two.items, USERS * K * sizeof *one.items);
    assert_memory_equal(one.scores, two.scores, USERS * K * sizeof *one.scores);
    assert_int_equal(one.ties, two.ties);
    int64_t ties = 0;
    for (int64_t row = 0; row < 100; row++)
        check_row(&one, row, &mask, &ties);
    check_row(&one, USERS - 1, &mask, &ties);
    assert_true(ties > 0);
    const int32_t some[] = {5, USERS - 1};
    struct top_k few = rank(2, some, 2, &mask);
    assert_memory_equal(few.items, one.items + 5 * K, K * sizeof *one.items);
    assert_memory_equal(few.items + K, one.items + (USERS - 1) * K, K * sizeof *one.items);
    struct top_k unmasked = rank(2, some, 1, NULL);
    const struct csr empty = {
        .rows = USERS, .columns = ITEMS, .starts = calloc(USERS + 1, 8), .indices = indices};
    check_row(&unmasked, 0, &empty, &ties);
    top_k_free(&one);
    top_k_free(&two);
    top_k_free(&few);
    top_k_free(&unmasked);
    free(empty.starts);
    free(starts);
    free(indices);
}

static void test_users_with_truth(void **state)
{
    (void)state;
    int64_t starts[] = {0, 0, 2, 2, 3};
    const struct csr truth = {.rows = 4, .columns = 9, .starts = starts};
    struct error error = ERROR_INITIALIZER;
    int32_t *users;
    int64_t count;
    assert_true(users_with_truth(&users, &count, &truth, &error));
    assert_int_equal(count, 2);
    assert_int_equal(users[0], 1);
    assert_int_equal(users[1], 3);
    free(users);
}

static void test_matrices(void **state)
{
    (void)state;
    int64_t starts[] = {0, 3, 3, 5}, other_starts[] = {0, 1, 2, 3};
    int32_t indices[] = {4, 0, 2, 3, 1}, other_indices[] = {2, 1, 0};
    const struct csr matrix = {3, 5, starts, indices}, other = {3, 5, other_starts, other_indices};
    struct error error = ERROR_INITIALIZER;
    struct csr sorted, transposed, both;
    assert_true(csr_sorted(&sorted, &matrix, &error) && csr_transpose(&transposed, &matrix, &error));
    const int32_t sorted_expected[] = {0, 2, 4, 1, 3}, transposed_expected[] = {0, 2, 0, 2, 0};
    assert_memory_equal(sorted.indices, sorted_expected, sizeof sorted_expected);
    assert_memory_equal(transposed.indices, transposed_expected, sizeof transposed_expected);
    assert_true(csr_contains_sorted(&sorted, 0, 4) && !csr_contains_sorted(&sorted, 0, 3) &&
                !csr_contains_sorted(&sorted, 1, 0));
    assert_true(csr_union(&both, &sorted, &other, &error));
    const int32_t both_expected[] = {0, 2, 4, 1, 0, 1, 3};
    assert_int_equal(csr_count(&both), 7);
    assert_memory_equal(both.indices, both_expected, sizeof both_expected);
    csr_free(&sorted);
    csr_free(&transposed);
    csr_free(&both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_by_hand),
        cmocka_unit_test(test_ranking_equals_a_full_sort),
        cmocka_unit_test(test_users_with_truth),
        cmocka_unit_test(test_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
