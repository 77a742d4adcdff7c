"""Values of scipy for tests/test_statistics.c: python make_statistics.py > statistics.txt

Lines: name, then numbers. Needs numpy and scipy.
"""

import numpy as np
from scipy import special, stats


def line(name, *values):
    print(name, *(repr(float(value)) for value in values))


random = np.random.default_rng(7)
for a, b, x in [(0.5, 0.5, 0.3), (2, 3, 0.9), (10, 0.5, 0.99), (200, 0.5, 0.999), (1.5, 40, 0.01)]:
    line("incomplete_beta", a, b, x, special.betainc(a, b, x))
for t, freedom in [(0, 4), (1.2, 1), (-2.5, 4), (8.99, 4), (3.1, 29), (0.01, 200), (40, 3)]:
    line("student_two_sided", t, freedom, 2 * stats.t.sf(abs(t), freedom))
for p, freedom in [(0.05, 1), (0.05, 4), (0.01, 9), (0.5, 2)]:
    line("student_quantile", p, freedom, stats.t.isf(p / 2, freedom))
for count in (2, 5, 12):
    a = random.normal(0.3, 0.02, count)
    b = a - random.normal(0.01, 0.01, count)
    test = stats.ttest_rel(a, b)
    difference = a - b
    line("paired", count, *a, *b, difference.mean(), test.statistic, test.pvalue,
         difference.mean() / difference.std(ddof=1))
for count in (1, 4, 9):
    values = np.sort(random.normal(size=count))
    for q in (0, 0.025, 0.5, 0.975, 1):
        line("quantile", count, *values, q, np.quantile(values, q))
