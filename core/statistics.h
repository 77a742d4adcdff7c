/*
 * statistics.h: what is needed to compare two recommenders over seeds and users.
 */
#ifndef IDREC_CORE_STATISTICS_H
#define IDREC_CORE_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

double mean(const double *values, int64_t count);
/* The sample's: divided by count - 1. NaN below two values. */
double standard_deviation(const double *values, int64_t count);

/* Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction. */
double incomplete_beta(double a, double b, double x);
/* P(|T| >= |t|) of Student's t with `freedom` degrees of freedom. */
double student_two_sided(double t, double freedom);
/* The t with P(|T| >= t) = p; 0 < p < 1. */
double student_quantile_two_sided(double p, double freedom);

/* Paired t-test. p is 1 when all differences are 0, and NaN where the test says nothing: below two pairs, or
 * with differences that are all equal and not 0. */
struct paired_test {
    double difference; /* mean of a - b */
    double t, p;
};
struct paired_test paired_t_test(const double *a, const double *b, int64_t count);

/* Mean over standard deviation of a - b (Cohen's d of paired samples). NaN where the deviation is 0. */
double paired_effect_size(const double *a, const double *b, int64_t count);

/* Holm's step-down correction (1979). NaN entries are no part of the family and stay NaN. */
void holm_correction(const double *p, int64_t count, double *corrected);

/* Ascending; none of the values is NaN. */
void sort_doubles(double *values, int64_t count);
/* Linear interpolation between order statistics at (count - 1) * q; `sorted` ascends. */
double sorted_quantile(const double *sorted, int64_t count, double q);

/*
 * Percentile interval (95 %) of the difference of means and of the relative gain, from a paired bootstrap
 * that resamples seeds and users, crossed: every resample draws seeds with replacement, draws users with
 * replacement, and averages both arms over the same draws. Draws come from (seed, RANDOM_BOOTSTRAP,
 * resample): the same at any number of threads.
 */
struct bootstrap_interval {
    double difference[2];    /* mean(a) - mean(b) */
    double relative_gain[2]; /* mean(a) / mean(b) - 1; NaN where mean(b) is 0 in any resample */
};
/* False: no memory. */
bool paired_bootstrap(struct bootstrap_interval *interval, const double *a /* [seeds, users] */,
                      const double *b /* [seeds, users] */, int64_t seeds, int64_t users, int64_t resamples,
                      uint64_t seed);

#endif
