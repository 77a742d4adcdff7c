#include "core/eigenvectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/random.h"

enum {
    SIZE_DENSE = 256, /* a matrix of at most so many rows is decomposed as a whole */
    SPARE_LEAST = 8,  /* vectors beyond those asked for: the filter tells them apart by the first left out */
    DEGREE_MAXIMUM = 24
};
static const double AMPLIFICATION = 1e5; /* by the filter, at most: Cholesky's factor squares it */

struct subspace {
    const struct symmetric_operator *matrix;
    int64_t width;
    int threads;
    double *basis, *image, *other; /* [size, width] */
    double *small, *values;        /* [width, width], [width] */
};

static int64_t elements(const struct subspace *space)
{
    return space->matrix->size * space->width;
}

static void orthonormalize(const struct subspace *space)
{
    /* Once more, because rounding of the first pass grows with the square of the condition. */
    for (int pass = 0; pass < 2; pass++) {
        dense_gram(space->small, space->basis, space->matrix->size, space->width, space->threads);
        dense_cholesky(space->small, space->width);
#pragma omp parallel for num_threads(space->threads)
        for (int64_t row = 0; row < space->matrix->size; row++)
            dense_solve_lower(space->basis + row * space->width, space->small, space->width);
    }
}

/* x = x V^T of V [width, width], whose rows are eigenvectors by ascending value; columns of the result descend. */
static void rotate(const struct subspace *space, double *x)
{
    const int64_t width = space->width;
#pragma omp parallel for num_threads(space->threads)
    for (int64_t row = 0; row < space->matrix->size; row++) {
        double *from = x + row * width, *to = space->other + row * width;
        for (int64_t j = 0; j < width; j++) {
            const double *vector = space->small + (width - 1 - j) * width;
            double sum = 0;
            for (int64_t k = 0; k < width; k++)
                sum += from[k] * vector[k];
            to[j] = sum;
        }
        memcpy(from, to, (size_t)width * sizeof *from);
    }
}

/* Rayleigh and Ritz: the basis becomes the best approximations of eigenvectors in its span, values descending, and
 * image = matrix basis. */
static bool rayleigh_ritz(struct subspace *space, struct error *error)
{
    const int64_t width = space->width;
    space->matrix->apply(space->matrix->context, space->image, space->basis, width);
    dense_product_transposed(space->small, space->basis, space->image, space->matrix->size, width,
                             space->threads);
    if (!dense_eigenvectors(space->small, space->values, width, error))
        return false;
    rotate(space, space->basis);
    rotate(space, space->image);
    for (int64_t j = 0; j < width / 2; j++) {
        const double value = space->values[j];
        space->values[j] = space->values[width - 1 - j];
        space->values[width - 1 - j] = value;
    }
    return true;
}

static double residual(const struct subspace *space, int64_t count)
{
    double largest = 0;
    for (int64_t j = 0; j < count; j++) {
        double square = 0;
        for (int64_t at = j; at < elements(space); at += space->width) {
            const double left = space->image[at] - space->values[j] * space->basis[at];
            square += left * left;
        }
        largest = fmax(largest, sqrt(square));
    }
    return largest;
}

/* to = scale ((matrix - centre) x) - shrink to, where `image` is scratch; the recurrence of Chebyshev's polynomials. */
static void recur(const struct subspace *space, double *to, const double *x, double centre, double scale,
                  double shrink)
{
    space->matrix->apply(space->matrix->context, space->image, x, space->width);
#pragma omp parallel for num_threads(space->threads)
    for (int64_t i = 0; i < elements(space); i++)
        to[i] = scale * (space->image[i] - centre * x[i]) - shrink * to[i];
}

/* basis = p(matrix) basis of the polynomial that is small from `least` to the smallest of the subspace's values and
 * grows fastest above. */
