/* op_topk_masked's kernel on the host against the CPU's operator, bit for bit, where scores are equal, not numbers, infinite
 * or few, and where the row's good columns stand together; in short rows without asking for ties too. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "cuda/backend.h"
#include "tests/support.h"

enum { ROWS = 3, MASK_MAXIMUM = 40000, SHORT_ROW = 100 };

/* A number decides on the score of a column, and on how many columns, from the first on, are masked in row 1. */
struct problem {
    int64_t columns, k, masked;
    float (*score)(int64_t row, int64_t column, int64_t columns);
};

struct ranking {
    int32_t *columns; /* [ROWS, k] */
    float *scores;    /* [ROWS, k] */
    int32_t ties[ROWS];
};

static void *device_memory(struct backend *backend, const void *values, size_t bytes)
{
    void *memory = backend->allocate(backend, bytes);
    assert_non_null(memory);
    if (values)
        backend->upload(backend, memory, values, bytes);
    return memory;
}

/* Row 1 has a mask, rows 0 and 2 share an empty one. */
static void rank_on(struct backend *backend, const struct problem *problem, const float *values,
                    const int32_t *mask, struct ranking *ranking)
{
    const size_t count = (size_t)(ROWS * problem->k);
    const int32_t mask_rows[ROWS] = {0, 1, 0};
    const int64_t mask_starts[3] = {0, 0, problem->masked};
    const enum device_kind device = backend->device;
    void *memory[] = {device_memory(backend, values, (size_t)(ROWS * problem->columns) * sizeof *values),
                      device_memory(backend, mask_rows, sizeof mask_rows),
                      device_memory(backend, mask_starts, sizeof mask_starts),
                      device_memory(backend, mask, (size_t)problem->masked * sizeof *mask),
                      device_memory(backend, NULL, count * sizeof(int32_t)),
                      device_memory(backend, NULL, count * sizeof(float)),
                      device_memory(backend, NULL, sizeof ranking->ties)};
    const struct tensor scores = tensor_2d(memory[0], DTYPE_F32, device, ROWS, problem->columns);
    const struct tensor rows = tensor_1d(memory[1], DTYPE_I32, device, ROWS);
    const struct tensor starts = tensor_1d(memory[2], DTYPE_I64, device, 3);
    const struct tensor indices = tensor_1d(memory[3], DTYPE_I32, device, problem->masked);
    struct tensor best = tensor_2d(memory[4], DTYPE_I32, device, ROWS, problem->k);
    struct tensor best_scores = tensor_2d(memory[5], DTYPE_F32, device, ROWS, problem->k);
    struct tensor ties = tensor_1d(memory[6], DTYPE_I32, device, ROWS);
    if (problem->columns < SHORT_ROW)
        op_topk_masked(backend, &best, &best_scores, NULL, &scores, &rows, &starts, &indices);
    op_topk_masked(backend, &best, &best_scores, &ties, &scores, &rows, &starts, &indices);
    ranking->columns = malloc(count * sizeof(int32_t) + 1);
    ranking->scores = malloc(count * sizeof(float) + 1);
    tensor_download(backend, ranking->columns, &best);
    tensor_download(backend, ranking->scores, &best_scores);
    tensor_download(backend, ranking->ties, &ties);
    struct error error = ERROR_INITIALIZER;
    require(backend_synchronize(backend, &error), &error);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        backend->release(backend, memory[i]);
}

static void check_problem(struct backend *cpu, struct backend *device, const struct problem *problem)
{
    const int64_t count = ROWS * problem->k;
    float *values = malloc((size_t)(ROWS * problem->columns) * sizeof *values);
    int32_t *mask = malloc(MASK_MAXIMUM * sizeof *mask);
    for (int64_t row = 0; row < ROWS; row++)
        for (int64_t c = 0; c < problem->columns; c++)
            values[row * problem->columns + c] = problem->score(row, c, problem->columns);
    for (int32_t i = 0; i < problem->masked; i++)
        mask[i] = i;
    struct ranking expected, found;
    rank_on(cpu, problem, values, mask, &expected);
    rank_on(device, problem, values, mask, &found);
    for (int64_t i = 0; i < count; i++)
        if (found.columns[i] != expected.columns[i] ||
            memcmp(&found.scores[i], &expected.scores[i], sizeof(float)) != 0)
            fail_msg("%lld columns, k %lld: rank %lld of row %lld is column %d (%g), not %d (%g)",
                     (long long)problem->columns, (long long)problem->k, (long long)(i % problem->k),
                     (long long)(i / problem->k), found.columns[i], (double)found.scores[i],
                     expected.columns[i], (double)expected.scores[i]);
    assert_memory_equal(found.ties, expected.ties, sizeof found.ties);
    free(values);
    free(mask);
    free(expected.columns);
    free(expected.scores);
    free(found.columns);
    free(found.scores);
}

