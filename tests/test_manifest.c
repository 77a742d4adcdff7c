/* manifest.json: what a complete stage is, the folder's lock, and a damaged file. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "experiments/manifest.h"
#include "tests/support.h"

static void put(const char *folder, const char *name, const char *text)
{
    struct error error = ERROR_INITIALIZER;
    char *path = path_format("%s/%s", folder, name);
    assert_true(file_write(path, text, strlen(text), &error));
    free(path);
}

static void test_stages(void **state)
{
    static const char *const outputs[] = {"a.h5", "models", "absent", NULL};
    const char *folder = *state;
    struct error error = ERROR_INITIALIZER;
    struct manifest *manifest;
    char *models = path_format("%s/models/x", folder);
    assert_true(folder_create(models, &error));
    put(folder, "a.h5", "aaa");
    put(folder, "models/x/m", "mm");
    assert_true(manifest_open(&manifest, folder, &error));
    assert_null(manifest_stage(manifest, "prepare"));
    assert_false(manifest_outputs_present(manifest, "prepare", NULL));
    manifest_begin(manifest, "prepare", "1234");
    assert_null(manifest_outputs_hash(manifest, "prepare"));
    assert_true(manifest_complete(manifest, "prepare", outputs, &error));
    assert_true(manifest_outputs_present(manifest, "prepare", NULL));
    char *hash = strdup(manifest_outputs_hash(manifest, "prepare"));
    manifest_describe(manifest);
    assert_true(manifest_save(manifest, &error));
    manifest_close(manifest);

    assert_true(manifest_open(&manifest, folder, &error));
    assert_true(manifest_outputs_present(manifest, "prepare", NULL));
    assert_string_equal(manifest_outputs_hash(manifest, "prepare"), hash);
    put(folder, "a.h5", "aa");
    assert_false(manifest_outputs_present(manifest, "prepare", NULL));
    put(folder, "a.h5", "aab");
    assert_true(manifest_complete(manifest, "prepare", outputs, &error));
    assert_string_not_equal(manifest_outputs_hash(manifest, "prepare"), hash);
    assert_true(path_remove(models, &error));
    assert_false(manifest_outputs_present(manifest, "prepare", NULL));
    assert_true(manifest_outputs_present(manifest, "prepare", "a.h5"));
    assert_false(manifest_outputs_present(manifest, "prepare", "m"));
    manifest_close(manifest);
    free(hash);
    free(models);
}

/* A process that is killed while it writes leaves a file with a temporary name behind. */
static void test_left_over(void **state)
{
    static const char *const outputs[] = {"models", NULL};
    struct error error = ERROR_INITIALIZER;
    struct manifest *manifest;
    char *models = path_format("%s/models", (char *)*state), *half = path_format("%s/m.h5.tmp", models);
    assert_true(folder_create(models, &error));
    put(*state, "models/m.h5", "whole");
    put(*state, "models/m.h5.tmp", "ha");
    assert_true(manifest_open(&manifest, *state, &error));
    manifest_begin(manifest, "train", "1234");
    assert_true(manifest_complete(manifest, "train", outputs, &error));
    assert_int_equal(json_array_size(json_object_get(manifest_stage(manifest, "train"), "outputs")), 1);
    assert_false(path_exists(half));
    manifest_close(manifest);
    free(models);
    free(half);
}

static void test_lock(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct manifest *first, *second;
    assert_true(manifest_open(&first, *state, &error));
    assert_false(manifest_open(&second, *state, &error));
    assert_non_null(strstr(error.message, "another process"));
    manifest_close(first);
    error = ERROR_INITIALIZER;
    assert_true(manifest_open(&second, *state, &error));
    manifest_close(second);
}

static void test_damage(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{\"stages\": 3}", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error error = ERROR_INITIALIZER;
        struct manifest *manifest;
        put(*state, "manifest.json", texts[i]);
        assert_false(manifest_open(&manifest, *state, &error));
        assert_int_equal(error.kind, ERROR_RUN);
        assert_non_null(strstr(error.message, "manifest.json"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stages, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_left_over, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_lock, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_damage, temporary_folder_make, temporary_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
