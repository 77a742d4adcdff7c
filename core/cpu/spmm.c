#include "core/cpu/spmm.h"

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* STRIP columns of one row: the sums stay in registers. */
enum { STRIP_VECTORS = 4, STRIP = STRIP_VECTORS * (int)VECTOR_LANES, FETCH_AHEAD = 12 };

/* Of the `left` indices from here to the matrix's end, `count` are the row's; rows of x are called into the
 * cache FETCH_AHEAD of them before their use. */
static void multiply_row_strip(real *out, const real *x, const int32_t *indices, const real *values,
                               int64_t count, int64_t left, int64_t width, real beta)
{
    vector sum[STRIP_VECTORS] = {0};
    for (int64_t j = 0; j < count; j++) {
        const real *row = x + indices[j] * width;
        const real *later = j + FETCH_AHEAD < left ? x + indices[j + FETCH_AHEAD] * width : row;
        for (int v = 0; v < STRIP_VECTORS; v++) {
            __builtin_prefetch(later + v * VECTOR_LANES);
            sum[v] += values[j] * vector_load(row + v * VECTOR_LANES);
        }
    }
    for (int v = 0; v < STRIP_VECTORS; v++) {
        if (beta != 0)
            sum[v] += beta * vector_load(out + v * VECTOR_LANES);
        vector_store(out + v * VECTOR_LANES, sum[v]);
    }
}

static void multiply_row_rest(real *out, const real *x, const int32_t *indices, const real *values,
                              int64_t count, int64_t width, int64_t columns, real beta)
{
    for (int64_t c = 0; c < columns; c++)
        out[c] = beta == 0 ? 0 : beta * out[c];
    for (int64_t j = 0; j < count; j++) {
        const real *row = x + indices[j] * width, value = values[j];
#pragma omp simd
        for (int64_t c = 0; c < columns; c++)
            out[c] = real_fma(value, row[c], out[c]);
    }
}

void cpu_multiply_row(real *out, const real *x, const int32_t *indices, const real *values, int64_t count,
                      int64_t left, int64_t width, real beta)
{
    int64_t column = 0;
    for (; column + STRIP <= width; column += STRIP)
        multiply_row_strip(out + column, x + column, indices, values, count, left, width, beta);
    if (column < width)
        multiply_row_rest(out + column, x + column, indices, values, count, width, width - column, beta);
}

void cpu_csr_spmm(struct backend *backend, struct tensor *out, const struct csr_tensor *matrix,
                  const struct tensor *x, float beta)
{
    const int64_t width = out->shape[1], *starts = matrix->starts.data;
#pragma omp parallel for schedule(dynamic, 64) num_threads(backend->threads)
    for (int64_t row = 0; row < matrix->rows; row++)
        cpu_multiply_row((real *)out->data + row * width, x->data,
                         (const int32_t *)matrix->indices.data + starts[row],
                         (const real *)matrix->values.data + starts[row], starts[row + 1] - starts[row],
                         starts[matrix->rows] - starts[row], width, (real)beta);
}
