"""Values of scipy and statsmodels for tests/test_statistics.c: python make_statistics.py > statistics.txt

Lines: name, then numbers. Draws of the bootstrap and of random signs are made here anew, as core/random_stream.h and
core/resampling.h describe them. Needs numpy, scipy and statsmodels.
"""

import numpy as np
from scipy import optimize, special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

BOOTSTRAP, FLIP = 10, 20


def line(name, *values):
    print(name, *(repr(float(value)) for value in values))


def philox_block(counter, key):
    """Philox4x32-10 (Salmon et al., 2011)."""
    mask = 0xFFFFFFFF
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = product1 >> 32 ^ c1 ^ k0, product1 & mask, product0 >> 32 ^ c3 ^ k1, product0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3


def words(seed, purpose, index):
    """The stream of (seed, purpose, step 0, index): the words of a block are used from the last to the first."""
    block = 0
    while True:
        counter = block, index & 0xFFFFFFFF, 0, purpose | index >> 32 << 8
        yield from reversed(philox_block(counter, (seed & 0xFFFFFFFF, seed >> 32)))
        block += 1


def below(stream, bound):
    """Lemire's rejection."""
    while True:
        product = next(stream) * bound
        if product & 0xFFFFFFFF >= 2**32 % bound:
            return product >> 32


def bootstrap(a, b, resamples, seed):
    seeds, users = a.shape
    found = []
    for resample in range(resamples):
        stream = words(seed, BOOTSTRAP, resample)
        drawn_users = [below(stream, users) for _ in range(users)]
        drawn_seeds = [below(stream, seeds) for _ in range(seeds)]
        drawn_a, drawn_b = (arm[np.ix_(drawn_seeds, drawn_users)] for arm in (a, b))
        gaps = (drawn_a - drawn_b).mean(axis=0)
        found.append((drawn_a.mean() - drawn_b.mean(), drawn_a.mean() / drawn_b.mean() - 1,
                      gaps.mean() / gaps.std(ddof=1)))
    return np.quantile(found, (0.025, 0.975), axis=0).T.ravel()


