/*
 * gf_cf.c: graph filters without training (Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM 2021,
 * equation 8 and algorithm 1). With X [users, items] the weights of the training rows, Du and Di its row and column sums,
 * R = Du^-1/2 X Di^-1/2, and U the `components` leading right singular vectors of R, the scores of user u are
 *
 *   x_u R^T R  +  low_pass_weight x_u Di^-1/2 U U^T Di^1/2:
 *
 * a linear filter and an ideal low-pass filter on the graph of items. A row of weight w is an edge of weight w, as in
 * LightGCN's adjacency. R^T R is kept sparse on the host, which finds U and applies the linear filter; the low-pass filter
 * is a product of embeddings on the device: x_u Di^-1/2 U of users and low_pass_weight Di^1/2 U of items.
 */
#include <math.h>
#include <stdlib.h>

#include "core/singular_vectors.h"
#include "models/recommenders/item_weights.h"

/* The span of U converges as (s_n+1 / s_n)^(2 ITERATIONS) for n components and R's singular values s. */
enum { ITERATIONS = 30 };

struct gf_cf {
    struct item_weights linear; /* X, R^T R */
    struct embeddings *low_pass;
};

static void release(void *parameters)
{
    struct gf_cf *filters = parameters;
    if (!filters)
        return;
    item_weights_free(&filters->linear);
    embeddings_release(filters->low_pass);
    free(filters);
}

static struct csr pattern_of(const struct sparse_matrix *matrix)
{
    return (struct csr){matrix->rows, matrix->columns, matrix->starts, matrix->indices};
}

/* The linear filter, from X; also R's values, malloc'ed, and, unless NULL, item_sums [items], the diagonal of Di. */
static bool filter_linearly(struct recommender *recommender, double **normalized, double *item_sums,
                            struct error *error)
{
    struct gf_cf *filters = recommender->parameters;
    const struct sparse_matrix *history = &filters->linear.history;
    const struct csr pattern = pattern_of(history);
    const int64_t count = sparse_matrix_count(history);
    if (!normalized_values(normalized, &pattern, history->values, item_sums, error))
        return false;
    struct sparse_matrix r = *history, transpose = {0};
    r.values = malloc((size_t)count * sizeof *r.values + 1);
    bool done = r.values || error_memory(error, "gf_cf", (size_t)count * sizeof *r.values, NULL);
    for (int64_t index = 0; index < count && done; index++)
        r.values[index] = (real)(*normalized)[index];
    done = done && sparse_matrix_transpose(&transpose, &r, error) &&
           sparse_matrix_gram(&filters->linear.targets, &r, &transpose, host_threads(recommender->backend),
                              error);
    sparse_matrix_free(&transpose);
    free(r.values);
    return done;
}

/* users [users, width], zero on entry, = X Di^-1/2 U and items [items, width] = low_pass_weight Di^1/2 U. */
static void make_factors(const struct recommender *recommender, const double *vectors,
                         const double *item_sums, double *users, double *items)
{
    const struct gf_cf *filters = recommender->parameters;
    const struct sparse_matrix *history = &filters->linear.history;
    const int64_t width = filters->low_pass->width;
    for (int64_t item = 0; item < recommender->items; item++)
        for (int64_t i = 0; i < width; i++)
            items[item * width + i] =
                recommender->settings.low_pass_weight * sqrt(item_sums[item]) * vectors[item * width + i];
#pragma omp parallel for schedule(dynamic, 64) num_threads(host_threads(recommender->backend))
    for (int64_t user = 0; user < recommender->users; user++)
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
            const int32_t item = history->indices[index];
            if (history->values[index] <= 0)
                continue;
            const double share = (double)history->values[index] / sqrt(item_sums[item]);
            for (int64_t i = 0; i < width; i++)
                users[user * width + i] += share * vectors[item * width + i];
        }
}

static bool filter_low_pass(struct recommender *recommender, const double *normalized,
                            const double *item_sums, struct error *error)
{
    struct gf_cf *filters = recommender->parameters;
    const char *lower = "lower recommenders.components";
    const struct csr pattern = pattern_of(&filters->linear.history);
    const size_t width = (size_t)filters->low_pass->width, users = (size_t)recommender->users,
                 items = (size_t)recommender->items;
    double *user_factors = calloc(users * width, sizeof *user_factors);
    double *item_factors = malloc(items * width * sizeof *item_factors);
    struct singular_vectors found = {0};
    bool done = (user_factors && item_factors) ||
                error_memory(error, "gf_cf", (users + items) * width * sizeof(double), lower);
    done = done && singular_vectors_find(&found, &pattern, normalized, (int64_t)width, ITERATIONS, 0,
                                         host_threads(recommender->backend), lower, error);
    if (done) {
        make_factors(recommender, found.vectors, item_sums, user_factors, item_factors);
        done = embeddings_upload(filters->low_pass, user_factors, item_factors, error);
    }
    singular_vectors_free(&found);
    free(user_factors);
    free(item_factors);
    return done;
}

static bool create(struct recommender *recommender, struct error *error)
{
    struct gf_cf *filters = calloc(1, sizeof *filters);
    recommender->parameters = filters;
    if (!filters)
        return error_memory(error, "gf_cf", sizeof *filters, NULL);
    return embeddings_create(&filters->low_pass, recommender->backend, recommender->users, recommender->items,
                             recommender->settings.components, error);
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    (void)seed;
    if (!create(recommender, error))
        return false;
    struct gf_cf *filters = recommender->parameters;
    double *normalized = NULL, *item_sums = malloc((size_t)recommender->items * sizeof *item_sums);
    const bool done =
        (item_sums || error_memory(error, "gf_cf", (size_t)recommender->items * sizeof *item_sums, NULL)) &&
        sparse_matrix_of_training(&filters->linear.history, data, error) &&
        filter_linearly(recommender, &normalized, item_sums, error) &&
        filter_low_pass(recommender, normalized, item_sums, error);
    free(normalized);
    free(item_sums);
    return done;
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    const struct gf_cf *filters = recommender->parameters;
    item_weights_multiply(&filters->linear, user, row);
}

static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    const struct gf_cf *filters = ((const struct recommender *)context)->parameters;
    return host_score_block(context, score_row, users, count, scores, error) &&
           embeddings_multiply(filters->low_pass, users, count, scores, 1.0f, error);
}

static bool save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct gf_cf *filters = recommender->parameters;
    return sparse_matrix_save(&filters->linear.history, store, "/users/items", error) &&
           embeddings_write(filters->low_pass, store, error);
}

static bool load(struct recommender *recommender, struct store *store, struct error *error)
{
    if (!create(recommender, error))
        return false;
    struct gf_cf *filters = recommender->parameters;
    struct sparse_matrix *history = &filters->linear.history;
    if (!sparse_matrix_load(history, recommender->users, recommender->items, store, "/users/items", error) ||
        !embeddings_read(filters->low_pass, store, error))
        return false;
    double *normalized = NULL;
    const bool done = filter_linearly(recommender, &normalized, NULL, error);
    free(normalized);
    return done;
}

const struct recommender_model gf_cf_model = {
    .name = "gf_cf",
    .deterministic = true,
    .host_work = "fitted, and its linear filter applied,",
    .fit = fit,
    .score = score,
    .save = save,
    .load = load,
    .release = release,
};
