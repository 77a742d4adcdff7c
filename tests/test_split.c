/* Filter and split: k-core against brute force, duplicates, the invariants of every split, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "core/filter.h"
#include "core/random.h"
#include "core/split.h"

#define ROWS 4000
#define USERS 300
#define ITEMS 200

static struct id_map numbered_ids(int64_t count)
{
    struct id_map map = {
        .count = count, .offsets = malloc((size_t)(count + 1) * 8), .bytes = malloc((size_t)count * 8)};
    map.offsets[0] = 0;
    for (int64_t id = 0; id < count; id++)
        map.offsets[id + 1] = map.offsets[id] + sprintf(map.bytes + map.offsets[id], "%d", (int)id) + 1;
    return map;
}

static struct interactions random_rows(int64_t count)
{
    struct interactions rows = {.count = count,
                                .users = malloc((size_t)count * 4),
                                .items = malloc((size_t)count * 4),
                                .ratings = malloc((size_t)count * 4),
                                .times = malloc((size_t)count * 8),
                                .user_ids = numbered_ids(USERS),
                                .item_ids = numbered_ids(ITEMS)};
    struct random_stream stream = random_stream_open(5, RANDOM_TEST, 0, 0);
    for (int64_t row = 0; row < count; row++) {
        const double skewed = random_double(&stream), other = random_double(&stream);
        rows.users[row] = (int32_t)(skewed * skewed * USERS);
        rows.items[row] = (int32_t)(other * other * ITEMS);
        rows.ratings[row] = (float)(1 + random_below(&stream, 5));
        rows.times[row] = (int64_t)random_below(&stream, 1000);
    }
    return rows;
}

static void brute_force_core(uint8_t keep[ROWS], const struct interactions *rows, int k)
{
    for (bool changed = true; changed;) {
        int users[USERS] = {0}, items[ITEMS] = {0};
        changed = false;
        for (int row = 0; row < ROWS; row++)
            if (keep[row]) {
                users[rows->users[row]]++;
                items[rows->items[row]]++;
            }
        for (int row = 0; row < ROWS; row++)
            if (keep[row] && (users[rows->users[row]] < k || items[rows->items[row]] < k)) {
                keep[row] = 0;
                changed = true;
            }
    }
}

/* Whether another row of the same user and item comes earlier in time, or in the file at the same time. */
static bool is_later_duplicate(const struct interactions *rows, int row)
{
    for (int other = 0; other < ROWS; other++)
        if (rows->users[other] == rows->users[row] && rows->items[other] == rows->items[row] &&
            rows->ratings[other] >= 2 &&
            (rows->times[other] < rows->times[row] ||
             (rows->times[other] == rows->times[row] && other < row)))
            return true;
    return false;
}

static void test_filter_equals_brute_force(void **state)
{
    (void)state;
    struct interactions rows = random_rows(ROWS), before = random_rows(ROWS);
    uint8_t keep[ROWS];
    for (int row = 0; row < ROWS; row++)
        keep[row] = before.ratings[row] >= 2 && !is_later_duplicate(&before, row);
    brute_force_core(keep, &before, 6);
    struct preparation_counts counts;
    struct error error = ERROR_INITIALIZER;
    if (!interactions_filter(&rows, NULL, (struct filter_settings){.min_rating = 2, .k_core = 6}, &counts,
                             &error))
        fail_msg("%s", error.message);
    int64_t kept = 0;
    int32_t known_users = 0;
    for (int row = 0; row < ROWS; row++) {
        if (!keep[row])
            continue;
        assert_string_equal(id_map_name(&rows.user_ids, rows.users[kept]),
                            id_map_name(&before.user_ids, before.users[row]));
        assert_string_equal(id_map_name(&rows.item_ids, rows.items[kept]),
                            id_map_name(&before.item_ids, before.items[row]));
        assert_int_equal(rows.times[kept], before.times[row]);
        known_users = rows.users[kept] > known_users ? rows.users[kept] : known_users;
        kept++;
    }
    assert_true(kept > 500 && counts.below_core > 100 && counts.duplicates > 0);
    assert_int_equal(rows.count, kept);
    assert_int_equal(rows.user_ids.count, known_users + 1);
    assert_int_equal(counts.rows_read - counts.below_rating - counts.duplicates - counts.below_core, kept);
    interactions_free(&rows);
    interactions_free(&before);
}

