/*
 * Studies of made-up recommenders, of which it is known whether an arm is better: how often the comparisons of a whole
 * study (experiments/comparison.h) see a difference where there is none, and how often they find one that was planted.
 *
 * A test item of a user is found where user, item and fit together are good enough: a normal number each of the user, of the
 * user's item (the same in all fits), of the arm's seed (the same for all users: a fit that went well), and of all together.
 */
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
#include "experiments/comparison.h"

enum { STUDIES = 200, RECOMMENDERS = 3, ARMS = 6, SEEDS = 5, USERS = 400, TESTED_ITEMS = 4 };

struct world {
    double seed_effect; /* standard deviation of what a fit's seed does to all users */
    double planted;     /* what arm 1 is better by, on the same scale */
};

/* The recall of every user in one fit. */
static void make_fit(double values[USERS], uint64_t study, uint64_t recommender, uint64_t arm, uint64_t seed,
                     const struct world *world)
{
    const uint64_t fit = (recommender * ARMS + arm) * SEEDS + seed + 1;
    struct random_stream common = random_stream_open(study, RANDOM_TEST, fit, USERS);
    const double of_fit = world->seed_effect * random_normal(&common) + (arm == 1 ? world->planted : 0);
    for (uint64_t u = 0; u < USERS; u++) {
        struct random_stream of_user = random_stream_open(study, RANDOM_TEST, 0, u);
        struct random_stream noise = random_stream_open(study, RANDOM_TEST, fit, u);
        const double user = random_normal(&of_user);
        const int items = 1 + (int)(u % TESTED_ITEMS);
        int found = 0;
        for (int i = 0; i < items; i++)
            found += user + random_normal(&of_user) + 0.6 * random_normal(&noise) + of_fit > 1;
        values[u] = (double)found / items;
    }
}

/* [arms, seeds, users] */
static void make_arms(double *arms, uint64_t study, uint64_t recommender, const struct world *world)
{
    for (int fit = 0; fit < ARMS * SEEDS; fit++)
        make_fit(arms + (ptrdiff_t)fit * USERS, study, recommender, (uint64_t)(fit / SEEDS),
                 (uint64_t)(fit % SEEDS), world);
}

static bool add_comparison(json_t *comparisons, const double *arms, int arm, int against)
{
    const struct compared compared = {.values = arms + (ptrdiff_t)arm * SEEDS * USERS,
                                      .against = arms + (ptrdiff_t)against * SEEDS * USERS,
                                      .seeds = SEEDS,
                                      .users = USERS};
    const struct comparison_settings settings = {.resamples = 40, .flips = 2000, .seed = 1};
    struct error error = ERROR_INITIALIZER;
    json_t *record = json_pack("{s:s, s:i, s:i}", "metric", "recall@20", "arm", arm, "against", against);
    json_array_append_new(comparisons, record);
    return comparison_add(record, &compared, &settings, &error);
}

/* Every arm with the first, and arm 1 with all others, as in a run. NULL: an error. */
static json_t *make_study(uint64_t study, const struct world *world)
{
    json_t *comparisons = json_array();
    struct error error = ERROR_INITIALIZER;
    double *arms = malloc(sizeof *arms * ARMS * SEEDS * USERS);
    bool done = arms != NULL;
    for (uint64_t recommender = 0; done && recommender < RECOMMENDERS; recommender++) {
        make_arms(arms, study, recommender, world);
        for (int arm = 1; done && arm < ARMS; arm++)
            done = add_comparison(comparisons, arms, arm, 0);
        for (int arm = 2; done && arm < ARMS; arm++)
            done = add_comparison(comparisons, arms, 1, arm);
    }
    free(arms);
    if (done && comparisons_correct(comparisons, "metric", &error))
        return comparisons;
    json_decref(comparisons);
    return NULL;
}

