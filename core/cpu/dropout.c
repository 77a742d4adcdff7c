#include "core/cpu/cpu.h"
#include "core/cpu/philox_lanes.h"
#include "core/cpu/vector_math.h"

enum { LANES = PHILOX_LANES, DECISIONS = 8 }; /* 16-bit decisions in a block */

static void drop_row(real *out, const real *x, int64_t columns, uint32_t row, uint32_t threshold, real scale,
                     const struct philox_key *key)
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
                 uint64_t seed, uint64_t step, uint64_t site, int64_t first_row)
{
    const int64_t columns = x->shape[x->rank - 1], rows = columns > 0 ? tensor_count(x) / columns : 0;
    const uint32_t threshold = (uint32_t)lrintf(probability * 65536.0f);
    const real scale = (real)(65536.0 / (65536.0 - (double)threshold));
    const struct philox_key key = philox_key_of(RANDOM_DROPOUT, seed, step, site);
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (rows * columns >= 4096)
    for (int64_t row = 0; row < rows; row++)
        drop_row((real *)out->data + row * columns, (const real *)x->data + row * columns, columns,
                 (uint32_t)(first_row + row), threshold, scale, &key);
}
