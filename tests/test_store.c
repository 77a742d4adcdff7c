/* HDF5 stores: round trips, equal bytes for equal contents, and refusals that name file and data set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/store.h"
#include "tests/support.h"

enum { ROWS = 70000 };

static void write_sample(const char *path)
{
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    int64_t *column = malloc(ROWS * sizeof *column);
    for (int64_t i = 0; i < ROWS; i++)
        column[i] = i * i;
    const float matrix[6] = {1, 2, 3, 4, 5, 6};
    int64_t starts[] = {0, 2, 2, 3};
    int32_t indices[] = {0, 3, 1};
    const struct csr csr = {.rows = 3, .columns = 4, .starts = starts, .indices = indices};
    char bytes[] = "ab\0\0\xc3\xa9t\xc3\xa9";
    int64_t offsets[] = {0, 3, 4, 10};
    const struct id_map ids = {.count = 3, .offsets = offsets, .bytes = bytes};
    assert_true(store_create(&store, path, &error));
    assert_true(store_write(store, "column", DTYPE_I64, ROWS, 0, column, &error));
    assert_true(store_write(store, "deep/er/matrix", DTYPE_F32, 2, 3, matrix, &error));
    assert_true(store_write(store, "empty", DTYPE_I32, 0, 0, NULL, &error));
    assert_true(store_write_csr(store, "/train", &csr, &error));
    assert_true(store_write_ids(store, "/users/id", &ids, &error));
    assert_true(store_set_integer(store, "/", "count", 41, &error));
    assert_true(store_set_integer(store, "/", "count", 42, &error));
    assert_true(store_set_number(store, "/new/group", "share", 0.5, &error));
    assert_true(store_set_string(store, "/train", "name", "näme", &error));
    assert_true(store_set_string(store, "/train", "nothing", "", &error));
    assert_true(store_commit(store, &error));
    free(column);
}

static void test_round_trip(void **state)
{
    char *path = path_format("%s/a.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    write_sample(path);
    assert_true(store_open(&store, path, &error));
    int64_t rows, columns = 0;
    void *data;
    assert_true(store_read(store, "column", DTYPE_I64, &rows, NULL, &data, &error));
    assert_int_equal(rows, ROWS);
    assert_int_equal(((int64_t *)data)[ROWS - 1], (int64_t)(ROWS - 1) * (ROWS - 1));
    free(data);
    columns = 1;
    assert_true(store_read(store, "deep/er/matrix", DTYPE_F32, &rows, &columns, &data, &error));
    assert_int_equal(rows, 2);
    assert_int_equal(columns, 3);
    assert_true(((float *)data)[5] == 6.0f);
    free(data);
    assert_true(store_read(store, "empty", DTYPE_I32, &rows, NULL, &data, &error));
    assert_int_equal(rows, 0);
    free(data);
    struct csr csr;
    assert_true(store_read_csr(store, "train", &csr, &error));
    assert_int_equal(csr.rows, 3);
    assert_int_equal(csr.indices[2], 1);
    csr_free(&csr);
    struct id_map ids;
    assert_true(store_read_ids(store, "users/id", &ids, &error));
    assert_int_equal(ids.count, 3);
    assert_string_equal(id_map_name(&ids, 0), "ab");
    assert_string_equal(id_map_name(&ids, 1), "");
    assert_string_equal(id_map_name(&ids, 2), "été");
    id_map_free(&ids);
    int64_t count;
    double share;
    char *name;
    assert_true(store_get_integer(store, "/", "count", &count, &error));
    assert_int_equal(count, 42);
    assert_true(store_get_number(store, "/new/group", "share", &share, &error));
    assert_true(share == 0.5);
    assert_true(store_get_string(store, "/train", "name", &name, &error));
    assert_string_equal(name, "näme");
    free(name);
    assert_true(store_has(store, "/deep/er"));
    assert_false(store_has(store, "/deep/here"));
    assert_false(store_has(store, "no/where/at/all"));
    store_close(store);
    free(path);
}

static void test_equal_bytes(void **state)
{
    char *a = path_format("%s/a.h5", (char *)*state), *b = path_format("%s/b.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    char first[33], second[33];
    write_sample(a);
    sleep(1);
    write_sample(b);
    assert_true(file_hash(a, first, &error) && file_hash(b, second, &error));
    assert_string_equal(first, second);
    free(a);
    free(b);
}

static void expect(struct error *error, const char *file, const char *what)
{
    assert_int_equal(error->kind, ERROR_RUN);
    if (!strstr(error->message, file) || !strstr(error->message, what))
        fail_msg("'%s' lacks '%s' or '%s'", error->message, file, what);
    *error = ERROR_INITIALIZER;
}

static void test_wrong_expectations(void **state)
{
    char *path = path_format("%s/a.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    int64_t rows, columns = 0, integer;
    void *data;
    struct csr csr;
    struct id_map ids;
    write_sample(path);
    assert_true(store_open(&store, path, &error));
    assert_false(store_read(store, "none", DTYPE_I64, &rows, NULL, &data, &error));
    expect(&error, "a.h5", "none: this data set is missing");
    assert_false(store_read(store, "column", DTYPE_I32, &rows, NULL, &data, &error));
    expect(&error, "a.h5", "column");
    assert_false(store_read(store, "column", DTYPE_F64, &rows, NULL, &data, &error));
    expect(&error, "a.h5", "column");
    columns = 1;
    assert_false(store_read(store, "column", DTYPE_I64, &rows, &columns, &data, &error));
    expect(&error, "a.h5", "rank");
    assert_false(store_read(store, "deep/er/matrix", DTYPE_F32, &rows, NULL, &data, &error));
    expect(&error, "a.h5", "rank");
    assert_false(store_read(store, "deep", DTYPE_F32, &rows, NULL, &data, &error));
    expect(&error, "a.h5", "deep");
    assert_false(store_read_csr(store, "deep", &csr, &error));
    expect(&error, "a.h5", "deep/indptr");
    assert_false(store_read_ids(store, "column", &ids, &error));
    expect(&error, "a.h5", "strings");
    assert_false(store_get_integer(store, "/train", "name", &integer, &error));
    expect(&error, "a.h5", "name");
    assert_false(store_get_integer(store, "/train", "nome", &integer, &error));
    expect(&error, "a.h5", "nome");
    assert_false(store_get_integer(store, "/nowhere", "nome", &integer, &error));
    expect(&error, "a.h5", "nowhere");
    store_close(store);
    free(path);
}

static void test_bad_matrices(void **state)
{
    static const struct {
        int64_t starts[4], rows, columns;
        int32_t indices[3];
        const char *fault;
    } cases[] = {
        {{0, 2, 1, 3}, 3, 4, {0, 1, 2}, "ascend"},        {{0, 1, 2, 3}, 3, 2, {0, 1, 2}, "out of range"},
        {{0, 1, 2, 3}, 3, 4, {0, -1, 2}, "out of range"}, {{0, 1, 2, 3}, 5, 4, {0, 1, 2}, "rows"},
        {{1, 1, 2, 3}, 3, 4, {0, 1, 2}, "indices"},       {{0, 1, 2, 2}, 3, 4, {0, 1, 2}, "indices"}};
    char *path = path_format("%s/bad.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store *store;
        struct csr csr;
        assert_true(store_create(&store, path, &error));
        assert_true(store_write(store, "m/indptr", DTYPE_I64, 4, 0, cases[i].starts, &error));
        assert_true(store_write(store, "m/indices", DTYPE_I32, 3, 0, cases[i].indices, &error));
        assert_true(store_set_integer(store, "m", "rows", cases[i].rows, &error));
        assert_true(store_set_integer(store, "m", "columns", cases[i].columns, &error));
        assert_true(store_commit(store, &error));
        assert_true(store_open(&store, path, &error));
        assert_false(store_read_csr(store, "m", &csr, &error));
        expect(&error, "bad.h5", cases[i].fault);
        store_close(store);
    }
    free(path);
}

/* Whatever is cut off or changed: an error, or the very same contents. */
static void test_damaged_files(void **state)
{
    char *path = path_format("%s/a.h5", (char *)*state), *bytes;
    size_t length;
    struct error error = ERROR_INITIALIZER;
    write_sample(path);
    assert_true(file_read(path, &bytes, &length, &error));
    for (int part = 0; part < 40; part++) {
        struct store *store;
        const bool cut = part < 20;
        const size_t place = length * (size_t)(part % 20) / 20;
        const char kept = bytes[place];
        if (!cut)
            bytes[place] = (char)(kept ^ 0x55);
        assert_true(file_write(path, bytes, cut ? place : length, &error));
        bytes[place] = kept;
        if (!store_open(&store, path, &error)) {
            expect(&error, "a.h5", "");
            continue;
        }
        assert_false(cut);
        int64_t rows;
        void *data;
        struct csr csr;
        if (store_read(store, "column", DTYPE_I64, &rows, NULL, &data, &error)) {
            for (int64_t i = 0; i < ROWS; i++)
                assert_int_equal(((int64_t *)data)[i], i * i);
            free(data);
        } else {
            expect(&error, "a.h5", "column");
        }
        if (store_read_csr(store, "train", &csr, &error))
            csr_free(&csr);
        error = ERROR_INITIALIZER;
        store_close(store);
    }
    free(bytes);
    free(path);
}

