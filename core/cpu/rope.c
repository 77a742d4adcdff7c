#include <math.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* The cosines [half], then the sines, of one position's angles. */
static void fill_table(real *table, const real *frequencies, int64_t half, int64_t position)
{
    for (int64_t i = 0; i < half; i++) {
        const double angle = (double)position * (double)frequencies[i];
        table[i] = (real)cos(angle);
        table[half + i] = (real)sin(angle);
    }
}

static void rotate_token(real *token, int64_t heads, int64_t half, const real *table, real direction)
{
    const real *cosine = table, *sine = table + half;
    for (int64_t head = 0; head < heads; head++) {
        real *low = token + head * 2 * half, *high = low + half;
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const real a = low[i], b = high[i], s = direction * sine[i];
            low[i] = a * cosine[i] - b * s;
            high[i] = b * cosine[i] + a * s;
        }
    }
}

static void rotate(struct backend *backend, struct tensor *x, const struct tensor *positions,
                   const struct tensor *frequencies, int64_t head_width, real direction)
{
    const int64_t tokens = x->shape[0], width = x->shape[1], half = head_width / 2;
    const int32_t *position = positions->data;
    int32_t last = 0;
    for (int64_t token = 0; token < tokens; token++)
        last = position[token] > last ? position[token] : last;
    real *tables = cpu_workspace(backend, (size_t)((last + 1) * head_width) * sizeof(real));
    if (!tables)
        return;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if ((last + 1) * half >= 1024)
    for (int64_t p = 0; p <= last; p++)
        fill_table(tables + p * head_width, frequencies->data, half, p);
#pragma omp parallel for schedule(static)                                                                    \
    num_threads(backend->threads) if (tokens * width >= PARALLEL_MINIMUM)
    for (int64_t token = 0; token < tokens; token++)
        rotate_token((real *)x->data + token * width, width / head_width, half,
                     tables + position[token] * head_width, direction);
}

void cpu_rope_forward(struct backend *backend, struct tensor *x, const struct tensor *positions,
                      const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, x, positions, frequencies, head_width, 1);
}

void cpu_rope_backward(struct backend *backend, struct tensor *d_x, const struct tensor *positions,
                       const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, d_x, positions, frequencies, head_width, -1);
}
