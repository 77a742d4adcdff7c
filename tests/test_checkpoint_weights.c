#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/checkpoint_weights.h"

static struct backend *backend;
static char folder[] = "/tmp/idrec-weights-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct error error = ERROR_INITIALIZER;
    (void)state;
    backend_close(backend);
    return path_remove(folder, &error) ? 0 : -1;
}

/* Each letter of `letters` names a tensor [2] with (letter, letter + 0.5). */
static void write_shard(const char *name, const char *letters)
{
    struct error error = ERROR_INITIALIZER;
    float values[8][2];
    struct named_tensor tensors[8];
    int64_t count = 0;
    for (; letters[count]; count++) {
        values[count][0] = (float)letters[count];
        values[count][1] = (float)letters[count] + 0.5f;
        tensors[count] = (struct named_tensor){.tensor = tensor_1d(values[count], DTYPE_F32, DEVICE_CPU, 2)};
        tensors[count].name[0] = letters[count];
    }
    char *path = path_format("%s/%s", folder, name);
    require(safetensors_write(path, backend, tensors, count, &error), &error);
    free(path);
}

static void write_index(const char *text)
{
    struct error error = ERROR_INITIALIZER;
    char *path = path_format("%s/model.safetensors.index.json", folder);
    require(file_write(path, text, strlen(text), &error), &error);
    free(path);
}

static void expect(const struct weights *weights, const char *name)
{
    struct error error = ERROR_INITIALIZER;
    float values[2];
    struct tensor tensor = tensor_1d(values, DTYPE_F32, DEVICE_CPU, 2);
    require(weights_read(weights, name, backend, &tensor, &error), &error);
    assert_true(values[0] == (float)name[0] && values[1] == (float)name[0] + 0.5f);
    assert_string_equal(weights_find(weights, name)->name, name);
}

static void shards_read_as_one(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct weights *weights;
    write_shard("one.safetensors", "ac");
    write_shard("two.safetensors", "bde");
    write_index("{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\", "
                "\"c\": \"one.safetensors\", \"d\": \"two.safetensors\", \"e\": \"two.safetensors\"}}");
    require(weights_open(&weights, folder, "model", &error), &error);
    assert_int_equal(weights_count(weights), 5);
    for (const char *name = "acbde"; *name; name++) {
        const char text[2] = {*name, '\0'};
        expect(weights, text);
        assert_string_equal(weights_at(weights, name - "acbde")->name, text);
    }
    assert_null(weights_find(weights, "f"));
    assert_false(weights_read(weights, "f", backend, &(struct tensor){.rank = 1}, &error));
    assert_non_null(strstr(error.message, "no tensor 'f'"));
    weights_close(weights);
}

/* One file is enough, and comes before an index. */
static void a_single_file_comes_first(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct weights *weights;
    char *path = path_format("%s/model.safetensors", folder);
    write_shard("model.safetensors", "xy");
    write_index("{\"weight_map\": {\"a\": \"none.safetensors\"}}");
    require(weights_open(&weights, folder, "model", &error), &error);
    assert_string_equal(weights_path(weights), path);
    assert_int_equal(weights_count(weights), 2);
    expect(weights, "x");
    expect(weights, "y");
    assert_null(weights_find(weights, "a"));
    weights_close(weights);
    require(path_remove(path, &error), &error);
    free(path);
}

static void refuses(const char *index, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct weights *weights;
    write_index(index);
    assert_false(weights_open(&weights, folder, "model", &error));
    assert_null(weights);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void damaged_indices_are_refused(void **state)
{
    (void)state;
    write_shard("one.safetensors", "ac");
    refuses("{\"weight_map\": {\"a\": \"one.safetensors\"}}", "names 1 tensors, but its files hold 2");
    refuses("{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"one.safetensors\"}}",
            "'b' is not in one.safetensors");
    refuses("{\"weight_map\": {\"a\": \"../one.safetensors\"}}", "'a' is in no file of this folder");
    refuses("{\"weight_map\": {\"a\": \"..\"}}", "'a' is in no file of this folder");
    refuses("{\"weight_map\": {\"a\": 3}}", "'a' is in no file of this folder");
    refuses("{\"weight_map\": {\"a\": \"three.safetensors\"}}", "three.safetensors: cannot open");
    refuses("{\"weight_map\": {}}", "'weight_map' is missing");
    refuses("{\"weight_map\": [\"a\"]}", "'weight_map' is missing");
    refuses("[]", "no JSON object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_read_as_one),
        cmocka_unit_test(a_single_file_comes_first),
        cmocka_unit_test(damaged_indices_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
