#include "core/dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRAM_ROWS = 8 }; /* rows of a Gram matrix that are summed in one pass over a */

void dense_gram(double *gram, const double *a, int64_t rows, int64_t width, int threads)
{
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t first = 0; first < width; first += GRAM_ROWS) {
        const int64_t end = first + GRAM_ROWS < width ? first + GRAM_ROWS : width;
        memset(gram + first * width, 0, (size_t)((end - first) * width) * sizeof *gram);
        for (int64_t r = 0; r < rows; r++) {
            const double *row = a + r * width;
            for (int64_t i = first; i < end; i++)
                for (int64_t j = 0; j <= i; j++)
                    gram[i * width + j] += row[i] * row[j];
        }
    }
}

void dense_cholesky(double *a, int64_t width)
{
    const double least = 1e-12 * (a[0] > 0 ? a[0] : 1);
    for (int64_t k = 0; k < width; k++) {
        double *column = a + k * width; /* L's column k, as a row of L^T */
        const double root = column[k] > least ? sqrt(column[k]) : 0;
        column[k] = root;
        for (int64_t i = k + 1; i < width; i++)
            column[i] = a[i * width + k] = root > 0 ? a[i * width + k] / root : 0;
        for (int64_t i = k + 1; i < width; i++) {
            double *row = a + i * width;
            for (int64_t j = k + 1; j <= i; j++)
                row[j] -= column[i] * column[j];
        }
    }
}

void dense_solve_lower(double *x, const double *factor, int64_t width)
{
    for (int64_t k = 0; k < width; k++) {
        const double *column = factor + k * width;
        x[k] = column[k] > 0 ? x[k] / column[k] : 0;
        for (int64_t j = k + 1; j < width; j++)
            x[j] -= column[j] * x[k];
    }
}

void dense_solve_lower_transposed(double *x, const double *factor, int64_t width)
{
    for (int64_t j = width - 1; j >= 0; j--) {
        const double *row = factor + j * width;
        x[j] = row[j] > 0 ? x[j] / row[j] : 0;
        for (int64_t k = 0; k < j; k++)
            x[k] -= row[k] * x[j];
    }
}

void dense_product_transposed(double *product, const double *a, const double *b, int64_t rows, int64_t width,
                              int threads)
{
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t first = 0; first < width; first += GRAM_ROWS) {
        const int64_t end = first + GRAM_ROWS < width ? first + GRAM_ROWS : width;
        memset(product + first * width, 0, (size_t)((end - first) * width) * sizeof *product);
        for (int64_t r = 0; r < rows; r++) {
            const double *left = a + r * width, *right = b + r * width;
            for (int64_t i = first; i < end; i++)
                for (int64_t j = 0; j < width; j++)
                    product[i * width + j] += left[i] * right[j];
        }
    }
}

/* OpenBLAS holds LAPACK but declares none of it. */
void dsyevd_(const char *job, const char *triangle, const int *size, double *a, const int *stride,
             double *values, double *work, const int *work_count, int *integers, const int *integer_count,
             int *status);

bool dense_eigenvectors(double *matrix, double *values, int64_t size, struct error *error)
{
    const int order = (int)size, query = -1;
    double work_wanted = 0;
    int integers_wanted = 0, status = 0;
    /* LAPACK counts by columns: our lower triangle is its upper one, and its columns are our rows. */
    dsyevd_("V", "U", &order, matrix, &order, values, &work_wanted, &query, &integers_wanted, &query,
            &status);
    const int work_count = (int)work_wanted;
    double *work = malloc((size_t)work_count * sizeof *work);
    int *integers = malloc((size_t)integers_wanted * sizeof *integers);
    const bool allocated = work && integers;
    if (allocated)
        dsyevd_("V", "U", &order, matrix, &order, values, work, &work_count, integers, &integers_wanted,
                &status);
    free(work);
    free(integers);
    if (!allocated)
        return error_memory(error, "eigenvectors", (size_t)work_count * sizeof *work, NULL);
    if (status != 0)
        return error_set(error, ERROR_RUN, "the eigenvectors of a matrix of %d rows do not converge", order);
    return true;
}
