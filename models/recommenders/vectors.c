/* vectors.c: a model's vectors of users and items: its own, or those of its embeddings. */
#include "models/recommenders/model.h"

static int64_t embedding_width(const struct recommender *recommender)
{
    return ((const struct embeddings *)recommender->parameters)->width;
}

/* Copies rows of the table, which may be on a device, one copy for each run of users in order. */
static bool embedding_users(struct recommender *recommender, const int32_t *users, int64_t count,
                            real *vectors, struct error *error)
{
    const struct embeddings *embeddings = recommender->parameters;
    for (int64_t first = 0, length; first < count; first += length) {
        for (length = 1; first + length < count && users[first + length] == users[first] + length;)
            length++;
        const struct tensor rows = tensor_rows(&embeddings->table, users[first], length);
        tensor_download(embeddings->backend, vectors + first * embeddings->width, &rows);
    }
    return backend_synchronize(embeddings->backend, error);
}

static bool embedding_items(struct recommender *recommender, real *vectors, struct error *error)
{
    const struct embeddings *embeddings = recommender->parameters;
    const struct tensor rows = tensor_rows(&embeddings->table, embeddings->users, embeddings->items);
    tensor_download(embeddings->backend, vectors, &rows);
    return backend_synchronize(embeddings->backend, error);
}

static const struct recommender_vectors embedding_vectors = {
    .width = embedding_width, .users = embedding_users, .items = embedding_items};

static const struct recommender_vectors *vectors_of(const struct recommender *recommender)
{
    const struct recommender_model *model = recommender->model;
    return model->vectors || model->score != embeddings_score ? model->vectors : &embedding_vectors;
}

int64_t recommender_vector_width(const struct recommender *recommender)
{
    const struct recommender_vectors *vectors = vectors_of(recommender);
    return vectors ? vectors->width(recommender) : 0;
}

bool recommender_user_vectors(struct recommender *recommender, const int32_t *users, int64_t count,
                              real *vectors, struct error *error)
{
    return vectors_of(recommender)->users(recommender, users, count, vectors, error);
}

bool recommender_item_vectors(struct recommender *recommender, real *vectors, struct error *error)
{
    return vectors_of(recommender)->items(recommender, vectors, error);
}
