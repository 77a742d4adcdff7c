#include "models/recommenders/model.h"

#include <stdlib.h>
#include <string.h>

/* The score of an item is the sum of its training rows' weights, for every user. */
struct popularity {
    real *counts; /* [items] */
};

static void release(void *parameters)
{
    struct popularity *popularity = parameters;
    if (!popularity)
        return;
    free(popularity->counts);
    free(popularity);
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    (void)seed;
    const size_t items = (size_t)recommender->items;
    struct popularity *popularity = calloc(1, sizeof *popularity);
    double *sums = calloc(items + 1, sizeof *sums);
    recommender->parameters = popularity;
    if (popularity)
        popularity->counts = malloc((items + 1) * sizeof *popularity->counts);
    if (!popularity || !popularity->counts || !sums) {
        free(sums);
        return error_memory(error, "the items' popularity", items * sizeof *sums, NULL);
    }
    for (int64_t index = 0; index < csr_count(data->positives); index++)
        sums[data->positives->indices[index]] += data->weights ? (double)data->weights[index] : 1.0;
    for (size_t item = 0; item < items; item++)
        popularity->counts[item] = (real)sums[item];
    free(sums);
    return true;
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    (void)user;
    const struct popularity *popularity = recommender->parameters;
    memcpy(row, popularity->counts, (size_t)recommender->items * sizeof *row);
}

static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    return host_score_block(context, score_row, users, count, scores, error);
}

static bool save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct popularity *popularity = recommender->parameters;
    return store_write(store, "/items/count", DTYPE_REAL, recommender->items, 0, popularity->counts, error);
}

static bool load(struct recommender *recommender, struct store *store, struct error *error)
{
    struct popularity *popularity = calloc(1, sizeof *popularity);
    if (!popularity)
        return error_memory(error, "the items' popularity", sizeof *popularity, NULL);
    recommender->parameters = popularity;
    int64_t rows;
    void *counts;
    if (!store_read(store, "/items/count", DTYPE_REAL, &rows, NULL, &counts, error))
        return false;
    popularity->counts = counts;
    return rows == recommender->items ||
           error_set(error, ERROR_RUN, "/items/count holds %lld items, expected %lld; train it again",
                     (long long)rows, (long long)recommender->items);
}

const struct recommender_model popularity_model = {.name = "popularity",
                                                   .deterministic = true,
                                                   .host_work = "fitted and scored",
                                                   .fit = fit,
                                                   .score = score,
                                                   .save = save,
                                                   .load = load,
                                                   .release = release};
