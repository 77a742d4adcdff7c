/*
 * random.h: counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (seed, purpose, step, index): the same on every device, at any number of
 * threads or ranks, in any order of evaluation. `purpose` keeps streams apart that share a seed.
 */
#ifndef IDREC_CORE_RANDOM_H
#define IDREC_CORE_RANDOM_H

#include <stdint.h>

enum random_purpose {
    RANDOM_SPLIT = 1,
    RANDOM_INITIALIZE,
    RANDOM_SHUFFLE,
    RANDOM_NEGATIVE,
    RANDOM_DROPOUT,
    RANDOM_PROMPT,
    RANDOM_CONTEXT,
    RANDOM_SAMPLE,
    RANDOM_CONTROL,
    RANDOM_BOOTSTRAP,
    RANDOM_SYNTHESIZE,
    RANDOM_TEST
};

/* A stream of numbers: 4 words a counter value, 2^32 counter values a (seed, purpose, step, index). */
struct random_stream {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t words[4];
    int words_left;
};

/* Philox's constants, shared with what computes many blocks at once. */
#define PHILOX_MULTIPLIER_0 UINT64_C(0xD2511F53)
#define PHILOX_MULTIPLIER_1 UINT64_C(0xCD9E8D57)
#define PHILOX_WEYL_0 UINT32_C(0x9E3779B9)
#define PHILOX_WEYL_1 UINT32_C(0xBB67AE85)
enum { PHILOX_ROUNDS = 10 };

/* One block of Philox4x32-10: output = f(counter, key). */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t output[4]);

/* step and index are used modulo 2^32 and 2^40: the counter is (block, index, step, purpose and index's
 * high byte); the key is the seed. */
struct random_stream random_stream_open(uint64_t seed, enum random_purpose purpose, uint64_t step,
                                        uint64_t index);

uint32_t random_word(struct random_stream *stream);

/* Uniform on {0, ..., bound - 1}, exactly (Lemire's rejection); bound >= 1. */
uint32_t random_below(struct random_stream *stream, uint32_t bound);

/* Uniform on [0, 1), 24 bits as float, 53 bits as double. */
float random_float(struct random_stream *stream);
double random_double(struct random_stream *stream);

/* Standard normal (Box and Muller, double precision inside). */
double random_normal(struct random_stream *stream);

/* Fisher and Yates' shuffle. */
void random_shuffle(struct random_stream *stream, int32_t *values, int64_t count);

#endif
