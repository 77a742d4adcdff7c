#include "core/cpu/gemm_rows.h"

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* A register of the processor: vector_math.h's 64 bytes would be spilled where registers are narrower. */
#if defined(__AVX512F__)
#define REGISTER_BYTES 64
#elif defined(__AVX__)
#define REGISTER_BYTES 32
#else
#define REGISTER_BYTES 16
#endif
typedef real lanes __attribute__((vector_size(REGISTER_BYTES)));
typedef real lanes_unaligned __attribute__((vector_size(REGISTER_BYTES), aligned(sizeof(real)), may_alias));

/* A tile of the output stays in registers: 12 accumulators, 2 for b and 1 for a, of the 16 that AVX2 has. */
enum {
    LANES = REGISTER_BYTES / sizeof(real),
    TILE_ROWS = 6,
    TILE_COLUMNS = 2 * LANES,
    DEPTH_BLOCK = 256, /* a panel of b stays in the first-level cache */
    TASK_ROWS = 96,
    TASK_PANELS = 4,
};

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
#if defined(__AVX512F__)
    return vector_fma(a, b, c);
#elif defined(__FMA__) && defined(IDREC_REAL_DOUBLE)
    return (lanes)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__FMA__)
    return (lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* Panel [k, TILE_COLUMNS] of op(b) from column on, in one piece; columns past the last are 0. */
static void pack_panel(const struct product *p, int64_t column, real *panel)
{
    const int64_t columns = minimum_of(TILE_COLUMNS, p->n - column);
    if (columns < TILE_COLUMNS)
        memset(panel, 0, (size_t)(p->k * TILE_COLUMNS) * sizeof *panel);
    if (p->transpose_b == PLAIN) {
        for (int64_t depth = 0; depth < p->k; depth++)
            memcpy(panel + depth * TILE_COLUMNS, p->b + depth * p->b_columns + column,
                   (size_t)columns * sizeof *panel);
        return;
    }
    for (int64_t depth = 0; depth < p->k; depth++)
        for (int64_t i = 0; i < columns; i++)
            panel[depth * TILE_COLUMNS + i] = p->b[(column + i) * p->b_columns + depth];
}

/* sums = rows of a times the panel, over `depths` depths in their order. */
static inline void multiply_tile(const real *const a[TILE_ROWS], const real *panel, int64_t depths,
                                 real sums[TILE_ROWS][TILE_COLUMNS])
{
    lanes tile[TILE_ROWS][2] = {0};
    for (int64_t depth = 0; depth < depths; depth++) {
        const lanes_unaligned *b = (const lanes_unaligned *)(panel + depth * TILE_COLUMNS);
        const lanes left = b[0], right = b[1];
#pragma GCC unroll 8
        for (int row = 0; row < TILE_ROWS; row++) {
            const lanes x = a[row][depth] - (lanes){0};
            tile[row][0] = lanes_fma(x, left, tile[row][0]);
            tile[row][1] = lanes_fma(x, right, tile[row][1]);
        }
    }
    memcpy(sums, tile, sizeof tile);
}

/* One tile of the output over one block of the depth. Rows past the last repeat it and are not stored. */
static void update_tile(const struct product *p, int64_t row, int64_t column, int64_t depth,
                        const real *panel)
{
    const int64_t rows = minimum_of(TILE_ROWS, p->m - row), columns = minimum_of(TILE_COLUMNS, p->n - column);
    const real *a[TILE_ROWS];
    for (int64_t i = 0; i < TILE_ROWS; i++)
        a[i] = p->a + (row + minimum_of(i, rows - 1)) * p->a_columns + depth;
    real sums[TILE_ROWS][TILE_COLUMNS];
    multiply_tile(a, panel + depth * TILE_COLUMNS, minimum_of(DEPTH_BLOCK, p->k - depth), sums);
    const real beta = depth == 0 ? p->beta : 1;
    for (int64_t i = 0; i < rows; i++) {
        real *c = p->c + (row + i) * p->n + column;
        for (int64_t j = 0; j < columns; j++)
            c[j] = beta == 0 ? p->alpha * sums[i][j] : p->alpha * sums[i][j] + beta * c[j];
    }
}

static void multiply_task(const struct product *p, int64_t first_row, int64_t first_panel, const real *panels)
{
    const int64_t end_row = minimum_of(first_row + TASK_ROWS, p->m);
    const int64_t end_column = minimum_of((first_panel + TASK_PANELS) * TILE_COLUMNS, p->n);
    int64_t depth = 0;
    do {
        for (int64_t column = first_panel * TILE_COLUMNS; column < end_column; column += TILE_COLUMNS)
            for (int64_t row = first_row; row < end_row; row += TILE_ROWS)
                update_tile(p, row, column, depth, panels + column * p->k);
        depth += DEPTH_BLOCK;
    } while (depth < p->k);
}

void multiply_rows(struct backend *backend, const struct product *p)
{
    const int64_t panel_count = (p->n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int64_t panel_size = p->k * TILE_COLUMNS;
    real *panels = cpu_workspace(backend, (size_t)(panel_count * panel_size) * sizeof *panels);
    if (!panels)
        return;
    const int64_t row_tasks = (p->m + TASK_ROWS - 1) / TASK_ROWS;
    const int64_t column_tasks = (panel_count + TASK_PANELS - 1) / TASK_PANELS;
#pragma omp parallel num_threads(backend->threads) if (row_tasks * column_tasks > 1)
    {
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panel_count; panel++)
            pack_panel(p, panel * TILE_COLUMNS, panels + panel * panel_size);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < row_tasks * column_tasks; task++)
            multiply_task(p, task / column_tasks * TASK_ROWS, task % column_tasks * TASK_PANELS, panels);
    }
}
