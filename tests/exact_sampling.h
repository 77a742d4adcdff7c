/*
 * exact_sampling.h: a row of logits, the exact distribution that op_sample must draw from, and whether counts agree with it.
 */
#ifndef IDREC_TESTS_EXACT_SAMPLING_H
#define IDREC_TESTS_EXACT_SAMPLING_H

#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "tests/support.h"

enum { CLASSES = 60, USED = 57, WORDS = 2 };

/* One row of logits, of which USED take part. */
struct logit_row {
    float logits[CLASSES];
    uint32_t forbidden[WORDS];
};

static void make_row(struct logit_row *row)
{
    struct random_stream random = random_stream_open(1, RANDOM_TEST, 2, 3);
    for (int c = 0; c < CLASSES; c++)
        row->logits[c] = (float)(1.5 * random_normal(&random));
    row->logits[CLASSES - 1] = 50.0f; /* past the classes used */
    row->logits[7] = row->logits[8] = 1.0f;
    row->forbidden[0] = 0x00500421u;
    row->forbidden[1] = 0x00000101u;
}

static bool allowed(const struct logit_row *row, bool constrained, int c)
{
    return c < USED && !(constrained && (row->forbidden[c / 32] >> (c % 32) & 1));
}

/* rank of class c among the allowed ones: logit descending, class ascending */
static int rank_of(const struct logit_row *row, bool constrained, int c)
{
    int rank = 0;
    for (int d = 0; d < USED; d++)
        if (allowed(row, constrained, d) &&
            (row->logits[d] > row->logits[c] || (row->logits[d] == row->logits[c] && d < c)))
            rank++;
    return rank;
}

/* The exact distribution, by definition: temperature, then top-k, then top-p, renormalised. */
static void exact(const struct logit_row *row, bool constrained, struct sampling settings,
                  double *probability)
{
    int order[USED], count = 0;
    for (int c = 0; c < USED; c++)
        if (allowed(row, constrained, c)) {
            order[rank_of(row, constrained, c)] = c;
            count++;
        }
    if (settings.top_k > 0 && settings.top_k < count)
        count = (int)settings.top_k;
    double sum = 0.0, kept = 0.0;
    memset(probability, 0, USED * sizeof *probability);
    for (int i = 0; i < count; i++)
        sum += exp((double)row->logits[order[i]] / (double)settings.temperature);
    for (int i = 0; i < count && kept < (double)settings.top_p; i++) {
        probability[order[i]] = exp((double)row->logits[order[i]] / (double)settings.temperature) / sum;
        kept += probability[order[i]];
    }
    for (int c = 0; c < USED; c++)
        probability[c] /= kept;
}

/* Pearson's chi-square over the classes that are expected 5 times or more; the others must be possible. */
static void check_counts(const int64_t *counts, const double *probability, int64_t draws)
{
    double chi_square = 0.0;
    int cells = 0;
    for (int c = 0; c < USED; c++) {
        const double expected = probability[c] * (double)draws;
        if (expected == 0.0)
            assert_int_equal(counts[c], 0);
        if (expected < 5.0)
            continue;
        chi_square += ((double)counts[c] - expected) * ((double)counts[c] - expected) / expected;
        cells++;
    }
    assert_true(chi_square < cells + 5.0 * sqrt(2.0 * cells));
}

#endif
