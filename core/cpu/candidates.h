/*
 * candidates.h: scores with their columns packed into integers whose order is "score descending, column
 * ascending, NaN last", and the selection of the best of them.
 */
#ifndef IDREC_CORE_CPU_CANDIDATES_H
#define IDREC_CORE_CPU_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/tensor.h"

#ifdef IDREC_REAL_DOUBLE
typedef uint64_t score_key;
typedef unsigned __int128 candidate;
#else
typedef uint32_t score_key;
typedef uint64_t candidate;
#endif

/* Ascends with the score; 0 for NaN; -0 is taken for 0. */
static inline score_key key_of_score(real score)
{
    const score_key sign = (score_key)1 << (8 * sizeof(score_key) - 1);
    const real value = score + 0;
    score_key bits;
    memcpy(&bits, &value, sizeof bits);
    const score_key key = bits & sign ? ~bits : bits | sign;
    return score == score ? key : 0;
}

static inline candidate candidate_of(score_key key, int64_t column)
{
    return (candidate)key << 32 | (uint32_t) ~(uint32_t)column;
}

static inline int32_t candidate_column(candidate c)
{
    return (int32_t) ~(uint32_t)c;
}

static inline score_key candidate_key(candidate c)
{
    return (score_key)(c >> 32);
}

/* Brings the `keep` largest to the front, in descending order. */
void candidates_sort(candidate *candidates, int64_t count, int64_t keep);
/* Brings the `keep` largest to the front, in any order. */
void candidates_select(candidate *candidates, int64_t count, int64_t keep);

/* The search for the best columns of a row. A candidate enters the buffer when it beats `threshold`, the key
 * of the worst of the best `wanted` so far; a full buffer is cut back to these. */
struct selection {
    candidate *buffer; /* [capacity] */
    uint64_t *hidden;  /* [columns / 64 + 1] bits; NULL: none */
    int64_t capacity, count, wanted;
    bool full; /* the threshold holds */
    score_key threshold;
};

/* Afterwards the first min(count, wanted) of the buffer, once sorted, are the row's best. capacity >
 * wanted. */
void selection_scan(struct selection *selection, const real *scores, int64_t columns);

#endif