static void test_nothing_is_left_behind(void **state)
{
    char *path = path_format("%s/never.h5", (char *)*state),
         *lost = path_format("%s/no/folder.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    const int32_t one = 1;
    assert_true(store_create(&store, path, &error));
    assert_true(store_write(store, "x", DTYPE_I32, 1, 0, &one, &error));
    store_close(store);
    assert_false(path_exists(path));
    assert_true(store_create(&store, lost, &error));
    assert_false(store_commit(store, &error));
    expect(&error, "folder.h5", "No such file");
    assert_false(store_open(&store, path, &error));
    store_close(NULL);
    free(path);
    free(lost);
}

static void test_foreign_files(void **state)
{
    char *path = path_format("%s/text.h5", (char *)*state);
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    assert_true(file_write(path, "user,item\n", 10, &error));
    assert_false(store_open(&store, path, &error));
    expect(&error, "text.h5", "is not an HDF5 file");
    assert_false(store_open(&store, *state, &error));
    expect(&error, *state, "");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),         cmocka_unit_test(test_equal_bytes),
        cmocka_unit_test(test_wrong_expectations), cmocka_unit_test(test_bad_matrices),
        cmocka_unit_test(test_damaged_files),      cmocka_unit_test(test_nothing_is_left_behind),
        cmocka_unit_test(test_foreign_files),
    };
    return cmocka_run_group_tests(tests, temporary_folder_make, temporary_folder_remove);
}
