#include <omp.h>

#include "core/cpu/cpu.h"
#include "core/cpu/philox_lanes.h"
#include "core/cpu/vector_math.h"

enum { LANES = PHILOX_LANES, WORDS = 4, GROUP = LANES * WORDS };

/* Column c of a row takes word c % 64 / 16 of the Philox block c / 64 * 16 + c % 16. */
static inline real uniform(uint32_t word)
{
    return (real)((word >> 8) + 1) * (real)0x1.0p-24;
}

/* numbers [columns] = u; returns |u|^2. */
static real draw_row(real *numbers, int64_t columns, uint32_t row, const struct philox_key *key)
{
    uint32_t words[WORDS][LANES];
    real squares = 0;
    for (int64_t first = 0; first < columns; first += GROUP) {
        philox_lanes(words, (uint32_t)(first / WORDS), row, key);
        for (int word = 0; word < WORDS; word++) {
            const int64_t start = first + word * LANES, count = minimum_of(LANES, columns - start);
#pragma omp simd reduction(+ : squares)
            for (int64_t lane = 0; lane < count; lane++) {
                numbers[start + lane] = uniform(words[word][lane]);
                squares += numbers[start + lane] * numbers[start + lane];
            }
        }
    }
    return squares;
}

void cpu_row_noise(struct backend *backend, struct tensor *out, const struct tensor *x, float magnitude,
                   uint64_t seed, uint64_t step, uint64_t site)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    const struct philox_key key = philox_key_of(RANDOM_NOISE, seed, step, site);
    real *memory = cpu_workspace(backend, (size_t)(backend->threads * columns) * sizeof(real));
    if (!memory)
        return;
#pragma omp parallel for schedule(static)                                                                    \
    num_threads(backend->threads) if (rows * columns >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        real *numbers = memory + omp_get_thread_num() * columns, *to = (real *)out->data + row * columns;
        const real *from = (const real *)x->data + row * columns;
        const real scale = (real)magnitude / real_sqrt(draw_row(numbers, columns, (uint32_t)row, &key));
#pragma omp simd
        for (int64_t i = 0; i < columns; i++)
            to[i] = from[i] + (from[i] > 0 ? scale : from[i] < 0 ? -scale : 0) * numbers[i];
    }
}
