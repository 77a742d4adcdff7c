/*
 * attention_tiles.h: the two register-blocked products that attention is made of. Four rows at a time; `real`
 * vectors along the other side; operands that vectors run along are padded to a whole number of vectors.
 */
#ifndef IDREC_CORE_CPU_ATTENTION_TILES_H
#define IDREC_CORE_CPU_ATTENTION_TILES_H

#include "core/cpu/vector_math.h"

enum { TILE_ROWS = 4, TILE_VECTORS = 4 };

static inline __attribute__((always_inline)) void
tile_scores_vectors(real *scores, int64_t score_stride, const real *const rows[TILE_ROWS],
                    const real *columns, int64_t column_stride, int64_t depth, const int vectors)
{
    vector sum[TILE_ROWS][TILE_VECTORS] = {0};
    for (int64_t i = 0; i < depth; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const vector column = vector_load(columns + i * column_stride + v * VECTOR_LANES);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS; r++)
                sum[r][v] = vector_fma(vector_of(rows[r][i]), column, sum[r][v]);
        }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < vectors; v++)
            vector_store(scores + r * score_stride + v * VECTOR_LANES, sum[r][v]);
}

/* scores[r * score_stride + c] = sum_{i < depth} rows[r][i] * columns[i * column_stride + c] for r < 4 and c
 * < count rounded up to whole vectors. */
static inline void tile_scores(real *scores, int64_t score_stride, const real *const rows[TILE_ROWS],
                               const real *columns, int64_t column_stride, int64_t depth, int64_t count)
{
    int64_t c = 0;
    for (; c + 3 * VECTOR_LANES < count; c += 4 * VECTOR_LANES)
        tile_scores_vectors(scores + c, score_stride, rows, columns + c, column_stride, depth, 4);
    for (; c + VECTOR_LANES < count; c += 2 * VECTOR_LANES)
        tile_scores_vectors(scores + c, score_stride, rows, columns + c, column_stride, depth, 2);
    if (c < count)
        tile_scores_vectors(scores + c, score_stride, rows, columns + c, column_stride, depth, 1);
}

/* A matrix of coefficients: element (r, j) is at[r * row_stride + j * inner_stride]. */
struct coefficients {
    const real *at;
    int64_t row_stride, inner_stride;
};

/* out[r * width + c] += sum_{j < count} coefficient(r, j) * rows[j * width + c] for `vectors` vectors of
 * c. */
static inline __attribute__((always_inline)) void tile_combine_vectors(real *out,
                                                                       struct coefficients coefficient,
                                                                       int64_t count, const real *rows,
                                                                       int64_t width, const int vectors)
{
    vector sum[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = vector_load(out + r * width + v * VECTOR_LANES);
    for (int64_t j = 0; j < count; j++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const vector row = vector_load(rows + j * width + v * VECTOR_LANES);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS; r++)
                sum[r][v] = vector_fma(
                    vector_of(coefficient.at[r * coefficient.row_stride + j * coefficient.inner_stride]), row,
                    sum[r][v]);
        }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < vectors; v++)
            vector_store(out + r * width + v * VECTOR_LANES, sum[r][v]);
}

/* The same over all of width, a multiple of VECTOR_LANES. */
static inline void tile_combine(real *out, struct coefficients coefficient, int64_t count, const real *rows,
                                int64_t width)
{
    int64_t first = 0;
    for (; first + 4 * VECTOR_LANES <= width; first += 4 * VECTOR_LANES)
        tile_combine_vectors(out + first, coefficient, count, rows + first, width, 4);
    for (; first + 2 * VECTOR_LANES <= width; first += 2 * VECTOR_LANES)
        tile_combine_vectors(out + first, coefficient, count, rows + first, width, 2);
    for (; first < width; first += VECTOR_LANES)
        tile_combine_vectors(out + first, coefficient, count, rows + first, width, 1);
}

#endif