/* The rows of a sample are all rows of as many users, in their order; another seed draws others. */
static void test_users_are_drawn(void **state)
{
    (void)state;
    bool differ = false;
    char *first[7] = {NULL};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct interactions rows = random_rows(ROWS), all = random_rows(ROWS);
        struct preparation_counts counts, counts_of_all;
        struct error error = ERROR_INITIALIZER;
        const struct filter_settings sample = {.min_rating = 2, .users = 7, .seed = seed},
                                     none = {.min_rating = 2};
        assert_true(interactions_filter(&rows, NULL, sample, &counts, &error));
        assert_true(interactions_filter(&all, NULL, none, &counts_of_all, &error));
        assert_int_equal(rows.user_ids.count, 7);
        assert_int_equal(rows.count + counts.not_drawn, all.count);
        int64_t kept = 0;
        for (int64_t row = 0; row < all.count; row++) {
            const char *user = id_map_name(&all.user_ids, all.users[row]);
            bool drawn = false;
            for (int64_t other = 0; other < 7; other++)
                drawn |= strcmp(user, id_map_name(&rows.user_ids, other)) == 0;
            if (!drawn)
                continue;
            assert_string_equal(user, id_map_name(&rows.user_ids, rows.users[kept]));
            assert_string_equal(id_map_name(&all.item_ids, all.items[row]),
                                id_map_name(&rows.item_ids, rows.items[kept]));
            kept++;
        }
        assert_int_equal(kept, rows.count);
        for (int64_t user = 0; user < 7; user++) {
            const char *name = id_map_name(&rows.user_ids, user);
            differ |= first[user] && strcmp(first[user], name) != 0;
            free(first[user]);
            first[user] = strdup(name);
        }
        interactions_free(&rows);
        interactions_free(&all);
    }
    for (int user = 0; user < 7; user++)
        free(first[user]);
    assert_true(differ);
}

static void test_nothing_left(void **state)
{
    (void)state;
    struct interactions rows = random_rows(50);
    struct preparation_counts counts;
    struct error error = ERROR_INITIALIZER;
    assert_false(interactions_filter(&rows, NULL, (struct filter_settings){.k_core = 40}, &counts, &error));
    assert_string_equal(error.message,
                        "nothing is left of 50 rows: 0 below data.min_rating 0, 50 outside the 40-core; "
                        "lower data.min_rating or data.k_core");
    interactions_free(&rows);
}

static struct dataset split_rows(struct split_settings settings, uint8_t *parts, bool times,
                                 struct preparation_counts *counts)
{
    struct interactions rows = random_rows(ROWS);
    struct dataset dataset;
    struct error error = ERROR_INITIALIZER;
    if (!times) {
        free(rows.times);
        rows.times = NULL;
    }
    if (!interactions_filter(&rows, parts, (struct filter_settings){0}, counts, &error) ||
        !dataset_split(&dataset, &rows, parts, settings, &error) || !dataset_check_disjoint(&dataset, &error))
        fail_msg("%s", error.message);
    assert_int_equal(csr_count(&dataset.train) + csr_count(&dataset.validation) + csr_count(&dataset.test),
                     rows.count);
    interactions_free(&rows);
    return dataset;
}

static void assert_same_csr(const struct csr *a, const struct csr *b)
{
    assert_memory_equal(a->starts, b->starts, (size_t)(a->rows + 1) * sizeof *a->starts);
    assert_memory_equal(a->indices, b->indices, (size_t)csr_count(a) * sizeof *a->indices);
}

