/* Every input format on small inputs, plain and gzip'ed, and the message of every malformed line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/file.h"
#include "core/readers.h"
#include "core/store.h"

static const struct reader_settings automatic = {.format = "auto"};

static struct interactions read_bytes(const void *bytes, size_t length, struct reader_settings settings)
{
    struct interactions interactions;
    struct error error = ERROR_INITIALIZER;
    if (!interactions_read_text(&interactions, "in", bytes, length, &settings, NULL, &error))
        fail_msg("%s", error.message);
    return interactions;
}

static struct interactions read_text(const char *text, const char *format)
{
    return read_bytes(text, strlen(text), (struct reader_settings){.format = format});
}

static void expect_error(const char *text, struct reader_settings settings, const char *message)
{
    struct interactions interactions;
    struct error error = ERROR_INITIALIZER;
    assert_false(interactions_read_text(&interactions, "in", text, strlen(text), &settings, NULL, &error));
    assert_string_equal(error.message, message);
}

/* rows: "user item" pairs in order, separated by commas. */
static void expect_rows(struct interactions interactions, const char *rows)
{
    char found[1024] = "";
    for (int64_t row = 0; row < interactions.count; row++) {
        const size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "%s%s %s", row ? ", " : "",
                 id_map_name(&interactions.user_ids, interactions.users[row]),
                 id_map_name(&interactions.item_ids, interactions.items[row]));
    }
    assert_string_equal(found, rows);
    interactions_free(&interactions);
}

static void test_recbole(void **state)
{
    (void)state;
    struct interactions rows =
        read_text("item_id:token\tuser_id:token\tx:float\ttimestamp:float\trating:float\n"
                  "i9\tanna\t1\t881250949.7\t3.5\nb\tu2\t1\t-5\t1e1\n",
                  "auto");
    assert_float_equal(rows.ratings[0], 3.5, 0);
    assert_float_equal(rows.ratings[1], 10, 0);
    assert_int_equal(rows.times[0], 881250949);
    assert_int_equal(rows.times[1], -5);
    expect_rows(rows, "anna i9, u2 b");
}

static void test_csv_and_tsv(void **state)
{
    (void)state;
    struct interactions rows =
        read_text("userId,movieId,rating,timestamp\r\n7,\"a, b\",4.0,100\r\n7,c,1.5,90\r\n", "auto");
    assert_float_equal(rows.ratings[1], 1.5, 0);
    assert_int_equal(rows.times[0], 100);
    expect_rows(rows, "7 a, b, 7 c");
    const struct reader_settings named = {.format = "csv", .user_column = "who", .item_column = "what"};
    const char *text = "what,x,who\ni1,0,u1\ni2,0,u1\n";
    expect_rows(read_bytes(text, strlen(text), named), "u1 i1, u1 i2");
    const struct reader_settings numbered = {
        .format = "tsv", .user_column = "1", .item_column = "0", .time_column = "2"};
    text = "i1\tu1\t30\ni2\tu1\t20\n";
    rows = read_bytes(text, strlen(text), numbered);
    assert_null(rows.ratings);
    assert_int_equal(rows.times[1], 20);
    expect_rows(rows, "u1 i1, u1 i2");
    text = "item\tuser\twhen\ni1\tu1\t30\n"; /* no number where a time must stand: a header */
    expect_rows(read_bytes(text, strlen(text), numbered), "u1 i1");
}

static void test_movielens(void **state)
{
    (void)state;
    struct interactions rows = read_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "auto");
    assert_int_equal(rows.times[1], 891717742);
    expect_rows(rows, "196 242, 186 302");
    rows = read_text("1::1193::5::978300760\n1::661::3::978302109", "auto");
    assert_float_equal(rows.ratings[0], 5, 0);
    expect_rows(rows, "1 1193, 1 661");
}

static void test_lines_of_ids(void **state)
{
    (void)state;
    expect_rows(read_text("0 5 7\n3 5\n9 \n4 7 8 9\n\n", "auto"), "0 5, 0 7, 3 5, 4 7, 4 8, 4 9");
    expect_rows(read_text("\xef\xbb\xbf"
                          "1 10\n1 12\n2 10\n",
                          "auto"),
                "1 10, 1 12, 2 10");
    expect_rows(read_text("1:5 6\n2:7\n", "auto"), "1 5, 1 6, 2 7");
    struct interactions rows = read_text("a x 1\nb y 1\n", "auto");
    assert_float_equal(rows.ratings[0], 1, 0);
    expect_rows(rows, "a x, b y");
    rows = read_text("a x 2.5\n", "selfrec");
    assert_float_equal(rows.ratings[0], 2.5, 0);
    expect_rows(rows, "a x");
    expect_rows(read_text("a b\n", "adjacency"), "a b");
    expect_rows(read_text("user-with-a-long-name-1 an-item-with-a-long-name\nuser-with-a-long-name-1 i\n",
                          "sequence"),
                "user-with-a-long-name-1 an-item-with-a-long-name, user-with-a-long-name-1 i");
}

