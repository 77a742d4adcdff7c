/*
 * What the CUDA kernels promise beyond equality with the CPU, checked on the host: the bits of a row depend neither on
 * the alignment of its memory nor on the other rows, sums of look-ups keep the CPU's order, tensors may be empty, softmax
 * does not overflow.
 */
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "tests/host_device.h"
#include "tests/support.h"

static void close_device(struct backend *device)
{
    struct error error = ERROR_INITIALIZER;
    require(backend_synchronize(device, &error), &error);
    backend_close(device);
}

/* f32 [rows, columns], or [rows] when columns is 0, that begins `shift` elements behind an aligned address. */
static struct tensor tensor_open(struct backend *backend, int64_t rows, int64_t columns, int64_t shift)
{
    const int64_t count = rows * (columns ? columns : 1);
    float *memory = backend->allocate(backend, (size_t)(count + shift) * sizeof *memory);
    assert_non_null(memory);
    return columns ? tensor_2d(memory + shift, DTYPE_F32, backend->device, rows, columns)
                   : tensor_1d(memory + shift, DTYPE_F32, backend->device, rows);
}

static void tensor_close(struct backend *backend, struct tensor *tensor, int64_t shift)
{
    backend->release(backend, (float *)tensor->data - shift);
}

/* Numbers that `key` and the position decide. */
static void fill(struct backend *backend, struct tensor *tensor, uint64_t key)
{
    struct random_stream random = random_stream_open(5, RANDOM_TEST, 0, key);
    const int64_t count = tensor_count(tensor);
    float *values = malloc((size_t)(count + 1) * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = random_float(&random) - 0.5f;
    tensor_upload(backend, tensor, values);
    backend->wait(backend);
    free(values);
}

static float *values_of(struct backend *backend, const struct tensor *tensor)
{
    float *values = malloc(tensor_bytes(tensor) + 1);
    tensor_download(backend, values, tensor);
    return values;
}

/* ---- large scores ---- */

enum { KEYS = 64, FIRST_STRONG_KEY = KEYS - 8, HEAD_WIDTH = 16 };

/* [KEYS, HEAD_WIDTH]: token t has the numbers value(t). */
static struct tensor tokens_open(struct backend *device, enum dtype dtype, float (*value)(int token))
{
    float values[KEYS * HEAD_WIDTH];
    void *memory = device->allocate(device, sizeof values);
    assert_non_null(memory);
    struct tensor tensor = tensor_2d(memory, dtype, device->device, KEYS, HEAD_WIDTH);
    for (int i = 0; i < KEYS * HEAD_WIDTH; i++)
        values[i] = value(i / HEAD_WIDTH);
    struct error error = ERROR_INITIALIZER;
    require(tensor_upload_rounded(device, &tensor, values, &error), &error);
    return tensor;
}

static float sixteen(int token)
{
    (void)token;
    return 16.0f;
}

static float strong_at_the_end(int token)
{
    return token < FIRST_STRONG_KEY ? 0.0f : 4.0f;
}

static float number_of(int token)
{
    return (float)token;
}

/* The last eight keys of a tile have scores of 256, the others 0: e^256 is more than f32 holds. */
static void strong_keys_do_not_overflow(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};
    static const int32_t begin_and_end[2] = {0, KEYS};
    struct backend *device = open_device();
    for (int i = 0; i < 2; i++) {
        struct tensor q = tokens_open(device, dtypes[i], sixteen);
        struct tensor k = tokens_open(device, dtypes[i], strong_at_the_end);
        struct tensor v = tokens_open(device, dtypes[i], number_of);
        struct tensor out = tokens_open(device, dtypes[i], number_of);
        struct tensor log_sum_exp = tensor_open(device, 1, KEYS, 0), starts = tensor_open(device, 2, 0, 0);
        starts.dtype = DTYPE_I32;
        tensor_upload(device, &starts, begin_and_end);
        op_attention_forward(device, &out, &log_sum_exp, &q, &k, &v, &starts,
                             (struct attention_shape){1, 1, HEAD_WIDTH, .bidirectional = false});
        struct tensor last = tensor_rows(&out, KEYS - 1, 1), found = tensor_open(device, 1, HEAD_WIDTH, 0);
        op_convert(device, &found, &last);
        float *values = values_of(device, &found);
        for (int column = 0; column < HEAD_WIDTH; column++)
            assert_true(values[column] == (FIRST_STRONG_KEY + KEYS - 1) / 2.0f);
        free(values);
        struct tensor *const all[] = {&q, &k, &v, &out, &log_sum_exp, &starts, &found};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++)
            tensor_close(device, all[t], 0);
    }
    close_device(device);
}

/* ---- alignment ---- */

enum { NORM_TENSORS = 10, NORM_RESULTS = 4, NORM_ROWS = 70 };

