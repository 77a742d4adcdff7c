/*
 * item_knn.c: neighbourhood of items (Sarwar et al., "Item-based collaborative filtering", WWW 2001;
 * Deshpande and Karypis, TOIS 2004). With w the rows' weights, n_u the number of u's items and s the shrinkage, the
 * similarity of source i to target j is
 *
 *   cosine:       sum_u w_ui w_uj / (|w_i| |w_j| + s)
 *   jaccard:      sum_u min(w_ui, w_uj) / (sum_u max(w_ui, w_uj) + s)
 *   dice:         2 sum_u min(w_ui, w_uj) / (sum_u w_ui + sum_u w_uj + s)
 *   conditional:  sum_u w_ui w_uj / (sum_u w_ui + s)
 *   tf_idf:       cosine of w'_ui = sqrt(w_ui) f_u,  f_u = log(items / (1 + n_u))
 *   bm25:         sum_u w'_ui w'_uj of w'_ui = f_u w_ui (k + 1) / (w_ui + k (1 - b + b |w_i|_1 / mean_j |w_j|_1)),
 *                 k = 1.2, b = 0.75: not divided by anything, s counts nothing
 *
 * (Spaerck Jones, 1972; Robertson et al., "Okapi at TREC-3", 1994, with items for documents and users for terms). Each
 * target keeps its `neighbors` most similar sources; the score of j for u is sum_i w_ui similarity(i, j).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/recommenders/item_weights.h"

enum similarity { COSINE, JACCARD, DICE, CONDITIONAL, TF_IDF, BM25 };

static bool similarity_from_name(enum similarity *similarity, const char *name, struct error *error)
{
    const char *const names[] = {"cosine", "jaccard", "dice", "conditional", "tf_idf", "bm25"};
    for (int known = COSINE; known <= BM25; known++)
        if (strcmp(name, names[known]) == 0) {
            *similarity = (enum similarity)known;
            return true;
        }
    return error_set(
        error, ERROR_USAGE,
        "item_knn: unknown similarity '%s'; use cosine, jaccard, dice, conditional, tf_idf or bm25", name);
}

/* What the search for neighbours reads, and the neighbours that it finds. */
struct neighbor_search {
    enum similarity similarity;
    double shrinkage;
    int threads;
    int64_t items, neighbors;
    struct sparse_matrix history, audience; /* of users: their items; of items: their users */
    double *sizes;                          /* [items]: |w_i|, or sum_u w_ui */
    struct sparse_matrix found;             /* of targets: their sources, `neighbors` places each; -1: none */
};

static bool is_cosine(enum similarity similarity)
{
    return similarity == COSINE || similarity == TF_IDF;
}

/* sum_u of w_ui, or of its square. */
static void measure_sizes(double *sizes, const struct sparse_matrix *history, bool squares)
{
    memset(sizes, 0, (size_t)history->columns * sizeof *sizes);
    for (int64_t index = 0; index < sparse_matrix_count(history); index++) {
        const double weight = (double)history->values[index];
        sizes[history->indices[index]] += squares ? weight * weight : weight;
    }
}

/* history = w' of tf_idf or bm25. */
static void weigh_history(struct neighbor_search *search)
{
    const double saturation = 1.2, length_share = 0.75; /* k and b */
    struct sparse_matrix *history = &search->history;
    double mean = 0.0;
    measure_sizes(search->sizes, history, false);
    for (int64_t item = 0; item < search->items; item++)
        mean += search->sizes[item] / (double)search->items;
    for (int64_t user = 0; user < history->rows; user++) {
        const int64_t length = history->starts[user + 1] - history->starts[user];
        const double rarity = fmax(0.0, log((double)search->items / (double)(1 + length)));
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
            const double weight = (double)history->values[index];
            const double relative_size = search->sizes[history->indices[index]] / mean;
            const double damping = saturation * (1.0 - length_share + length_share * relative_size);
            history->values[index] =
                (real)(rarity * (search->similarity == TF_IDF
                                     ? sqrt(weight)
                                     : weight * (saturation + 1.0) / (weight + damping)));
        }
    }
}

