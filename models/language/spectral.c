#include "models/language/spectral.h"

#include <math.h>
#include <stdlib.h>

#include "core/singular_vectors.h"

enum { ITERATIONS = 30 };

/* The vectors times the singular values, all with a mean square of deviation^2. */
static void scale_to_deviation(float *embedding, const struct singular_vectors *found, int64_t items,
                               int64_t width, double deviation)
{
    double squares = 0;

    for (int64_t j = 0; j < width; j++)
        squares += found->squares[j];
    const double scale = squares > 0 ? deviation * sqrt((double)(items * width) / squares) : 0;
    for (int64_t i = 0; i < items * width; i++)
        embedding[i] = (float)(found->vectors[i] * scale * sqrt(found->squares[i % width]));
}

bool spectral_embedding(float *embedding, const struct csr *train, int64_t width, double deviation,
                        uint64_t seed, int threads, struct error *error)
{
    double *values = NULL;
    struct singular_vectors found = {0};
    const bool done =
        normalized_values(&values, train, NULL, NULL, error) &&
        singular_vectors_find(&found, train, values, width, ITERATIONS, seed, threads,
                              "lower language_model.width, or set language_model.initial to random", error);
    if (done)
        scale_to_deviation(embedding, &found, train->columns, width, deviation);
    singular_vectors_free(&found);
    free(values);
    return done;
}
