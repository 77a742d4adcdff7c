/*
 * philox_lanes.h: many blocks of Philox at once, for operators that draw a number for each element of a row.
 */
#ifndef IDREC_CORE_CPU_PHILOX_LANES_H
#define IDREC_CORE_CPU_PHILOX_LANES_H

#include "core/random_stream.h"

enum { PHILOX_LANES = 16 }; /* blocks computed together */

struct philox_key {
    uint32_t seed[2], step, purpose; /* purpose: and site */
};

static inline struct philox_key philox_key_of(enum random_purpose purpose, uint64_t seed, uint64_t step,
                                              uint64_t site)
{
    return (struct philox_key){
        {(uint32_t)seed, (uint32_t)(seed >> 32)}, (uint32_t)step, (uint32_t)purpose | (uint32_t)site << 8};
}

/* words[w][lane] of the blocks first .. first + PHILOX_LANES - 1: counter (block, row, step, purpose and site), which are
 * those of random_stream_open(seed, purpose, step, site << 32 | row). */
static inline void philox_lanes(uint32_t words[4][PHILOX_LANES], uint32_t first, uint32_t row,
                                const struct philox_key *key)
{
    uint32_t c0[PHILOX_LANES], c1[PHILOX_LANES], c2[PHILOX_LANES], c3[PHILOX_LANES];
    for (uint32_t lane = 0; lane < PHILOX_LANES; lane++) {
        c0[lane] = first + lane;
        c1[lane] = row;
        c2[lane] = key->step;
        c3[lane] = key->purpose;
    }
    uint32_t k0 = key->seed[0], k1 = key->seed[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma omp simd
        for (int lane = 0; lane < PHILOX_LANES; lane++) {
            const uint64_t product0 = PHILOX_MULTIPLIER_0 * c0[lane];
            const uint64_t product1 = PHILOX_MULTIPLIER_1 * c2[lane];
            c0[lane] = (uint32_t)(product1 >> 32) ^ c1[lane] ^ k0;
            c2[lane] = (uint32_t)(product0 >> 32) ^ c3[lane] ^ k1;
            c1[lane] = (uint32_t)product1;
            c3[lane] = (uint32_t)product0;
        }
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    for (int lane = 0; lane < PHILOX_LANES; lane++) {
        words[0][lane] = c0[lane];
        words[1][lane] = c1[lane];
        words[2][lane] = c2[lane];
        words[3][lane] = c3[lane];
    }
}

#endif
