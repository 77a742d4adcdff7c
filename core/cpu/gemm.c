#include <cblas.h>

#include "core/cpu/cpu.h"

#ifdef IDREC_REAL_DOUBLE
#define cblas_gemm cblas_dgemm
#else
#define cblas_gemm cblas_sgemm
#endif

/* The product as the library sees it: row-major matrices with their leading dimensions. */
struct product {
    int64_t m, n, k;
    enum transpose transpose_a, transpose_b;
    const real *a, *b;
    int64_t a_columns, b_columns; /* of the matrices as stored */
    real *c;
    real alpha, beta;
};

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

/* Blocks of the output, chosen from the shape alone so that the bits do not depend on the number of threads.
 * Larger blocks are faster, but the library rounds by the number of rows: the promise for multiples of
 * GEMM_ROW_BLOCK is kept by blocks of just that size. */
static void multiply_by_blocks(struct backend *backend, const struct product *p)
{
    const bool promised = p->m % GEMM_ROW_BLOCK == 0;
    const int64_t row_block = p->m >= 1024 && !promised ? 256 : GEMM_ROW_BLOCK, column_block = 1024;
    const int64_t row_blocks = (p->m + row_block - 1) / row_block;
    const int64_t column_blocks = (p->n + column_block - 1) / column_block;
#pragma omp parallel for schedule(dynamic) num_threads(backend->threads) if (row_blocks * column_blocks > 1)
    for (int64_t block = 0; block < row_blocks * column_blocks; block++) {
        const int64_t row = block / column_blocks * row_block, column = block % column_blocks * column_block;
        multiply_block(p, row, minimum_of(row_block, p->m - row), column,
                       minimum_of(column_block, p->n - column), 0, p->k, p->c + row * p->n + column, p->n,
                       p->beta);
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
    if (product.m > 0 && product.n > 0)
        multiply_by_blocks(backend, &product);
}
