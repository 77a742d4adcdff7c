/* How pieces of work follow each other, against schedules that were drawn by hand. */
#include <stdlib.h>

#include "experiments/plan_schedule.h"
#include "tests/support.h"

static void assert_near(double value, double expected)
{
    assert_true(value > expected - 1e-9 && value < expected + 1e-9);
}

static void test_pieces(void **state)
{
    (void)state;
    const double seconds[] = {3, 1, 1, 4};
    assert_near(schedule_pieces(seconds, 4, 1), 9);
    assert_near(schedule_pieces(seconds, 4, 2), 6); /* 3 | 1 1 4 */
    assert_near(schedule_pieces(seconds, 4, 8), 4);
    assert_near(schedule_pieces(seconds, 0, 2), 0);
}

/* A part that is shared, and the rest of the trial. */
struct parts {
    struct schedule_part part[2];
};

static struct parts make_parts(double shared, double own, int owner)
{
    return (struct parts){{{.seconds = shared, .scales = true, .memory = shared > 0 ? 5 : 0, .owner = owner},
                           {.seconds = own, .scales = true, .memory = 3, .owner = -1}}};
}

static struct schedule_result run(const struct parts *parts, const int *chains, int count, int at_once)
{
    struct error error = ERROR_INITIALIZER;
    struct schedule_trial trials[8];
    struct schedule_result result;
    for (int i = 0; i < count; i++)
        trials[i] =
            (struct schedule_trial){.parts = parts[i].part, .part_count = 2, .shared = 1, .chain = chains[i]};
    assert_true(schedule_trials(&result, trials, count, at_once, &error));
    return result;
}

/* The machine is divided, so that as long as there are enough trials the time is the sum of what there is to do. */
static void test_trials(void **state)
{
    (void)state;
    const struct parts parts[] = {make_parts(10, 4, -1), make_parts(0, 4, 0), make_parts(0, 4, 0),
                                  make_parts(0, 4, 0)};
    const int chains[] = {0, 0, 0, 0};
    const struct schedule_result one = run(parts, chains, 4, 1), two = run(parts, chains, 4, 2);
    assert_near(one.seconds, 26);
    assert_near(one.memory, 5);
    assert_near(two.seconds, 26);
    assert_near(two.memory, 6);
}

/* The last of three begins beside another, and keeps its half of the threads. */
static void test_last(void **state)
{
    (void)state;
    const struct parts parts[] = {make_parts(0, 4, -1), make_parts(0, 4, -1), make_parts(0, 4, -1)};
    const int chains[] = {-1, -1, -1};
    assert_near(run(parts, chains, 3, 2).seconds, 16);
}

/* One that is begun beside others keeps its threads when they are over. */
static void test_unequal(void **state)
{
    (void)state;
    const struct parts parts[] = {make_parts(0, 2, -1), make_parts(0, 6, -1)};
    const int chains[] = {-1, -1};
    assert_near(run(parts, chains, 2, 2).seconds, 12);
}

/* A single thread's work takes as long on any part of the machine. */
static void test_single_thread(void **state)
{
    (void)state;
    struct parts parts[] = {make_parts(0, 5, -1), make_parts(0, 5, -1)};
    const int chains[] = {-1, -1};
    parts[0].part[1].scales = parts[1].part[1].scales = false;
    assert_near(run(parts, chains, 2, 2).seconds, 5);
}

/* Who takes what another is computing waits for it, and keeps its place. */
static void test_waiting(void **state)
{
    (void)state;
    const struct parts parts[] = {make_parts(8, 1, -1), make_parts(0, 1, 0), make_parts(2, 1, -1)};
    const int chains[] = {-1, -1, -1};
    const struct schedule_result result = run(parts, chains, 3, 2);
    assert_near(result.seconds, 24); /* 8, and 1 beside 1, at half speed: 18; then 2 and 1 at half speed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),  cmocka_unit_test(test_trials),  cmocka_unit_test(test_last),
        cmocka_unit_test(test_unequal), cmocka_unit_test(test_waiting), cmocka_unit_test(test_single_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
