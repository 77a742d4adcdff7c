#include "models/language/start.h"

#include <math.h>
#include <stdlib.h>

#include "models/language/spectral.h"
#include "models/language/vocabulary.h"

/* Of the items' embeddings; a multiple of the other tokens'. */
#define SPECTRAL_DEVIATION 0.05

static bool start_embeddings(struct transformer *model, const struct csr *train, uint64_t seed,
                             struct error *error)
{
    struct backend *backend = transformer_backend(model);
    struct tensor table = transformer_parameter(model, "model.embed_tokens.weight")->value;
    const int64_t width = table.shape[1], first = vocabulary_item_token(0) * width,
                  count = train->columns * width;
    float *spectral = malloc((size_t)count * sizeof *spectral);
    real *values = malloc(tensor_bytes(&table));
    bool done = false;

    if (!spectral || !values)
        error_memory(error, "the start of the embeddings", tensor_bytes(&table),
                     "lower language_model.width");
    else
        done = spectral_embedding(spectral, train, width, SPECTRAL_DEVIATION, seed, backend->threads, error);
    if (done) {
        tensor_download(backend, values, &table);
        for (int64_t i = 0; i < count; i++)
            values[first + i] += (real)spectral[i];
        tensor_upload(backend, &table, values);
    }
    free(spectral);
    free(values);
    return done;
}

/* A random orthogonal matrix [width, width]: normal rows, each made orthogonal to those before it. */
static void draw_orthogonal(real *matrix, int64_t width, uint64_t seed)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_INITIALIZE, 1, UINT32_MAX);

    for (int64_t i = 0; i < width; i++) {
        real *row = matrix + i * width;
        for (int64_t k = 0; k < width; k++)
            row[k] = (real)random_normal(&stream);
        for (int64_t j = 0; j <= i; j++) {
            const real *other = matrix + j * width;
            double product = 0;
            for (int64_t k = 0; k < width; k++)
                product += (double)row[k] * (double)other[k];
            for (int64_t k = 0; k < width; k++)
                row[k] = (real)(j < i ? (double)row[k] - product * (double)other[k]
                                      : (double)row[k] / sqrt(product));
        }
    }
}

static bool start_first_layer(struct transformer *model, uint64_t seed, struct error *error)
{
    struct backend *backend = transformer_backend(model);
    const int64_t width = transformer_settings_of(model)->width;
    struct tensor value = transformer_parameter(model, "model.layers.0.self_attn.v_proj.weight")->value;
    struct tensor output = transformer_parameter(model, "model.layers.0.self_attn.o_proj.weight")->value;
    const size_t bytes = (size_t)(width * width) * sizeof(real);

    if (value.shape[0] != width || output.shape[1] != width)
        return true;
    real *weights = malloc(bytes), *transposed = malloc(bytes);
    if (weights && transposed) {
        draw_orthogonal(weights, width, seed);
        for (int64_t row = 0; row < width; row++)
            for (int64_t column = 0; column < width; column++)
                transposed[column * width + row] = weights[row * width + column];
        tensor_upload(backend, &value, weights);
        tensor_upload(backend, &output, transposed);
    }
    const bool done = (weights && transposed) || error_memory(error, "the start of a layer", 2 * bytes, NULL);
    free(weights);
    free(transposed);
    return done;
}

bool start_from_interactions(struct transformer *model, const struct csr *train, uint64_t seed,
                             struct error *error)
{
    if (!start_embeddings(model, train, seed, error) || !start_first_layer(model, seed, error))
        return false;
    transformer_values_changed(model);
    return backend_synchronize(transformer_backend(model), error);
}
