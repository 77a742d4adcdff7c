/*
 * ease.c: a linear autoencoder in closed form (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019,
 * equations 2, 7 and 8). With X [users, items] the weights of the training rows, 0 elsewhere, and lambda the
 * regularization, B minimises
 *
 *   |X - X B|_F^2 + lambda |B|_F^2  subject to  diag(B) = 0:
 *   P = (X^T X + lambda I)^-1,  B_ij = -P_ij / P_jj for i != j,
 *
 * and the score of item j for user u is (x_u B)_j. A row of weight w is thus the entry w of X: it is both reconstructed as
 * w and counts w as an input; a weight of 0 is a row that is not there.
 *
 * Memory: items^2 values, once; the device inverts, then the host holds B and scores. The file of a model holds X, from
 * which loading fits again: B would take 6.7 GB for gowalla and hardly compresses.
 */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/recommenders/model.h"
#include "models/recommenders/sparse_matrix.h"
#include "models/recommenders/symmetric_matrix.h"

static const char *const fewer_items =
    "raise data.k_core, so that fewer items stay, or leave ease out of recommenders and augment.ensemble";

struct ease {
    struct sparse_matrix history;   /* X */
    struct symmetric_matrix matrix; /* released once its values are on the host */
    real *host;                     /* a GPU's values on the host; NULL on the CPU */
    real *weights;                  /* B, in the panels of the matrix, with all their rows */
};

static void release(void *parameters)
{
    struct ease *ease = parameters;
    if (!ease)
        return;
    sparse_matrix_free(&ease->history);
    symmetric_matrix_release(&ease->matrix);
    free(ease->host);
    free(ease);
}

/* Refuses before any work what the host's memory cannot hold: Linux would grant it, and end the process later. */
static bool check_memory(const struct recommender *recommender, struct error *error)
{
    const size_t needed = symmetric_matrix_bytes(recommender->items);
    const int64_t available = available_memory_bytes();
    const double gibibyte = 1024.0 * 1024.0 * 1024.0;
    return (int64_t)needed <= available ||
           error_set(
               error, ERROR_RUN,
               "ease needs %.1f GiB of memory for %lld x %lld items and %.1f GiB are free; %s, or lower "
               "experiment.parallel when several are fitted at a time",
               (double)needed / gibibyte, (long long)recommender->items, (long long)recommender->items,
               (double)available / gibibyte, fewer_items);
}

/* What the rows of one panel of X^T X + lambda I are computed with. */
struct gram {
    const struct sparse_matrix *history, *audience;
    struct symmetric_matrix *matrix;
    double regularization;
    real *blocks; /* the blocks of these rows one behind the other */
    int threads;
};

/* sum [items] is zero on entry and exit. */
static void fill_row(const struct gram *gram, int64_t row_panel, int64_t row, double *sum)
{
    const struct symmetric_matrix *matrix = gram->matrix;
    const int64_t item = row_panel * SYMMETRIC_PANEL + row;
    const int64_t rows = symmetric_panel_columns(matrix, row_panel);
    sparse_matrix_gram_row(sum, gram->history, gram->audience, item);
    sum[item] += gram->regularization;
    for (int64_t panel = 0; panel <= row_panel; panel++) {
        const int64_t columns = symmetric_panel_columns(matrix, panel);
        const double *from = sum + panel * SYMMETRIC_PANEL;
        real *to = gram->blocks + panel * SYMMETRIC_PANEL * rows + row * columns;
        for (int64_t column = 0; column < columns; column++)
            to[column] = (real)from[column];
    }
    memset(sum, 0, (size_t)matrix->size * sizeof *sum);
}

static bool fill_panel_rows(const struct gram *gram, int64_t row_panel, struct error *error)
{
    struct symmetric_matrix *matrix = gram->matrix;
    const int64_t rows = symmetric_panel_columns(matrix, row_panel);
    bool allocated = true;
#pragma omp parallel reduction(&& : allocated) num_threads(gram->threads)
    {
        double *sum = calloc((size_t)matrix->size, sizeof *sum);
        allocated = sum != NULL;
#pragma omp for schedule(dynamic, 4)
        for (int64_t row = 0; row < rows; row++)
            if (sum)
                fill_row(gram, row_panel, row, sum);
        free(sum);
    }
    for (int64_t panel = 0; panel <= row_panel; panel++) {
        struct tensor block = symmetric_block(matrix, row_panel, panel);
        tensor_upload(matrix->backend, &block, gram->blocks + panel * SYMMETRIC_PANEL * rows);
    }
    return backend_synchronize(matrix->backend, error) &&
           (allocated || error_memory(error, "a row of items by items", (size_t)matrix->size * sizeof(double),
                                      fewer_items));
}

static bool fill_gram(struct ease *ease, const struct recommender *recommender, struct error *error)
{
    struct sparse_matrix audience = {0};
    const size_t bytes = (size_t)(recommender->items * SYMMETRIC_PANEL) * sizeof(real);
    struct gram gram = {.history = &ease->history,
                        .audience = &audience,
                        .matrix = &ease->matrix,
                        .regularization = recommender->settings.regularization,
                        .blocks = malloc(bytes),
                        .threads = host_threads(recommender->backend)};
    bool done = (gram.blocks || error_memory(error, "rows of items by items", bytes, fewer_items)) &&
                sparse_matrix_transpose(&audience, &ease->history, error);
    for (int64_t panel = 0; panel < ease->matrix.panels && done; panel++)
        done = fill_panel_rows(&gram, panel, error);
    sparse_matrix_free(&audience);
    free(gram.blocks);
    return done;
}

