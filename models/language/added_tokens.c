#include "models/language/added_tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"

/* Of a new row about the mean, as a multiple of that of the base's numbers. */
#define NOISE 0.1
/* Numbers of a table that are on the host at once, but at least one row. */
enum { BLOCK_NUMBERS = 1 << 20 };

/* Sums over the rows of a table. */
struct table_sums {
    double *sum, *square; /* [width] */
};

static void add_row(struct table_sums *sums, const void *row, enum dtype dtype, int64_t width)
{
    for (int64_t column = 0; column < width; column++) {
        const double value = dtype == DTYPE_BF16 ? (double)bf16_value(((const uint16_t *)row)[column])
                                                 : (double)((const real *)row)[column];
        sums->sum[column] += value;
        sums->square[column] += value * value;
    }
}

static bool add_table(struct table_sums *sums, struct backend *backend, const struct tensor *table,
                      struct error *error)
{
    const int64_t rows = table->shape[0], width = table->shape[1];
    const int64_t most = width < BLOCK_NUMBERS ? BLOCK_NUMBERS / width : 1;
    const size_t row_bytes = (size_t)width * dtype_size(table->dtype);
    char *values = malloc((size_t)most * row_bytes);
    if (!values)
        return error_memory(error, "rows of a table", (size_t)most * row_bytes, NULL);
    for (int64_t first = 0; first < rows; first += most) {
        const int64_t count = rows - first < most ? rows - first : most;
        const struct tensor part = tensor_rows(table, first, count);
        tensor_download(backend, values, &part);
        for (int64_t row = 0; row < count; row++)
            add_row(sums, values + (size_t)row * row_bytes, table->dtype, width);
    }
    free(values);
    return backend_synchronize(backend, error);
}

/* sums->sum becomes the mean of each column; returns the deviation of all numbers about it. */
static double mean_and_deviation(struct table_sums *sums, int64_t rows, int64_t width)
{
    double variance = 0.0;
    for (int64_t column = 0; column < width; column++) {
        const double mean = sums->sum[column] / (double)rows;
        variance += fmax(sums->square[column] / (double)rows - mean * mean, 0.0);
        sums->sum[column] = mean;
    }
    return sqrt(variance / (double)width);
}

/* rows [added, width] from the other rows of the table. */
static bool start_rows(struct tensor *rows, struct backend *backend, const struct tensor *others,
                       struct random_stream stream, struct error *error)
{
    const int64_t width = others->shape[1], count = tensor_count(rows);
    struct table_sums sums = {calloc((size_t)width, sizeof(double)), calloc((size_t)width, sizeof(double))};
    real *values = malloc((size_t)count * sizeof *values);
    bool done = sums.sum && sums.square && values
                    ? add_table(&sums, backend, others, error)
                    : error_memory(error, "the start of new tokens", (size_t)count * sizeof *values, NULL);
    if (done) {
        const double deviation = NOISE * mean_and_deviation(&sums, others->shape[0], width);
        for (int64_t index = 0; index < count; index++)
            values[index] = (real)(sums.sum[index % width] + deviation * random_normal(&stream));
        done = tensor_upload_rounded(backend, rows, values, error);
    }
    free(values);
    free(sums.square);
    free(sums.sum);
    return done;
}

/* The rows of the new tokens and the others, which are parts of one parameter or two. */
static bool start_table(struct transformer *model, const char *module, struct random_stream stream,
                        struct error *error)
{
    const struct transformer_settings *const settings = transformer_settings_of(model);
    const int64_t first = settings->vocabulary - settings->added;
    char name[112];
    snprintf(name, sizeof name, "%s.weight", module);
    const struct parameter *const base = transformer_parameter(model, name);
    const struct tensor others = tensor_rows(&base->value, 0, first);
    snprintf(name, sizeof name, ADDED_ROWS_NAME, module);
    const struct parameter *const adapter = transformer_parameter(model, name);
    struct tensor rows = adapter ? adapter->value : tensor_rows(&base->value, first, settings->added);
    return start_rows(&rows, transformer_backend(model), &others, stream, error);
}

bool added_tokens_start(struct transformer *model, uint64_t seed, struct error *error)
{
    const bool done =
        start_table(model, "model.embed_tokens", random_stream_open(seed, RANDOM_INITIALIZE, 2, 0), error) &&
        (transformer_settings_of(model)->tied ||
         start_table(model, "lm_head", random_stream_open(seed, RANDOM_INITIALIZE, 2, 1), error));
    transformer_values_changed(model);
    return done;
}
