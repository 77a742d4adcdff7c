/* What is drawn of a search space, and how trials are halved. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/random.h"
#include "core/random_stream.h"
#include "experiments/halving.h"
#include "experiments/search_space.h"

static const struct tunable recommenders[] = {
    {"bpr_mf", "bpr_mf"}, {"lightgcn", "lightgcn"}, {"lightgcn-2", "lightgcn"}, {"popularity", "popularity"}};
enum { RECOMMENDERS = sizeof recommenders / sizeof *recommenders, DRAWS = 20000, BINS = 20 };

static struct config *parse(const char *space)
{
    char text[2048];
    struct config *config;
    struct error error = ERROR_INITIALIZER;
    snprintf(text, sizeof text, "data: {path: x}\ntune:\n  space:\n%s", space);
    if (!config_parse(&config, "test.yaml", text, strlen(text), &error))
        fail_msg("%s", error.message);
    return config;
}

static struct search_space read_space(const struct config *config)
{
    struct search_space space;
    struct error error = ERROR_INITIALIZER;
    if (!search_space_read(&space, config, recommenders, RECOMMENDERS, &error))
        fail_msg("%s", error.message);
    return space;
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

/* Pearson's statistic of BINS equally probable bins; its 0.9999 quantile with 19 degrees of freedom is 50.8. */
static double chi_square(const int counts[BINS])
{
    double sum = 0;
    for (int bin = 0; bin < BINS; bin++)
        sum += pow(counts[bin] - DRAWS / (double)BINS, 2) / (DRAWS / (double)BINS);
    return sum;
}

static void count_draws(int counts[BINS], const struct search_space *space, double low, double high,
                        double (*scale)(double))
{
    memset(counts, 0, BINS * sizeof *counts);
    for (uint64_t trial = 1; trial <= DRAWS; trial++) {
        char text[SETTING_SIZE];
        search_space_draw(text, space, 0, 7, trial);
        const double value = strtod(text, NULL);
        assert_true(value >= low && value <= high);
        int bin = (int)(BINS * (scale(value) - scale(low)) / (scale(high) - scale(low)));
        counts[bin < BINS ? bin : BINS - 1]++;
    }
}

static double identity(double x)
{
    return x;
}

static void test_logarithmic_and_linear(void **state)
{
    (void)state;
    struct config *config = parse("  - {key: learning_rate, low: 1.0e-5, high: 1.0e-1, scale: log}\n");
    struct search_space space = read_space(config);
    int counts[BINS];
    count_draws(counts, &space, 1e-5, 1e-1, log);
    assert_true(chi_square(counts) < 50.8);
    count_draws(counts, &space, 1e-5, 1e-1, identity);
    assert_true(chi_square(counts) > 1000);
    config_free(config);

    config = parse("  - {key: dropout, low: 0.1, high: 0.7, recommender: sasrec}\n");
    const struct tunable sequential = {"sasrec", "sasrec"};
    struct error error = ERROR_INITIALIZER;
    assert_true(search_space_read(&space, config, &sequential, 1, &error));
    count_draws(counts, &space, 0.1, 0.7, identity);
    assert_true(chi_square(counts) < 50.8);
    config_free(config);
}

/* Both ends are drawn, as often as what lies between. */
static void test_whole_numbers(void **state)
{
    (void)state;
    struct config *config = parse("  - {key: width, low: 8, high: 27}\n");
    struct search_space space = read_space(config);
    int counts[BINS] = {0};
    for (uint64_t trial = 1; trial <= DRAWS; trial++) {
        char text[SETTING_SIZE], *end;
        search_space_draw(text, &space, 0, 7, trial);
        const long value = strtol(text, &end, 10);
        assert_true(*end == '\0' && value >= 8 && value <= 27);
        counts[value - 8]++;
    }
    assert_true(chi_square(counts) < 50.8);
    config_free(config);

    config = parse("  - {key: width, low: 1, high: 4, scale: log}\n");
    space = read_space(config);
    int drawn[5] = {0};
    for (uint64_t trial = 1; trial <= DRAWS; trial++) {
        char text[SETTING_SIZE];
        search_space_draw(text, &space, 0, 7, trial);
        drawn[atoi(text)]++;
    }
    /* A number n has the share log((n + 1) / n) / log(5). */
    for (int number = 1; number <= 4; number++) {
        const double share = log((number + 1.0) / number) / log(5),
                     deviation = sqrt(share * (1 - share) / DRAWS);
        assert_true(fabs(drawn[number] / (double)DRAWS - share) < 5 * deviation);
    }
    config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    struct config *config = parse("  - {key: batch, values: [256, 1e3, 4096]}\n");
    const struct search_space space = read_space(config);
    int counts[3] = {0};
    for (uint64_t trial = 1; trial <= DRAWS; trial++) {
        char text[SETTING_SIZE];
        search_space_draw(text, &space, 0, 7, trial);
        counts[strcmp(text, "256") == 0 ? 0 : strcmp(text, "1e3") == 0 ? 1 : 2]++;
        assert_true(strcmp(text, "256") == 0 || strcmp(text, "1e3") == 0 || strcmp(text, "4096") == 0);
    }
    for (int value = 0; value < 3; value++)
        assert_true(abs(counts[value] - DRAWS / 3) < 5 * 67);
    config_free(config);
}

