/*
 * item_knn.c: neighbourhood of items (Sarwar et al., "Item-based collaborative filtering", WWW 2001;
 * Deshpande and Karypis, TOIS 2004). With w the rows' weights and s the shrinkage, the similarity of source i
 * to target j is
 *
 *   cosine:       sum_u w_ui w_uj / (|w_i| |w_j| + s)
 *   jaccard:      sum_u min(w_ui, w_uj) / (sum_u max(w_ui, w_uj) + s)
 *   conditional:  sum_u w_ui w_uj / (sum_u w_ui + s)
 *
 * Each target keeps its `neighbors` most similar sources; the score of j for u is
 * sum_i w_ui similarity(i, j).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/recommenders/model.h"

/* Rows of (index, value). */
struct weighted_rows {
    int64_t rows;
    int64_t *starts; /* [rows + 1] */
    int32_t *indices;
    real *values;
};

struct item_knn {
    struct weighted_rows history; /* of users: their items and weights */
    struct weighted_rows targets; /* of source items: the targets that keep them, and similarities */
};

static bool weighted_rows_allocate(struct weighted_rows *matrix, int64_t rows, int64_t count,
                                   struct error *error)
{
    *matrix = (struct weighted_rows){.rows = rows,
                                     .starts = calloc((size_t)rows + 1, sizeof *matrix->starts),
                                     .indices = malloc((size_t)count * sizeof *matrix->indices + 1),
                                     .values = malloc((size_t)count * sizeof *matrix->values + 1)};
    if (matrix->starts && matrix->indices && matrix->values)
        return true;
    return error_memory(error, "item_knn's rows", (size_t)count * (sizeof(int32_t) + sizeof(real)),
                        "lower recommenders.neighbors");
}

static void weighted_rows_free(struct weighted_rows *matrix)
{
    free(matrix->starts);
    free(matrix->indices);
    free(matrix->values);
    *matrix = (struct weighted_rows){0};
}

static void release(void *parameters)
{
    struct item_knn *knn = parameters;
    if (!knn)
        return;
    weighted_rows_free(&knn->history);
    weighted_rows_free(&knn->targets);
    free(knn);
}

static bool copy_history(struct weighted_rows *history, const struct training_set *data, struct error *error)
{
    const struct csr *positives = data->positives;
    const int64_t count = csr_count(positives);
    if (!weighted_rows_allocate(history, positives->rows, count, error))
        return false;
    memcpy(history->starts, positives->starts, (size_t)(positives->rows + 1) * sizeof *history->starts);
    memcpy(history->indices, positives->indices, (size_t)count * sizeof *history->indices);
    for (int64_t index = 0; index < count; index++)
        history->values[index] = (real)(data->weights ? data->weights[index] : 1.0f);
    return true;
}

