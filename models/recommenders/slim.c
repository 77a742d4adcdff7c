/*
 * slim.c: sparse linear models (Ning and Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011,
 * equation 4). With X [users, items] the weights of the training rows, 0 elsewhere, column w_j of W minimises
 *
 *   1/2 |x_j - X w_j|^2 + regularization / 2 |w_j|^2 + l1 |w_j|_1  subject to  w_j >= 0, W_jj = 0,
 *
 * and the score of item j for user u is x_u w_j. A row of weight w is the entry w of X. Only the `neighbors` items most
 * similar to j by cosine (0: all) may have a weight in w_j (fsSLIM, section 4.3 there).
 *
 * Coordinates descend in turn over G = X^T X (Friedman, Hastie and Tibshirani, "Regularization Paths for Generalized Linear
 * Models via Coordinate Descent", Journal of Statistical Software 33, 2010: covariance updates): with c = G_j - G w_j,
 * w_ij becomes max(0, c_i + G_ii w_ij - l1) / (G_ii + regularization), until no weight moves by more than TOLERANCE times
 * the largest one in a turn. In double precision; targets are independent, so the bits do not depend on threads.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/recommenders/item_weights.h"

static const double TOLERANCE = 1e-6;
enum { MOST_TURNS = 10000 };

/* A weight, or before the descent the rank of a candidate. */
struct source {
    double value;
    int32_t item;
};

struct weight_list {
    int64_t count;
    struct source *sources;
};

/* What all targets read, and the lists that they write. */
struct descent {
    const struct sparse_matrix *gram;
    double *diagonal; /* [items] */
    double regularization, l1;
    int64_t neighbors;
    struct weight_list *lists; /* [items] */
};

/* Of one thread. */
struct workspace {
    double *residual;       /* [items]: c; zero between two targets */
    struct source *sources; /* [items]: the candidates of a target and their weights */
};

enum outcome { DONE, NO_MEMORY, NOT_CONVERGED };

static int by_value(const void *a, const void *b)
{
    const struct source *left = a, *right = b;
    if (left->value != right->value)
        return left->value < right->value ? 1 : -1;
    return (left->item > right->item) - (left->item < right->item);
}

static int by_item(const void *a, const void *b)
{
    const struct source *left = a, *right = b;
    return (left->item > right->item) - (left->item < right->item);
}

/* The candidates of a target, ascending, with weights of 0. */
static int64_t choose_candidates(const struct descent *descent, int64_t target, struct source *sources)
{
    const struct sparse_matrix *gram = descent->gram;
    int64_t count = 0;
    for (int64_t place = gram->starts[target]; place < gram->starts[target + 1]; place++) {
        const int32_t item = gram->indices[place];
        if (item != target)
            sources[count++] =
                (struct source){(double)gram->values[place] / sqrt(descent->diagonal[item]), item};
    }
    if (descent->neighbors > 0 && count > descent->neighbors) {
        qsort(sources, (size_t)count, sizeof *sources, by_value);
        count = descent->neighbors;
        qsort(sources, (size_t)count, sizeof *sources, by_item);
    }
    for (int64_t i = 0; i < count; i++)
        sources[i].value = 0.0;
    return count;
}

/* y += factor * row `item` of G. */
static void add_row(double *y, const struct sparse_matrix *gram, int64_t item, double factor)
{
    for (int64_t place = gram->starts[item]; place < gram->starts[item + 1]; place++)
        y[gram->indices[place]] += factor * (double)gram->values[place];
}

/* One turn over the candidates; returns the largest change of a weight over the largest weight. */
static double take_turn(const struct descent *descent, double *residual, struct source *sources,
                        int64_t count)
{
    double largest = 0.0, change = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t item = sources[i].item;
        const double before = sources[i].value, diagonal = descent->diagonal[item];
        const double aim = residual[item] + diagonal * before - descent->l1;
        const double after = aim > 0.0 ? aim / (diagonal + descent->regularization) : 0.0;
        if (after != before)
            add_row(residual, descent->gram, item, before - after);
        sources[i].value = after;
        change = fmax(change, fabs(after - before));
        largest = fmax(largest, after);
    }
    return largest > 0.0 ? change / largest : 0.0;
}

static enum outcome solve(const struct descent *descent, int64_t target, struct workspace *workspace)
{
    struct source *sources = workspace->sources;
    double *residual = workspace->residual;
    const int64_t count = choose_candidates(descent, target, sources);
    add_row(residual, descent->gram, target, 1.0);
    int turns = 0;
    while (turns < MOST_TURNS && take_turn(descent, residual, sources, count) > TOLERANCE)
        turns++;
    memset(residual, 0, (size_t)descent->gram->rows * sizeof *residual);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (sources[i].value > 0.0)
            sources[kept++] = sources[i];
    struct weight_list *list = &descent->lists[target];
    *list = (struct weight_list){kept, malloc((size_t)kept * sizeof *sources + 1)};
    if (!list->sources)
        return NO_MEMORY;
    memcpy(list->sources, sources, (size_t)kept * sizeof *sources);
    return turns < MOST_TURNS ? DONE : NOT_CONVERGED;
}