static void filter(struct subspace *space)
{
    const double largest = space->matrix->largest, least = space->matrix->least;
    const double gap = 1e-6 * (largest - least);
    const double cut = fmin(fmax(space->values[space->width - 1], least + gap), largest - gap);
    const double half = (cut - least) / 2, centre = (cut + least) / 2;
    const double reach = (largest - centre) / half; /* > 1 */
    const int wanted = (int)(acosh(AMPLIFICATION) / acosh(reach));
    const int degree = wanted < 1 ? 1 : wanted > DEGREE_MAXIMUM ? DEGREE_MAXIMUM : wanted;
    const double first = 1 / reach;
    double ratio = first;
    memset(space->other, 0, (size_t)elements(space) * sizeof *space->other);
    recur(space, space->other, space->basis, centre, first / half, 0);
    for (int done = 1; done < degree; done++) {
        const double next = 1 / (2 / first - ratio);
        recur(space, space->basis, space->other, centre, 2 * next / half, ratio * next);
        ratio = next;
        double *newest = space->basis;
        space->basis = space->other;
        space->other = newest;
    }
    double *newest = space->other;
    space->other = space->basis;
    space->basis = newest;
}

static bool iterate(struct subspace *space, struct eigenvectors *found, int64_t count, double tolerance,
                    int rounds, uint64_t seed, struct error *error)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_INITIALIZE, 0, UINT32_MAX);
    for (int64_t i = 0; i < elements(space); i++)
        space->basis[i] = random_normal(&stream);
    for (int round = 0;; round++) {
        orthonormalize(space);
        if (!rayleigh_ritz(space, error))
            return false;
        found->residual = residual(space, count);
        if (found->residual <= tolerance * space->matrix->largest || round == rounds)
            return true;
        filter(space);
    }
}

/* The basis is the identity, the image therefore the matrix itself. */
static bool decompose(struct subspace *space, struct eigenvectors *found, int64_t count, struct error *error)
{
    memset(space->basis, 0, (size_t)elements(space) * sizeof *space->basis);
    for (int64_t i = 0; i < space->width; i++)
        space->basis[i * (space->width + 1)] = 1;
    const bool done = rayleigh_ritz(space, error);
    found->residual = done ? residual(space, count) : 0;
    return done;
}

/* The first `count` columns of the subspace, close together. */
static void take_leading(struct eigenvectors *found, struct subspace *space, int64_t count)
{
    for (int64_t row = 0; row < space->matrix->size; row++)
        memmove(space->basis + row * count, space->basis + row * space->width,
                (size_t)count * sizeof *space->basis);
    found->vectors = space->basis;
    found->values = space->values;
    space->basis = space->values = NULL;
}

int64_t eigenvectors_width(int64_t size, int64_t count)
{
    const int64_t width = count + (count / 4 > SPARE_LEAST ? count / 4 : SPARE_LEAST);
    return size <= SIZE_DENSE || size <= 2 * width ? size : width;
}

bool eigenvectors_find(struct eigenvectors *found, const struct symmetric_operator *matrix, int64_t count,
                       double tolerance, int rounds, uint64_t seed, int threads, const char *lower,
                       struct error *error)
{
    struct subspace space = {
        .matrix = matrix, .width = eigenvectors_width(matrix->size, count), .threads = threads};
    const size_t block = (size_t)elements(&space) * sizeof(double), width = (size_t)space.width;
    space.basis = malloc(block + 1);
    space.image = malloc(block + 1);
    space.other = malloc(block + 1);
    space.small = malloc(width * width * sizeof(double) + 1);
    space.values = malloc(width * sizeof(double) + 1);
    *found = (struct eigenvectors){0};
    bool done = (space.basis && space.image && space.other && space.small && space.values) ||
                error_memory(error, "eigenvectors", 3 * block, lower);
    done =
        done && (space.width == matrix->size ? decompose(&space, found, count, error)
                                             : iterate(&space, found, count, tolerance, rounds, seed, error));
    if (done)
        take_leading(found, &space, count);
    free(space.basis);
    free(space.image);
    free(space.other);
    free(space.small);
    free(space.values);
    return done;
}

void eigenvectors_free(struct eigenvectors *found)
{
    free(found->vectors);
    free(found->values);
    *found = (struct eigenvectors){0};
}
