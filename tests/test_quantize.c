/*
 * Quantised matrices: codes, absmax and numbers bit for bit those of bitsandbytes (goldens/make_quantized.py), the bytes
 * that they take, what cannot be stored, and the adapters' gradients over a quantised base.
 */
#include <unistd.h>

#include "core/counting.h"
#include "core/file.h"
#include "core/quantize.h"
#include "golden_transformer.h"
#include "models/language/checkpoint.h"

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

/* No division by a tiny absmax leaves the range of codes. */
static void blocks_of_tiny_numbers_are_zeros(void **state)
{
    (void)state;
    static const float sizes[] = {0.0f, 1e-42f, 1e-38f, 3e-37f};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        struct error error = ERROR_INITIALIZER;
        char memory[128];
        real values[64];
        struct tensor stored = tensor_2d(memory, DTYPE_INT8, DEVICE_CPU, 1, 64);
        for (int i = 0; i < 64; i++)
            values[i] = sizes[size] * (real)(i % 3 - 1);
        memset(memory, 1, sizeof memory);
        require(quantize(memory, &stored, values, 1, &error), &error);
        for (int i = 0; i < 64; i++)
            assert_int_equal(memory[i], 0);
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

/* ---- models over a quantised base ----------------------------------------------------------------------- */

static const enum frozen_storage storages[] = {FROZEN_INT8, FROZEN_NF4};

/* The golden's model in f32, with the numbers that the other one's quantised weights stand for. */
static struct transformer *model_of_read_numbers(const struct golden *golden, struct transformer *quantized)
{
    struct golden plain = *golden;
    plain.settings.frozen = FROZEN_PRECISION;
    struct transformer *model = golden_model(&plain, backend);
    int64_t count, other_count, read = 0;
    struct parameter *parameters = transformer_parameters(model, &count);
    const struct parameter *others = transformer_parameters(quantized, &other_count);
    assert_int_equal(count, other_count);
    for (int64_t index = 0; index < count; index++) {
        assert_string_equal(parameters[index].name, others[index].name);
        if (!dtype_is_quantized(others[index].value.dtype))
            continue;
        op_dequantize(backend, &parameters[index].value, &others[index].value);
        read++;
    }
    assert_int_equal(read, LINEAR_COUNT * golden->settings.layers);
    return model;
}

static void compare_gradients(struct golden *golden, enum frozen_storage storage, bool recompute)
{
    int64_t length;
    golden->settings.frozen = storage;
    golden->settings.recompute = recompute;
    golden->lora.dropout = 0.2;
    struct transformer *const quantized = golden_model(golden, backend);
    struct transformer *const plain = model_of_read_numbers(golden, quantized);
    assert_true(accumulate(quantized, &golden->batch, 0.1, 3) == accumulate(plain, &golden->batch, 0.1, 3));
    float *found = copy_gradients(quantized, &length), *expected = copy_gradients(plain, &length);
    assert_memory_equal(found, expected, (size_t)length * sizeof *found);
    free(found);
    free(expected);
    found = all_logits(quantized, &golden->batch);
    expected = all_logits(plain, &golden->batch);
    assert_memory_equal(found, expected,
                        (size_t)(golden->batch.tokens * golden->settings.vocabulary) * sizeof *found);
    free(found);
    free(expected);
    transformer_free(quantized);
    transformer_free(plain);
}

/* Loss, adapters' gradients and logits are, to the bit, those of a model in f32 whose weights are the numbers read. */
static void adapters_learn_as_over_the_numbers_read(void **state)
{
    (void)state;
    static const char *const names[] = {"lora_all", "lora_qv"};
    for (int name = 0; name < 2; name++)
        for (int storage = 0; storage < 2; storage++)
            for (int recompute = 0; recompute < 2; recompute++) {
                struct golden golden = golden_open(names[name]);
                compare_gradients(&golden, storages[storage], recompute);
                golden_close(&golden);
            }
}

static void what_is_trained_is_not_quantised(void **state)
{
    (void)state;
    struct golden golden = golden_open("plain");
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    golden.settings.frozen = FROZEN_NF4;
    assert_false(transformer_create(&model, backend, &golden.settings, NULL, TRAIN_ALL, 8, 1, 1, &error));
    assert_null(model);
    assert_non_null(strstr(error.message, "cannot be stored in nf4; set finetune.base: precision"));
    golden_close(&golden);
}

/* A model's adapter goes to disk and comes back over a base that is quantised while it is read. */
static void checkpoints_are_quantised_while_they_are_read(void **state)
{
    (void)state;
    char folder[] = "/tmp/idrec-quantize-XXXXXX", base[64], adapter[64];
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("lora_all");
    assert_non_null(mkdtemp(folder));
    snprintf(base, sizeof base, "%s/base", folder);
    snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    struct transformer *whole = golden_model(&golden, backend), *read;
    require(checkpoint_save_base(whole, base, &error) && checkpoint_save_adapter(whole, adapter, &error),
            &error);
    golden.settings.frozen = FROZEN_NF4;
    struct transformer *const quantized = golden_model(&golden, backend);
    require(checkpoint_load(&read, backend, base, adapter, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                            FROZEN_NF4, false, golden.batch.tokens, golden.batch.sequences, 1, &error),
            &error);
    float *found = all_logits(read, &golden.batch), *expected = all_logits(quantized, &golden.batch);
    assert_memory_equal(found, expected,
                        (size_t)(golden.batch.tokens * golden.settings.vocabulary) * sizeof *found);
    assert_false(checkpoint_save_base(quantized, base, &error));
    assert_non_null(strstr(error.message, "the base is held in nf4"));
    error = ERROR_INITIALIZER;
    require(checkpoint_save_adapter(quantized, adapter, &error) && path_remove(folder, &error), &error);
    free(found);
    free(expected);
    transformer_free(whole);
    transformer_free(read);
    transformer_free(quantized);
    golden_close(&golden);
}

static void damaged_weights_are_named(void **state)
{
    (void)state;
    char path[] = "/tmp/idrec-quantize-XXXXXX";
    struct error error = ERROR_INITIALIZER;
    float values[6] = {1, 2, NAN, 4, 5, 6};
    char memory[64];
    struct safetensors *file;
    struct named_tensor named = {"some.weight", tensor_2d(values, DTYPE_F32, DEVICE_CPU, 2, 3)};
    struct tensor stored = tensor_2d(memory, DTYPE_NF4, DEVICE_CPU, 2, 3);
    close(mkstemp(path));
    require(safetensors_write(path, backend, &named, 1, &error), &error);
    require(safetensors_open(&file, path, &error), &error);
    assert_false(safetensors_read(file, "some.weight", backend, &stored, &error));
    assert_non_null(
        strstr(error.message, "tensor 'some.weight': a matrix [2, 3] holds numbers that are not"));
    safetensors_close(file);
    unlink(path);
}

/* ---- memory --------------------------------------------------------------------------------------------- */

static size_t arena_bytes(const struct transformer *model, const char *name)
{
    for (int index = 0; transformer_arena(model, index); index++)
        if (strcmp(transformer_arena(model, index)->name, name) == 0)
            return transformer_arena(model, index)->capacity;
    fail_msg("there is no arena '%s'", name);
    return 0;
}

/* Llama-2-7B in `frozen`, to be trained by the paper's adapters on 2,048 tokens, on a GPU that need not be there. */
static struct transformer *seven_billion(struct backend *counting, enum frozen_storage frozen)
{
    const struct transformer_settings settings = {.vocabulary = 32000,
                                                  .width = 4096,
                                                  .layers = 32,
                                                  .query_heads = 32,
                                                  .key_heads = 32,
                                                  .head_width = 128,
                                                  .hidden = 11008,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 1e4f,
                                                  .positions = true,
                                                  .recompute = true,
                                                  .precision = PRECISION_BF16,
                                                  .frozen = frozen};
    const struct lora_settings lora = {
        .rank = 8, .alpha = 32.0, .dropout = 0.05, .targets = {[LINEAR_Q] = true, [LINEAR_V] = true}};
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(transformer_create(&model, counting, &settings, &lora, TRAIN_LORA, 2048, 32, 1, &error), &error);
    return model;
}

static void seven_billion_fit_in_twelve_gigabytes(void **state)
{
    (void)state;
    const double linears = 32.0 * (4.0 * 4096.0 * 4096.0 + 3.0 * 4096.0 * 11008.0);
    const double tables = 2.0 * 2.0 * 32000.0 * 4096.0, norms = 2.0 * 65.0 * 4096.0;
    const double adapters = 32.0 * 2.0 * 2.0 * 8.0 * 4096.0;
    static const double bytes[] = {2.0, 1.0625, 0.5625};
    for (enum frozen_storage storage = FROZEN_PRECISION; storage <= FROZEN_NF4; storage++) {
        struct error error = ERROR_INITIALIZER;
        struct backend *counting = counting_backend_open(DEVICE_CUDA, 1, &error);
        require(counting != NULL, &error);
        struct transformer *model = seven_billion(counting, storage);
        assert_near((double)arena_bytes(model, "weights"),
                    bytes[storage] * linears + tables + norms + 6.0 * adapters, 1e5);
        assert_near((double)arena_bytes(model, "gradients"), 4.0 * adapters, 1e5);
        assert_near((double)arena_bytes(model, "optimizer"), 8.0 * adapters, 1e5);
        assert_true((counting->memory.bytes < 12e9) == (storage != FROZEN_PRECISION));
        transformer_free(model);
        backend_close(counting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_bitsandbytes),
        cmocka_unit_test(takes_the_bytes_that_it_says),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(blocks_of_tiny_numbers_are_zeros),
        cmocka_unit_test(wrong_operands_are_refused),
        cmocka_unit_test(adapters_learn_as_over_the_numbers_read),
        cmocka_unit_test(what_is_trained_is_not_quantised),
        cmocka_unit_test(checkpoints_are_quantised_while_they_are_read),
        cmocka_unit_test(damaged_weights_are_named),
        cmocka_unit_test(seven_billion_fit_in_twelve_gigabytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