static double number(const json_t *record, const char *key)
{
    const json_t *value = json_object_get(record, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* What the comparisons of all studies said. */
struct outcome {
    int studies;
    int wrong;                        /* studies with any difference found where there is none */
    int wrong_uncorrected;            /* the same of p in place of p_holm */
    int wrong_seeds, wrong_users;     /* the same of one test alone, corrected by Bonferroni */
    int nulls, covered;               /* comparisons without a difference; whose interval holds 0 */
    int planted, found;               /* comparisons with one; found */
    double relative_gain, detectable; /* sums over those */
};

/* Whether there is a difference between the arms. */
static bool is_planted(const json_t *record, const struct world *world)
{
    return world->planted > 0 && number(record, "arm") == 1;
}

static void count_planted(struct outcome *outcome, const json_t *record)
{
    outcome->planted++;
    outcome->found += number(record, "p_holm") < 0.05 && number(record, "difference") > 0;
    outcome->relative_gain += number(record, "relative_gain");
    outcome->detectable += number(record, "detectable_relative_gain");
}

static void count_study(struct outcome *outcome, const json_t *comparisons, const struct world *world)
{
    bool wrong = false, uncorrected = false, seeds = false, users = false;
    const json_t *record;
    size_t index;
    json_array_foreach(comparisons, index, record)
    {
        const json_t *interval = json_object_get(record, "difference_ci95");
        if (is_planted(record, world)) {
            count_planted(outcome, record);
            continue;
        }
        wrong |= number(record, "p_holm") < 0.05;
        uncorrected |= number(record, "p") < 0.05;
        seeds |= number(record, "p_seeds") * number(record, "family") < 0.05;
        users |= number(record, "p_users") * number(record, "family") < 0.05;
        outcome->nulls++;
        outcome->covered += json_number_value(json_array_get(interval, 0)) <= 0 &&
                            json_number_value(json_array_get(interval, 1)) >= 0;
    }
    outcome->studies++;
    outcome->wrong += wrong;
    outcome->wrong_uncorrected += uncorrected;
    outcome->wrong_seeds += seeds;
    outcome->wrong_users += users;
}

static struct outcome run_studies(int studies, const struct world *world)
{
    struct outcome outcome = {0};
#pragma omp parallel for schedule(dynamic)
    for (int study = 0; study < studies; study++) {
        json_t *comparisons = make_study((uint64_t)study, world);
#pragma omp critical
        if (comparisons != NULL)
            count_study(&outcome, comparisons, world);
        json_decref(comparisons);
    }
    assert_int_equal(outcome.studies, studies);
    print_message(
        "seed effect %g, planted %g: of %d studies %d see what is not there (uncorrected %d, by seeds "
        "alone %d, by users alone %d); %d of %d intervals hold 0\n",
        world->seed_effect, world->planted, studies, outcome.wrong, outcome.wrong_uncorrected,
        outcome.wrong_seeds, outcome.wrong_users, outcome.covered, outcome.nulls);
    if (outcome.planted > 0)
        print_message("%d of %d planted differences found; mean gain %.2f %%, detectable %.2f %%\n",
                      outcome.found, outcome.planted, 100 * outcome.relative_gain / outcome.planted,
                      100 * outcome.detectable / outcome.planted);
    return outcome;
}

/* At most 5 % of studies may see what is not there. Of 200 studies chance alone brings more than 18 in 1 % of all tries where
 * it is 5 %; the draws are always the same. Each test alone must be seen to fail, or these studies show nothing. */
static void test_no_difference(void **state)
{
    (void)state;
    const struct outcome found = run_studies(STUDIES, &(struct world){.seed_effect = 0.04});
    assert_in_range(found.wrong, 0, STUDIES / 20);
    assert_in_range(found.wrong_uncorrected, STUDIES / 4, STUDIES);
    assert_in_range(found.wrong_users, STUDIES / 5, STUDIES);
    assert_true(found.covered >= 0.95 * found.nulls);
}

/* Fits whose luck moves all users at once: a test over users takes every such fit for a better arm. */
static void test_seeds_that_matter(void **state)
{
    (void)state;
    const struct outcome found = run_studies(STUDIES, &(struct world){.seed_effect = 0.3});
    assert_in_range(found.wrong, 0, 18);
    assert_in_range(found.wrong_users, STUDIES * 9 / 10, STUDIES);
    assert_true(found.covered >= 0.94 * found.nulls);
}

/* Planted differences as large as what the records call detectable are found as often as they say, and the others stay as
 * quiet as without them. */
static void test_planted_difference(void **state)
{
    (void)state;
    const struct outcome found =
        run_studies(STUDIES / 2, &(struct world){.seed_effect = 0.04, .planted = 0.32});
    assert_true(found.relative_gain > 0.9 * found.detectable && found.relative_gain < 1.1 * found.detectable);
    assert_true(found.found > 0.75 * found.planted);
    assert_in_range(found.wrong, 0, STUDIES / 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_difference),
        cmocka_unit_test(test_seeds_that_matter),
        cmocka_unit_test(test_planted_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
