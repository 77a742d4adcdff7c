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

#include "core/file.h"
#include "core/interrupt.h"
#include "models/recommenders/item_weights.h"

static const double TOLERANCE = 1e-6;
enum { MOST_TURNS = 10000 };

/* A candidate of a target and its weight, or before the descent its rank. */
struct source {
    double value;
    int32_t item;
    int32_t row; /* of workspace.rows; -1: none yet */
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
    struct source *sources; /* [items]: the candidates of a target */
    int32_t *place;         /* [items]: of an item among the candidates; -1: it is none */
    double *residual;       /* [items]: c of each candidate */
    double *rows; /* [rows, candidates]: G between candidates, for those whose weight has ever moved */
    int64_t row_count, capacity; /* rows in use; values that there is room for */
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
                (struct source){(double)gram->values[place] / sqrt(descent->diagonal[item]), item, -1};
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

/* Fills y [candidates] with row `item` of G. */
static void pick_row(double *y, int64_t count, const struct sparse_matrix *gram, int64_t item,
                     const int32_t *place_of)
{
    memset(y, 0, (size_t)count * sizeof *y);
    for (int64_t place = gram->starts[item]; place < gram->starts[item + 1]; place++)
        if (place_of[gram->indices[place]] >= 0)
            y[place_of[gram->indices[place]]] = (double)gram->values[place];
}

/* The row of G of a candidate; NULL when there is no memory. */
static const double *row_of(struct workspace *workspace, struct source *source, int64_t count,
                            const struct sparse_matrix *gram)
{
    if (source->row < 0) {
        const int64_t needed = (workspace->row_count + 1) * count;
        if (needed > workspace->capacity) {
            const size_t bytes = (size_t)(2 * needed) * sizeof(double);
            double *rows = (int64_t)bytes > available_memory_bytes() ? NULL : realloc(workspace->rows, bytes);
            if (!rows)
                return NULL;
            workspace->rows = rows;
            workspace->capacity = 2 * needed;
        }
        source->row = (int32_t)workspace->row_count++;
        pick_row(workspace->rows + source->row * count, count, gram, source->item, workspace->place);
    }
    return workspace->rows + source->row * count;
}

/* One turn over the candidates; *change: the largest change of a weight over the largest weight. */
static bool take_turn(const struct descent *descent, struct workspace *workspace, int64_t count,
                      double *change)
{
    double largest = 0.0, *residual = workspace->residual;
    *change = 0.0;
    for (int64_t i = 0; i < count; i++) {
        struct source *source = &workspace->sources[i];
        const double before = source->value, diagonal = descent->diagonal[source->item];
        const double aim = residual[i] + diagonal * before - descent->l1;
        const double after = aim > 0.0 ? aim / (diagonal + descent->regularization) : 0.0;
        if (after != before) {
            const double *row = row_of(workspace, source, count, descent->gram);
            if (!row)
                return false;
            for (int64_t k = 0; k < count; k++)
                residual[k] += (before - after) * row[k];
        }
        source->value = after;
        *change = fmax(*change, fabs(after - before));
        largest = fmax(largest, after);
    }
    if (largest > 0.0)
        *change /= largest;
    return true;
}

static enum outcome descend_to_minimum(const struct descent *descent, struct workspace *workspace,
                                       int64_t count)
{
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        double change;
        if (!take_turn(descent, workspace, count, &change))
            return NO_MEMORY;
        if (change <= TOLERANCE)
            return DONE;
    }
    return NOT_CONVERGED;
}

static enum outcome keep_weights(struct weight_list *list, const struct source *sources, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        kept += sources[i].value > 0.0;
    list->sources = malloc((size_t)kept * sizeof *sources + 1);
    if (!list->sources)
        return NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        if (sources[i].value > 0.0)
            list->sources[list->count++] = sources[i];
    return DONE;
}

static enum outcome solve(const struct descent *descent, int64_t target, struct workspace *workspace)
{
    struct source *sources = workspace->sources;
    const int64_t count = choose_candidates(descent, target, sources);
    workspace->row_count = 0;
    for (int64_t i = 0; i < count; i++)
        workspace->place[sources[i].item] = (int32_t)i;
    pick_row(workspace->residual, count, descent->gram, target, workspace->place);
    const enum outcome outcome = descend_to_minimum(descent, workspace, count);
    for (int64_t i = 0; i < count; i++)
        workspace->place[sources[i].item] = -1;
    const enum outcome kept = keep_weights(&descent->lists[target], sources, count);
    return outcome == DONE ? kept : outcome;
}

static bool report(enum outcome outcome, int64_t items, struct error *error)
{
    if (outcome == NO_MEMORY)
        return error_memory(error, "slim's weights", (size_t)items * sizeof(struct source),
                            "lower recommenders.neighbors, or raise recommenders.l1");
    if (outcome == NOT_CONVERGED)
        return error_set(
            error, ERROR_DIVERGED,
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
        struct workspace workspace = {.sources = malloc((size_t)items * sizeof *workspace.sources),
                                      .place = malloc((size_t)items * sizeof *workspace.place),
                                      .residual = malloc((size_t)items * sizeof *workspace.residual)};
        const bool allocated = workspace.sources && workspace.place && workspace.residual;
        for (int64_t item = 0; item < items && allocated; item++)
            workspace.place[item] = -1;
        worst = allocated ? DONE : NO_MEMORY;
#pragma omp for schedule(dynamic, 4)
        for (int64_t target = 0; target < items; target++)
            if (allocated && !interrupt_requested()) {
                const int outcome = (int)solve(descent, target, &workspace);
                worst = outcome > worst ? outcome : worst;
            }
        free(workspace.sources);
        free(workspace.place);
        free(workspace.residual);
        free(workspace.rows);
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
