/* The artificial data set: its files agree, it repeats with its seed, and its rows are mostly preferred
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/readers.h"
#include "core/store.h"
#include "experiments/synthesize.h"

#define OUT "synthesize-test.inter"

static void make(struct synthesize_settings settings, char **text, size_t *length)
{
    struct error error = ERROR_INITIALIZER;
    if (!synthesize(OUT, &settings, &error) || !file_read(OUT, text, length, &error))
        fail_msg("%s", error.message);
}

static struct synthesize_settings small(void)
{
    struct synthesize_settings settings = synthesize_defaults();
    settings.users = 200;
    settings.items = 150;
    return settings;
}

/* The share of the rows that are truly preferred. */
static double preferred_share(const char *text, size_t length)
{
    struct error error = ERROR_INITIALIZER;
    struct interactions rows;
    struct store *store;
    struct csr preferred;
    const struct reader_settings settings = {.format = "auto"};
    if (!interactions_read_text(&rows, OUT, text, length, &settings, NULL, &error) ||
        !store_open(&store, OUT ".truth.h5", &error) ||
        !store_read_csr(store, "/preferred", &preferred, &error))
        fail_msg("%s", error.message);
    store_close(store);
    assert_int_equal(preferred.rows, 200);
    assert_int_equal(preferred.columns, 150);
    int64_t hits = 0;
    for (int64_t row = 0; row < rows.count; row++) {
        const int user = atoi(id_map_name(&rows.user_ids, rows.users[row]) + 1);
        const int item = atoi(id_map_name(&rows.item_ids, rows.items[row]) + 1);
        hits += csr_contains_sorted(&preferred, user, item);
        if (row > 0 && rows.users[row] == rows.users[row - 1])
            assert_true(rows.times[row] > rows.times[row - 1]);
    }
    const double mean = (double)rows.count / 200;
    assert_true(mean > 25 && mean < 35);
    const double share = (double)hits / (double)rows.count;
    interactions_free(&rows);
    csr_free(&preferred);
    return share;
}

static void test_rows_follow_preferences(void **state)
{
    (void)state;
    char *text;
    size_t length;
    struct synthesize_settings settings = small();
    settings.noise = 0;
    make(settings, &text, &length);
    assert_true(preferred_share(text, length) > 0.25); /* of 30 rows, 15 could be */
    free(text);
    settings.noise = 1;
    make(settings, &text, &length);
    const double share = preferred_share(text, length);
    assert_true(share > 0.05 && share < 0.15);
    free(text);
}

static void test_repeats_with_its_seed(void **state)
{
    (void)state;
    char *first, *second, *other;
    size_t first_length, second_length, other_length;
    struct synthesize_settings settings = small();
    make(settings, &first, &first_length);
    make(settings, &second, &second_length);
    settings.seed = 2;
    make(settings, &other, &other_length);
    assert_string_equal(first, second);
    assert_string_not_equal(first, other);
    free(first);
    free(second);
    free(other);
}

static void test_settings_out_of_range(void **state)
{
    (void)state;
    struct synthesize_settings settings = small();
    settings.noise = 1.5;
    struct error error = ERROR_INITIALIZER;
    assert_false(synthesize(OUT, &settings, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_string_equal(error.message, "synthesize: noise is 1.5; choose from 0 to 1");
}

static int remove_files(void **state)
{
    (void)state;
    return remove(OUT) | remove(OUT ".truth.h5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_follow_preferences),
        cmocka_unit_test(test_repeats_with_its_seed),
        cmocka_unit_test(test_settings_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, remove_files);
}
