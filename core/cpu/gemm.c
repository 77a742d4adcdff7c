#include <cblas.h>

#include "core/cpu/cpu.h"
#include "core/cpu/gemm_rows.h"

#ifdef IDREC_REAL_DOUBLE
#define cblas_gemm cblas_dgemm
#else
#define cblas_gemm cblas_sgemm
#endif

/* Rows row .. row + rows - 1 and columns column .. column + columns - 1 of the product, over depths
 * depth .. depth + depths - 1, in one single-threaded call. Column-major with the operands swapped: this way
 * the library takes the same path for every row-major shape. */
static void multiply_block(const struct product *p, int64_t row, int64_t rows, int64_t column,
                           int64_t columns, int64_t depth, int64_t depths, real *c, int64_t c_columns,
                           real beta)
{
    const real *a = p->transpose_a ? p->a + depth * p->a_columns + row : p->a + row * p->a_columns + depth;
    const real *b =
        p->transpose_b ? p->b + column * p->b_columns + depth : p->b + depth * p->b_columns + column;
    cblas_gemm(CblasColMajor, p->transpose_b ? CblasTrans : CblasNoTrans,
               p->transpose_a ? CblasTrans : CblasNoTrans, (blasint)columns, (blasint)rows, (blasint)depths,
               p->alpha, b, (blasint)p->b_columns, a, (blasint)p->a_columns, beta, c, (blasint)c_columns);
}

/* How the output is cut, chosen from the shape alone so that the bits do not depend on the number of
 * threads. */
struct blocks {
    int64_t rows, columns, row_count, column_count;
};

/* For products of fewer multiply-adds or columns than these OpenBLAS may take other kernels, with another
 * order of sums. */
#define SMALL_PRODUCT 1000000
#define SMALL_COLUMNS 64

static struct blocks blocks_of(const struct product *p)
{
    struct blocks blocks = {.rows = GEMM_ROW_BLOCK, .column_count = (p->n + 1023) / 1024};
    blocks.columns = round_up((p->n + blocks.column_count - 1) / blocks.column_count, 16);
    blocks.column_count = (p->n + blocks.columns - 1) / blocks.columns;
    const int64_t last_columns = p->n - (blocks.column_count - 1) * blocks.columns;
    /* A row's bits must not depend on m: the path may not change from one block of rows to several. */
    if (GEMM_ROW_BLOCK * last_columns * p->k > SMALL_PRODUCT && last_columns >= SMALL_COLUMNS && p->m >= 1024)
        blocks.rows = (p->m >= 4096 ? 8 : 4) * GEMM_ROW_BLOCK;
    blocks.row_count = (p->m + blocks.rows - 1) / blocks.rows;
    return blocks;
}

static void multiply_by_blocks(struct backend *backend, const struct product *p)
{
    const struct blocks blocks = blocks_of(p);
    const int64_t count = blocks.row_count * blocks.column_count;
#pragma omp parallel for schedule(dynamic) num_threads(backend->threads) if (count > 1)
    for (int64_t block = 0; block < count; block++) {
        const int64_t row = block / blocks.column_count * blocks.rows;
        const int64_t column = block % blocks.column_count * blocks.columns;
        multiply_block(p, row, minimum_of(blocks.rows, p->m - row), column,
                       minimum_of(blocks.columns, p->n - column), 0, p->k, p->c + row * p->n + column, p->n,
                       p->beta);
    }
}

/* Gradients of weights: a small output, a sum over many tokens. Blocks of the depth go to buffers of their
 * own, which are then summed in order. */
#define DEPTH_BLOCK 512
#define DEPTH_OUTPUT_MAXIMUM 262144

static bool is_deep(const struct product *p)
{
    return p->transpose_a && p->k >= 2 * DEPTH_BLOCK && p->m * p->n <= DEPTH_OUTPUT_MAXIMUM;
}

static void multiply_by_depth(struct backend *backend, const struct product *p)
{
    const int64_t depth_blocks = (p->k + DEPTH_BLOCK - 1) / DEPTH_BLOCK, size = p->m * p->n;
    real *partial = cpu_workspace(backend, (size_t)(depth_blocks * size) * sizeof(real));
    if (!partial)
        return;
#pragma omp parallel for schedule(dynamic) num_threads(backend->threads)
    for (int64_t block = 0; block < depth_blocks; block++)
        multiply_block(p, 0, p->m, 0, p->n, block * DEPTH_BLOCK,
                       minimum_of(DEPTH_BLOCK, p->k - block * DEPTH_BLOCK), partial + block * size, p->n, 0);
#pragma omp parallel for simd schedule(static) num_threads(backend->threads) if (size >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < size; i++) {
        real sum = p->beta == 0 ? 0 : p->beta * p->c[i];
        for (int64_t block = 0; block < depth_blocks; block++)
            sum += partial[block * size + i];
        p->c[i] = sum;
    }
}

void cpu_gemm(struct backend *backend, struct tensor *c, const struct tensor *a, enum transpose transpose_a,
              const struct tensor *b, enum transpose transpose_b, float alpha, float beta)
{
    const struct product product = {
        .m = c->shape[0],
        .n = c->shape[1],
        .k = transpose_a ? a->shape[0] : a->shape[1],
        .transpose_a = transpose_a,
        .transpose_b = transpose_b,
        .a = a->data,
        .b = b->data,
        .a_columns = a->shape[1],
        .b_columns = b->shape[1],
        .c = c->data,
        .alpha = (real)alpha,
        .beta = (real)beta,
    };
    if (product.m == 0 || product.n == 0)
        return;
    if (transpose_a == PLAIN && !cpu_library_rows_are_independent(backend))
        multiply_rows(backend, &product);
    else if (is_deep(&product))
        multiply_by_depth(backend, &product);
    else
        multiply_by_blocks(backend, &product);
}
