/*
 * Quantised matrices: codes, absmax and numbers bit for bit those of bitsandbytes (goldens/make_quantized.py), the bytes
 * that they take, what cannot be stored, and the adapters' gradients over a quantised base.
 */
#include "core/quantize.h"
#include "golden_transformer.h"

static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_close(backend);
    return 0;
}

static const enum dtype types[] = {DTYPE_INT8, DTYPE_NF4};

static const struct safetensors_entry *entry_of(const struct safetensors *file, const char *name,
                                                enum dtype dtype, const char *part)
{
    char path[64];
    snprintf(path, sizeof path, "%s.%s%s%s", name, dtype_is_quantized(dtype) ? dtype_name(dtype) : "",
             dtype_is_quantized(dtype) ? "." : "", part);
    const struct safetensors_entry *entry = safetensors_find(file, path);
    if (!entry)
        fail_msg("the golden has no '%s'", path);
    return entry;
}

static void expect_bytes(const char *name, const char *part, const void *found,
                         const struct safetensors_entry *expected)
{
    const unsigned char *const bytes = found, *const right = expected->data;
    for (size_t i = 0; i < expected->bytes; i++)
        if (bytes[i] != right[i])
            fail_msg("%s: byte %zu of its %s is %d, not %d", name, i, part, bytes[i], right[i]);
}

/* Through the upload to a device, as a checkpoint is read. */
static void check_case(const struct safetensors *file, const char *name, enum dtype dtype)
{
    struct error error = ERROR_INITIALIZER;
    const struct safetensors_entry *const values = safetensors_find(file, name);
    const int64_t count = values->count;
    struct tensor stored = tensor_2d(NULL, dtype, DEVICE_CPU, values->shape[0], values->shape[1]);
    struct tensor out = tensor_2d(NULL, DTYPE_F32, DEVICE_CPU, values->shape[0], values->shape[1]);
    char short_name[32];
    snprintf(short_name, sizeof short_name, "%.*s", (int)(strchr(name, '.') - name), name);
    stored.data = malloc(tensor_bytes(&stored));
    out.data = malloc(tensor_bytes(&out));
    real *copy = malloc(values->bytes);
    memcpy(copy, values->data, values->bytes);
    require(tensor_upload_rounded(backend, &stored, copy, &error), &error);
    expect_bytes(name, "codes", stored.data, entry_of(file, short_name, dtype, "codes"));
    expect_bytes(name, "absmax", (char *)stored.data + quantized_code_bytes(dtype, count),
                 entry_of(file, short_name, dtype, "absmax"));
    op_dequantize(backend, &out, &stored);
    require(backend_synchronize(backend, &error), &error);
    expect_bytes(name, "values", out.data, entry_of(file, short_name, dtype, "values"));
    free(stored.data);
    free(out.data);
    free(copy);
}

static void equals_bitsandbytes(void **state)
{
    (void)state;
    static const char *const names[] = {"normal.values", "outliers.values", "ties.values",
                                        "zeros.values",  "extremes.values", "awkward.values"};
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    require(safetensors_open(&file, IDREC_SOURCE_DIR "/tests/goldens/quantized.safetensors", &error), &error);
    for (size_t name = 0; name < sizeof names / sizeof *names; name++)
        for (int type = 0; type < 2; type++)
            check_case(file, names[name], types[type]);
    safetensors_close(file);
}

static void takes_the_bytes_that_it_says(void **state)
{
    (void)state;
    const struct tensor int8 = tensor_2d(NULL, DTYPE_INT8, DEVICE_CPU, 4096, 4096);
    const struct tensor nf4 = tensor_2d(NULL, DTYPE_NF4, DEVICE_CPU, 4096, 4096);
    const struct tensor odd = tensor_2d(NULL, DTYPE_NF4, DEVICE_CPU, 1, 65);
    assert_int_equal(tensor_bytes(&int8), 4096 * 4096 / 16 * 17);
    assert_int_equal(tensor_bytes(&nf4), 4096 * 4096 / 16 * 9);
    assert_int_equal(tensor_bytes(&odd),
                     48 + 2 * 4); /* 33 bytes of codes, rounded up, and two blocks' absmax */
}

static void refuses_what_is_not_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int type = 0; type < 2; type++)
        for (int kind = 0; kind < 3; kind++)
            for (int place = 0; place < 130; place += 43) {
                struct error error = ERROR_INITIALIZER;
                char memory[256];
                float values[130];
                struct tensor stored = tensor_2d(memory, types[type], DEVICE_CPU, 2, 65);
                for (int i = 0; i < 130; i++)
                    values[i] = (float)i;
                assert_true(quantize(memory, &stored, values, 1, &error));
                values[place] = bad[kind];
                assert_false(quantize(memory, &stored, values, 1, &error));
                assert_non_null(strstr(error.message, "a matrix [2, 65] holds numbers that are not finite"));
            }
}

static void wrong_operands_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char memory[256];
    float values[130];
    struct tensor out = tensor_2d(values, DTYPE_F32, DEVICE_CPU, 65, 2);
    const struct tensor stored = tensor_2d(memory, DTYPE_NF4, DEVICE_CPU, 2, 65);
    op_dequantize(backend, &out, &stored);
    assert_false(backend_synchronize(backend, &error));
    assert_non_null(strstr(error.message, "op_dequantize: out is f32 [65, 2], expected f32 [2, 65]"));
    error = ERROR_INITIALIZER;
    op_dequantize(backend, &out, &out);
    assert_false(backend_synchronize(backend, &error));
    assert_non_null(strstr(error.message, "x must be int8 or nf4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_bitsandbytes),
        cmocka_unit_test(takes_the_bytes_that_it_says),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(wrong_operands_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
