/* op_sample's kernel on the host: frequencies against exact probabilities, the CPU's tokens in rows that fill its buckets
 * unevenly, and what becomes of logits that are not numbers. */
#include <stdlib.h>

#include "tests/exact_sampling.h"
#include "tests/host_device.h"

/* Rows of the same width on a backend, and what was drawn from them. */
struct draws {
    struct backend *backend;
    struct tensor logits, forbidden, streams, steps, tokens, log_probability;
    int32_t *token;     /* [rows], on the host */
    float *probability; /* [rows], logarithms, on the host */
};

static struct tensor open_tensor(struct backend *backend, enum dtype dtype, int64_t rows, int64_t columns)
{
    const int64_t count = rows * (columns ? columns : 1);
    void *memory = backend->allocate(backend, (size_t)count * dtype_size(dtype));
    assert_non_null(memory);
    return columns ? tensor_2d(memory, dtype, backend->device, rows, columns)
                   : tensor_1d(memory, dtype, backend->device, rows);
}

/* Row r of `logits` [rows, classes] and `forbidden` [rows, words] has stream r, or -1 where `skipped`. */
static void draws_open(struct draws *draws, struct backend *backend, const float *logits,
                       const uint32_t *forbidden, int64_t rows, int64_t classes, int64_t skipped)
{
    const int64_t words = classes / 32 + 1;
    int64_t *streams = malloc((size_t)rows * sizeof *streams);
    int32_t *steps = malloc((size_t)rows * sizeof *steps);
    for (int64_t row = 0; row < rows; row++) {
        streams[row] = row == skipped ? -1 : row;
        steps[row] = 4;
    }
    *draws = (struct draws){.backend = backend,
                            .logits = open_tensor(backend, DTYPE_F32, rows, classes),
                            .forbidden = open_tensor(backend, DTYPE_U32, rows, words),
                            .streams = open_tensor(backend, DTYPE_I64, rows, 0),
                            .steps = open_tensor(backend, DTYPE_I32, rows, 0),
                            .tokens = open_tensor(backend, DTYPE_I32, rows, 0),
                            .log_probability = open_tensor(backend, DTYPE_F32, rows, 0),
                            .token = malloc((size_t)rows * sizeof(int32_t)),
                            .probability = malloc((size_t)rows * sizeof(float))};
    tensor_upload(backend, &draws->logits, logits);
    if (forbidden)
        tensor_upload(backend, &draws->forbidden, forbidden);
    else
        tensor_zero(backend, &draws->forbidden);
    tensor_upload(backend, &draws->streams, streams);
    tensor_upload(backend, &draws->steps, steps);
    tensor_zero(backend, &draws->tokens);
    backend->wait(backend);
    free(streams);
    free(steps);
}

static void queue_draw(struct draws *draws, int64_t used, struct sampling settings)
{
    op_sample(draws->backend, &draws->tokens, &draws->log_probability, &draws->logits, &draws->forbidden,
              &draws->streams, &draws->steps, used, settings);
}

static void draw(struct draws *draws, int64_t used, struct sampling settings)
{
    struct error error = ERROR_INITIALIZER;
    queue_draw(draws, used, settings);
    tensor_download(draws->backend, draws->token, &draws->tokens);
    tensor_download(draws->backend, draws->probability, &draws->log_probability);
    require(backend_synchronize(draws->backend, &error), &error);
}

static void draws_close(struct draws *draws)
{
    struct tensor *tensors[] = {&draws->logits, &draws->forbidden, &draws->streams,
                                &draws->steps,  &draws->tokens,    &draws->log_probability};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        draws->backend->release(draws->backend, tensors[i]->data);
    free(draws->token);
    free(draws->probability);
}

/* ---- frequencies ---- */

static void frequencies_are_exact(void **state)
{
    (void)state;
    enum { DRAWS = 300 };
    static const struct sampling settings[] = {{1.0f, 1.0f, 0, 1}, {0.7f, 0.8f, 0, 2}, {0.8f, 0.7f, 10, 3}};
    struct backend *device = open_device();
    struct logit_row row;
    make_row(&row);
    float logits[DRAWS][CLASSES];
    uint32_t forbidden[DRAWS][WORDS];
    for (int i = 0; i < DRAWS; i++) {
        memcpy(logits[i], row.logits, sizeof row.logits);
        memcpy(forbidden[i], row.forbidden, sizeof row.forbidden);
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        double probability[USED];
        int64_t counts[USED] = {0};
        struct draws draws;
        exact(&row, true, settings[i], probability);
        draws_open(&draws, device, logits[0], forbidden[0], DRAWS, CLASSES, -1);
        draw(&draws, USED, settings[i]);
        for (int r = 0; r < DRAWS; r++) {
            assert_in_range(draws.token[r], 0, USED - 1);
            counts[draws.token[r]]++;
        }
        check_counts(counts, probability, DRAWS);
        draws_close(&draws);
    }
    backend_close(device);
}

/* ---- the CPU's tokens ---- */

enum { PATTERN_ROWS = 4, PATTERN_CLASSES = 6001 };

static float all_equal(int64_t row, int64_t column)
{
    (void)row, (void)column;
    return 3.0f;
}

static float two_levels(int64_t row, int64_t column)
{
    return column % 3 == row % 3 ? 2.0f : 1.0f;
}

/* Most weigh next to nothing beside a few, and more than the list holds stand in one bucket. */
static float far_below(int64_t row, int64_t column)
{
    return column % 1000 == row ? (float)(column / 1000) : -100.0f - (float)(column % 50);
}

static float infinitely_below(int64_t row, int64_t column)
{
    return column >= 40 * row && column < 40 * row + 33 ? (float)(column % 7) : -INFINITY;
}

