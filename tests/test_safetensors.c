#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/language/safetensors_values.h"
#include "models/language/safetensors_writer.h"
#include "tests/support.h"

static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_close(backend);
    return 0;
}

/* A file in memory: the header's text, its length in front, then `data_bytes` bytes of data. */
static size_t compose(unsigned char *bytes, const char *header, const void *data, size_t data_bytes)
{
    const size_t length = strlen(header);
    memset(bytes, 0, 8);
    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, data_bytes);
    return 8 + length + data_bytes;
}

static void refuses(const char *header, size_t data_bytes, const char *part)
{
    static const unsigned char zeros[64];
    unsigned char bytes[4096];
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    const size_t length = compose(bytes, header, zeros, data_bytes);
    assert_false(safetensors_parse(&file, "some.safetensors", bytes, length, &error));
    assert_null(file);
    if (strncmp(error.message, "some.safetensors: ", 18) != 0 || !strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void damaged_headers_are_refused(void **state)
{
    (void)state;
    refuses("{\"a\":", 0, "no JSON object");
    refuses("[1]", 0, "no JSON object");
    refuses("{\"a\":3}", 0, "unknown type");
    refuses("{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown type 'F33'");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", 4, "no usable shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "no usable shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "no usable shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
            "no usable shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
            "not what");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
            "no usable shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "no usable data_offsets");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "no usable data_offsets");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "no usable data_offsets");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
            "4 bytes, not what 2 elements");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "cut off");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 6, "belong to none");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
            12, "overlaps");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            8, "no JSON object");
}