/* Both directions of a norm of t[0] with the weight t[1] and the bias t[2]; t[3] is the gradient of the result. The
 * results are t[4] out, t[5] d_x, t[6] d_weight, t[7] d_bias; t[8] and t[9] are kept of each row. */
typedef void norm(struct backend *device, struct tensor *t);

static void root_mean_square(struct backend *device, struct tensor *t)
{
    op_rmsnorm_forward(device, &t[4], &t[8], &t[0], &t[1], 1e-5f);
    op_rmsnorm_backward(device, &t[5], &t[6], &t[3], &t[0], &t[1], &t[8]);
}

static void mean_and_deviation(struct backend *device, struct tensor *t)
{
    op_layernorm_forward(device, &t[4], &t[8], &t[9], &t[0], &t[1], &t[2], 1e-5f);
    op_layernorm_backward(device, &t[5], &t[6], &t[7], &t[3], &t[0], &t[1], &t[8], &t[9]);
}

static void run_norm(struct backend *device, float *results[NORM_RESULTS], norm *run, int64_t columns,
                     int64_t shift)
{
    struct tensor t[NORM_TENSORS];
    for (int i = 0; i < NORM_TENSORS; i++) {
        const bool of_columns = i == 1 || i == 2 || i == 6 || i == 7, of_rows = i == 8 || i == 9;
        t[i] =
            tensor_open(device, of_columns ? columns : NORM_ROWS, of_columns || of_rows ? 0 : columns, shift);
        fill(device, &t[i], (uint64_t)i);
    }
    run(device, t);
    for (int i = 0; i < NORM_RESULTS; i++)
        results[i] = values_of(device, &t[4 + i]);
    for (int i = 0; i < NORM_TENSORS; i++)
        tensor_close(device, &t[i], shift);
}

static void bits_do_not_depend_on_alignment(void **state)
{
    (void)state;
    static const int64_t widths[] = {16, 64, 136, 520};
    static norm *const norms[] = {root_mean_square, mean_and_deviation};
    struct backend *device = open_device();
    for (size_t n = 0; n < sizeof norms / sizeof *norms; n++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            float *packed[NORM_RESULTS], *single[NORM_RESULTS];
            run_norm(device, packed, norms[n], widths[w], 0);
            run_norm(device, single, norms[n], widths[w], 1);
            for (int i = 0; i < NORM_RESULTS; i++) {
                const size_t count = (size_t)(widths[w] * (i < 2 ? NORM_ROWS : 1));
                if (memcmp(packed[i], single[i], count * sizeof(float)) != 0)
                    fail_msg("result %d of norm %zu of rows of %lld depends on the alignment", i, n,
                             (long long)widths[w]);
                free(packed[i]);
                free(single[i]);
            }
        }
    close_device(device);
}

/* ---- rows of length zero ---- */

static void a_row_of_zeros_stays_one(void **state)
{
    (void)state;
    enum { ROWS = 3, COLUMNS = 12 };
    static const float zeros[ROWS * COLUMNS];
    struct backend *device = open_device();
    struct tensor x = tensor_open(device, ROWS, COLUMNS, 0), out = tensor_open(device, ROWS, COLUMNS, 0);
    struct tensor inverse_norm = tensor_open(device, ROWS, 0, 0);
    tensor_upload(device, &x, zeros);
    op_unit_rows_forward(device, &out, &inverse_norm, &x);
    float *values = values_of(device, &out);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        assert_true(values[i] == 0.0f);
    free(values);
    tensor_close(device, &x, 0);
    tensor_close(device, &out, 0);
    tensor_close(device, &inverse_norm, 0);
    close_device(device);
}

/* ---- sums of look-ups ---- */

enum { TABLE_ROWS = 9, WIDTH = 12, PLACES = 900, FOLLOWED = 4 };

/* Adds PLACES rows to a table of random numbers; the rows of index FOLLOWED are the same for every `others`. */
static float *run_scatter(struct backend *backend, int64_t followed, int64_t others)
{
    struct tensor table = tensor_open(backend, TABLE_ROWS, WIDTH, 0);
    struct tensor rows = tensor_open(backend, PLACES, WIDTH, 0);
    struct tensor indices = tensor_open(backend, PLACES, 0, 0);
    indices.dtype = DTYPE_I32;
    fill(backend, &table, 1);
    fill(backend, &rows, 2);
    int32_t index[PLACES];
    for (int64_t i = 0; i < PLACES; i++)
        index[i] = i % (PLACES / followed) == 0 && i / (PLACES / followed) < followed
                       ? FOLLOWED
                       : (int32_t)(i * others % (FOLLOWED + 1)) - 1;
    tensor_upload(backend, &indices, index);
    op_scatter_add(backend, &table, &rows, &indices);
    float *values = values_of(backend, &table);
    tensor_close(backend, &table, 0);
    tensor_close(backend, &rows, 0);
    tensor_close(backend, &indices, 0);
    return values;
}