def drawn_signs_p(differences, flips, seed):
    others = differences[differences != 0]
    as_far = 0
    for flip in range(flips):
        stream = words(seed, FLIP, flip)
        drawn = [next(stream) for _ in range((len(others) + 31) // 32)]
        turned = [drawn[i // 32] >> i % 32 & 1 for i in range(len(others))]
        as_far += abs(np.where(turned, -others, others).sum()) >= abs(others.sum()) - 1e-13
    return (as_far + 1) / (flips + 1)


def all_signs_p(differences):
    return stats.permutation_test((differences, np.zeros(len(differences))),
                                  lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
                                  vectorized=True, n_resamples=np.inf, alternative="two-sided").pvalue


def two_sided_noncentral(t, freedom, noncentrality):
    """T^2 is a noncentral F. scipy's nct has no value of some lower tails; where it has, both must agree."""
    p = stats.ncf.sf(t * t, 1, freedom, noncentrality**2) if noncentrality else 2 * stats.t.sf(t, freedom)
    same = stats.nct.sf(t, freedom, noncentrality) + stats.nct.cdf(-t, freedom, noncentrality)
    assert np.isnan(same) or abs(p - same) < 1e-9, (t, freedom, noncentrality, p, same)
    return p


def detectable_effect(pairs, alpha, power):
    """statsmodels' power solved to the last digit: its own solve_power stops at 1e-6, and goes astray where nct has no value."""
    critical = stats.t.isf(alpha / 2, pairs - 1)
    effect = optimize.brentq(
        lambda effect: two_sided_noncentral(critical, pairs - 1, effect * pairs**0.5) - power, 1e-3, 10 * critical,
        xtol=1e-15, rtol=1e-14)
    same = TTestPower().power(effect, pairs, alpha)
    assert np.isnan(same) or abs(same - power) < 1e-9, (pairs, alpha, same)
    assert np.isnan(same) or alpha < 0.01 or abs(TTestPower().solve_power(None, pairs, alpha, power) / effect - 1) < 1e-5
    return effect


def comparison(a, b, resamples, flips, seed):
    """The fields of experiments/comparison.h, for a family of one."""
    seeds, users = a.shape
    over_seeds, over_users = (a - b).mean(axis=1), (a - b).mean(axis=0)
    p_seeds = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue
    p_users = drawn_signs_p(over_users, flips, seed)
    reach = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).confidence_interval(0.95)
    drawn = bootstrap(a, b, resamples, seed)
    intervals = [f(drawn[2 * i + end], reach[end] / unit) for i, unit in enumerate((1, b.mean(), over_users.std(ddof=1)))
                 for end, f in enumerate((min, max))]
    detectable = max(over_seeds.std(ddof=1) * detectable_effect(seeds, 0.05, 0.8),
                     over_users.std(ddof=1) * detectable_effect(users, 0.05, 0.8))
    return (a.mean(), b.mean(), a.mean() / b.mean() - 1, over_users.mean() / over_users.std(ddof=1),
            over_seeds.std(ddof=1), over_users.std(ddof=1), p_seeds, p_users, max(p_seeds, p_users), detectable,
            detectable / b.mean(), *intervals)


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
for t, freedom, noncentrality in [(2.776, 4, 0), (2.776, 4, 4), (13.03, 4, 16.2), (12.7, 1, 20), (1.96, 30000, 2.8),
                                  (3.9, 942, 5.1), (0, 5, 2), (4, 9, 0.3), (2, 20, 12), (60, 2, 70)]:
    line("noncentral", t, freedom, noncentrality, two_sided_noncentral(t, freedom, noncentrality))
for effect, pairs, alpha in [(1, 5, 0.05), (2.5, 5, 0.05 / 33), (0.1, 943, 0.05), (0.02, 29858, 0.01), (4, 3, 0.05)]:
    line("power", effect, pairs, alpha, TTestPower().power(effect, pairs, alpha))
for pairs, alpha in [(2, 0.05), (2, 0.05 / 66), (3, 0.05), (5, 0.05), (5, 0.05 / 18), (5, 0.05 / 108), (10, 0.05 / 66), (943, 0.05),
                     (6040, 0.05 / 33), (29858, 0.05 / 108)]:
    line("detectable", pairs, alpha, 0.8, detectable_effect(pairs, alpha, 0.8))
for p in ([0.01], [0.01, 0.04, 0.03, 0.005], [0.02, 0.02, 0.9, 0.5, 0.001, 0.02], random.uniform(0, 0.2, 18) ** 2):
    line("holm", len(p), *p, *multipletests(p, method="holm")[1])
for count in (2, 7, 12):
    differences = random.normal(0.4, 1, count)
    line("all_signs", count, 4096, 3, *differences, all_signs_p(differences))
ties = np.array([0.5, 0, -0.5, 0.25, 0.5, 0, 0.25, -0.25, 0.5, 0.5])
line("all_signs", len(ties), 4096, 3, *ties, all_signs_p(ties))
for count, flips, seed in ((45, 2000, 1), (70, 999, 2**33 + 5)):
    differences = np.round(random.normal(0.03, 0.2, count), 2)
    line("drawn_signs", count, flips, seed, *differences, drawn_signs_p(differences, flips, seed))
for seeds, users, resamples, seed in ((2, 8, 100, 1), (5, 30, 400, 2**32 + 7)):
    b = np.round(random.beta(1, 3, (seeds, users)), 3)
    a = np.round(b + random.normal(0.02, 0.1, (seeds, users)), 3)
    line("bootstrap", seeds, users, resamples, seed, *a.ravel(), *b.ravel(), *bootstrap(a, b, resamples, seed))
for seed, of_fit in ((11, 0.002), (12, 0.04)):
    b = np.round(random.beta(1, 3, (5, 24)) + random.normal(0, of_fit, (5, 1)), 3)
    a = np.round(b + random.normal(0.04, 0.1, (5, 24)) + random.normal(0, of_fit, (5, 1)), 3)
    line("comparison", 5, 24, 300, 1000, seed, *a.ravel(), *b.ravel(), *comparison(a, b, 300, 1000, seed))
