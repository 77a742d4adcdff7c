/* op_sample: frequencies against exact probabilities, log-probabilities, independence of the batch. */
#include <stdlib.h>

#include "tests/exact_sampling.h"

enum { DRAWS = 20000 };

struct fixture {
    struct backend *backend;
    struct logit_row row;
};

struct draws {
    float *logits;
    uint32_t *forbidden;
    int64_t *streams;
    int32_t *steps, *tokens;
    float *log_probability;
};

static struct draws draws_new(const struct fixture *fixture, int64_t rows, int64_t first_stream)
{
    const size_t n = (size_t)rows;
    struct draws draws = {malloc(n * CLASSES * sizeof(float)), malloc(n * WORDS * sizeof(uint32_t)),
                          malloc(n * sizeof(int64_t)),         malloc(n * sizeof(int32_t)),
                          malloc(n * sizeof(int32_t)),         malloc(n * sizeof(float))};
    for (int64_t row = 0; row < rows; row++) {
        memcpy(draws.logits + row * CLASSES, fixture->row.logits, sizeof fixture->row.logits);
        memcpy(draws.forbidden + row * WORDS, fixture->row.forbidden, sizeof fixture->row.forbidden);
        draws.streams[row] = first_stream + row;
        draws.steps[row] = 4;
        draws.tokens[row] = -7;
    }
    return draws;
}

static void draws_free(struct draws *draws)
{
    free(draws->logits);
    free(draws->forbidden);
    free(draws->streams);
    free(draws->steps);
    free(draws->tokens);
    free(draws->log_probability);
}

static void queue_draw(struct backend *backend, struct draws *draws, int64_t rows, bool constrained,
                       struct sampling settings)
{
    struct tensor tokens = tensor_1d(draws->tokens, DTYPE_I32, DEVICE_CPU, rows);
    struct tensor log_probability = tensor_1d(draws->log_probability, DTYPE_F32, DEVICE_CPU, rows);
    const struct tensor logits = tensor_2d(draws->logits, DTYPE_F32, DEVICE_CPU, rows, CLASSES);
    const struct tensor forbidden = tensor_2d(draws->forbidden, DTYPE_U32, DEVICE_CPU, rows, WORDS);
    const struct tensor streams = tensor_1d(draws->streams, DTYPE_I64, DEVICE_CPU, rows);
    const struct tensor steps = tensor_1d(draws->steps, DTYPE_I32, DEVICE_CPU, rows);
    op_sample(backend, &tokens, &log_probability, &logits, constrained ? &forbidden : NULL, &streams, &steps,
              USED, settings);
}

static void draw(struct backend *backend, struct draws *draws, int64_t rows, bool constrained,
                 struct sampling settings)
{
    struct error error = ERROR_INITIALIZER;
    queue_draw(backend, draws, rows, constrained, settings);
    require(backend_synchronize(backend, &error), &error);
}

static void check_frequencies(struct fixture *fixture, bool constrained, struct sampling settings)
{
    double probability[USED];
    int64_t counts[USED] = {0};
    exact(&fixture->row, constrained, settings, probability);
    struct draws draws = draws_new(fixture, DRAWS, 1000);
    draw(fixture->backend, &draws, DRAWS, constrained, settings);
    for (int i = 0; i < DRAWS; i++) {
        assert_in_range(draws.tokens[i], 0, USED - 1);
        counts[draws.tokens[i]]++;
    }
    draws_free(&draws);
    check_counts(counts, probability, DRAWS);
}

