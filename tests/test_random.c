/* Philox against the known answers of its publication (Random123), and the numbers drawn from it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/random.h"

static void philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], output[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        uint32_t output[4];
        philox4x32(answers[i].counter, answers[i].key, output);
        assert_memory_equal(output, answers[i].output, sizeof output);
    }
}

static void streams_are_apart(void **state)
{
    (void)state;
    struct random_stream streams[] = {
        random_stream_open(1, RANDOM_TEST, 0, 0),    random_stream_open(2, RANDOM_TEST, 0, 0),
        random_stream_open(1, RANDOM_SHUFFLE, 0, 0), random_stream_open(1, RANDOM_TEST, 1, 0),
        random_stream_open(1, RANDOM_TEST, 0, 1),    random_stream_open(1, RANDOM_TEST, 0, (uint64_t)1 << 32),
    };
    enum { COUNT = sizeof streams / sizeof streams[0] };
    uint32_t first[COUNT];
    for (int i = 0; i < COUNT; i++) {
        first[i] = random_word(&streams[i]);
        for (int j = 0; j < i; j++)
            assert_true(first[i] != first[j]);
    }
    struct random_stream again = random_stream_open(1, RANDOM_TEST, 0, 0);
    assert_true(random_word(&again) == first[0]);
}

/* Chi-square of counts that should be equal; its mean is cells - 1, its deviation sqrt(2 (cells - 1)). */
static void assert_uniform(const int64_t *counts, int cells)
{
    double total = 0.0, chi_square = 0.0;
    for (int i = 0; i < cells; i++)
        total += (double)counts[i];
    const double expected = total / cells;
    for (int i = 0; i < cells; i++)
        chi_square += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    assert_true(fabs(chi_square - (cells - 1)) < 5.0 * sqrt(2.0 * (cells - 1)));
}

static void numbers_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 200000, CELLS = 37 };
    int64_t below[CELLS] = {0}, floats[CELLS] = {0}, doubles[CELLS] = {0};
    struct random_stream stream = random_stream_open(5, RANDOM_TEST, 6, 7);
    for (int i = 0; i < DRAWS; i++) {
        below[random_below(&stream, CELLS)]++;
        const float f = random_float(&stream);
        const double d = random_double(&stream);
        assert_true(f >= 0.0f && f < 1.0f && d >= 0.0 && d < 1.0);
        floats[(int)(f * (float)CELLS)]++;
        doubles[(int)(d * CELLS)]++;
    }
    assert_uniform(below, CELLS);
    assert_uniform(floats, CELLS);
    assert_uniform(doubles, CELLS);
    assert_true(random_below(&stream, 1) == 0);
}

static void normals_have_their_moments(void **state)
{
    (void)state;
    enum { DRAWS = 200000 };
    struct random_stream stream = random_stream_open(5, RANDOM_TEST, 8, 9);
    double sum = 0.0, squares = 0.0, fourth = 0.0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = random_normal(&stream);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / DRAWS) < 5.0 / sqrt(DRAWS));
    assert_true(fabs(squares / DRAWS - 1.0) < 5.0 * sqrt(2.0 / DRAWS));
    assert_true(fabs(fourth / DRAWS - 3.0) < 5.0 * sqrt(96.0 / DRAWS));
}

static void shuffles_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 60000 };
    int64_t counts[24] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct random_stream stream = random_stream_open(3, RANDOM_TEST, 1, i);
        int32_t values[4] = {0, 1, 2, 3};
        random_shuffle(&stream, values, 4);
        int rank = 0;
        for (int a = 0; a < 3; a++) {
            int smaller = 0;
            for (int b = a + 1; b < 4; b++)
                smaller += values[b] < values[a];
            rank = rank * (4 - a) + smaller;
        }
        counts[rank]++;
    }
    assert_uniform(counts, 24);
}

/* Where the first two of a few, and of many, come to stand; that every place is taken once. */
static void permutations_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 60000, FEW = 5, MANY = 700, BINS = 10 };
    int64_t pairs[FEW * (FEW - 1)] = {0}, bins[BINS * BINS] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct random_stream stream = random_stream_open(3, RANDOM_TEST, 2, i);
        const struct random_permutation few = random_permutation_open(&stream, FEW);
        const struct random_permutation many = random_permutation_open(&stream, MANY);
        const uint32_t first = random_permutation_at(&few, 0), second = random_permutation_at(&few, 1);
        pairs[first * (FEW - 1) + second - (second > first)]++;
        bins[random_permutation_at(&many, 0) * BINS / MANY * BINS +
             random_permutation_at(&many, 1) * BINS / MANY]++;
    }
    assert_uniform(pairs, FEW * (FEW - 1));
    assert_uniform(bins, BINS * BINS);
}

static void permutations_take_every_place_once(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 255, 256, 257, 511, 1000, 100003};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct random_stream stream = random_stream_open(3, RANDOM_TEST, 3, counts[c]);
        const struct random_permutation permutation = random_permutation_open(&stream, counts[c]);
        bool *taken = calloc(counts[c], sizeof *taken);
        for (uint32_t place = 0; place < counts[c]; place++) {
            const uint32_t value = random_permutation_at(&permutation, place);
            assert_true(value < counts[c] && !taken[value]);
            taken[value] = true;
        }
        free(taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(streams_are_apart),
        cmocka_unit_test(numbers_are_uniform),
        cmocka_unit_test(normals_have_their_moments),
        cmocka_unit_test(shuffles_are_uniform),
        cmocka_unit_test(permutations_are_uniform),
        cmocka_unit_test(permutations_take_every_place_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
