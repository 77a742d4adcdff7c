#include "core/statistics.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/random.h"

double mean(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    return count > 0 ? sum / (double)count : NAN;
}

double standard_deviation(const double *values, int64_t count)
{
    if (count < 2)
        return NAN;
    double center = mean(values, count), sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (values[i] - center) * (values[i] - center);
    return sqrt(sum / (double)(count - 1));
}

static double away_from_zero(double value)
{
    return fabs(value) < 1e-300 ? 1e-300 : value;
}

/* The continued fraction of the incomplete beta function; converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), fraction = d;
    for (int m = 1; m < 1000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / away_from_zero(1 + even * d);
        c = away_from_zero(1 + even / c);
        fraction *= d * c;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / away_from_zero(1 + odd * d);
        c = away_from_zero(1 + odd / c);
        fraction *= d * c;
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return fraction;
}

double incomplete_beta(double a, double b, double x)
{
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_two_sided(double t, double freedom)
{
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
}

double student_quantile_two_sided(double p, double freedom)
{
    double low = 0, high = 1;
    while (student_two_sided(high, freedom) > p)
        high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = (low + high) / 2;
        if (student_two_sided(middle, freedom) > p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* Mean and standard deviation of a - b. */
static void paired_moments(const double *a, const double *b, int64_t count, double *center, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] - b[i];
    *center = count > 0 ? sum / (double)count : NAN;
    for (int64_t i = 0; i < count; i++)
        squares += (a[i] - b[i] - *center) * (a[i] - b[i] - *center);
    *deviation = count > 1 ? sqrt(squares / (double)(count - 1)) : NAN;
}

/* Differences that are equal but for rounding have no spread to test against. */
static bool spread_is_zero(double center, double deviation)
{
    return deviation <= 1e-12 * fabs(center);
}

struct paired_test paired_t_test(const double *a, const double *b, int64_t count)
{
    struct paired_test test = {.t = NAN, .p = NAN};
    double deviation;
    paired_moments(a, b, count, &test.difference, &deviation);
    if (count < 2)
        return test;
    if (spread_is_zero(test.difference, deviation)) {
        if (test.difference == 0) {
            test.t = 0;
            test.p = 1;
        }
        return test;
    }
    test.t = test.difference / (deviation / sqrt((double)count));
    test.p = student_two_sided(test.t, (double)(count - 1));
    return test;
}

double paired_effect_size(const double *a, const double *b, int64_t count)
{
    double center, deviation;
    paired_moments(a, b, count, &center, &deviation);
    return count < 2 || spread_is_zero(center, deviation) ? NAN : center / deviation;
}

void holm_correction(const double *p, int64_t count, double *corrected)
{
    int64_t family = 0;
    for (int64_t i = 0; i < count; i++) {
        corrected[i] = NAN;
        family += !isnan(p[i]);
    }
    double largest = 0;
    for (int64_t step = 0; step < family; step++) {
        int64_t smallest = -1;
        for (int64_t i = 0; i < count; i++)
            if (!isnan(p[i]) && isnan(corrected[i]) && (smallest < 0 || p[i] < p[smallest]))
                smallest = i;
        largest = fmax(largest, fmin(1, p[smallest] * (double)(family - step)));
        corrected[smallest] = largest;
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_doubles(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
}

double sorted_quantile(const double *sorted, int64_t count, double q)
{
    double place = (double)(count - 1) * q;
    int64_t below = (int64_t)floor(place);
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* One resample: the means of both arms over the same drawn seeds and users. */
static void bootstrap_resample(const double *a, const double *b, int64_t seeds, int64_t users, uint64_t seed,
                               int64_t resample, double *user_weights, double means[2])
{
    struct random_stream stream = random_stream_open(seed, RANDOM_BOOTSTRAP, 0, (uint64_t)resample);
    for (int64_t u = 0; u < users; u++)
        user_weights[u] = 0;
    for (int64_t i = 0; i < users; i++)
        user_weights[random_below(&stream, (uint32_t)users)] += 1;
    means[0] = means[1] = 0;
    for (int64_t i = 0; i < seeds; i++) {
        int64_t row = random_below(&stream, (uint32_t)seeds);
        for (int64_t u = 0; u < users; u++) {
            means[0] += user_weights[u] * a[row * users + u];
            means[1] += user_weights[u] * b[row * users + u];
        }
    }
    means[0] /= (double)(seeds * users);
    means[1] /= (double)(seeds * users);
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

bool paired_bootstrap(struct bootstrap_interval *interval, const double *a, const double *b, int64_t seeds,
                      int64_t users, int64_t resamples, uint64_t seed)
{
    double *differences = malloc((size_t)resamples * sizeof *differences);
    double *gains = malloc((size_t)resamples * sizeof *gains);
    bool enough = differences != NULL && gains != NULL;
#pragma omp parallel if (enough)
    {
        double *user_weights = malloc((size_t)users * sizeof *user_weights);
        if (user_weights == NULL) {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for
        for (int64_t r = 0; r < resamples; r++) {
            double means[2];
            if (user_weights == NULL || differences == NULL || gains == NULL)
                continue;
            bootstrap_resample(a, b, seeds, users, seed, r, user_weights, means);
            differences[r] = means[0] - means[1];
            gains[r] = means[0] / means[1] - 1;
        }
        free(user_weights);
    }
    if (enough) {
        percentile_interval(interval->difference, differences, resamples);
        percentile_interval(interval->relative_gain, gains, resamples);
    }
    free(differences);
    free(gains);
    return enough;
}