static bool transpose(struct weighted_rows *transposed, const struct weighted_rows *matrix, int64_t columns,
                      struct error *error)
{
    if (!weighted_rows_allocate(transposed, columns, matrix->starts[matrix->rows], error))
        return false;
    int64_t *starts = transposed->starts;
    for (int64_t index = 0; index < matrix->starts[matrix->rows]; index++)
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

enum similarity { COSINE, JACCARD, CONDITIONAL };

static bool similarity_from_name(enum similarity *similarity, const char *name, struct error *error)
{
    const char *const names[] = {"cosine", "jaccard", "conditional"};
    for (int known = COSINE; known <= CONDITIONAL; known++)
        if (strcmp(name, names[known]) == 0) {
            *similarity = (enum similarity)known;
            return true;
        }
    return error_set(error, ERROR_USAGE,
                     "item_knn: unknown similarity '%s'; use cosine, jaccard or conditional", name);
}

/* What the search for neighbours reads, and the neighbours that it finds. */
struct neighbor_search {
    enum similarity similarity;
    double shrinkage;
    int threads;
    int64_t items, neighbors;
    const struct weighted_rows *history, *audience; /* of users: their items; of items: their users */
    double *sizes;                                  /* [items]: |w_i|, or sum_u w_ui */
    struct weighted_rows found; /* of targets: their sources, `neighbors` places each; -1: none */
};

static void measure_sizes(struct neighbor_search *search)
{
    for (int64_t item = 0; item < search->items; item++) {
        double size = 0.0;
        for (int64_t index = search->audience->starts[item]; index < search->audience->starts[item + 1];
             index++) {
            const double weight = (double)search->audience->values[index];
            size += search->similarity == COSINE ? weight * weight : weight;
        }
        search->sizes[item] = search->similarity == COSINE ? sqrt(size) : size;
    }
}

static double similarity_of(const struct neighbor_search *search, int64_t source, int64_t target,
                            double overlap)
{
    double divisor = search->sizes[source] + search->shrinkage;
    if (search->similarity == COSINE)
        divisor = search->sizes[source] * search->sizes[target] + search->shrinkage;
    else if (search->similarity == JACCARD)
        divisor += search->sizes[target] - overlap;
    return divisor > 0.0 ? overlap / divisor : 0.0;
}

struct candidate {
    double similarity;
    int32_t item;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    if (left->similarity != right->similarity)
        return left->similarity < right->similarity ? 1 : -1;
    return (left->item > right->item) - (left->item < right->item);
}

/* overlap [items] is zero on entry and exit; candidates [items] is scratch. */
static void find_neighbors(struct neighbor_search *search, int64_t target, double *overlap,
                           struct candidate *candidates)
{
    const struct weighted_rows *audience = search->audience, *history = search->history;
    for (int64_t place = audience->starts[target]; place < audience->starts[target + 1]; place++) {
        const int32_t user = audience->indices[place];
        const double weight = (double)audience->values[place];
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
            const double other = (double)history->values[index];
            overlap[history->indices[index]] +=
                search->similarity == JACCARD ? fmin(weight, other) : weight * other;
        }
    }
    overlap[target] = 0.0;
    int64_t count = 0;
    for (int32_t source = 0; source < search->items; source++)
        if (overlap[source] > 0.0) {
            candidates[count++] =
                (struct candidate){similarity_of(search, source, target, overlap[source]), source};
            overlap[source] = 0.0;
        }
    qsort(candidates, (size_t)count, sizeof *candidates, compare_candidates);
    for (int64_t rank = 0; rank < search->neighbors; rank++) {
        const int64_t place = target * search->neighbors + rank;
        search->found.indices[place] = rank < count ? candidates[rank].item : -1;
        search->found.values[place] = rank < count ? (real)candidates[rank].similarity : 0;
    }
}

static bool find_all_neighbors(struct neighbor_search *search, struct error *error)
{
    bool allocated = true;
#pragma omp parallel reduction(&& : allocated) num_threads(search->threads)
    {
        double *overlap = calloc((size_t)search->items, sizeof *overlap);
        struct candidate *candidates = malloc((size_t)search->items * sizeof *candidates);
        allocated = overlap && candidates;
#pragma omp for schedule(dynamic, 16)
        for (int64_t target = 0; target < search->items; target++)
            if (overlap && candidates)
                find_neighbors(search, target, overlap, candidates);
        free(overlap);
        free(candidates);
    }
    return allocated ||
           error_memory(error, "the search for neighbours",
                        (size_t)search->items * (sizeof(double) + sizeof(struct candidate)), NULL);
}

/* From targets with their sources to sources with their targets. */
static bool collect_targets(struct weighted_rows *targets, struct neighbor_search *search,
                            struct error *error)
{
    struct weighted_rows *found = &search->found;
    int64_t kept = 0;
    for (int64_t target = 0; target < search->items; target++) {
        const int64_t first = target * search->neighbors;
        found->starts[target] = kept;
        for (int64_t place = first; place < first + search->neighbors && found->indices[place] >= 0;
             place++) {
            found->indices[kept] = found->indices[place];
            found->values[kept++] = found->values[place];
        }
    }
    found->starts[search->items] = kept;
    return transpose(targets, found, search->items, error);
}