static void frequencies_are_exact(void **state)
{
    struct fixture *fixture = *state;
    static const struct sampling settings[] = {
        {1.0f, 1.0f, 0, 1}, {0.5f, 1.0f, 0, 2},  {2.0f, 1.0f, 0, 3},  {1.0f, 1.0f, 5, 4},
        {1.0f, 0.8f, 0, 5}, {0.8f, 0.7f, 10, 6}, {1.5f, 0.99f, 0, 7}, {1.0f, 0.01f, 0, 8},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        for (int constrained = 0; constrained < 2; constrained++)
            check_frequencies(fixture, constrained, settings[i]);
}

static void log_probability_is_before_truncation(void **state)
{
    struct fixture *fixture = *state;
    const struct sampling plain = {1.0f, 1.0f, 0, 1}, cut = {0.7f, 0.9f, 8, 9};
    double probability[USED];
    exact(&fixture->row, true, plain, probability);
    struct draws draws = draws_new(fixture, 100, 0);
    draw(fixture->backend, &draws, 100, true, cut);
    for (int i = 0; i < 100; i++)
        assert_true(fabs((double)draws.log_probability[i] - log(probability[draws.tokens[i]])) < 2e-6);
    draws_free(&draws);
}

static void samples_do_not_depend_on_the_batch(void **state)
{
    struct fixture *fixture = *state;
    const struct sampling settings = {0.8f, 0.9f, 0, 3};
    struct draws all = draws_new(fixture, 200, 0), part = draws_new(fixture, 50, 100);
    draw(fixture->backend, &all, 200, true, settings);
    draw(fixture->backend, &part, 50, true, settings);
    assert_memory_equal(all.tokens + 100, part.tokens, 50 * sizeof(int32_t));
    assert_memory_equal(all.log_probability + 100, part.log_probability, 50 * sizeof(float));
    draws_free(&all);
    draws_free(&part);
}

static void greedy_skipped_and_empty_rows(void **state)
{
    struct fixture *fixture = *state;
    const struct sampling greedy = {0.0f, 1.0f, 0, 3};
    struct draws draws = draws_new(fixture, 3, 0);
    draws.streams[1] = -1;
    memset(draws.forbidden + 2 * WORDS, 0xFF, WORDS * sizeof(uint32_t));
    draw(fixture->backend, &draws, 3, true, greedy);
    assert_int_equal(rank_of(&fixture->row, true, draws.tokens[0]), 0);
    assert_int_equal(draws.tokens[1], -7);
    assert_int_equal(draws.tokens[2], -1);
    draws_free(&draws);
}

/* In any of the ways to draw, also in a row of nothing else. */
static void logits_that_are_no_numbers_are_an_error(void **state)
{
    struct fixture *fixture = *state;
    static const struct sampling ways[] = {
        {0.0f, 1.0f, 0, 1}, {1.0f, 1.0f, 0, 1}, {1.0f, 0.9f, 0, 1}, {1.0f, 0.9f, 5, 1}};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
        for (int everywhere = 0; everywhere < 2; everywhere++) {
            struct error error = ERROR_INITIALIZER;
            struct draws draws = draws_new(fixture, 3, 0);
            for (int c = 0; c < CLASSES; c++)
                if (everywhere || c == 33)
                    draws.logits[CLASSES + c] = NAN;
            queue_draw(fixture->backend, &draws, 3, false, ways[way]);
            assert_false(backend_synchronize(fixture->backend, &error));
            assert_non_null(strstr(error.message, "not numbers"));
            draws_free(&draws);
        }
}

int main(int argument_count, char **arguments)
{
    (void)argument_count;
    backend_prepare_process(arguments);
    struct error error = ERROR_INITIALIZER;
    struct fixture fixture = {.backend = backend_open("cpu", 2, &error)};
    make_row(&fixture.row);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(frequencies_are_exact, &fixture),
        cmocka_unit_test_prestate(log_probability_is_before_truncation, &fixture),
        cmocka_unit_test_prestate(samples_do_not_depend_on_the_batch, &fixture),
        cmocka_unit_test_prestate(greedy_skipped_and_empty_rows, &fixture),
        cmocka_unit_test_prestate(logits_that_are_no_numbers_are_an_error, &fixture),
    };
    const int failures = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(fixture.backend);
    return failures;
}
