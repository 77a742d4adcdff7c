/*
 * random_stream.h: the part of random.h that kernels on a GPU share with the host: one source, the same bits.
 */
#ifndef IDREC_CORE_RANDOM_STREAM_H
#define IDREC_CORE_RANDOM_STREAM_H

#include <stdint.h>

#ifdef __CUDACC__
#define PORTABLE_INLINE static inline __host__ __device__
#else
#define PORTABLE_INLINE static inline
#endif

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
    RANDOM_TEST,
    RANDOM_NOISE,
    RANDOM_TUNE,
    RANDOM_PLACE,
    RANDOM_MASK,
    RANDOM_VIEW,
    RANDOM_CLUSTER,
    RANDOM_NAME,
    RANDOM_FLIP,
    RANDOM_USERS
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
PORTABLE_INLINE void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t output[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t product0 = PHILOX_MULTIPLIER_0 * c0, product1 = PHILOX_MULTIPLIER_1 * c2;
        const uint32_t next0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        const uint32_t next2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product1;
        c3 = (uint32_t)product0;
        c0 = next0;
        c2 = next2;
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    output[0] = c0;
    output[1] = c1;
    output[2] = c2;
    output[3] = c3;
}

/* step and index are used modulo 2^32 and 2^40: the counter is (block, index, step, purpose and index's
 * high byte); the key is the seed. */
PORTABLE_INLINE struct random_stream random_stream_open(uint64_t seed, enum random_purpose purpose,
                                                        uint64_t step, uint64_t index)
{
    struct random_stream stream;
    stream.key[0] = (uint32_t)seed;
    stream.key[1] = (uint32_t)(seed >> 32);
    stream.counter[0] = 0;
    stream.counter[1] = (uint32_t)index;
    stream.counter[2] = (uint32_t)step;
    stream.counter[3] = (uint32_t)purpose | (uint32_t)(index >> 32) << 8;
    stream.words_left = 0;
    return stream;
}

PORTABLE_INLINE uint32_t random_word(struct random_stream *stream)
{
    if (stream->words_left == 0) {
        philox4x32(stream->counter, stream->key, stream->words);
        stream->counter[0]++;
        stream->words_left = 4;
    }
    return stream->words[--stream->words_left];
}

/* Uniform on {0, ..., bound - 1}, exactly (Lemire's rejection); bound >= 1. */
PORTABLE_INLINE uint32_t random_below(struct random_stream *stream, uint32_t bound)
{
    uint64_t product = (uint64_t)random_word(stream) * bound;
    uint32_t low = (uint32_t)product;
    if (low < bound) {
        const uint32_t threshold = (0u - bound) % bound;
        while (low < threshold) {
            product = (uint64_t)random_word(stream) * bound;
            low = (uint32_t)product;
        }
    }
    return (uint32_t)(product >> 32);
}

/* A random order of 0 .. count - 1 whose places are computed each on its own: a Feistel network over the halves of the
 * next power of two, walked on until the number is below count (Black and Rogaway, "Ciphers with arbitrary finite
 * domains", 2002; for shuffles, Mitchell et al., "Bandwidth-optimal random shuffling for GPUs", 2022). */
enum { PERMUTATION_ROUNDS = 8, PERMUTATION_BITS_MINIMUM = 8 };
struct random_permutation {
    uint32_t count;
    uint32_t low_bits, low_mask, high_mask;
    uint32_t keys[PERMUTATION_ROUNDS];
};

/* 1 <= count <= 2^31. */
PORTABLE_INLINE struct random_permutation random_permutation_open(struct random_stream *stream,
                                                                  uint32_t count)
{
    struct random_permutation permutation;
    uint32_t bits = PERMUTATION_BITS_MINIMUM;
    while ((count - 1) >> bits)
        bits++;
    permutation.count = count;
    permutation.low_bits = bits / 2;
    permutation.low_mask = (UINT32_C(1) << bits / 2) - 1;
    permutation.high_mask = (UINT32_C(1) << (bits - bits / 2)) - 1;
    for (int round = 0; round < PERMUTATION_ROUNDS; round++)
        permutation.keys[round] = random_word(stream);
    return permutation;
}

/* Every bit of the result depends on every bit of both. */
PORTABLE_INLINE uint32_t random_mix(uint32_t value, uint32_t key)
{
    value = (value ^ key) * UINT32_C(0x85EBCA6B);
    value = (value ^ value >> 13) * UINT32_C(0xC2B2AE35);
    return value ^ value >> 16;
}

PORTABLE_INLINE uint32_t random_permutation_at(const struct random_permutation *permutation, uint32_t place)
{
    do {
        uint32_t low = place & permutation->low_mask, high = place >> permutation->low_bits;
        for (int round = 0; round < PERMUTATION_ROUNDS; round += 2) {
            high = (high ^ random_mix(low, permutation->keys[round])) & permutation->high_mask;
            low = (low ^ random_mix(high, permutation->keys[round + 1])) & permutation->low_mask;
        }
        place = high << permutation->low_bits | low;
    } while (place >= permutation->count);
    return place;
}

/* Uniform on [0, 1), 24 bits. */
PORTABLE_INLINE float random_float(struct random_stream *stream)
{
    return (float)(random_word(stream) >> 8) * 0x1.0p-24f;
}

#endif
