#include "core/statistics.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

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

void paired_moments(const double *a, const double *b, int64_t count, double *center, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] - b[i];
    *center = count > 0 ? sum / (double)count : NAN;
    for (int64_t i = 0; i < count; i++)
        squares += (a[i] - b[i] - *center) * (a[i] - b[i] - *center);
    *deviation = count > 1 ? sqrt(squares / (double)(count - 1)) : NAN;
}

bool spread_is_zero(double center, double deviation)
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

double effect_size(double center, double deviation)
{
    return isnan(deviation) || spread_is_zero(center, deviation) ? NAN : center / deviation;
}

double paired_effect_size(const double *a, const double *b, int64_t count)
{
    double center, deviation;
    paired_moments(a, b, count, &center, &deviation);
    return effect_size(center, deviation);
}

double noncentral_student_two_sided(double t, double freedom, double noncentrality)
{
    const double rate = noncentrality * noncentrality / 2, a = freedom / 2;
    const double x = freedom / (freedom + t * t), rest = t * t / (freedom + t * t);
    const double first = fmax(0, floor(rate - 10 * sqrt(rate) - 20)), last = rate + 10 * sqrt(rate) + 40;
    double weight = rate > 0 ? exp(first * log(rate) - rate - lgamma(first + 1)) : 1;
    double tail = incomplete_beta(a, first + 0.5, x);
    /* tail at j + 1 less tail at j: x^a rest^(j + 1/2) / (B(a, j + 1/2) (j + 1/2)) */
    double growth = t > 0 ? exp(a * log(x) + (first + 0.5) * log(rest) + lgamma(a + first + 0.5) - lgamma(a) -
                                lgamma(first + 1.5))
                          : 0;
    double sum = 0, weights = 0;
    for (double j = first; j <= last; j++) {
        sum += weight * tail;
        weights += weight;
        tail += growth;
        growth *= rest * (a + j + 0.5) / (j + 1.5);
        weight *= rate / (j + 1);
    }
    return fmin(1, sum / weights);
}

double paired_test_power(double effect, int64_t pairs, double alpha)
{
    const double freedom = (double)(pairs - 1);
    return noncentral_student_two_sided(student_quantile_two_sided(alpha, freedom), freedom,
                                        effect * sqrt((double)pairs));
}

double detectable_effect(int64_t pairs, double alpha, double power)
{
    if (pairs < 2)
        return NAN;
    const double freedom = (double)(pairs - 1), critical = student_quantile_two_sided(alpha, freedom);
    double low = 0, high = 1;
    while (noncentral_student_two_sided(critical, freedom, high) < power)
        high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-14 * high; i++) {
        const double middle = (low + high) / 2;
        if (noncentral_student_two_sided(critical, freedom, middle) < power)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2 / sqrt((double)pairs);
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