static void sums_depend_on_their_own_rows_only(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 63, 64, 65, 128, 129, 300};
    struct backend *device = open_device(), *cpu = open_backend(1);
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        float *first = run_scatter(device, lengths[l], 1), *again = run_scatter(device, lengths[l], 0);
        float *expected = run_scatter(cpu, lengths[l], 1);
        const size_t bytes = WIDTH * sizeof(float), place = FOLLOWED * WIDTH;
        if (memcmp(first + place, again + place, bytes) != 0)
            fail_msg("the sum of %lld rows depends on the rest of the batch", (long long)lengths[l]);
        if (lengths[l] <= 64 && memcmp(first + place, expected + place, bytes) != 0)
            fail_msg("the sum of %lld rows has another order than on the CPU", (long long)lengths[l]);
        assert_memory_equal(first + place + WIDTH, expected + place + WIDTH,
                            (TABLE_ROWS - FOLLOWED - 1) * bytes);
        free(first);
        free(again);
        free(expected);
    }
    close_device(device);
    backend_close(cpu);
}

/* ---- conversion ---- */

static void conversions_round_as_on_the_CPU(void **state)
{
    (void)state;
    static const uint32_t bits[] = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
                                    0xFFFFFFFF, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF,
                                    0x00000001, 0x00008000, 0x00018000, 0x807FFFFF};
    enum { COUNT = (int)(sizeof bits / sizeof bits[0]) };
    struct backend *backends[2] = {open_backend(1), open_device()};
    uint16_t narrow[2][COUNT];
    for (int b = 0; b < 2; b++) {
        struct tensor x = tensor_open(backends[b], COUNT, 0, 0), out = tensor_open(backends[b], COUNT, 0, 0);
        out.dtype = DTYPE_BF16;
        tensor_upload(backends[b], &x, bits);
        op_convert(backends[b], &out, &x);
        tensor_download(backends[b], narrow[b], &out);
        tensor_close(backends[b], &x, 0);
        tensor_close(backends[b], &out, 0);
    }
    assert_memory_equal(narrow[0], narrow[1], sizeof narrow[0]);
    backend_close(backends[0]);
    close_device(backends[1]);
}

/* ---- nothing ---- */

static void tensors_may_be_empty(void **state)
{
    (void)state;
    struct backend *device = open_device();
    struct tensor rows = tensor_open(device, 0, 8, 0), list = tensor_open(device, 0, 0, 0);
    struct tensor table = tensor_open(device, 3, 8, 0), bias = tensor_open(device, 8, 0, 0);
    struct tensor indices = list,
                  sum = {device->allocate(device, sizeof(double)), DTYPE_F64, DEVICE_CUDA, 1, {1}};
    const double seven = 7.0;
    double squares;
    indices.dtype = DTYPE_I32;
    fill(device, &bias, 1);
    tensor_upload(device, &sum, &seven);
    float *before = values_of(device, &bias);
    op_add(device, &rows, &rows, &rows);
    op_axpby(device, &rows, 1.0f, &rows, 0.0f);
    op_bias_forward(device, &rows, &bias);
    op_bias_backward(device, &bias, &rows);
    op_swiglu_forward(device, &rows, &rows, &rows);
    op_dropout(device, &rows, &rows, 0.5f, 1, 2, 3, 0);
    op_gather(device, &rows, &table, &indices);
    op_scatter_add(device, &table, &rows, &indices);
    op_rmsnorm_forward(device, &rows, &list, &rows, &bias, 1e-5f);
    op_rmsnorm_backward(device, &rows, &bias, &rows, &rows, &bias, &list);
    op_sum_of_squares(device, &sum, &list);
    op_adamw(device, &list, &list, &list, &list, NULL, (struct adamw){.step = 1});
    tensor_download(device, &squares, &sum);
    assert_true(squares == 7.0);
    float *after = values_of(device, &bias);
    assert_memory_equal(after, before, tensor_bytes(&bias));
    free(before);
    free(after);
    device->release(device, sum.data);
    tensor_close(device, &rows, 0);
    tensor_close(device, &list, 0);
    tensor_close(device, &table, 0);
    tensor_close(device, &bias, 0);
    close_device(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strong_keys_do_not_overflow),
        cmocka_unit_test(bits_do_not_depend_on_alignment),
        cmocka_unit_test(a_row_of_zeros_stays_one),
        cmocka_unit_test(sums_depend_on_their_own_rows_only),
        cmocka_unit_test(conversions_round_as_on_the_CPU),
        cmocka_unit_test(tensors_may_be_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
