#include "core/resampling.h"

#include <math.h>
#include <stdlib.h>

#include "core/random.h"
#include "core/statistics.h"

/* Of one thread. */
struct scratch {
    double *user_weights, *gaps, *levels; /* [users] */
    int64_t *seed_counts;                 /* [seeds] */
};

static bool scratch_open(struct scratch *scratch, int64_t seeds, int64_t users)
{
    *scratch = (struct scratch){.user_weights = malloc((size_t)users * sizeof(double)),
                                .gaps = malloc((size_t)users * sizeof(double)),
                                .levels = malloc((size_t)users * sizeof(double)),
                                .seed_counts = malloc((size_t)seeds * sizeof(int64_t))};
    return scratch->user_weights && scratch->gaps && scratch->levels && scratch->seed_counts;
}

static void scratch_close(struct scratch *scratch)
{
    free(scratch->user_weights);
    free(scratch->gaps);
    free(scratch->levels);
    free(scratch->seed_counts);
}

/* How often each user and each seed is drawn. */
static void draw(struct scratch *scratch, int64_t seeds, int64_t users, uint64_t seed, int64_t resample)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_BOOTSTRAP, 0, (uint64_t)resample);
    for (int64_t u = 0; u < users; u++)
        scratch->user_weights[u] = 0;
    for (int64_t s = 0; s < seeds; s++)
        scratch->seed_counts[s] = 0;
    for (int64_t i = 0; i < users; i++)
        scratch->user_weights[random_below(&stream, (uint32_t)users)] += 1;
    for (int64_t i = 0; i < seeds; i++)
        scratch->seed_counts[random_below(&stream, (uint32_t)seeds)]++;
}

/* Each user's difference and value of b, averaged over the drawn seeds. */
static void average_seeds(const struct scratch *scratch, const double *a, const double *b, int64_t seeds,
                          int64_t users)
{
    double *restrict gaps = scratch->gaps, *restrict levels = scratch->levels;
    for (int64_t u = 0; u < users; u++)
        gaps[u] = levels[u] = 0;
    for (int64_t s = 0; s < seeds; s++) {
        const double share = (double)scratch->seed_counts[s] / (double)seeds;
        const double *x = a + s * users, *y = b + s * users;
        for (int64_t u = 0; u < users && share > 0; u++) {
            gaps[u] += share * (x[u] - y[u]);
            levels[u] += share * y[u];
        }
    }
}

/* Over the drawn users. */
static void average_users(const struct scratch *scratch, int64_t users, double *difference, double *level)
{
    double sums[2] = {0, 0};
    for (int64_t u = 0; u < users; u++) {
        sums[0] += scratch->user_weights[u] * scratch->gaps[u];
        sums[1] += scratch->user_weights[u] * scratch->levels[u];
    }
    *difference = sums[0] / (double)users;
    *level = sums[1] / (double)users;
}

/* Arms that are the same for all that were drawn have no effect. */
static double drawn_effect_size(const struct scratch *scratch, int64_t users, double center)
{
    double squares = 0;
    for (int64_t u = 0; u < users; u++)
        squares += scratch->user_weights[u] * (scratch->gaps[u] - center) * (scratch->gaps[u] - center);
    if (center == 0 && squares == 0)
        return 0;
    return effect_size(center, users > 1 ? sqrt(squares / (double)(users - 1)) : NAN);
}

/* The middle 95 % of the values, which are sorted; NaN where one of them is no number. */
static void percentile_interval(double interval[2], double *values, int64_t count)
{
    interval[0] = interval[1] = NAN;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return;
    sort_doubles(values, count);
    interval[0] = sorted_quantile(values, count, 0.025);
    interval[1] = sorted_quantile(values, count, 0.975);
}

/* What the resamples measured. */
struct resampled {
    double *differences, *gains, *effects; /* [resamples] */
};