static bool report(enum outcome outcome, int64_t items, struct error *error)
{
    if (outcome == NO_MEMORY)
        return error_memory(error, "slim's weights", (size_t)items * sizeof(struct source),
                            "lower recommenders.neighbors, or raise recommenders.l1");
    if (outcome == NOT_CONVERGED)
        return error_set(
            error, ERROR_RUN,
            "slim: weights still move after %d turns; raise recommenders.regularization (similar "
            "items are not told apart without it)",
            MOST_TURNS);
    return interrupt_check(error);
}

static bool solve_all(const struct descent *descent, int threads, struct error *error)
{
    const int64_t items = descent->gram->rows;
    int worst = DONE;
#pragma omp parallel reduction(max : worst) num_threads(threads)
    {
        struct workspace workspace = {calloc((size_t)items, sizeof *workspace.residual),
                                      malloc((size_t)items * sizeof *workspace.sources)};
        const bool allocated = workspace.residual && workspace.sources;
        worst = allocated ? DONE : NO_MEMORY;
#pragma omp for schedule(dynamic, 4)
        for (int64_t target = 0; target < items; target++)
            if (allocated && !interrupt_requested()) {
                const int outcome = (int)solve(descent, target, &workspace);
                worst = outcome > worst ? outcome : worst;
            }
        free(workspace.residual);
        free(workspace.sources);
    }
    return report((enum outcome)worst, items, error);
}

static bool collect(struct recommender *recommender, const struct descent *descent, struct error *error)
{
    const int64_t items = recommender->items;
    struct sparse_matrix sources = {0};
    int64_t count = 0;
    for (int64_t target = 0; target < items; target++)
        count += descent->lists[target].count;
    bool done = sparse_matrix_allocate(&sources, items, items, count, error);
    for (int64_t target = 0, filled = 0; target < items && done; target++) {
        const struct weight_list *list = &descent->lists[target];
        for (int64_t i = 0; i < list->count; i++) {
            sources.indices[filled] = list->sources[i].item;
            sources.values[filled++] = (real)list->sources[i].value;
        }
        sources.starts[target + 1] = filled;
    }
    done = done && item_weights_set(recommender, &sources, error);
    sparse_matrix_free(&sources);
    return done;
}

static bool descend(struct recommender *recommender, const struct sparse_matrix *gram, struct error *error)
{
    const struct recommender_settings *settings = &recommender->settings;
    const int64_t items = recommender->items;
    struct descent descent = {.gram = gram,
                              .diagonal = calloc((size_t)items, sizeof *descent.diagonal),
                              .regularization = settings->regularization,
                              .l1 = settings->l1,
                              .neighbors = settings->neighbors,
                              .lists = calloc((size_t)items, sizeof *descent.lists)};
    bool done = (descent.diagonal && descent.lists) ||
                error_memory(error, "slim", (size_t)items * sizeof *descent.lists, NULL);
    for (int64_t item = 0; item < items && done; item++)
        for (int64_t place = gram->starts[item]; place < gram->starts[item + 1]; place++)
            if (gram->indices[place] == item)
                descent.diagonal[item] = (double)gram->values[place];
    done = done && solve_all(&descent, host_threads(recommender->backend), error) &&
           collect(recommender, &descent, error);
    for (int64_t target = 0; target < items && descent.lists; target++)
        free(descent.lists[target].sources);
    free(descent.lists);
    free(descent.diagonal);
    return done;
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    (void)seed;
    if (!item_weights_create(recommender, data, error))
        return false;
    const struct item_weights *weights = recommender->parameters;
    struct sparse_matrix audience = {0}, gram = {0};
    const bool done =
        sparse_matrix_transpose(&audience, &weights->history, error) &&
        sparse_matrix_gram(&gram, &weights->history, &audience, host_threads(recommender->backend), error) &&
        descend(recommender, &gram, error);
    sparse_matrix_free(&audience);
    sparse_matrix_free(&gram);
    return done;
}

const struct recommender_model slim_model = {
    .name = "slim",
    .deterministic = true,
    .host_work = "fitted and scored",
    .fit = fit,
    .score = item_weights_score,
    .save = item_weights_save,
    .load = item_weights_load,
    .release = item_weights_release,
};