static void tokens_are_the_cpus(void **state)
{
    (void)state;
    static float (*const patterns[])(int64_t, int64_t) = {all_equal, two_levels, far_below, infinitely_below};
    static const struct sampling settings[] = {{1.0f, 1.0f, 0, 1},    {1.0f, 0.9f, 0, 2},
                                               {0.7f, 1.0f, 2500, 3}, {1.3f, 0.5f, 100, 4},
                                               {0.0f, 1.0f, 0, 5},    {1.0f, 0.999f, 5500, 6}};
    struct backend *cpu = open_backend(1), *device = open_device();
    float *logits = malloc(PATTERN_ROWS * PATTERN_CLASSES * sizeof *logits);
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        for (int64_t i = 0; i < PATTERN_ROWS * PATTERN_CLASSES; i++)
            logits[i] = patterns[p](i / PATTERN_CLASSES, i % PATTERN_CLASSES);
        struct draws expected, found;
        draws_open(&expected, cpu, logits, NULL, PATTERN_ROWS, PATTERN_CLASSES, -1);
        draws_open(&found, device, logits, NULL, PATTERN_ROWS, PATTERN_CLASSES, -1);
        for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
            draw(&expected, PATTERN_CLASSES - 1, settings[s]);
            draw(&found, PATTERN_CLASSES - 1, settings[s]);
            for (int row = 0; row < PATTERN_ROWS; row++) {
                if (found.token[row] != expected.token[row])
                    fail_msg("pattern %zu, settings %zu, row %d: token %d, not %d", p, s, row,
                             found.token[row], expected.token[row]);
                assert_true(fabsf(found.probability[row] - expected.probability[row]) < 1e-5f);
            }
        }
        draws_close(&expected);
        draws_close(&found);
    }
    free(logits);
    backend_close(device);
    backend_close(cpu);
}

/* One row whose last `good` columns are far more probable than the others. */
static void check_long_row(int64_t columns, int64_t good, int64_t top_k)
{
    struct backend *cpu = open_backend(1), *device = open_device();
    float *logits = malloc((size_t)columns * sizeof *logits);
    for (int64_t column = 0; column < columns; column++)
        logits[column] = column < columns - good ? -100.0f : 1.0f;
    struct draws expected, found;
    draws_open(&expected, cpu, logits, NULL, 1, columns, -1);
    draws_open(&found, device, logits, NULL, 1, columns, -1);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        const struct sampling settings = {1.0f, 1.0f, top_k, seed};
        draw(&expected, columns, settings);
        draw(&found, columns, settings);
        assert_in_range(found.token[0], columns - good, columns - 1);
        assert_int_equal(found.token[0], expected.token[0]);
    }
    draws_close(&expected);
    draws_close(&found);
    free(logits);
    backend_close(device);
    backend_close(cpu);
}

/* The first row is so long that the kernel uses the last of its buckets of columns. In the second, the last candidate of
 * top-k has the last digit in both passes that tell columns apart. */
static void last_columns_and_digits(void **state)
{
    (void)state;
    check_long_row(262100, 40, 0);
    check_long_row(66000, 66000, 65536);
}

/* ---- rows without a token ---- */

static void skipped_and_empty_rows(void **state)
{
    (void)state;
    enum { COUNT = 3 };
    struct backend *device = open_device();
    struct logit_row row;
    make_row(&row);
    float logits[COUNT][CLASSES];
    uint32_t forbidden[COUNT][WORDS] = {{0}};
    for (int r = 0; r < COUNT; r++)
        memcpy(logits[r], row.logits, sizeof row.logits);
    memset(forbidden[2], 0xFF, sizeof forbidden[2]);
    struct draws draws;
    draws_open(&draws, device, logits[0], forbidden[0], COUNT, CLASSES, 1);
    draw(&draws, USED, (struct sampling){0.0f, 1.0f, 0, 3});
    assert_int_equal(rank_of(&row, false, draws.token[0]), 0);
    assert_int_equal(draws.token[1], 0);
    assert_int_equal(draws.token[2], -1);
    assert_true(draws.probability[2] == -INFINITY);
    draws_close(&draws);
    backend_close(device);
}

/* Both ways to wait report it; a class that is forbidden may be anything. */
static void check_strange_logit(float value, bool allowed, bool by_mark)
{
    struct backend *device = open_device();
    struct error error = ERROR_INITIALIZER;
    struct logit_row row;
    make_row(&row);
    row.logits[33] = value;
    row.forbidden[1] = allowed ? 0 : 2;
    struct draws draws;
    draws_open(&draws, device, row.logits, row.forbidden, 1, CLASSES, -1);
    queue_draw(&draws, USED, (struct sampling){1.0f, 0.9f, 5, 1});
    assert_int_equal(device->error.kind, ERROR_NONE);
    if (by_mark)
        device->wait_for(device, device->mark(device));
    else
        device->wait(device);
    assert_true((device->error.kind == ERROR_NONE) == !allowed);
    assert_true(backend_synchronize(device, &error) == !allowed);
    if (allowed)
        assert_non_null(strstr(error.message, "not numbers"));
    draws_close(&draws);
    backend_close(device);
}

static void logits_that_are_no_numbers_are_an_error(void **state)
{
    (void)state;
    check_strange_logit(NAN, true, false);
    check_strange_logit(NAN, true, true);
    check_strange_logit(INFINITY, true, false);
    check_strange_logit(NAN, false, false);
    check_strange_logit(INFINITY, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_are_exact),
        cmocka_unit_test(tokens_are_the_cpus),
        cmocka_unit_test(last_columns_and_digits),
        cmocka_unit_test(skipped_and_empty_rows),
        cmocka_unit_test(logits_that_are_no_numbers_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
