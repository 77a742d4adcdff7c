/* The public data sets, where they are at hand: counts as published (the README beside them). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/filter.h"
#include "core/readers.h"

static const char *data_folder(void)
{
    const char *folder = getenv("IDREC_DATA");
    return folder ? folder : IDREC_SOURCE_DIR "/../shared/data";
}

static void test_counts(void **state)
{
    (void)state;
    const struct {
        const char *files[2];
        int64_t users, items, rows;
        const char *format;
    } sets[] = {
        {{"ml-100k.inter.gz"}, 943, 1682, 100000, "recbole"},
        {{"ml-1m.txt.gz"}, 6040, 3416, 999611, "sequence"},
        {{"amazon-beauty.txt.gz"}, 22363, 12101, 198502, "adjacency"},
        {{"amazon-beauty.train.txt.gz", "amazon-beauty.test.txt.gz"}, 22363, 12101, 198502, "selfrec"},
        {{"amazon-video-games.txt.gz"}, 31013, 23715, 287107, "sequence"},
        {{"gowalla.train.txt.gz", "gowalla.test.txt.gz"}, 29858, 40981, 1027370, "adjacency"},
    };
    for (size_t index = 0; index < sizeof sets / sizeof *sets; index++) {
        char *paths[2] = {path_format("%s/%s", data_folder(), sets[index].files[0]), NULL};
        if (sets[index].files[1])
            paths[1] = path_format("%s/%s", data_folder(), sets[index].files[1]);
        struct interactions rows;
        struct preparation_counts counts;
        struct error error = ERROR_INITIALIZER;
        char description[READER_DESCRIPTION_LENGTH];
        const struct reader_settings settings = {.format = "auto"};
        if (!interactions_read(&rows, (const char *const *)paths, paths[1] ? 2 : 1, &settings, NULL,
                               description, &error) ||
            !interactions_filter(&rows, NULL, (struct filter_settings){0}, &counts, &error))
            fail_msg("%s", error.message);
        assert_int_equal(rows.count, sets[index].rows);
        assert_int_equal(rows.user_ids.count, sets[index].users);
        assert_int_equal(rows.item_ids.count, sets[index].items);
        assert_memory_equal(description, sets[index].format, strlen(sets[index].format));
        interactions_free(&rows);
        free(paths[0]);
        free(paths[1]);
    }
}

int main(void)
{
    char *probe = path_format("%s/gowalla.test.txt.gz", data_folder());
    const bool there = path_exists(probe);
    if (!there)
        printf("skipped: no %s; set IDREC_DATA to the folder of the data sets\n", probe);
    free(probe);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts)};
    return there ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