static bool fit(struct recommender *recommender, const struct training_set *data, struct error *error)
{
    struct item_knn *knn = calloc(1, sizeof *knn);
    if (!knn)
        return error_memory(error, "item_knn", sizeof *knn, NULL);
    recommender->parameters = knn;
    const struct recommender_settings *settings = &recommender->settings;
    const int64_t items = recommender->items;
    struct weighted_rows audience = {0};
    struct neighbor_search search = {.shrinkage = settings->shrinkage,
                                     .threads = host_threads(recommender->backend),
                                     .items = items,
                                     .neighbors = settings->neighbors < items ? settings->neighbors : items,
                                     .history = &knn->history,
                                     .audience = &audience,
                                     .sizes = malloc((size_t)items * sizeof *search.sizes)};
    bool done = search.sizes || error_memory(error, "item_knn", (size_t)items * sizeof *search.sizes, NULL);
    done = done && similarity_from_name(&search.similarity, settings->similarity, error) &&
           copy_history(&knn->history, data, error) && transpose(&audience, &knn->history, items, error) &&
           weighted_rows_allocate(&search.found, items, items * search.neighbors, error);
    if (done)
        measure_sizes(&search);
    done = done && find_all_neighbors(&search, error) && collect_targets(&knn->targets, &search, error);
    weighted_rows_free(&audience);
    weighted_rows_free(&search.found);
    free(search.sizes);
    return done;
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    const struct item_knn *knn = recommender->parameters;
    const struct weighted_rows *history = &knn->history, *targets = &knn->targets;
    memset(row, 0, (size_t)recommender->items * sizeof *row);
    for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
        const int32_t source = history->indices[index];
        const real weight = history->values[index];
        for (int64_t place = targets->starts[source]; place < targets->starts[source + 1]; place++)
            row[targets->indices[place]] += weight * targets->values[place];
    }
}

static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    return host_score_block(context, score_row, users, count, scores, error);
}

static bool save_rows(const struct weighted_rows *matrix, int64_t columns, struct store *store,
                      const char *name, const char *values, struct error *error)
{
    const struct csr pattern = {
        .rows = matrix->rows, .columns = columns, .starts = matrix->starts, .indices = matrix->indices};
    return store_write_csr(store, name, &pattern, error) &&
           store_write(store, values, DTYPE_REAL, csr_count(&pattern), 0, matrix->values, error);
}

static bool load_rows(struct weighted_rows *matrix, int64_t rows, int64_t columns, struct store *store,
                      const char *name, const char *values, struct error *error)
{
    struct csr pattern;
    if (!store_read_csr(store, name, &pattern, error))
        return false;
    *matrix =
        (struct weighted_rows){.rows = pattern.rows, .starts = pattern.starts, .indices = pattern.indices};
    int64_t count;
    void *read;
    if (!store_read(store, values, DTYPE_REAL, &count, NULL, &read, error))
        return false;
    matrix->values = read;
    return (pattern.rows == rows && pattern.columns == columns && count == csr_count(&pattern)) ||
           error_set(error, ERROR_RUN,
                     "%s of a saved item_knn does not have the shape that it must; train it again", name);
}

static bool save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct item_knn *knn = recommender->parameters;
    return save_rows(&knn->history, recommender->items, store, "/users/items", "/users/items/weight",
                     error) &&
           save_rows(&knn->targets, recommender->items, store, "/items/targets", "/items/targets/similarity",
                     error);
}

static bool load(struct recommender *recommender, struct store *store, struct error *error)
{
    struct item_knn *knn = calloc(1, sizeof *knn);
    if (!knn)
        return error_memory(error, "item_knn", sizeof *knn, NULL);
    recommender->parameters = knn;
    return load_rows(&knn->history, recommender->users, recommender->items, store, "/users/items",
                     "/users/items/weight", error) &&
           load_rows(&knn->targets, recommender->items, recommender->items, store, "/items/targets",
                     "/items/targets/similarity", error);
}

const struct recommender_model item_knn_model = {.name = "item_knn",
                                                 .deterministic = true,
                                                 .fit = fit,
                                                 .score = score,
                                                 .save = save,
                                                 .load = load,
                                                 .release = release};