/* ease->weights = the values on the host; a GPU's memory is given back. */
static bool bring_to_host(struct ease *ease, struct error *error)
{
    struct symmetric_matrix *matrix = &ease->matrix;
    arena_release(&matrix->scratch);
    if (matrix->backend->device == DEVICE_CPU) {
        ease->weights = matrix->values.data;
        return true;
    }
    const size_t bytes = tensor_bytes(&matrix->values);
    ease->host = ease->weights = malloc(bytes);
    if (!ease->host)
        return error_memory(error, "items by items", bytes, fewer_items);
    tensor_download(matrix->backend, ease->host, &matrix->values);
    const bool done = backend_synchronize(matrix->backend, error);
    arena_release(&matrix->memory);
    return done;
}

/* Rows above the diagonal's block of a panel = those below it of others, transposed. */
static void mirror(const struct ease *ease, int64_t panel)
{
    const struct symmetric_matrix *matrix = &ease->matrix;
    const int64_t columns = symmetric_panel_columns(matrix, panel), first = panel * SYMMETRIC_PANEL;
    real *to = ease->weights + symmetric_panel_first(matrix, panel);
    for (int64_t above = 0; above < panel; above++) {
        const real *from = ease->weights + symmetric_panel_first(matrix, above) + first * SYMMETRIC_PANEL;
        for (int64_t row = 0; row < SYMMETRIC_PANEL; row++)
            for (int64_t column = 0; column < columns; column++)
                to[(above * SYMMETRIC_PANEL + row) * columns + column] = from[column * SYMMETRIC_PANEL + row];
    }
}

/* From -P to B. */
static void scale(const struct ease *ease, int64_t panel)
{
    const struct symmetric_matrix *matrix = &ease->matrix;
    const int64_t columns = symmetric_panel_columns(matrix, panel);
    real *values = ease->weights + symmetric_panel_first(matrix, panel);
    const real *diagonal_rows = values + panel * SYMMETRIC_PANEL * columns;
    real factor[SYMMETRIC_PANEL];
    for (int64_t column = 0; column < columns; column++)
        factor[column] = -1 / diagonal_rows[column * (columns + 1)];
    for (int64_t item = 0; item < matrix->size; item++)
        for (int64_t column = 0; column < columns; column++)
            values[item * columns + column] *= factor[column];
    for (int64_t column = 0; column < columns; column++)
        values[(panel * SYMMETRIC_PANEL + column) * columns + column] = 0;
}

static void finish_weights(const struct ease *ease, int threads)
{
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t panel = 0; panel < ease->matrix.panels; panel++)
            mirror(ease, panel);
#pragma omp for schedule(dynamic)
        for (int64_t panel = 0; panel < ease->matrix.panels; panel++)
            scale(ease, panel);
    }
}

static bool create(struct recommender *recommender, struct error *error)
{
    recommender->parameters = calloc(1, sizeof(struct ease));
    return recommender->parameters || error_memory(error, "ease", sizeof(struct ease), NULL);
}

/* B from the history. */
static bool fit_history(struct recommender *recommender, struct error *error)
{
    struct ease *ease = recommender->parameters;
    const bool done =
        check_memory(recommender, error) &&
        symmetric_matrix_create(&ease->matrix, recommender->backend, recommender->items, fewer_items,
                                error) &&
        fill_gram(ease, recommender, error) &&
        symmetric_matrix_negative_inverse(&ease->matrix, "raise recommenders.regularization", error) &&
        bring_to_host(ease, error);
    if (done)
        finish_weights(ease, host_threads(recommender->backend));
    return done;
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    (void)seed;
    if (!create(recommender, error))
        return false;
    struct ease *ease = recommender->parameters;
    return sparse_matrix_of_training(&ease->history, data, error) && fit_history(recommender, error);
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    const struct ease *ease = recommender->parameters;
    const struct sparse_matrix *history = &ease->history;
    memset(row, 0, (size_t)recommender->items * sizeof *row);
    for (int64_t panel = 0; panel < ease->matrix.panels; panel++) {
        const int64_t columns = symmetric_panel_columns(&ease->matrix, panel);
        const real *weights = ease->weights + symmetric_panel_first(&ease->matrix, panel);
        real *part = row + panel * SYMMETRIC_PANEL;
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
            const real *source = weights + history->indices[index] * columns, weight = history->values[index];
            for (int64_t column = 0; column < columns; column++)
                part[column] += weight * source[column];
        }
    }
}

static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    return host_score_block(context, score_row, users, count, scores, error);
}

static bool save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct ease *ease = recommender->parameters;
    return sparse_matrix_save(&ease->history, store, "/users/items", error);
}

static bool load(struct recommender *recommender, struct store *store, struct error *error)
{
    if (!create(recommender, error))
        return false;
    struct ease *ease = recommender->parameters;
    return sparse_matrix_load(&ease->history, recommender->users, recommender->items, store, "/users/items",
                              error) &&
           fit_history(recommender, error);
}

const struct recommender_model ease_model = {
    .name = "ease",
    .deterministic = true,
    .host_work = "X^T X made, and scored,",
    .fit = fit,
    .score = score,
    .save = save,
    .load = load,
    .release = release,
};
