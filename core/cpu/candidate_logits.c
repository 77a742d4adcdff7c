#include <string.h>

#include "core/cpu/cpu.h"
#include "core/cpu/spmm.h"
#include "core/cpu/vector_math.h"

/* ---- forward ---- */

enum { TOGETHER = 4, FETCH_AHEAD = 12 };

/* TOGETHER products of x [width] with rows of the table. */
static void multiply_rows(real *products, const real *x, const real *const rows[TOGETHER], int64_t width)
{
    vector sums[TOGETHER] = {0};
    int64_t i = 0;
    for (; i + VECTOR_LANES <= width; i += VECTOR_LANES) {
        const vector left = vector_load(x + i);
        for (int t = 0; t < TOGETHER; t++)
            sums[t] = vector_fma(left, vector_load(rows[t] + i), sums[t]);
    }
    for (int t = 0; t < TOGETHER; t++)
        products[t] = vector_sum(sums[t]);
    for (; i < width; i++)
        for (int t = 0; t < TOGETHER; t++)
            products[t] = real_fma(x[i], rows[t][i], products[t]);
}

static void prefetch_row(const real *row, int64_t width)
{
    for (int64_t i = 0; i < width; i += VECTOR_LANES)
        __builtin_prefetch(row + i);
}

/* The candidate's row, or, of index -1, something to read in vain. */
static const real *row_of(const real *table, int32_t candidate, int64_t width, const real *otherwise)
{
    return candidate < 0 ? otherwise : table + candidate * width;
}

/* `left` candidates, the row's and those of later ones, begin here. */
static void row_logits(real *logits, const real *x, const real *table, const int32_t *candidates,
                       int64_t count, int64_t left, int64_t width)
{
    for (int64_t first = 0; first < count; first += TOGETHER) {
        const real *rows[TOGETHER];
        real products[TOGETHER];
        for (int64_t t = 0; t < TOGETHER; t++) {
            rows[t] = row_of(table, candidates[minimum_of(first + t, count - 1)], width, x);
            prefetch_row(row_of(table, candidates[minimum_of(first + FETCH_AHEAD + t, left - 1)], width, x),
                         width);
        }
        multiply_rows(products, x, rows, width);
        for (int64_t t = 0; t < minimum_of(TOGETHER, count - first); t++)
            logits[first + t] = candidates[first + t] < 0 ? EXCLUDED_LOGIT : products[t];
    }
}

void cpu_candidate_logits_forward(struct backend *backend, struct tensor *logits, const struct tensor *x,
                                  const struct tensor *table, const struct tensor *candidates)
{
    const int64_t rows = logits->shape[0], count = logits->shape[1], width = x->shape[1];
#pragma omp parallel for schedule(static)                                                                    \
    num_threads(backend->threads) if (rows * count * width >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++)
        row_logits((real *)logits->data + row * count, (const real *)x->data + row * width, table->data,
                   (const int32_t *)candidates->data + row * count, count, (rows - row) * count, width);
}

/* ---- backward ---- */

/* d_x [width] of one row, by runs without -1. */
static void row_gradient(real *d_x, const real *d_logits, const real *table, const int32_t *candidates,
                         int64_t count, int64_t width)
{
    real beta = 0;
    for (int64_t first = 0, end; first < count || beta == 0; first = end) {
        while (first < count && candidates[first] < 0)
            first++;
        for (end = first; end < count && candidates[end] >= 0;)
            end++;
        cpu_multiply_row(d_x, table, candidates + first, d_logits + first, end - first, end - first, width,
                         beta);
        beta = 1;
    }
}

/* The d_logits that reach each row of the table, in compressed rows: [n, rows], in the order of the rows. */
struct transposed {
    int64_t *starts;  /* [n + 1] */
    int32_t *indices; /* [rows * k] */
    real *values;     /* [rows * k] */
    int32_t *places;  /* [parts, n] scratch */
};

static size_t list_bytes(int64_t count, size_t element)
{
    return (size_t)round_up((int64_t)((size_t)count * element), 64);
}

