#include "models/recommenders/item_weights.h"

#include <stdlib.h>
#include <string.h>

static bool create_empty(struct recommender *recommender, struct error *error)
{
    recommender->parameters = calloc(1, sizeof(struct item_weights));
    return recommender->parameters ||
           error_memory(error, recommender->settings.model, sizeof(struct item_weights), NULL);
}

bool item_weights_create(struct recommender *recommender, const struct training_set *data,
                         struct error *error)
{
    if (!create_empty(recommender, error))
        return false;
    struct item_weights *weights = recommender->parameters;
    return sparse_matrix_of_training(&weights->history, data, error);
}

void item_weights_free(struct item_weights *weights)
{
    sparse_matrix_free(&weights->history);
    sparse_matrix_free(&weights->targets);
}

void item_weights_release(void *parameters)
{
    if (parameters)
        item_weights_free(parameters);
    free(parameters);
}

bool item_weights_set(struct recommender *recommender, const struct sparse_matrix *sources,
                      struct error *error)
{
    struct item_weights *weights = recommender->parameters;
    return sparse_matrix_transpose(&weights->targets, sources, error);
}

void item_weights_multiply(const struct item_weights *weights, int32_t user, real *row)
{
    const struct sparse_matrix *history = &weights->history, *targets = &weights->targets;
    memset(row, 0, (size_t)history->columns * sizeof *row);
    for (int64_t index = history->starts[user]; index < history->starts[user + 1]; index++) {
        const int32_t source = history->indices[index];
        const real weight = history->values[index];
        for (int64_t place = targets->starts[source]; place < targets->starts[source + 1]; place++)
            row[targets->indices[place]] += weight * targets->values[place];
    }
}

static void score_row(const struct recommender *recommender, int32_t user, real *row)
{
    item_weights_multiply(recommender->parameters, user, row);
}

bool item_weights_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                        struct error *error)
{
    return host_score_block(context, score_row, users, count, scores, error);
}

bool item_weights_save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct item_weights *weights = recommender->parameters;
    return sparse_matrix_save(&weights->history, store, "/users/items", error) &&
           sparse_matrix_save(&weights->targets, store, "/items/targets", error);
}

bool item_weights_load(struct recommender *recommender, struct store *store, struct error *error)
{
    if (!create_empty(recommender, error))
        return false;
    struct item_weights *weights = recommender->parameters;
    const int64_t users = recommender->users, items = recommender->items;
    return sparse_matrix_load(&weights->history, users, items, store, "/users/items", error) &&
           sparse_matrix_load(&weights->targets, items, items, store, "/items/targets", error);
}
