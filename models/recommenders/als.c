/*
 * als.c: matrix factorisation of implicit feedback by alternating least squares (Hu, Koren and Volinsky, "Collaborative
 * Filtering for Implicit Feedback Datasets", ICDM 2008, equations 3 to 5). With p_ui = 1 for a training row, 0 elsewhere,
 * and c_ui = 1 + confidence w_ui, w the row's weight, 0 elsewhere, minimised is
 *
 *   sum over all u, i of c_ui (p_ui - x_u . y_i)^2  +  regularization (sum_u |x_u|^2 + sum_i |y_i|^2).
 *
 * A sweep solves each x_u exactly from all y, then each y_i from all x, by Cholesky's factor of
 * Y^T Y + sum_i (c_ui - 1) y_i y_i^T + regularization I, in double precision. Rows are independent, so the bits do not depend
 * on threads. A row of weight 0 is none. Initial factors are normal with deviation initial_deviation; the users' first
 * ones are never read.
 */
#include "models/recommenders/als.h"

#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/interrupt.h"
#include "core/random.h"
#include "models/recommenders/model.h"

/* One half of a sweep: factors [rows, width] from those of the other side. */
struct half {
    const struct als *als;
    const struct sparse_matrix *rows;
    double *factors;
    const double *others;
    const double *gram; /* [width, width], lower triangle: of all others */
};

/* The lower triangle of the row's normal equations, and their right side into `solution`. */
static void form_equations(const struct half *half, int64_t row, double *matrix, double *solution)
{
    const struct als *als = half->als;
    const int64_t width = als->width;
    memcpy(matrix, half->gram, (size_t)(width * width) * sizeof *matrix);
    memset(solution, 0, (size_t)width * sizeof *solution);
    for (int64_t i = 0; i < width; i++)
        matrix[i * (width + 1)] += als->regularization;
    for (int64_t index = half->rows->starts[row]; index < half->rows->starts[row + 1]; index++) {
        const double *other = half->others + half->rows->indices[index] * width;
        const double extra = als->confidence * (double)half->rows->values[index];
        if (half->rows->values[index] <= 0)
            continue;
        for (int64_t i = 0; i < width; i++) {
            solution[i] += (1.0 + extra) * other[i];
            for (int64_t j = 0; j <= i; j++)
                matrix[i * width + j] += extra * other[i] * other[j];
        }
    }
}

/* matrix [width, width] is scratch. */
static void solve_row(const struct half *half, int64_t row, double *matrix)
{
    const int64_t width = half->als->width;
    double *solution = half->factors + row * width;
    form_equations(half, row, matrix, solution);
    dense_cholesky(matrix, width);
    dense_solve_lower(solution, matrix, width);
    dense_solve_lower_transposed(solution, matrix, width);
}

static bool solve_rows(const struct half *half, struct error *error)
{
    const int64_t width = half->als->width;
    bool allocated = true;
#pragma omp parallel reduction(&& : allocated) num_threads(half->als->threads)
    {
        double *matrix = malloc((size_t)(width * width) * sizeof *matrix);
        allocated = matrix != NULL;
#pragma omp for schedule(dynamic, 16)
        for (int64_t row = 0; row < half->rows->rows; row++)
            if (matrix)
                solve_row(half, row, matrix);
        free(matrix);
    }
    return allocated ||
           error_memory(error, "als", (size_t)(width * width) * sizeof(double), "lower recommenders.width");
}

bool als_sweep(struct als *als, struct error *error)
{
    double *gram = malloc((size_t)(als->width * als->width) * sizeof *gram);
    if (!gram)
        return error_memory(error, "als", (size_t)(als->width * als->width) * sizeof *gram,
                            "lower recommenders.width");
    dense_gram(gram, als->items, als->history->columns, als->width, als->threads);
    bool done = solve_rows(&(struct half){als, als->history, als->users, als->items, gram}, error);
    dense_gram(gram, als->users, als->history->rows, als->width, als->threads);
    done = done && solve_rows(&(struct half){als, als->audience, als->items, als->users, gram}, error);
    free(gram);
    return done;
}

static void initialize_items(const struct als *als, double deviation, uint64_t seed)
{
    for (int64_t item = 0; item < als->history->columns; item++) {
        struct random_stream stream =
            random_stream_open(seed, RANDOM_INITIALIZE, 0, (uint64_t)(als->history->rows + item));
        for (int64_t i = 0; i < als->width; i++)
            als->items[item * als->width + i] = deviation * random_normal(&stream);
    }
}

static bool sweep_all(struct als *als, const struct recommender *recommender, uint64_t seed,
                      struct error *error)
{
    initialize_items(als, recommender->settings.initial_deviation, seed);
    for (int64_t sweep = 0; sweep < recommender->settings.epochs; sweep++)
        if (!interrupt_check(error) || !als_sweep(als, error))
            return false;
    return embeddings_upload(recommender->parameters, als->users, als->items, error);
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    const struct recommender_settings *settings = &recommender->settings;
    const size_t width = (size_t)settings->width, users = (size_t)recommender->users,
                 items = (size_t)recommender->items;
    struct sparse_matrix history = {0}, audience = {0};
    struct als als = {.history = &history,
                      .audience = &audience,
                      .width = settings->width,
                      .regularization = settings->regularization,
                      .confidence = settings->confidence,
                      .threads = host_threads(recommender->backend),
                      .users = malloc(users * width * sizeof *als.users),
                      .items = malloc(items * width * sizeof *als.items)};
    struct embeddings *embeddings = NULL;
    bool done =
        (als.users && als.items) ||
        error_memory(error, "als", (users + items) * width * sizeof(double), "lower recommenders.width");
    done = done && sparse_matrix_of_training(&history, data, error) &&
           sparse_matrix_transpose(&audience, &history, error) &&
           embeddings_create(&embeddings, recommender->backend, recommender->users, recommender->items,
                             settings->width, error);
    recommender->parameters = embeddings;
    done = done && sweep_all(&als, recommender, seed, error);
    sparse_matrix_free(&history);
    sparse_matrix_free(&audience);
    free(als.users);
    free(als.items);
    return done;
}

const struct recommender_model als_model = {
    .name = "als",
    .host_work = "fitted",
    .fit = fit,
    .score = embeddings_score,
    .save = embeddings_save,
    .load = embeddings_load,
    .release = embeddings_release,
};
