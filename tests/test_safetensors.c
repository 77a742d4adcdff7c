#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/language/safetensors.h"
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
        cmocka_unit_test(damaged_headers_are_refused), cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(narrow_types_are_widened),    cmocka_unit_test(whole_numbers_are_no_weights),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