static void test_random_split(void **state)
{
    (void)state;
    const struct split_settings settings = {.method = SPLIT_RANDOM, .ratios = {0.8, 0.1, 0.1}, .seed = 3};
    struct preparation_counts counts;
    omp_set_num_threads(1);
    struct dataset one = split_rows(settings, NULL, true, &counts);
    omp_set_num_threads(2);
    struct dataset two = split_rows(settings, NULL, true, &counts);
    assert_same_csr(&one.train, &two.train);
    assert_same_csr(&one.test, &two.test);
    for (int64_t user = 0; user < one.train.rows; user++) {
        const int64_t train = csr_row_length(&one.train, user), test = csr_row_length(&one.test, user),
                      validation = csr_row_length(&one.validation, user), count = train + validation + test;
        assert_true(train >= 1);
        const int64_t expected = count / 10 > 0 ? count / 10 : count > 1;
        assert_int_equal(test, expected);
        assert_int_equal(validation, count / 10 > 0 ? count / 10 : count > 2);
        for (int64_t index = one.train.starts[user] + 1; index < one.train.starts[user + 1]; index++)
            assert_true(one.train_times[index - 1] <= one.train_times[index]);
    }
    struct split_settings other_seed = settings;
    other_seed.seed = 4;
    struct dataset other = split_rows(other_seed, NULL, true, &counts);
    assert_memory_not_equal(one.test.indices, other.test.indices, (size_t)csr_count(&one.test) * 4);
    dataset_free(&one);
    dataset_free(&two);
    dataset_free(&other);
}

static void test_leave_one_out(void **state)
{
    (void)state;
    struct preparation_counts counts;
    struct dataset dataset =
        split_rows((struct split_settings){.method = SPLIT_LEAVE_ONE_OUT}, NULL, false, &counts);
    struct interactions rows = random_rows(ROWS);
    for (int64_t user = 0; user < dataset.test.rows; user++) {
        if (csr_row_length(&dataset.test, user) == 0) {
            assert_true(csr_row_length(&dataset.train, user) < 3);
            continue;
        }
        assert_int_equal(csr_row_length(&dataset.test, user), 1);
        assert_int_equal(csr_row_length(&dataset.validation, user), 1);
        const char *test = id_map_name(&dataset.item_ids, dataset.test.indices[dataset.test.starts[user]]);
        const int raw_user = atoi(id_map_name(&dataset.user_ids, user));
        bool seen[ITEMS] = {false};
        int last = -1;
        for (int row = 0; row < ROWS; row++)
            if (rows.users[row] == raw_user && !seen[rows.items[row]]) {
                seen[rows.items[row]] = true;
                last = rows.items[row];
            }
        assert_int_equal(atoi(test), last);
    }
    interactions_free(&rows);
    dataset_free(&dataset);
}

static void test_temporal_split(void **state)
{
    (void)state;
    const struct split_settings settings = {.method = SPLIT_TEMPORAL, .ratios = {0.7, 0.1, 0.2}};
    struct preparation_counts counts;
    struct dataset dataset = split_rows(settings, NULL, true, &counts);
    struct interactions rows = random_rows(ROWS);
    int64_t latest_train = -1, latest_validation = -1;
    for (int64_t index = 0; index < csr_count(&dataset.train); index++)
        latest_train = dataset.train_times[index] > latest_train ? dataset.train_times[index] : latest_train;
    const double share = (double)csr_count(&dataset.train) / (double)(ROWS - counts.duplicates);
    assert_true(share > 0.69 && share <= 0.7);
    /* The earliest row of a pair is the one kept. */
    for (int part = 0; part < 2; part++) {
        const struct csr *matrix = part ? &dataset.test : &dataset.validation;
        for (int64_t user = 0; user < matrix->rows; user++)
            for (int64_t index = matrix->starts[user]; index < matrix->starts[user + 1]; index++) {
                const int raw_user = atoi(id_map_name(&dataset.user_ids, user));
                const int raw_item = atoi(id_map_name(&dataset.item_ids, matrix->indices[index]));
                int64_t time = INT64_MAX;
                for (int row = 0; row < ROWS; row++)
                    if (rows.users[row] == raw_user && rows.items[row] == raw_item && rows.times[row] < time)
                        time = rows.times[row];
                assert_true(time > (part ? latest_validation : latest_train));
                if (!part)
                    latest_validation = time > latest_validation ? time : latest_validation;
            }
    }
    interactions_free(&rows);
    dataset_free(&dataset);
}