static void test_gzip(void **state)
{
    (void)state;
    const char *path = "readers-test.gz", *paths[] = {path};
    gzFile file = gzopen(path, "wb");
    for (int row = 0; row < 100000; row++)
        gzprintf(file, "%d %d\r\n", row / 10, row % 1000);
    gzclose(file);
    struct interactions rows;
    struct error error = ERROR_INITIALIZER;
    char description[READER_DESCRIPTION_LENGTH];
    assert_true(interactions_read(&rows, paths, 1, &automatic, NULL, description, &error));
    assert_int_equal(rows.count, 100000);
    assert_int_equal(rows.user_ids.count, 10000);
    assert_string_equal(id_map_name(&rows.item_ids, rows.items[12345]), "345");
    assert_string_equal(description, "sequence (`user item` a line, oldest first)");
    interactions_free(&rows);
    char *bytes;
    size_t length;
    assert_true(file_read(path, &bytes, &length, &error));
    assert_true(file_write(path, bytes, length / 2, &error));
    assert_false(interactions_read(&rows, paths, 1, &automatic, NULL, NULL, &error));
    assert_string_equal(error.message,
                        "readers-test.gz: the gzip stream ends too early; fetch the file again");
    free(bytes);
    remove(path);
}

/* Large enough for several pieces: ids are numbered by first appearance across them. */
static void test_pieces_keep_the_order_of_ids(void **state)
{
    (void)state;
    const int count = 400000;
    char *text = malloc((size_t)count * 24);
    size_t length = 0;
    for (int row = 0; row < count; row++)
        length +=
            (size_t)sprintf(text + length, "u%d i%d\n", row % 5003 * 7919 % 5003, row % 3001 * 911 % 3001);
    struct interactions rows = read_bytes(text, length, automatic);
    int32_t users = 0, items = 0;
    for (int row = 0; row < count; row++) {
        assert_in_range(rows.users[row], 0, users);
        assert_in_range(rows.items[row], 0, items);
        users += rows.users[row] == users;
        items += rows.items[row] == items;
        assert_int_equal(atoi(id_map_name(&rows.user_ids, rows.users[row]) + 1), row % 5003 * 7919 % 5003);
    }
    assert_int_equal(users, 5003);
    interactions_free(&rows);
    char *line = strstr(text + length / 2, "\nu") + 1;
    long line_number = 1;
    for (const char *cursor = text; cursor < line; cursor++)
        line_number += *cursor == '\n';
    *strchr(line, ' ') = '_';
    char message[256];
    snprintf(message, sizeof message,
             "in:%ld: 1 field instead of 2 for sequence (`user item` a line, oldest first); "
             "correct the line or set data.format",
             line_number);
    expect_error(text, automatic, message);
    free(text);
}

static void test_several_files_share_their_ids(void **state)
{
    (void)state;
    const char *paths[] = {"readers-a.txt", "readers-b.txt"};
    struct error error = ERROR_INITIALIZER;
    assert_true(file_write(paths[0], "1 5 6\n2 6\n", 10, &error));
    assert_true(file_write(paths[1], "2 5\n3 9\n", 8, &error));
    struct interactions rows;
    int64_t first_rows[3];
    assert_true(interactions_read(&rows, paths, 2, &automatic, first_rows, NULL, &error));
    assert_int_equal(first_rows[1], 3);
    assert_int_equal(first_rows[2], 5);
    expect_rows(rows, "1 5, 1 6, 2 6, 2 5, 3 9");
    remove(paths[0]);
    remove(paths[1]);
}

static void test_hdf5(void **state)
{
    (void)state;
    const char *path = "readers-test.h5", *paths[] = {path};
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    const int64_t users[] = {7, 7, 9}, times[] = {3, 2, 1};
    const int32_t items[] = {4, 5, 4};
    assert_true(store_create(&store, path, &error) &&
                store_write(store, "/user", DTYPE_I64, 3, 0, users, &error) &&
                store_write(store, "/item", DTYPE_I32, 3, 0, items, &error) &&
                store_write(store, "/time", DTYPE_I64, 3, 0, times, &error) && store_commit(store, &error));
    struct interactions rows;
    if (!interactions_read(&rows, paths, 1, &automatic, NULL, NULL, &error))
        fail_msg("%s", error.message);
    assert_int_equal(rows.times[1], 2);
    expect_rows(rows, "7 4, 7 5, 9 4");
    remove(path);
}

