/*
 * resampling.h: intervals and tests of two arms that come from drawing again: the bootstrap and random signs. Draws are pure
 * functions of (seed, purpose, 0, resample), as random_stream_open of random_stream.h gives them: the same at any number of
 * threads.
 */
#ifndef IDREC_CORE_RESAMPLING_H
#define IDREC_CORE_RESAMPLING_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Percentile intervals (95 %) from a paired bootstrap that resamples seeds and users, crossed (the pigeonhole bootstrap of
 * Owen, 2007): a resample draws as many users with replacement (random_below of RANDOM_BOOTSTRAP's stream, one after the
 * other), then as many seeds likewise, and measures both arms over the same draws.
 */
struct bootstrap_interval {
    double difference[2];    /* mean(a) - mean(b) */
    double relative_gain[2]; /* mean(a) / mean(b) - 1; NaN where mean(b) is 0 in any resample */
    /* Cohen's d of the users' differences, averaged over the seeds: 0 of arms that are the same in a resample, NaN where the
     * differences of any are equal otherwise */
    double effect_size[2];
};
/* False: no memory. */
bool paired_bootstrap(struct bootstrap_interval *interval, const double *a /* [seeds, users] */,
                      const double *b /* [seeds, users] */, int64_t seeds, int64_t users, int64_t resamples,
                      uint64_t seed);

/*
 * Paired randomisation test, two-sided: the share of all ways to give the differences signs whose sum is at least as far from
 * 0 as the sum found (Fisher, "The design of experiments", 1935). Differences of 0 say nothing and are left out; of the n
 * others in their order, all 2^n ways are tried where they are no more than `flips`, as scipy.stats.permutation_test does.
 * Beyond, `flips` ways are drawn: in flip r, bit i % 32 of word i / 32 of RANDOM_FLIP's stream turns difference i, and p is
 * (as far + 1) / (flips + 1), which is a valid p at any number of flips (Phipson and Smyth, 2010).
 */
struct sign_flip_test {
    double p;   /* 1 where all differences are 0 */
    bool exact; /* all ways were tried */
};
/* flips >= 1. False: no memory. */
bool sign_flip_test(struct sign_flip_test *test, const double *differences, int64_t count, int64_t flips,
                    uint64_t seed);

#endif