static void test_provided_split(void **state)
{
    (void)state;
    uint8_t parts[ROWS];
    for (int row = 0; row < ROWS; row++)
        parts[row] = row < 3000 ? PART_TRAIN : PART_TEST;
    struct preparation_counts counts;
    const struct split_settings settings = {.method = SPLIT_PROVIDED, .validation_ratio = 0.1, .seed = 1};
    struct dataset dataset = split_rows(settings, parts, true, &counts);
    assert_true(counts.overlaps > 0 && counts.duplicates > 0);
    assert_int_equal(csr_count(&dataset.test) + csr_count(&dataset.train) + csr_count(&dataset.validation),
                     ROWS - counts.overlaps - counts.duplicates);
    for (int64_t user = 0; user < dataset.train.rows; user++) {
        const int64_t validation = csr_row_length(&dataset.validation, user);
        assert_int_equal(validation, (csr_row_length(&dataset.train, user) + validation) / 10);
    }
    dataset_free(&dataset);
}

static void test_leak_is_named(void **state)
{
    (void)state;
    struct preparation_counts counts;
    struct dataset dataset =
        split_rows((struct split_settings){.method = SPLIT_LEAVE_ONE_OUT}, NULL, true, &counts);
    int64_t user = 0;
    while (csr_row_length(&dataset.test, user) == 0)
        user++;
    const int32_t item = dataset.train.indices[dataset.train.starts[user]];
    dataset.test.indices[dataset.test.starts[user]] = item;
    char expected[256];
    snprintf(expected, sizeof expected,
             "leak: user '%s' has item '%s' in train and in test; prepare the data set again",
             id_map_name(&dataset.user_ids, user), id_map_name(&dataset.item_ids, item));
    struct error error = ERROR_INITIALIZER;
    assert_false(dataset_check_disjoint(&dataset, &error));
    assert_string_equal(error.message, expected);
    dataset_free(&dataset);
}

static void test_dataset_survives_its_file(void **state)
{
    (void)state;
    const struct split_settings settings = {.method = SPLIT_RANDOM, .ratios = {0.8, 0.1, 0.1}, .seed = 3};
    struct preparation_counts counts;
    struct dataset dataset = split_rows(settings, NULL, true, &counts), loaded;
    dataset.name = strdup("planted");
    dataset.counts = counts;
    struct error error = ERROR_INITIALIZER;
    if (!dataset_save(&dataset, "split-test.h5", &error) || !dataset_load(&loaded, "split-test.h5", &error))
        fail_msg("%s", error.message);
    assert_string_equal(loaded.name, "planted");
    assert_same_csr(&dataset.train, &loaded.train);
    assert_same_csr(&dataset.validation, &loaded.validation);
    assert_same_csr(&dataset.test, &loaded.test);
    assert_memory_equal(dataset.train_times, loaded.train_times, (size_t)csr_count(&dataset.train) * 8);
    assert_memory_equal(&dataset.counts, &loaded.counts, sizeof counts);
    assert_string_equal(id_map_name(&loaded.item_ids, 7), id_map_name(&dataset.item_ids, 7));
    dataset_free(&dataset);
    dataset_free(&loaded);
    remove("split-test.h5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_equals_brute_force),
        cmocka_unit_test(test_users_are_drawn),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_random_split),
        cmocka_unit_test(test_leave_one_out),
        cmocka_unit_test(test_temporal_split),
        cmocka_unit_test(test_provided_split),
        cmocka_unit_test(test_leak_is_named),
        cmocka_unit_test(test_dataset_survives_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
