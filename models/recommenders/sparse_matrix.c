#include "models/recommenders/sparse_matrix.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

bool sparse_matrix_allocate(struct sparse_matrix *matrix, int64_t rows, int64_t columns, int64_t count,
                            struct error *error)
{
    *matrix = (struct sparse_matrix){.rows = rows,
                                     .columns = columns,
                                     .starts = calloc((size_t)rows + 1, sizeof *matrix->starts),
                                     .indices = malloc((size_t)count * sizeof *matrix->indices + 1),
                                     .values = malloc((size_t)count * sizeof *matrix->values + 1)};
    if (matrix->starts && matrix->indices && matrix->values)
        return true;
    return error_memory(error, "a sparse matrix", (size_t)count * (sizeof(int32_t) + sizeof(real)),
                        "lower recommenders.neighbors, or raise data.k_core");
}

void sparse_matrix_free(struct sparse_matrix *matrix)
{
    free(matrix->starts);
    free(matrix->indices);
    free(matrix->values);
    *matrix = (struct sparse_matrix){0};
}

int64_t sparse_matrix_count(const struct sparse_matrix *matrix)
{
    return matrix->starts[matrix->rows];
}

bool sparse_matrix_of_training(struct sparse_matrix *matrix, const struct training_set *data,
                               struct error *error)
{
    const struct csr *positives = data->positives;
    const int64_t count = csr_count(positives);
    if (!sparse_matrix_allocate(matrix, positives->rows, positives->columns, count, error))
        return false;
    memcpy(matrix->starts, positives->starts, (size_t)(positives->rows + 1) * sizeof *matrix->starts);
    memcpy(matrix->indices, positives->indices, (size_t)count * sizeof *matrix->indices);
    for (int64_t index = 0; index < count; index++)
        matrix->values[index] = (real)(data->weights ? data->weights[index] : 1.0f);
    return true;
}

bool sparse_matrix_transpose(struct sparse_matrix *transposed, const struct sparse_matrix *matrix,
                             struct error *error)
{
    const int64_t columns = matrix->columns, count = sparse_matrix_count(matrix);
    if (!sparse_matrix_allocate(transposed, columns, matrix->rows, count, error))
        return false;
    /* While rows are filled, starts[c + 1] is where the next value of column c goes. */
    int64_t *starts = transposed->starts;
    for (int64_t index = 0; index < count; index++)
        if (matrix->indices[index] + 1 < columns)
            starts[matrix->indices[index] + 2]++;
    for (int64_t column = 2; column <= columns; column++)
        starts[column] += starts[column - 1];
    for (int64_t row = 0; row < matrix->rows; row++)
        for (int64_t index = matrix->starts[row]; index < matrix->starts[row + 1]; index++) {
            const int64_t place = starts[matrix->indices[index] + 1]++;
            transposed->indices[place] = (int32_t)row;
            transposed->values[place] = matrix->values[index];
        }
    return true;
}

void sparse_matrix_gram_row(double *sum, const struct sparse_matrix *history,
                            const struct sparse_matrix *audience, int64_t item)
{
    for (int64_t place = audience->starts[item]; place < audience->starts[item + 1]; place++) {
        const int32_t user = audience->indices[place];
        const double weight = (double)audience->values[place];
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++)
            sum[history->indices[index]] += weight * (double)history->values[index];
    }
}

/* Row `item` of X^T X into `gram`, or, when gram->indices is NULL, its length into gram->starts. sum is zero on entry and
 * exit. */
static void gram_row(struct sparse_matrix *gram, const struct sparse_matrix *history,
                     const struct sparse_matrix *audience, int64_t item, double *sum)
{
    int64_t filled = gram->indices ? gram->starts[item] : 0;
    sparse_matrix_gram_row(sum, history, audience, item);
    for (int64_t other = 0; other < gram->columns; other++) {
        if (sum[other] == 0.0)
            continue;
        if (gram->indices) {
            gram->indices[filled] = (int32_t)other;
            gram->values[filled] = (real)sum[other];
        }
        filled++;
        sum[other] = 0.0;
    }
    if (!gram->indices)
        gram->starts[item + 1] = filled;
}

static bool gram_rows(struct sparse_matrix *gram, const struct sparse_matrix *history,
                      const struct sparse_matrix *audience, int threads, struct error *error)
{
    bool allocated = true;
#pragma omp parallel reduction(&& : allocated) num_threads(threads)
    {
        double *sum = calloc((size_t)gram->columns, sizeof *sum);
        allocated = sum != NULL;
#pragma omp for schedule(dynamic, 16)
        for (int64_t item = 0; item < gram->rows; item++)
            if (sum)
                gram_row(gram, history, audience, item, sum);
        free(sum);
    }
    return allocated ||
           error_memory(error, "a row of items by items", (size_t)gram->columns * sizeof(double), NULL);
}

bool sparse_matrix_gram(struct sparse_matrix *gram, const struct sparse_matrix *history,
                        const struct sparse_matrix *audience, int threads, struct error *error)
{
    const int64_t items = history->columns;
    struct sparse_matrix lengths = {
        .rows = items, .columns = items, .starts = calloc((size_t)items + 1, sizeof *lengths.starts)};
    bool done =
        lengths.starts || error_memory(error, "items by items", (size_t)items * sizeof *lengths.starts, NULL);
    done = done && gram_rows(&lengths, history, audience, threads, error);
    for (int64_t item = 0; item < items && done; item++)
        lengths.starts[item + 1] += lengths.starts[item];
    const size_t bytes = (size_t)sparse_matrix_count(&lengths) * (sizeof(int32_t) + sizeof(real));
    if (done && (int64_t)bytes > available_memory_bytes())
        done = error_memory(error, "items by items", bytes, "raise data.k_core, so that fewer items stay");
    done = done && sparse_matrix_allocate(gram, items, items, sparse_matrix_count(&lengths), error);
    if (done) {
        memcpy(gram->starts, lengths.starts, (size_t)(items + 1) * sizeof *gram->starts);
        done = gram_rows(gram, history, audience, threads, error);
    }
    sparse_matrix_free(&lengths);
    return done;
}

bool sparse_matrix_save(const struct sparse_matrix *matrix, struct store *store, const char *name,
                        struct error *error)
{
    const struct csr pattern = {matrix->rows, matrix->columns, matrix->starts, matrix->indices};
    char *values = path_format("%s/weight", name);
    const bool saved = store_write_csr(store, name, &pattern, error) &&
                       store_write(store, values, DTYPE_REAL, csr_count(&pattern), 0, matrix->values, error);
    free(values);
    return saved;
}

bool sparse_matrix_load(struct sparse_matrix *matrix, int64_t rows, int64_t columns, struct store *store,
                        const char *name, struct error *error)
{
    struct csr pattern;
    if (!store_read_csr(store, name, &pattern, error))
        return false;
    *matrix = (struct sparse_matrix){pattern.rows, pattern.columns, pattern.starts, pattern.indices, NULL};
    char *values = path_format("%s/weight", name);
    int64_t count;
    void *read;
    const bool done = store_read(store, values, DTYPE_REAL, &count, NULL, &read, error);
    free(values);
    if (!done)
        return false;
    matrix->values = read;
    return (pattern.rows == rows && pattern.columns == columns && count == csr_count(&pattern)) ||
           error_set(error, ERROR_RUN,
                     "%s of a saved model does not have the shape that it must; train it again", name);
}