/* An id with a tab would break the lists of recommendations hours later. */
static void test_hdf5_with_a_bad_id(void **state)
{
    (void)state;
    const char *path = "readers-test-bad.h5", *paths[] = {path};
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    int64_t offsets[] = {0, 2, 6};
    char bytes[] = "a\0b\tc";
    const struct id_map ids = {.count = 2, .offsets = offsets, .bytes = bytes};
    assert_true(store_create(&store, path, &error) && store_write_ids(store, "/user", &ids, &error) &&
                store_write_ids(store, "/item", &ids, &error) && store_commit(store, &error));
    struct interactions rows;
    assert_false(interactions_read(&rows, paths, 1, &automatic, NULL, NULL, &error));
    assert_non_null(strstr(error.message, "control character"));
    remove(path);
}

static void test_messages(void **state)
{
    (void)state;
    expect_error("", automatic, "in: the file holds no text; it should hold interactions");
    expect_error(
        "1 2\n1\n3 4\n", (struct reader_settings){.format = "sequence"},
        "in:2: 1 field instead of 2 for sequence (`user item` a line, oldest first); correct the line or set "
        "data.format");
    expect_error("1 2\n\n3 4\n", (struct reader_settings){.format = "sequence"},
                 "in:2: the line is blank; remove it");
    expect_error("1 2 3\n4 5 6\n", automatic,
                 "in:1: the format is not clear from the first 2 lines of 3 to 3 words; set data.format");
    expect_error("1::2::x::4\n", automatic,
                 "in:1: rating 'x' is not a number; correct the line or set data.columns.rating");
    expect_error("1::2::3::4\n1::2::3::soon\n", automatic,
                 "in:2: time 'soon' is not a number of seconds; correct the line or set data.columns.time");
    expect_error("a,b,c\n1,2,3\n", automatic,
                 "in:1: which of the 3 columns is what? set data.columns.user, item, rating and time");
    expect_error("user,item\n\"1,2\n", automatic,
                 "in:2: a quoted field is not closed or holds a quote; remove the quotes");
    expect_error("user,item\n,2\n", automatic, "in:2: the user id is empty; correct or remove the line");
    expect_error("user,item\n,2\n1\n", automatic, "in:2: the user id is empty; correct or remove the line");
    expect_error(
        "u,i\n1,2\n", (struct reader_settings){.format = "csv", .user_column = "who", .item_column = "i"},
        "in:1: no column 'who' in the header line; set data.columns.user to a name there or a number");
    expect_error("1,2\n", (struct reader_settings){.format = "csv", .user_column = "0", .item_column = "5"},
                 "in:1: data.columns.item is 5 but the line has 2 fields (numbered from 0); correct it, or "
                 "null when the "
                 "file has no such column");
    expect_error("user_id:token\tx:token\n", automatic,
                 "in:1: no user_id: and item_id: in the header of a recbole file; set data.format");
    expect_error(
        "1 5\n2 7\n", (struct reader_settings){.format = "selfrec"},
        "in:1: 2 fields instead of 3 for selfrec (`user item weight` a line); correct the line or set "
        "data.format");
    expect_error("\xff\xfe"
                 "1",
                 automatic, "in:1: the text is UTF-16; convert it to UTF-8");
    expect_error("a\x01 b\n", automatic,
                 "in:1: byte 0x01 in a user id; the file is not plain text in the format expected");
}

static void test_missing_file(void **state)
{
    (void)state;
    const char *paths[] = {"no-such-file"};
    struct interactions rows;
    struct error error = ERROR_INITIALIZER;
    assert_false(interactions_read(&rows, paths, 1, &automatic, NULL, NULL, &error));
    assert_string_equal(error.message,
                        "no-such-file: cannot be opened: No such file or directory; check data.path "
                        "(relative to the config that names it)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recbole),
        cmocka_unit_test(test_csv_and_tsv),
        cmocka_unit_test(test_movielens),
        cmocka_unit_test(test_lines_of_ids),
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_pieces_keep_the_order_of_ids),
        cmocka_unit_test(test_several_files_share_their_ids),
        cmocka_unit_test(test_hdf5),
        cmocka_unit_test(test_hdf5_with_a_bad_id),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