/* A draw depends on seed, trial and place; the same three give the same. */
static void test_keys_of_a_draw(void **state)
{
    (void)state;
    struct config *config = parse("  - {key: learning_rate, low: 1.0e-5, high: 1.0e-1, scale: log}\n"
                                  "  - {key: regularization, low: 1.0e-5, high: 1.0e-1, scale: log}\n");
    const struct search_space space = read_space(config);
    char first[SETTING_SIZE], same[SETTING_SIZE], other[3][SETTING_SIZE];
    search_space_draw(first, &space, 0, 7, 3);
    search_space_draw(same, &space, 0, 7, 3);
    search_space_draw(other[0], &space, 0, 8, 3);
    search_space_draw(other[1], &space, 0, 7, 4);
    search_space_draw(other[2], &space, 1, 7, 3);
    assert_string_equal(first, same);
    for (int i = 0; i < 3; i++)
        assert_string_not_equal(first, other[i]);
    config_free(config);
}

static void test_whose_dimensions(void **state)
{
    (void)state;
    struct config *config =
        parse("  - {key: learning_rate, low: 1.0e-5, high: 1.0e-1}\n"
              "  - {key: layers, low: 1, high: 4}\n"
              "  - {key: learning_rate, low: 1.0e-3, high: 1.0e-2, recommender: lightgcn-2}\n");
    const struct search_space space = read_space(config);
    const int counts[RECOMMENDERS] = {1, 2, 2, 0};
    for (int i = 0; i < RECOMMENDERS; i++)
        assert_int_equal(search_space_of(&space, &recommenders[i]).count, counts[i]);
    const struct search_space own = search_space_of(&space, &recommenders[2]);
    for (int i = 0; i < own.count; i++)
        assert_int_not_equal(own.dimensions[i].place, 0);
    config_free(config);
}

/* ---- halving ------------------------------------------------------------------------------------------ */

enum { TRIALS = 40, WORKERS_MAXIMUM = 7, STEPS_MAXIMUM = 400 };

/* A score that a rung changes somewhat, with ties. */
static double score_of(int trial, int rung)
{
    struct random_stream stream = random_stream_open(11, RANDOM_TEST, (uint64_t)rung, (uint64_t)trial);
    return (int)(random_float(&stream) * 20) + 0.5 * rung;
}

/* Trains with workers that take random times; fills rungs [trials] with the highest rung of each trial. */
static void simulate(int rungs[TRIALS], int trials, int reduction, int rung_count, int workers, uint64_t seed)
{
    struct halving halving;
    struct error error = ERROR_INITIALIZER;
    struct random_stream stream = random_stream_open(seed, RANDOM_TEST, 0, 0);
    assert_true(halving_open(&halving, trials, reduction, rung_count, &error));
    int trial[WORKERS_MAXIMUM], rung[WORKERS_MAXIMUM], busy = 0, done = 0;
    for (int i = 0; i < trials; i++)
        rungs[i] = -1;
    for (int step = 0; step < STEPS_MAXIMUM; step++) {
        while (busy < workers && halving_take(&halving, &trial[busy], &rung[busy])) {
            assert_true(rung[busy] == rung_count - 1 || rung[busy] == rungs[trial[busy]] + 1);
            busy++;
        }
        if (busy == 0)
            break;
        const int finished = (int)random_below(&stream, (uint32_t)busy);
        halving_score(&halving, trial[finished], rung[finished], score_of(trial[finished], rung[finished]));
        rungs[trial[finished]] = rung[finished];
        trial[finished] = trial[busy - 1];
        rung[finished] = rung[--busy];
        done++;
    }
    assert_int_equal(done, halving_training_count(&halving));
    for (int i = 0; i < rung_count; i++)
        assert_true(halving_is_complete(&halving, i));
    halving_close(&halving);
}