static double similarity_of(const struct neighbor_search *search, int64_t source, int64_t target,
                            double overlap)
{
    const double source_size = search->sizes[source], target_size = search->sizes[target];
    double divisor = search->shrinkage;
    switch (search->similarity) {
    case BM25:
        return overlap;
    case JACCARD:
        divisor += source_size + target_size - overlap;
        break;
    case DICE:
        divisor += source_size + target_size;
        overlap *= 2.0;
        break;
    case CONDITIONAL:
        divisor += source_size;
        break;
    default:
        divisor += sqrt(source_size) * sqrt(target_size);
    }
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

/* sum[i] += sum_u min(w_ui, w_u,target). */
static void add_minima(double *sum, const struct neighbor_search *search, int64_t target)
{
    const struct sparse_matrix *audience = &search->audience, *history = &search->history;
    for (int64_t place = audience->starts[target]; place < audience->starts[target + 1]; place++) {
        const int32_t user = audience->indices[place];
        const double weight = (double)audience->values[place];
        for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++)
            sum[history->indices[index]] += fmin(weight, (double)history->values[index]);
    }
}

/* overlap [items] is zero on entry and exit; candidates [items] is scratch. */
static void find_neighbors(struct neighbor_search *search, int64_t target, double *overlap,
                           struct candidate *candidates)
{
    if (search->similarity == JACCARD || search->similarity == DICE)
        add_minima(overlap, search, target);
    else
        sparse_matrix_gram_row(overlap, &search->history, &search->audience, target);
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

/* Takes the unused places out of search->found. */
static void close_gaps(struct neighbor_search *search)
{
    struct sparse_matrix *found = &search->found;
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
}

static bool check(const struct recommender_settings *settings, struct error *error)
{
    return settings->neighbors >= 1 ||
           error_set(error, ERROR_USAGE, "item_knn: recommenders.neighbors must be at least 1");
}

static bool search_open(struct neighbor_search *search, const struct recommender *recommender,
                        const struct training_set *data, struct error *error)
{
    const struct recommender_settings *settings = &recommender->settings;
    const int64_t items = recommender->items;
    *search = (struct neighbor_search){.shrinkage = settings->shrinkage,
                                       .threads = host_threads(recommender->backend),
                                       .items = items,
                                       .neighbors = settings->neighbors < items ? settings->neighbors : items,
                                       .sizes = malloc((size_t)items * sizeof *search->sizes)};
    if (!search->sizes)
        return error_memory(error, "item_knn", (size_t)items * sizeof *search->sizes, NULL);
    if (!similarity_from_name(&search->similarity, settings->similarity, error) ||
        !sparse_matrix_of_training(&search->history, data, error))
        return false;
    if (search->similarity == TF_IDF || search->similarity == BM25)
        weigh_history(search);
    measure_sizes(search->sizes, &search->history, is_cosine(search->similarity));
    return sparse_matrix_transpose(&search->audience, &search->history, error) &&
           sparse_matrix_allocate(&search->found, items, items, items * search->neighbors, error);
}

static void search_close(struct neighbor_search *search)
{
    sparse_matrix_free(&search->history);
    sparse_matrix_free(&search->audience);
    sparse_matrix_free(&search->found);
    free(search->sizes);
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    (void)seed;
    struct neighbor_search search = {0};
    bool done = item_weights_create(recommender, data, error) &&
                search_open(&search, recommender, data, error) && find_all_neighbors(&search, error);
    if (done) {
        close_gaps(&search);
        done = item_weights_set(recommender, &search.found, error);
    }
    search_close(&search);
    return done;
}

const struct recommender_model item_knn_model = {
    .name = "item_knn",
    .deterministic = true,
    .check = check,
    .host_work = "fitted and scored",
    .fit = fit,
    .score = item_weights_score,
    .save = item_weights_save,
    .load = item_weights_load,
    .release = item_weights_release,
};
