#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/row_chunk.h"
#include "core/store.h"

/* What a text file's ids satisfy too: lists of recommendations are lines with tabs between ids. */
static bool check_id(const char *id, const char *path, struct error *error)
{
    const size_t length = strlen(id);
    bool plain = length > 0 && length <= ID_LENGTH_MAX;
    for (size_t place = 0; plain && place < length; place++)
        plain = (unsigned char)id[place] >= ' ';
    return plain || error_at(error, ERROR_RUN, path, 0,
                             "an id is empty, has more than %d bytes or holds a control character: '%.40s'",
                             ID_LENGTH_MAX, id);
}

static bool add_ids(struct id_table *table, const struct id_map *ids, const char *path, struct error *error)
{
    for (int64_t id = 0; id < ids->count; id++) {
        const char *name = id_map_name(ids, id);
        if (!check_id(name, path, error))
            return false;
        if (id_table_add(table, id_key_of(name, strlen(name)), name, strlen(name)) != id)
            return error_at(error, ERROR_RUN, path, 0,
                            "id '%s' stands twice in the file; make the ids unique", name);
    }
    return true;
}

static bool read_dataset(struct row_chunk *chunk, const char *path, struct error *error)
{
    struct dataset dataset;
    if (!dataset_load(&dataset, path, error))
        return false;
    chunk->has_time = dataset.train_times != NULL;
    bool done = add_ids(&chunk->users, &dataset.user_ids, path, error) &&
                add_ids(&chunk->items, &dataset.item_ids, path, error);
    for (int64_t user = 0; user < dataset.train.rows && done; user++)
        for (int64_t index = dataset.train.starts[user]; index < dataset.train.starts[user + 1] && done;
             index++)
            done = row_chunk_append(chunk, (int32_t)user, dataset.train.indices[index], 0,
                                    chunk->has_time ? dataset.train_times[index] : 0) ||
                   error_set(error, ERROR_RUN, "%s", chunk->message);
    dataset_free(&dataset);
    return done;
}

/* A column of i64, or of i32, which is widened. */
static bool read_integers(struct store *store, const char *name, int64_t *count, int64_t **values,
                          struct error *error)
{
    struct error other_width = ERROR_INITIALIZER;
    void *narrow = NULL, *wide = NULL;
    if (!store_read(store, name, DTYPE_I32, count, NULL, &narrow, &other_width)) {
        if (!store_read(store, name, DTYPE_I64, count, NULL, &wide, error))
            return false;
        *values = wide;
        return true;
    }
    *values = malloc((size_t)(*count + 1) * sizeof **values);
    for (int64_t row = 0; row < *count && *values; row++)
        (*values)[row] = ((int32_t *)narrow)[row];
    free(narrow);
    return *values || error_memory(error, name, (size_t)*count * sizeof **values, NULL);
}

/* A column of f32, or of f64, which is narrowed. */
static bool read_ratings(struct store *store, const char *name, int64_t *count, float **values,
                         struct error *error)
{
    struct error other_width = ERROR_INITIALIZER;
    void *narrow = NULL, *wide = NULL;
    if (store_read(store, name, DTYPE_F32, count, NULL, &narrow, &other_width)) {
        *values = narrow;
        return true;
    }
    if (!store_read(store, name, DTYPE_F64, count, NULL, &wide, error))
        return false;
    *values = malloc((size_t)(*count + 1) * sizeof **values);
    for (int64_t row = 0; row < *count && *values; row++)
        (*values)[row] = (float)((double *)wide)[row];
    free(wide);
    return *values || error_memory(error, name, (size_t)*count * sizeof **values, NULL);
}

/* A column of strings, or of whole numbers, as numbered ids. */
static bool read_id_column(struct id_table *table, struct store *store, const char *name, const char *path,
                           int32_t **numbers, int64_t *count, struct error *error)
{
    struct id_map strings = {0};
    struct error not_strings = ERROR_INITIALIZER;
    int64_t *integers = NULL;
    const bool text = store_read_ids(store, name, &strings, &not_strings);
    if (!text && !read_integers(store, name, count, &integers, error))
        return false;
    if (text)
        *count = strings.count;
    *numbers = malloc((size_t)(*count + 1) * sizeof **numbers);
    bool done = *numbers || error_memory(error, path, (size_t)*count * sizeof **numbers, NULL);
    for (int64_t row = 0; row < *count && done; row++) {
        char digits[24];
        if (!text)
            snprintf(digits, sizeof digits, "%lld", (long long)integers[row]);
        const char *id = text ? id_map_name(&strings, row) : digits;
        if (!check_id(id, path, error)) {
            done = false;
            break;
        }
        (*numbers)[row] = id_table_add(table, id_key_of(id, strlen(id)), id, strlen(id));
        if ((*numbers)[row] < 0)
            done = error_memory(error, "the ids of users and items", (size_t)*count * 8, NULL);
    }
    free(integers);
    id_map_free(&strings);
    return done;
}

struct columns {
    int32_t *users, *items;
    float *ratings; /* NULL: none */
    int64_t *times; /* NULL: none */
};

static bool read_columns(struct columns *columns, struct row_chunk *chunk, struct store *store,
                         const char *path, struct error *error)
{
    int64_t users = 0, items = 0, ratings, times;
    if (!read_id_column(&chunk->users, store, "/user", path, &columns->users, &users, error) ||
        !read_id_column(&chunk->items, store, "/item", path, &columns->items, &items, error))
        return false;
    ratings = times = users;
    if (store_has(store, "/rating") && !read_ratings(store, "/rating", &ratings, &columns->ratings, error))
        return false;
    if (store_has(store, "/time") && !read_integers(store, "/time", &times, &columns->times, error))
        return false;
    if (users != items || users != ratings || users != times)
        return error_at(error, ERROR_RUN, path, 0, "/user, /item, /rating and /time differ in length");
    chunk->has_rating = columns->ratings != NULL;
    chunk->has_time = columns->times != NULL;
    for (int64_t row = 0; row < users; row++)
        if (!row_chunk_append(chunk, columns->users[row], columns->items[row],
                              columns->ratings ? columns->ratings[row] : 0,
                              columns->times ? columns->times[row] : 0))
            return error_set(error, ERROR_RUN, "%s", chunk->message);
    return true;
}

bool row_chunk_read_hdf5(struct row_chunk *chunk, const char *path, struct error *error)
{
    *chunk = (struct row_chunk){0};
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    const bool is_columns = store_has(store, "/user") && store_has(store, "/item");
    const bool is_dataset = store_has(store, "/train/indptr");
    bool done = false;
    if (is_columns) {
        struct columns columns = {0};
        done = read_columns(&columns, chunk, store, path, error);
        free(columns.users);
        free(columns.items);
        free(columns.ratings);
        free(columns.times);
    }
    store_close(store);
    if (is_columns)
        return done;
    if (!is_dataset)
        return error_at(error, ERROR_RUN, path, 0, "neither columns /user and /item nor a dataset.h5");
    return read_dataset(chunk, path, error);
}
