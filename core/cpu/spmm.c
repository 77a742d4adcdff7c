#include <string.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* 64 columns of one row: the sums stay in registers. */
static void multiply_row_strip(real *out, const real *x, const int32_t *indices, const real *values,
                               int64_t count, int64_t width, real beta)
{
    enum { STRIP = 64 };
    real sum[STRIP] = {0};
    for (int64_t j = 0; j < count; j++) {
        const real *row = x + indices[j] * width, value = values[j];
        for (int c = 0; c < STRIP; c++)
            sum[c] = real_fma(value, row[c], sum[c]);
    }
    if (beta == 0)
        memcpy(out, sum, sizeof sum);
    else
        for (int c = 0; c < STRIP; c++)
            out[c] = real_fma(beta, out[c], sum[c]);
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

void cpu_csr_spmm(struct backend *backend, struct tensor *out, const struct csr_tensor *matrix,
                  const struct tensor *x, float beta)
{
    const int64_t width = out->shape[1], *starts = matrix->starts.data;
    const real *source = x->data;
#pragma omp parallel for schedule(dynamic, 64) num_threads(backend->threads)
    for (int64_t row = 0; row < matrix->rows; row++) {
        const int32_t *indices = (const int32_t *)matrix->indices.data + starts[row];
        const real *values = (const real *)matrix->values.data + starts[row];
        const int64_t count = starts[row + 1] - starts[row];
        real *target = (real *)out->data + row * width;
        int64_t column = 0;
        for (; column + 64 <= width; column += 64)
            multiply_row_strip(target + column, source + column, indices, values, count, width, (real)beta);
        if (column < width)
            multiply_row_rest(target + column, source + column, indices, values, count, width, width - column,
                              (real)beta);
    }
}