static bool transposed_open(struct transposed *t, struct backend *backend, int64_t table_rows,
                            int64_t entries, int parts)
{
    const size_t starts = list_bytes(table_rows + 1, sizeof *t->starts);
    const size_t indices = list_bytes(entries, sizeof *t->indices);
    const size_t values = list_bytes(entries, sizeof *t->values);
    const size_t places = list_bytes(parts * table_rows, sizeof *t->places);
    char *memory = cpu_workspace(backend, starts + indices + values + places);
    if (!memory)
        return false;
    *t = (struct transposed){.starts = (void *)memory,
                             .indices = (void *)(memory + starts),
                             .values = (void *)(memory + starts + indices),
                             .places = (void *)(memory + starts + indices + values)};
    return true;
}

/* Turns the parts' counts of each candidate into where each part's begin. */
static void number_places(const struct transposed *t, int64_t table_rows, int parts)
{
    int64_t next = 0;
    for (int64_t c = 0; c < table_rows; c++) {
        t->starts[c] = next;
        for (int part = 0; part < parts; part++) {
            const int32_t count = t->places[part * table_rows + c];
            t->places[part * table_rows + c] = (int32_t)next;
            next += count;
        }
    }
    t->starts[table_rows] = next;
}

/* Counting sort: parts of the rows are counted, then moved to where they belong; how many parts there are does not
 * change the result. */
static void transpose(const struct transposed *t, const struct tensor *d_logits,
                      const struct tensor *candidates, int64_t table_rows, int parts)
{
    const int64_t rows = d_logits->shape[0], count = d_logits->shape[1];
    const int32_t *candidate = candidates->data;
    const real *value = d_logits->data;
#pragma omp parallel for schedule(static, 1) num_threads(parts) if (parts > 1)
    for (int part = 0; part < parts; part++) {
        int32_t *counts = t->places + part * table_rows;
        memset(counts, 0, (size_t)table_rows * sizeof *counts);
        for (int64_t i = rows * part / parts * count; i < rows * (part + 1) / parts * count; i++)
            if (candidate[i] >= 0)
                counts[candidate[i]]++;
    }
    number_places(t, table_rows, parts);
#pragma omp parallel for schedule(static, 1) num_threads(parts) if (parts > 1)
    for (int part = 0; part < parts; part++) {
        int32_t *next = t->places + part * table_rows;
        for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++)
            for (int64_t i = row * count; i < (row + 1) * count; i++)
                if (candidate[i] >= 0) {
                    const int32_t place = next[candidate[i]]++;
                    t->indices[place] = (int32_t)row;
                    t->values[place] = value[i];
                }
    }
}

void cpu_candidate_logits_backward(struct backend *backend, struct tensor *d_x, struct tensor *d_table,
                                   const struct tensor *d_logits, const struct tensor *x,
                                   const struct tensor *table, const struct tensor *candidates)
{
    const int64_t rows = d_logits->shape[0], count = d_logits->shape[1], width = x->shape[1];
    const int64_t table_rows = table->shape[0], entries = rows * count;
    const bool parallel = entries * width >= PARALLEL_MINIMUM;
    const int parts = parallel ? backend->threads : 1;
    struct transposed t;
    if (!transposed_open(&t, backend, table_rows, entries, parts))
        return;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (parallel)
    for (int64_t row = 0; row < rows; row++)
        row_gradient((real *)d_x->data + row * width, (const real *)d_logits->data + row * count, table->data,
                     (const int32_t *)candidates->data + row * count, count, width);
    transpose(&t, d_logits, candidates, table_rows, parts);
    const int64_t used = t.starts[table_rows];
    const struct csr_tensor matrix = {
        .rows = table_rows,
        .columns = rows,
        .starts = tensor_1d(t.starts, DTYPE_I64, DEVICE_CPU, table_rows + 1),
        .indices = tensor_1d(t.indices, DTYPE_I32, DEVICE_CPU, used),
        .values = tensor_1d(t.values, DTYPE_REAL, DEVICE_CPU, used),
    };
    cpu_csr_spmm(backend, d_table, &matrix, x, 1.0f);
}
