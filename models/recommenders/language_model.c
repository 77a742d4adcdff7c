/*
 * language_model.c: rankings that a language model has made, as a recommender. Whoever trains one hands them over
 * (training_set.rankings); this file neither knows how they came about nor needs the language model again. The score of an
 * item is that of the ranking, and an item that the ranking does not hold has -infinity: it is never recommended.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "models/recommenders/model.h"

struct kept_ranking {
    char context[17]; /* the hash of what it follows; empty: whatever a user has */
    struct csr items; /* [users, items]; a row is best first */
    float *scores;    /* one an index */
};

struct kept_rankings {
    int count, chosen;
    struct kept_ranking ranking[RANKINGS_MAXIMUM];
};

static void release(void *parameters)
{
    struct kept_rankings *kept = parameters;
    if (!kept)
        return;
    for (int i = 0; i < kept->count; i++) {
        csr_free(&kept->ranking[i].items);
        free(kept->ranking[i].scores);
    }
    free(kept);
}

static bool create(struct kept_rankings **kept, struct recommender *recommender, struct error *error)
{
    *kept = calloc(1, sizeof **kept);
    recommender->parameters = *kept;
    return *kept || error_memory(error, "rankings", sizeof **kept, NULL);
}

static void hash_context(char digits[17], const struct csr *context)
{
    digits[0] = '\0';
    if (!context)
        return;
    const XXH64_hash_t starts =
        XXH3_64bits(context->starts, (size_t)(context->rows + 1) * sizeof *context->starts);
    const XXH64_hash_t hash =
        XXH3_64bits_withSeed(context->indices, (size_t)csr_count(context) * sizeof *context->indices, starts);
    snprintf(digits, 17, "%016" PRIx64, (uint64_t)hash);
}

static bool keep(struct kept_ranking *kept, const struct given_ranking *given, struct error *error)
{
    const size_t bytes = (size_t)(csr_count(given->items) + 1) * sizeof *kept->scores;
    hash_context(kept->context, given->context);
    if (!csr_copy(&kept->items, given->items, error))
        return false;
    kept->scores = malloc(bytes);
    if (!kept->scores)
        return error_memory(error, "scores of a ranking", bytes, "lower recommenders[].ranked_items");
    memcpy(kept->scores, given->scores, bytes - sizeof *kept->scores);
    return true;
}

static bool fit(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error)
{
    struct kept_rankings *kept;
    (void)seed;
    if (data->ranking_count < 1 || data->ranking_count > RANKINGS_MAXIMUM)
        return error_set(error, ERROR_RUN, "language_model: no ranking of a language model is given");
    if (!create(&kept, recommender, error))
        return false;
    while (kept->count < data->ranking_count) {
        const struct given_ranking *given = &data->rankings[kept->count];
        if (!keep(&kept->ranking[kept->count++], given, error))
            return false;
    }
    return true;
}

static bool set_history(struct recommender *recommender, const struct csr *history, struct error *error)
{
    struct kept_rankings *kept = recommender->parameters;
    char digits[17];
    hash_context(digits, history);
    for (int i = 0; i < kept->count; i++)
        if (*kept->ranking[i].context == '\0' || strcmp(kept->ranking[i].context, digits) == 0) {
            kept->chosen = i;
            return true;
        }
    return error_set(error, ERROR_RUN,
                     "language_model: it has not ranked what comes after these interactions; run `train` "
                     "again");
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    const struct kept_rankings *kept = recommender->parameters;
    const struct kept_ranking *ranking = &kept->ranking[kept->chosen];
    for (int64_t item = 0; item < recommender->items; item++)
        row[item] = -(real)INFINITY;
    for (int64_t i = ranking->items.starts[user]; i < ranking->items.starts[user + 1]; i++)
        row[ranking->items.indices[i]] = (real)ranking->scores[i];
}

static bool score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error)
{
    return host_score_block(context, score_row, users, count, scores, error);
}

static bool save_ranking(const struct kept_ranking *ranking, struct store *store, int place,
                         struct error *error)
{
    char *group = path_format("/rankings/%d", place), *scores = path_format("%s/score", group);
    const bool done =
        store_write_csr(store, group, &ranking->items, error) &&
        store_write(store, scores, DTYPE_F32, csr_count(&ranking->items), 0, ranking->scores, error) &&
        store_set_string(store, group, "context", ranking->context, error);
    free(scores);
    free(group);
    return done;
}

static bool save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct kept_rankings *kept = recommender->parameters;
    for (int i = 0; i < kept->count; i++)
        if (!save_ranking(&kept->ranking[i], store, i, error))
            return false;
    return store_set_integer(store, "/rankings", "count", kept->count, error);
}

static bool load_context(struct kept_ranking *ranking, struct store *store, const char *group,
                         struct error *error)
{
    char *context;
    if (!store_get_string(store, group, "context", &context, error))
        return false;
    snprintf(ranking->context, sizeof ranking->context, "%s", context);
    free(context);
    return true;
}

static bool load_ranking(struct kept_ranking *ranking, const struct recommender *recommender,
                         struct store *store, int place, struct error *error)
{
    char *group = path_format("/rankings/%d", place), *scores = path_format("%s/score", group);
    int64_t count = 0;
    bool done = store_read_csr(store, group, &ranking->items, error) &&
                load_context(ranking, store, group, error) &&
                store_read(store, scores, DTYPE_F32, &count, NULL, (void **)&ranking->scores, error);
    if (done && (count != csr_count(&ranking->items) || ranking->items.rows != recommender->users ||
                 ranking->items.columns != recommender->items))
        done = error_set(error, ERROR_RUN, "%s does not fit the %lld users and %lld items; train it again",
                         group, (long long)recommender->users, (long long)recommender->items);
    free(scores);
    free(group);
    return done;
}

static bool load(struct recommender *recommender, struct store *store, struct error *error)
{
    struct kept_rankings *kept;
    int64_t count;
    if (!create(&kept, recommender, error) || !store_get_integer(store, "/rankings", "count", &count, error))
        return false;
    if (count < 1 || count > RANKINGS_MAXIMUM)
        return error_set(error, ERROR_RUN, "/rankings holds %lld of them; train it again", (long long)count);
    kept->count = (int)count;
    for (int i = 0; i < kept->count; i++)
        if (!load_ranking(&kept->ranking[i], recommender, store, i, error))
            return false;
    return true;
}

const struct recommender_model language_model_model = {.name = "language_model",
                                                       .deterministic = true,
                                                       .given = true,
                                                       .host_work = "scored",
                                                       .fit = fit,
                                                       .set_history = set_history,
                                                       .score = score,
                                                       .save = save,
                                                       .load = load,
                                                       .release = release};
