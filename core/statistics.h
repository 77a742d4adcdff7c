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

/* Mean and standard deviation of a - b; the deviation is NaN below two pairs. */
void paired_moments(const double *a, const double *b, int64_t count, double *center, double *deviation);
/* Whether a spread is none but for rounding: values that are all equal have nothing to be tested against. */
bool spread_is_zero(double center, double deviation);
/* Mean over standard deviation of a - b (Cohen's d of paired samples). NaN where the deviation is 0. */
double paired_effect_size(const double *a, const double *b, int64_t count);
/* The same of a mean and a deviation that are known. */
double effect_size(double center, double deviation);

/*
 * P(|T| >= t) of the noncentral t distribution, t >= 0: T^2 is a noncentral F, whose distribution function is a sum of
 * incomplete beta functions under the weights of a Poisson distribution (Lenth, AS 243, 1989; summed from the
 * largest weights as Benton and Krishnamoorthy do, 2003).
 */
double noncentral_student_two_sided(double t, double freedom, double noncentrality);
/* The chance that the two-sided paired t-test at level alpha rejects, where the mean difference is `effect`
 * standard deviations. */
double paired_test_power(double effect, int64_t pairs, double alpha);
/* The effect with that power, alpha < power < 1; NaN below two pairs. */
double detectable_effect(int64_t pairs, double alpha, double power);

/* Holm's step-down correction (1979). NaN entries are no part of the family and stay NaN. */
void holm_correction(const double *p, int64_t count, double *corrected);

/* Ascending; none of the values is NaN. */
void sort_doubles(double *values, int64_t count);
/* Linear interpolation between order statistics at (count - 1) * q; `sorted` ascends. */
double sorted_quantile(const double *sorted, int64_t count, double q);

#endif