static void short_files_are_refused(void **state)
{
    (void)state;
    const unsigned char bytes[12] = {200, 0, 0, 0, 0, 0, 0, 0, '{', '}'},
                        huge[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    struct safetensors *file;
    struct error error = ERROR_INITIALIZER;
    assert_false(safetensors_parse(&file, "f", bytes, 7, &error));
    assert_non_null(strstr(error.message, "too few"));
    error = ERROR_INITIALIZER;
    assert_false(safetensors_parse(&file, "f", bytes, sizeof bytes, &error));
    assert_non_null(strstr(error.message, "a header of 200 bytes in a file of 12"));
    error = ERROR_INITIALIZER;
    assert_false(safetensors_parse(&file, "f", huge, sizeof huge, &error));
    assert_non_null(strstr(error.message, "cut off"));
    error = ERROR_INITIALIZER;
    assert_false(safetensors_open(&file, "/nowhere/f.safetensors", &error));
    assert_non_null(strstr(error.message, "No such file"));
    error = ERROR_INITIALIZER;
    assert_false(safetensors_open(&file, "/tmp", &error));
    assert_non_null(strstr(error.message, "no safetensors file"));
}

static void narrow_types_are_widened(void **state)
{
    (void)state;
    const uint16_t data[] = {0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0xfc00, 0x8000, 0x3f80, 0xc0a0};
    const char *header = "{\"half\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[0,14]},"
                         "\"brain\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[14,18]}}";
    const float expected[] = {1.0f, -2.0f, 0x1p-24f, 1023 * 0x1p-24f, 65504.0f, -INFINITY, -0.0f};
    unsigned char bytes[512];
    float half[7], brain[2];
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    assert_true(safetensors_parse(&file, "f", bytes, compose(bytes, header, data, sizeof data), &error));
    struct tensor half_tensor = tensor_1d(half, DTYPE_F32, DEVICE_CPU, 7);
    struct tensor brain_tensor = tensor_2d(brain, DTYPE_F32, DEVICE_CPU, 1, 2);
    assert_true(safetensors_read(file, "half", backend, &half_tensor, &error));
    assert_true(safetensors_read(file, "brain", backend, &brain_tensor, &error));
    assert_memory_equal(half, expected, sizeof expected);
    assert_true(brain[0] == 1.0f && brain[1] == -5.0f);
    assert_false(safetensors_read(file, "brain", backend, &half_tensor, &error));
    assert_non_null(strstr(error.message, "tensor 'brain' has the shape [1, 2], not [7]"));
    error = ERROR_INITIALIZER;
    assert_false(safetensors_read(file, "other", backend, &half_tensor, &error));
    assert_non_null(strstr(error.message, "no tensor 'other'"));
    safetensors_close(file);
}

/* Every half and bf16 that is a number comes back with its bits. */
static void narrow_types_are_stored_exactly(void **state)
{
    (void)state;
    static const char *const types[] = {"F16", "BF16"};
    static uint16_t bits[65536], stored[65536];
    static float values[65536];
    for (int32_t index = 0; index < 65536; index++)
        bits[index] = (uint16_t)index;
    for (int type = 0; type < 2; type++) {
        const struct safetensors_entry entry = {
            .type = types[type], .rank = 1, .shape = {65536}, .count = 65536, .data = bits};
        safetensors_values(values, &entry, 0, 65536);
        assert_int_equal(safetensors_store(stored, types[type], values, 65536), 0);
        for (int32_t index = 0; index < 65536; index++)
            if (!isnan(values[index]))
                assert_int_equal(stored[index], bits[index]);
        safetensors_values(values, &entry, 40000, 2);
        assert_int_equal(safetensors_store(stored, types[type], values, 2), 0);
        assert_int_equal(stored[1], 40001);
    }
}

static void stored_values_are_the_nearest(void **state)
{
    (void)state;
    const float unit = 0x1p-10f; /* of halves in [1, 2) */
    const float values[] = {1.0f + 0.5f * unit,
                            1.0f + 1.5f * unit,
                            1.0f + 0.51f * unit,
                            65519.0f,
                            65520.0f,
                            -1e9f,
                            0x1p-25f,
                            0x1.8p-24f,
                            INFINITY,
                            NAN};
    const uint16_t halves[] = {0x3c00, 0x3c02, 0x3c01, 0x7bff, 0x7c00, 0xfc00, 0, 2, 0x7c00, 0x7e00};
    uint16_t stored[10];
    assert_int_equal(safetensors_store(stored, "F16", values, 10), 2);
    assert_memory_equal(stored, halves, sizeof halves);
    const float large[] = {3.4e38f, -3.38e38f, 1.00390625f, 1.01171875f};
    const uint16_t brains[] = {0x7f80, 0xff7e, 0x3f80, 0x3f82};
    assert_int_equal(safetensors_store(stored, "BF16", large, 4), 1);
    assert_memory_equal(stored, brains, sizeof brains);
    double wide[2];
    assert_int_equal(safetensors_store(wide, "F64", large, 2), 0);
    assert_true(wide[0] == (double)3.4e38f && wide[1] == (double)-3.38e38f);
}

/* What comes in pieces is one file, and one that lacks bytes gets no name. */
static void pieces_make_a_file(void **state)
{
    (void)state;
    const float values[3] = {1.0f, 2.0f, 3.0f};
    const struct safetensors_entry entries[2] = {
        {.name = "one", .type = "F32", .rank = 1, .shape = {1}, .bytes = 4},
        {.name = "two", .type = "F32", .rank = 2, .shape = {1, 2}, .bytes = 8}};
    struct error error = ERROR_INITIALIZER;
    struct safetensors_writer *writer;
    struct safetensors *file;
    char path[] = "/tmp/idrec-pieces-XXXXXX", temporary[40];
    close(mkstemp(path));
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    require(safetensors_writer_open(&writer, path, entries, 2, &error), &error);
    require(safetensors_writer_append(writer, values, 2 * sizeof *values, &error), &error);
    assert_int_equal(access(temporary, F_OK), 0);
    assert_false(safetensors_writer_commit(writer, &error));
    assert_non_null(strstr(error.message, "8 bytes of tensors that have 12"));
    safetensors_writer_close(writer);
    assert_int_equal(access(temporary, F_OK), -1);
    error = ERROR_INITIALIZER;
    require(safetensors_writer_open(&writer, path, entries, 2, &error), &error);
    require(safetensors_writer_append(writer, values, sizeof *values, &error), &error);
    require(safetensors_writer_append(writer, values + 1, 2 * sizeof *values, &error), &error);
    require(safetensors_writer_commit(writer, &error), &error);
    safetensors_writer_close(writer);
    require(safetensors_open(&file, path, &error), &error);
    assert_int_equal(safetensors_count(file), 2);
    assert_memory_equal(safetensors_find(file, "two")->data, values + 1, 8);
    safetensors_close(file);
    unlink(path);
}

static void whole_numbers_are_no_weights(void **state)
{
    (void)state;
    const int32_t data[] = {1, 2};
    unsigned char bytes[512];
    float values[2];
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    struct tensor tensor = tensor_1d(values, DTYPE_F32, DEVICE_CPU, 2);
    const size_t length =
        compose(bytes, "{\"a\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}", data, 8);
    assert_true(safetensors_parse(&file, "f", bytes, length, &error));
    assert_string_equal(safetensors_at(file, 0)->type, "I32");
    assert_false(safetensors_read(file, "a", backend, &tensor, &error));
    assert_non_null(strstr(error.message, "of type I32"));
    safetensors_close(file);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    char path[] = "/tmp/idrec-safetensors-XXXXXX";
    close(mkstemp(path));
    float values[6] = {1.5f, -2.0f, NAN, 0.1f, 1e30f, -0.0f}, back[6] = {0};
    struct named_tensor tensors[] = {{"first", tensor_2d(values, DTYPE_F32, DEVICE_CPU, 2, 3)},
                                     {"with \"quotes\"", tensor_1d(values, DTYPE_F32, DEVICE_CPU, 1)}};
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    assert_true(safetensors_write(path, backend, tensors, 2, &error));
    assert_true(safetensors_open(&file, path, &error));
    assert_int_equal(safetensors_count(file), 2);
    assert_int_equal((uintptr_t)safetensors_at(file, 0)->data % 8, 0);
    struct tensor tensor = tensor_2d(back, DTYPE_F32, DEVICE_CPU, 2, 3);
    assert_true(safetensors_read(file, "first", backend, &tensor, &error));
    assert_memory_equal(back, values, sizeof values);
    assert_non_null(safetensors_find(file, "with \"quotes\""));
    safetensors_close(file);
    assert_int_equal(truncate(path, 60), 0);
    assert_false(safetensors_open(&file, path, &error));
    unlink(path);
    error = ERROR_INITIALIZER;
    assert_false(safetensors_write("/nowhere/f.safetensors", backend, tensors, 2, &error));
    assert_non_null(strstr(error.message, "/nowhere/f.safetensors: cannot write this file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_headers_are_refused),   cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(narrow_types_are_widened),      cmocka_unit_test(narrow_types_are_stored_exactly),
        cmocka_unit_test(stored_values_are_the_nearest), cmocka_unit_test(pieces_make_a_file),
        cmocka_unit_test(whole_numbers_are_no_weights),  cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
