#include "models/language/spectral.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

enum { ITERATIONS = 30 };

/* Row-major matrices in double. */
struct spectral {
    const struct csr *rows; /* users x items */
    struct csr columns;     /* items x users */
    int64_t width;
    int threads;
    double *basis;  /* [items, width] */
    double *middle; /* [users, width] */
    double *gram;   /* [width, width] */
};

static double inverse_root(const struct csr *matrix, int64_t row)
{
    const int64_t length = csr_row_length(matrix, row);
    return length > 0 ? 1 / sqrt((double)length) : 0;
}

/* out [matrix->rows, width] = D^-1/2 matrix E^-1/2 x, D and E the row sums of `matrix` and of its
 * transpose. */
static void multiply(double *out, const struct csr *matrix, const struct csr *transpose, const double *x,
                     int64_t width, int threads)
{
#pragma omp parallel for schedule(dynamic, 64) num_threads(threads)
    for (int64_t row = 0; row < matrix->rows; row++) {
        double *sum = out + row * width;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++) {
            const int64_t column = matrix->indices[i];
            const double scale = inverse_root(matrix, row) * inverse_root(transpose, column);
            for (int64_t j = 0; j < width; j++)
                sum[j] += scale * x[column * width + j];
        }
    }
}

/* gram = basis^T basis, one row of the result a thread, so that the sums keep their order. */
static void compute_gram(struct spectral *spectral)
{
    const int64_t width = spectral->width, items = spectral->rows->columns;

#pragma omp parallel for num_threads(spectral->threads)
    for (int64_t i = 0; i < width; i++) {
        double *sum = spectral->gram + i * width;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t item = 0; item < items; item++) {
            const double *row = spectral->basis + item * width;
            for (int64_t j = 0; j <= i; j++)
                sum[j] += row[i] * row[j];
        }
    }
}

/* In place, gram = L L^T, lower triangle; a pivot that is nearly 0 gives a column of zeros. */
static void factorize(double *gram, int64_t width)
{
    const double least = 1e-12 * (gram[0] > 0 ? gram[0] : 1);

    for (int64_t j = 0; j < width; j++) {
        double pivot = gram[j * width + j];
        for (int64_t k = 0; k < j; k++)
            pivot -= gram[j * width + k] * gram[j * width + k];
        gram[j * width + j] = pivot > least ? sqrt(pivot) : 0;
        for (int64_t i = j + 1; i < width; i++) {
            double value = gram[i * width + j];
            for (int64_t k = 0; k < j; k++)
                value -= gram[i * width + k] * gram[j * width + k];
            gram[i * width + j] = pivot > least ? value / gram[j * width + j] : 0;
        }
    }
}

/* basis = basis L^-T: its columns become orthonormal, or 0. */
static void orthonormalize(struct spectral *spectral)
{
    const int64_t width = spectral->width, items = spectral->rows->columns;

    compute_gram(spectral);
    factorize(spectral->gram, width);
#pragma omp parallel for num_threads(spectral->threads)
    for (int64_t item = 0; item < items; item++) {
        double *row = spectral->basis + item * width;
        for (int64_t j = 0; j < width; j++) {
            const double *factor = spectral->gram + j * width;
            double value = row[j];
            for (int64_t k = 0; k < j; k++)
                value -= factor[k] * row[k];
            row[j] = factor[j] > 0 ? value / factor[j] : 0;
        }
    }
}

static void iterate(struct spectral *spectral, uint64_t seed)
{
    const int64_t count = spectral->rows->columns * spectral->width;
    struct random_stream stream = random_stream_open(seed, RANDOM_INITIALIZE, 0, UINT32_MAX);

    for (int64_t i = 0; i < count; i++)
        spectral->basis[i] = random_normal(&stream);
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        multiply(spectral->middle, spectral->rows, &spectral->columns, spectral->basis, spectral->width,
                 spectral->threads);
        multiply(spectral->basis, &spectral->columns, spectral->rows, spectral->middle, spectral->width,
                 spectral->threads);
        orthonormalize(spectral);
    }
}

/* The basis times the singular values, all with a mean square of deviation^2. */
static void scale_to_deviation(float *embedding, const struct spectral *spectral, double deviation)
{
    const int64_t width = spectral->width, items = spectral->rows->columns;
    double squares = 0;

    /* A column's norm before the last orthonormalisation is the square of its singular value. */
    for (int64_t j = 0; j < width; j++)
        squares += spectral->gram[j * (width + 1)];
    const double scale = squares > 0 ? deviation * sqrt((double)(items * width) / squares) : 0;
    for (int64_t i = 0; i < items * width; i++)
        embedding[i] = (float)(spectral->basis[i] * scale * sqrt(spectral->gram[(i % width) * (width + 1)]));
}

bool spectral_embedding(float *embedding, const struct csr *train, int64_t width, double deviation,
                        uint64_t seed, int threads, struct error *error)
{
    const size_t items = (size_t)train->columns, users = (size_t)train->rows, columns = (size_t)width;
    struct spectral spectral = {.rows = train, .width = width, .threads = threads};
    bool fine = csr_transpose(&spectral.columns, train, error);

    spectral.basis = malloc((items * columns + 1) * sizeof(double));
    spectral.middle = malloc((users * columns + 1) * sizeof(double));
    spectral.gram = malloc(columns * columns * sizeof(double));
    if (fine && (!spectral.basis || !spectral.middle || !spectral.gram))
        fine = error_memory(error, "the start of the embeddings", (items + users) * columns * sizeof(double),
                            "lower language_model.width, or set language_model.initial to random");
    if (fine) {
        iterate(&spectral, seed);
        scale_to_deviation(embedding, &spectral, deviation);
    }
    csr_free(&spectral.columns);
    free(spectral.basis);
    free(spectral.middle);
    free(spectral.gram);
    return fine;
}