static void test_same_at_any_speed(void **state)
{
    (void)state;
    int expected[TRIALS], found[TRIALS];
    simulate(expected, TRIALS, 3, 4, 1, 0);
    for (int workers = 1; workers <= WORKERS_MAXIMUM; workers++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            simulate(found, TRIALS, 3, 4, workers, seed);
            assert_memory_equal(found, expected, sizeof found);
        }
}

static void count_rungs(int counts[4], int trials, int reduction, int rung_count)
{
    int rungs[TRIALS];
    memset(counts, 0, 4 * sizeof *counts);
    simulate(rungs, trials, reduction, rung_count, 2, 1);
    assert_int_equal(rungs[0], rung_count - 1);
    for (int trial = 1; trial < trials; trial++)
        for (int rung = 0; rung <= rungs[trial]; rung++)
            counts[rung]++;
}

static void test_counts(void **state)
{
    (void)state;
    int counts[4];
    count_rungs(counts, 40, 3, 4);
    assert_int_equal(counts[0], 39);
    assert_int_equal(counts[1], 13);
    assert_int_equal(counts[2], 4);
    assert_int_equal(counts[3], 1);
    count_rungs(counts, 5, 4, 4);
    for (int rung = 1; rung < 4; rung++)
        assert_int_equal(counts[rung], 1);
    count_rungs(counts, 7, 2, 1);
    assert_int_equal(counts[0], 6);
    count_rungs(counts, 1, 2, 3);
    assert_int_equal(counts[0], 0);
}

/* Notes who is out by now; returns how many that are before the rung is complete. */
static int note_out(bool out[TRIALS], const struct halving *halving)
{
    int early = 0;
    for (int i = 0; i < halving->rungs[0].count; i++) {
        const struct halving_member *member = &halving->rungs[0].members[i];
        if (!member->scored || !halving_is_out(halving, member->trial, 0))
            continue;
        early += !out[member->trial] && !halving_is_complete(halving, 0);
        out[member->trial] = true;
    }
    return early;
}

/* What is said to be out is never taken again, and of a complete rung only those promoted are not out. */
static void check_out(uint64_t seed, int *early)
{
    struct halving halving;
    struct error error = ERROR_INITIALIZER;
    struct random_stream stream = random_stream_open(seed, RANDOM_TEST, 0, 0);
    assert_true(halving_open(&halving, TRIALS, 3, 3, &error));
    bool out[TRIALS] = {false};
    int trial[WORKERS_MAXIMUM], rung[WORKERS_MAXIMUM], busy = 0;
    do {
        while (busy < WORKERS_MAXIMUM && halving_take(&halving, &trial[busy], &rung[busy])) {
            assert_false(out[trial[busy]]);
            busy++;
        }
        const int finished = (int)random_below(&stream, (uint32_t)busy);
        halving_score(&halving, trial[finished], rung[finished], random_float(&stream));
        *early += note_out(out, &halving);
        trial[finished] = trial[busy - 1];
        rung[finished] = rung[--busy];
    } while (busy > 0);
    int left = 0;
    for (int i = 1; i < TRIALS; i++)
        left += !out[i];
    assert_int_equal(left, halving.rungs[1].final_count);
    halving_close(&halving);
}

static void test_out_is_out(void **state)
{
    (void)state;
    int early = 0;
    for (uint64_t seed = 0; seed < 1000; seed++)
        check_out(seed, &early);
    assert_true(early > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logarithmic_and_linear),
        cmocka_unit_test(test_whole_numbers),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_keys_of_a_draw),
        cmocka_unit_test(test_whose_dimensions),
        cmocka_unit_test(test_same_at_any_speed),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_out_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
