#include "models/recommenders/model.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/ops.h"

bool embeddings_create(struct embeddings **embeddings, struct backend *backend, int64_t users, int64_t items,
                       int64_t width, struct error *error)
{
    *embeddings = calloc(1, sizeof **embeddings);
    if (!*embeddings)
        return error_memory(error, "embeddings", sizeof **embeddings, NULL);
    struct embeddings *created = *embeddings;
    *created = (struct embeddings){.backend = backend,
                                   .users = users,
                                   .items = items,
                                   .width = width,
                                   .arena = arena_measure(backend, "embeddings"),
                                   .scratch = arena_measure(backend, "users to score")};
    arena_tensor_2d(&created->arena, DTYPE_REAL, users + items, width);
    if (!arena_reserve(&created->arena, 0, "lower recommenders.width", error)) {
        embeddings_release(created);
        *embeddings = NULL;
        return false;
    }
    created->table = arena_tensor_2d(&created->arena, DTYPE_REAL, users + items, width);
    return true;
}

struct tensor *embeddings_published(struct recommender *recommender)
{
    struct embeddings *embeddings = recommender->parameters;
    return &embeddings->table;
}

void embeddings_release(void *parameters)
{
    struct embeddings *embeddings = parameters;
    if (!embeddings)
        return;
    arena_release(&embeddings->arena);
    arena_release(&embeddings->scratch);
    free(embeddings->host_users);
    free(embeddings);
}

static void lay_out_scratch(struct embeddings *embeddings, int64_t rows)
{
    embeddings->user_indices = arena_tensor_1d(&embeddings->scratch, DTYPE_I32, rows);
    embeddings->user_rows = arena_tensor_2d(&embeddings->scratch, DTYPE_REAL, rows, embeddings->width);
}

static bool reserve_scratch(struct embeddings *embeddings, int64_t rows, struct error *error)
{
    if (rows <= embeddings->scratch_rows)
        return true;
    arena_release(&embeddings->scratch);
    embeddings->scratch = arena_measure(embeddings->backend, "users to score");
    embeddings->scratch_rows = 0;
    int32_t *host_users = realloc(embeddings->host_users, (size_t)rows * sizeof *host_users);
    if (!host_users)
        return error_memory(error, "users to score", (size_t)rows * sizeof *host_users, NULL);
    embeddings->host_users = host_users;
    lay_out_scratch(embeddings, rows);
    if (!arena_reserve(&embeddings->scratch, 0, "lower the number of users ranked at a time", error))
        return false;
    lay_out_scratch(embeddings, rows);
    embeddings->scratch_rows = rows;
    return true;
}

/* All rows of scores take part in the product, so that a user's scores do not depend on how many were asked
 * for. */
bool embeddings_multiply(struct embeddings *embeddings, const int32_t *users, int64_t count,
                         struct tensor *scores, float beta, struct error *error)
{
    const int64_t rows = scores->shape[0];
    if (!reserve_scratch(embeddings, rows, error))
        return false;
    memcpy(embeddings->host_users, users, (size_t)count * sizeof *users);
    for (int64_t row = count; row < rows; row++)
        embeddings->host_users[row] = -1;
    struct tensor indices = tensor_rows(&embeddings->user_indices, 0, rows);
    struct tensor user_rows = tensor_rows(&embeddings->user_rows, 0, rows);
    const struct tensor items = tensor_rows(&embeddings->table, embeddings->users, embeddings->items);
    tensor_upload(embeddings->backend, &indices, embeddings->host_users);
    op_gather(embeddings->backend, &user_rows, &embeddings->table, &indices);
    op_gemm(embeddings->backend, scores, &user_rows, PLAIN, &items, TRANSPOSED, 1.0f, beta);
    return backend_synchronize(embeddings->backend, error);
}

bool embeddings_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                      struct error *error)
{
    return embeddings_multiply(((const struct recommender *)context)->parameters, users, count, scores, 0.0f,
                               error);
}

bool embeddings_upload(struct embeddings *embeddings, const double *users, const double *items,
                       struct error *error)
{
    const int64_t user_values = embeddings->users * embeddings->width,
                  count = tensor_count(&embeddings->table);
    real *host = malloc(tensor_bytes(&embeddings->table));
    if (!host)
        return error_memory(error, "embeddings", tensor_bytes(&embeddings->table), NULL);
    for (int64_t i = 0; i < count; i++)
        host[i] = (real)(i < user_values ? users[i] : items[i - user_values]);
    tensor_upload(embeddings->backend, &embeddings->table, host);
    const bool done = backend_synchronize(embeddings->backend, error);
    free(host);
    return done;
}

bool embeddings_write(const struct embeddings *embeddings, struct store *store, struct error *error)
{
    const size_t bytes = tensor_bytes(&embeddings->table);
    real *host = malloc(bytes);
    if (!host)
        return error_memory(error, "embeddings to save", bytes, NULL);
    tensor_download(embeddings->backend, host, &embeddings->table);
    const int64_t width = embeddings->width, users = embeddings->users;
    const bool saved = backend_synchronize(embeddings->backend, error) &&
                       store_write(store, "/users/embedding", DTYPE_REAL, users, width, host, error) &&
                       store_write(store, "/items/embedding", DTYPE_REAL, embeddings->items, width,
                                   host + users * width, error);
    free(host);
    return saved;
}

bool embeddings_save(const struct recommender *recommender, struct store *store, struct error *error)
{
    return embeddings_write(recommender->parameters, store, error);
}

static bool read_part(struct embeddings *embeddings, struct store *store, const char *name, int64_t first,
                      int64_t count, struct error *error)
{
    int64_t rows, columns = embeddings->width;
    void *host;
    if (!store_read(store, name, DTYPE_REAL, &rows, &columns, &host, error))
        return false;
    const bool fits = rows == count && columns == embeddings->width;
    if (fits) {
        struct tensor part = tensor_rows(&embeddings->table, first, count);
        tensor_upload(embeddings->backend, &part, host);
    } else {
        error_set(error, ERROR_RUN,
                  "%s of a saved model is %lld x %lld, expected %lld x %lld; train it again", name,
                  (long long)rows, (long long)columns, (long long)count, (long long)embeddings->width);
    }
    free(host);
    return fits && backend_synchronize(embeddings->backend, error);
}

bool embeddings_read(struct embeddings *embeddings, struct store *store, struct error *error)
{
    return read_part(embeddings, store, "/users/embedding", 0, embeddings->users, error) &&
           read_part(embeddings, store, "/items/embedding", embeddings->users, embeddings->items, error);
}

bool embeddings_load(struct recommender *recommender, struct store *store, struct error *error)
{
    struct embeddings *embeddings;
    if (!embeddings_create(&embeddings, recommender->backend, recommender->users, recommender->items,
                           recommender->settings.width, error))
        return false;
    recommender->parameters = embeddings;
    return embeddings_read(embeddings, store, error);
}
