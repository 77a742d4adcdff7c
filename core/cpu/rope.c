#include <math.h>
#include <omp.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* Turns the pairs (i, i + half) of every head by direction * position * frequency[i]; table is scratch
 * [2, half]. */
static void rotate_token(real *token, int64_t heads, int64_t half, double position, double direction,
                         const real *frequencies, real *table)
{
    real *cosine = table, *sine = table + half;
    for (int64_t i = 0; i < half; i++) {
        const double angle = position * (double)frequencies[i];
        cosine[i] = (real)cos(angle);
        sine[i] = (real)(direction * sin(angle));
    }
    for (int64_t head = 0; head < heads; head++) {
        real *low = token + head * 2 * half, *high = low + half;
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const real a = low[i], b = high[i];
            low[i] = a * cosine[i] - b * sine[i];
            high[i] = b * cosine[i] + a * sine[i];
        }
    }
}

static void rotate(struct backend *backend, struct tensor *x, const struct tensor *positions,
                   const struct tensor *frequencies, int64_t head_width, double direction)
{
    const int64_t tokens = x->shape[0], width = x->shape[1], half = head_width / 2;
    const int32_t *position = positions->data;
    real *tables = cpu_workspace(backend, (size_t)(backend->threads * head_width) * sizeof(real));
    if (!tables)
        return;
#pragma omp parallel num_threads(backend->threads) if (tokens * width >= 16384)
    {
        real *table = tables + omp_get_thread_num() * head_width;
#pragma omp for schedule(static)
        for (int64_t token = 0; token < tokens; token++)
            rotate_token((real *)x->data + token * width, width / head_width, half, position[token],
                         direction, frequencies->data, table);
    }
}

void cpu_rope_forward(struct backend *backend, struct tensor *x, const struct tensor *positions,
                      const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, x, positions, frequencies, head_width, 1.0);
}

void cpu_rope_backward(struct backend *backend, struct tensor *d_x, const struct tensor *positions,
                       const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, d_x, positions, frequencies, head_width, -1.0);
}