static float all_equal(int64_t row, int64_t column, int64_t columns)
{
    (void)column, (void)columns;
    return (float)row - 1.0f;
}

static float few_levels(int64_t row, int64_t column, int64_t columns)
{
    (void)columns;
    return (float)((column * 7 + row) % 5 - 2);
}

static float ascending(int64_t row, int64_t column, int64_t columns)
{
    (void)columns;
    return (float)(column - 100) * (row == 1 ? -1.0f : 1.0f);
}

/* The best columns all belong to one thread of a block. */
static float good_together(int64_t row, int64_t column, int64_t columns)
{
    return (float)(column % 2048 < 4 ? 1000000 + column : column % 97) + (float)(row * columns);
}

static float strange(int64_t row, int64_t column, int64_t columns)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, -NAN, 1e-40f, -3e38f};
    (void)columns;
    return values[(column + row) % 8];
}

static float no_number(int64_t row, int64_t column, int64_t columns)
{
    (void)row, (void)column, (void)columns;
    return NAN;
}

static void ranks_are_the_cpus(void **state)
{
    (void)state;
    static const struct problem problems[] = {
        {1, 1, 1, all_equal},          {1, 3, 0, all_equal},
        {31, 31, 31, few_levels},      {33, 40, 30, few_levels},
        {33, 32, 0, ascending},        {257, 257, 100, few_levels},
        {257, 1, 256, strange},        {257, 200, 257, strange},
        {4096, 10, 5, all_equal},      {9000, 1000, 8500, all_equal},
        {9000, 1000, 0, few_levels},   {20000, 20, 19990, ascending},
        {40000, 60, 0, good_together}, {40001, 1000, 1, good_together},
        {9001, 1000, 0, strange},      {5000, 50, 4000, no_number},
        {3000, 2500, 100, ascending},  {6000, 7000, 0, few_levels},
        {40, 5000, 3, few_levels},
    };
    struct error error = ERROR_INITIALIZER;
    struct backend *cpu = open_backend(1), *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        check_problem(cpu, device, &problems[i]);
    backend_close(device);
    backend_close(cpu);
}

static void what_does_not_fit_is_an_error(void **state)
{
    (void)state;
    enum { COLUMNS = 30000 };
    struct error error = ERROR_INITIALIZER;
    struct backend *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    const int32_t row = 0;
    const int64_t starts[2] = {0, 0};
    void *memory = device_memory(device, NULL, COLUMNS * 2 * sizeof(float));
    void *row_memory = device_memory(device, &row, sizeof row);
    void *start_memory = device_memory(device, starts, sizeof starts);
    const struct tensor scores = tensor_2d(memory, DTYPE_F32, DEVICE_CUDA, 1, COLUMNS);
    struct tensor best = tensor_2d((float *)memory + COLUMNS, DTYPE_I32, DEVICE_CUDA, 1, COLUMNS);
    struct tensor best_scores = tensor_2d((float *)memory + COLUMNS, DTYPE_F32, DEVICE_CUDA, 1, COLUMNS);
    const struct tensor mask_rows = tensor_1d(row_memory, DTYPE_I32, DEVICE_CUDA, 1);
    const struct tensor mask_starts = tensor_1d(start_memory, DTYPE_I64, DEVICE_CUDA, 2);
    const struct tensor mask = tensor_1d(memory, DTYPE_I32, DEVICE_CUDA, 1);
    op_topk_masked(device, &best, &best_scores, NULL, &scores, &mask_rows, &mask_starts, &mask);
    assert_false(backend_synchronize(device, &error));
    assert_non_null(strstr(error.message, "evaluate.k"));
    device->release(device, memory);
    device->release(device, row_memory);
    device->release(device, start_memory);
    backend_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_the_cpus),
        cmocka_unit_test(what_does_not_fit_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
