#include "core/singular_vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/random.h"

static double inverse_root(double sum)
{
    return sum > 0 ? 1 / sqrt(sum) : 0;
}

bool normalized_values(double **values, const struct csr *matrix, const real *weights, double *column_sums,
                       struct error *error)
{
    const int64_t count = csr_count(matrix);
    double *made = malloc((size_t)count * sizeof *made + 1);
    double *sums = calloc((size_t)matrix->columns + 1, sizeof *sums);
    const bool allocated = made && sums;
    if (!allocated)
        error_memory(error, "a normalised matrix", (size_t)(count + matrix->columns) * sizeof *made, NULL);
    for (int64_t index = 0; index < count && allocated; index++)
        sums[matrix->indices[index]] += weights ? (double)weights[index] : 1.0;
    for (int64_t row = 0; row < matrix->rows && allocated; row++) {
        double sum = 0.0;
        for (int64_t index = matrix->starts[row]; index < matrix->starts[row + 1]; index++)
            sum += weights ? (double)weights[index] : 1.0;
        for (int64_t index = matrix->starts[row]; index < matrix->starts[row + 1]; index++)
            made[index] = (weights ? (double)weights[index] : 1.0) *
                          (inverse_root(sum) * inverse_root(sums[matrix->indices[index]]));
    }
    if (column_sums && allocated)
        memcpy(column_sums, sums, (size_t)matrix->columns * sizeof *sums);
    free(sums);
    *values = allocated ? made : NULL;
    if (!allocated)
        free(made);
    return allocated;
}

/* A sparse matrix with its values. */
struct valued {
    const struct csr *pattern;
    const double *values;
};

struct iteration {
    struct valued matrix, transpose;
    int64_t width;
    int threads;
    double *basis;  /* [columns, width] */
    double *middle; /* [rows, width] */
    double *gram;   /* [width, width] */
};

/* out [rows, width] = matrix x. */
static void multiply(double *out, struct valued matrix, const double *x, int64_t width, int threads)
{
    const struct csr *pattern = matrix.pattern;
#pragma omp parallel for schedule(dynamic, 64) num_threads(threads)
    for (int64_t row = 0; row < pattern->rows; row++) {
        double *sum = out + row * width;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t i = pattern->starts[row]; i < pattern->starts[row + 1]; i++) {
            const double *from = x + pattern->indices[i] * width, value = matrix.values[i];
            for (int64_t j = 0; j < width; j++)
                sum[j] += value * from[j];
        }
    }
}

/* basis = basis L^-T: its columns become orthonormal, or 0. */
static void orthonormalize(const struct iteration *iteration)
{
    const int64_t width = iteration->width, rows = iteration->matrix.pattern->columns;
    dense_gram(iteration->gram, iteration->basis, rows, width, iteration->threads);
    dense_cholesky(iteration->gram, width);
#pragma omp parallel for num_threads(iteration->threads)
    for (int64_t row = 0; row < rows; row++)
        dense_solve_lower(iteration->basis + row * width, iteration->gram, width);
}

static void iterate(const struct iteration *iteration, int iterations, uint64_t seed)
{
    const int64_t count = iteration->matrix.pattern->columns * iteration->width;
    struct random_stream stream = random_stream_open(seed, RANDOM_INITIALIZE, 0, UINT32_MAX);
    for (int64_t i = 0; i < count; i++)
        iteration->basis[i] = random_normal(&stream);
    for (int done = 0; done < iterations; done++) {
        multiply(iteration->middle, iteration->matrix, iteration->basis, iteration->width,
                 iteration->threads);
        multiply(iteration->basis, iteration->transpose, iteration->middle, iteration->width,
                 iteration->threads);
        orthonormalize(iteration);
    }
}

/* The values of the transpose, in the order of csr_transpose(). `next` [columns] is scratch. */
static void transpose_values(double *transposed, const struct csr *pattern, const struct csr *transpose,
                             const double *values, int64_t *next)
{
    memcpy(next, transpose->starts, (size_t)transpose->rows * sizeof *next);
    for (int64_t index = 0; index < csr_count(pattern); index++)
        transposed[next[pattern->indices[index]]++] = values[index];
}

bool singular_vectors_find(struct singular_vectors *found, const struct csr *matrix, const double *values,
                           int64_t width, int iterations, uint64_t seed, int threads, const char *lower,
                           struct error *error)
{
    const size_t rows = (size_t)matrix->rows, columns = (size_t)matrix->columns, w = (size_t)width;
    struct csr transpose = {0};
    double *transposed = malloc((size_t)csr_count(matrix) * sizeof *transposed + 1);
    int64_t *next = malloc((columns + 1) * sizeof *next);
    struct iteration iteration = {.matrix = {matrix, values},
                                  .transpose = {&transpose, transposed},
                                  .width = width,
                                  .threads = threads,
                                  .basis = malloc((columns * w + 1) * sizeof(double)),
                                  .middle = malloc((rows * w + 1) * sizeof(double)),
                                  .gram = malloc(w * w * sizeof(double))};
    *found = (struct singular_vectors){iteration.basis, malloc(w * sizeof *found->squares)};
    bool done =
        (transposed && next && iteration.basis && iteration.middle && iteration.gram && found->squares) ||
        error_memory(error, "singular vectors", (rows + columns) * w * sizeof(double), lower);
    done = done && csr_transpose(&transpose, matrix, error);
    if (done) {
        transpose_values(transposed, matrix, &transpose, values, next);
        iterate(&iteration, iterations, seed);
        /* A column's norm before the last orthonormalisation is the square of its singular value. */
        for (int64_t j = 0; j < width; j++)
            found->squares[j] = iteration.gram[j * (width + 1)];
    } else {
        singular_vectors_free(found);
    }
    csr_free(&transpose);
    free(transposed);
    free(next);
    free(iteration.middle);
    free(iteration.gram);
    return done;
}

void singular_vectors_free(struct singular_vectors *found)
{
    free(found->vectors);
    free(found->squares);
    *found = (struct singular_vectors){0};
}
