#include <string.h>

#include "core/cpu/cpu.h"

void cpu_gather(struct backend *backend, struct tensor *out, const struct tensor *table,
                const struct tensor *indices)
{
    const int64_t count = out->shape[0], width = out->shape[1];
    const size_t bytes = (size_t)width * sizeof(real);
    const int32_t *index = indices->data;
    const real *source = table->data;
    real *target = out->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count * width >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        if (index[i] < 0)
            memset(target + i * width, 0, bytes);
        else
            memcpy(target + i * width, source + index[i] * width, bytes);
    }
}

/* The rows i with index[i] % parts == part, in the order of i. */
static void add_own_rows(real *table, const real *rows, const int32_t *index, int64_t count, int64_t width,
                         int part, int parts)
{
    for (int64_t i = 0; i < count; i++) {
        if (index[i] < 0 || index[i] % parts != part)
            continue;
        real *target = table + index[i] * width;
#pragma omp simd
        for (int64_t column = 0; column < width; column++)
            target[column] += rows[i * width + column];
    }
}

void cpu_scatter_add(struct backend *backend, struct tensor *table, const struct tensor *rows,
                     const struct tensor *indices)
{
    const int64_t count = rows->shape[0], width = rows->shape[1];
    const int parts = count * width >= PARALLEL_MINIMUM ? backend->threads : 1;
#pragma omp parallel for schedule(static, 1) num_threads(parts) if (parts > 1)
    for (int part = 0; part < parts; part++)
        add_own_rows(table->data, rows->data, indices->data, count, width, part, parts);
}

void cpu_rows_within(struct backend *backend, struct tensor *out, const struct tensor *indices, int64_t first,
                     int64_t count)
{
    const int64_t length = out->shape[0];
    const int32_t *index = indices->data;
    int32_t *within = out->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (length >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < length; i++)
        within[i] = index[i] >= first && index[i] < first + count ? (int32_t)(index[i] - first) : -1;
}
