#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

enum { LANES = 16, DECISIONS = 8 }; /* Philox blocks computed together; 16-bit decisions in a block */

struct dropout_key {
    uint32_t seed[2], step, site;
};

/* words[w][lane] of the blocks first .. first + LANES - 1: counter (block, row, step, purpose and site). */
static void philox_lanes(uint32_t words[4][LANES], uint32_t first, uint32_t row,
                         const struct dropout_key *key)
{
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        c0[lane] = first + lane;
        c1[lane] = row;
        c2[lane] = key->step;
        c3[lane] = (uint32_t)RANDOM_DROPOUT | key->site << 8;
    }
    uint32_t k0 = key->seed[0], k1 = key->seed[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
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
    for (int lane = 0; lane < LANES; lane++) {
        words[0][lane] = c0[lane];
        words[1][lane] = c1[lane];
        words[2][lane] = c2[lane];
        words[3][lane] = c3[lane];
    }
}

static void drop_row(real *out, const real *x, int64_t columns, uint32_t row, uint32_t threshold, real scale,
                     const struct dropout_key *key)
{
    uint32_t words[4][LANES];
    for (int64_t first = 0; first < columns; first += LANES * DECISIONS) {
        philox_lanes(words, (uint32_t)(first / DECISIONS), row, key);
        for (int decision = 0; decision < DECISIONS; decision++) {
            const int64_t start = first + decision * LANES, count = minimum_of(LANES, columns - start);
            const uint32_t *word = words[decision / 2];
            const int shift = 16 * (decision % 2);
#pragma omp simd
            for (int64_t lane = 0; lane < count; lane++)
                out[start + lane] =
                    (word[lane] >> shift & 0xFFFFu) >= threshold ? x[start + lane] * scale : 0;
        }
    }
}

/* Column c of a row takes half word c % 128 / 16 of block c / 128 * 16 + c % 16. The probability is rounded
 * to a multiple of 2^-16. */
void cpu_dropout(struct backend *backend, struct tensor *out, const struct tensor *x, float probability,
                 uint64_t seed, uint64_t step, uint64_t site)
{
    const int64_t columns = x->shape[x->rank - 1], rows = columns > 0 ? tensor_count(x) / columns : 0;
    const uint32_t threshold = (uint32_t)lrintf(probability * 65536.0f);
    const real scale = (real)(65536.0 / (65536.0 - (double)threshold));
    const struct dropout_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}, (uint32_t)step, (uint32_t)site};
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * columns >= 4096)
    for (int64_t row = 0; row < rows; row++)
        drop_row((real *)out->data + row * columns, (const real *)x->data + row * columns, columns,
                 (uint32_t)row, threshold, scale, &key);
}