static bool resample_all(const struct resampled *resampled, const double *a, const double *b, int64_t seeds,
                         int64_t users, int64_t resamples, uint64_t seed)
{
    bool enough = true;
#pragma omp parallel
    {
        struct scratch scratch;
        const bool opened = scratch_open(&scratch, seeds, users);
        if (!opened) {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for
        for (int64_t r = 0; r < resamples; r++) {
            double difference, level;
            if (!opened)
                continue;
            draw(&scratch, seeds, users, seed, r);
            average_seeds(&scratch, a, b, seeds, users);
            average_users(&scratch, users, &difference, &level);
            resampled->differences[r] = difference;
            resampled->gains[r] = difference / level;
            resampled->effects[r] = drawn_effect_size(&scratch, users, difference);
        }
        scratch_close(&scratch);
    }
    return enough;
}

bool paired_bootstrap(struct bootstrap_interval *interval, const double *a, const double *b, int64_t seeds,
                      int64_t users, int64_t resamples, uint64_t seed)
{
    double *values = malloc((size_t)resamples * 3 * sizeof *values);
    if (values == NULL)
        return false;
    const struct resampled resampled = {values, values + resamples, values + 2 * resamples};
    const bool enough = resample_all(&resampled, a, b, seeds, users, resamples, seed);
    if (enough) {
        percentile_interval(interval->difference, resampled.differences, resamples);
        percentile_interval(interval->relative_gain, resampled.gains, resamples);
        percentile_interval(interval->effect_size, resampled.effects, resamples);
    }
    free(values);
    return enough;
}

/* The differences that are not 0, in fours: all 16 sums that a four can have under its signs. */
enum { FOUR = 4, SIGNS_OF_FOUR = 16, FOURS_OF_A_WORD = 8 };
struct signed_sums {
    int64_t count, fours;
    double *sums; /* [fours, 16]; bit i of the second index turns difference i of the four */
    double least; /* how far a sum must be from 0 to count, but for rounding */
};

static bool signed_sums_open(struct signed_sums *signs, const double *differences, int64_t count)
{
    *signs = (struct signed_sums){0};
    signs->sums = calloc((size_t)(count / FOUR + 1) * SIGNS_OF_FOUR, sizeof *signs->sums);
    if (signs->sums == NULL)
        return false;
    double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < count; i++) {
        if (differences[i] == 0)
            continue;
        double *four = signs->sums + signs->count / FOUR * SIGNS_OF_FOUR;
        for (int turned = 0; turned < SIGNS_OF_FOUR; turned++)
            four[turned] += turned >> signs->count % FOUR & 1 ? -differences[i] : differences[i];
        signs->count++;
        sum += differences[i];
        magnitude += fabs(differences[i]);
    }
    signs->fours = (signs->count + FOUR - 1) / FOUR;
    signs->least = fabs(sum) - 1e-12 * magnitude;
    return true;
}

static bool listed_way_as_far(const struct signed_sums *signs, uint64_t way)
{
    double sum = 0;
    for (int64_t four = 0; four < signs->fours; four++)
        sum += signs->sums[four * SIGNS_OF_FOUR + (int64_t)(way >> four * FOUR & (SIGNS_OF_FOUR - 1))];
    return fabs(sum) >= signs->least;
}

/* Four sums side by side, for one would wait for itself. */
static bool drawn_way_as_far(const struct signed_sums *signs, uint64_t seed, int64_t flip)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_FLIP, 0, (uint64_t)flip);
    double sums[4] = {0, 0, 0, 0};
    for (int64_t first = 0; first < signs->fours; first += FOURS_OF_A_WORD) {
        const uint32_t word = random_word(&stream);
        const double *entries = signs->sums + first * SIGNS_OF_FOUR;
        const int64_t left = signs->fours - first;
        for (int four = 0; four < FOURS_OF_A_WORD && four < left; four++)
            sums[four % 4] +=
                entries[four * SIGNS_OF_FOUR + (int)(word >> four * FOUR & (SIGNS_OF_FOUR - 1))];
    }
    return fabs(sums[0] + sums[1] + (sums[2] + sums[3])) >= signs->least;
}

bool sign_flip_test(struct sign_flip_test *test, const double *differences, int64_t count, int64_t flips,
                    uint64_t seed)
{
    struct signed_sums signs;
    if (!signed_sums_open(&signs, differences, count))
        return false;
    test->exact = signs.count < 62 && INT64_C(1) << signs.count <= flips;
    const int64_t ways = test->exact ? INT64_C(1) << signs.count : flips;
    const bool exact = test->exact;
    int64_t as_far = 0;
#pragma omp parallel for reduction(+ : as_far)
    for (int64_t way = 0; way < ways; way++)
        as_far += exact ? listed_way_as_far(&signs, (uint64_t)way) : drawn_way_as_far(&signs, seed, way);
    test->p = exact ? (double)as_far / (double)ways : (double)(as_far + 1) / (double)(ways + 1);
    free(signs.sums);
    return true;
}
