#include "experiments/generated.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/store.h"

/* The last column and the last counts are not in files of earlier versions, where they would be 0. */
enum { COLUMNS = 6, COUNTS = 9, COLUMNS_ALWAYS = 5, COUNTS_ALWAYS = 6 };

struct integer_column {
    const char *name;
    int32_t **values;
};

static void list_columns(struct generated *generated, struct integer_column columns[COLUMNS])
{
    columns[0] = (struct integer_column){"user", &generated->user};
    columns[1] = (struct integer_column){"item", &generated->item};
    columns[2] = (struct integer_column){"sample", &generated->sample};
    columns[3] = (struct integer_column){"position", &generated->position};
    columns[4] = (struct integer_column){"votes", &generated->votes};
    columns[5] = (struct integer_column){"cut", &generated->cut};
}

struct named_count {
    const char *name;
    int64_t *value;
};

static void list_counts(struct generation_counts *counts, struct named_count list[COUNTS])
{
    list[0] = (struct named_count){"requested", &counts->requested};
    list[1] = (struct named_count){"valid", &counts->valid};
    list[2] = (struct named_count){"invalid", &counts->invalid};
    list[3] = (struct named_count){"already_seen", &counts->already_seen};
    list[4] = (struct named_count){"duplicate", &counts->duplicate};
    list[5] = (struct named_count){"tokens", &counts->tokens};
    list[6] = (struct named_count){"malformed", &counts->malformed};
    list[7] = (struct named_count){"unknown", &counts->unknown};
    list[8] = (struct named_count){"incomplete", &counts->incomplete};
}

bool generated_allocate(struct generated *generated, int64_t count, struct error *error)
{
    const size_t rows = count > 0 ? (size_t)count : 1;
    struct integer_column columns[COLUMNS];
    *generated = (struct generated){.count = count};
    list_columns(generated, columns);
    bool fine = (generated->log_probability = malloc(rows * sizeof(float))) != NULL;
    for (int column = 0; column < COLUMNS; column++)
        fine = (*columns[column].values = malloc(rows * sizeof(int32_t))) != NULL && fine;
    if (fine)
        return true;
    generated_free(generated);
    return error_memory(error, "the generated interactions", rows * 28,
                        "lower generate.samples or generate.max_items");
}

void generated_free(struct generated *generated)
{
    struct integer_column columns[COLUMNS];
    list_columns(generated, columns);
    for (int column = 0; column < COLUMNS; column++)
        free(*columns[column].values);
    free(generated->log_probability);
    *generated = (struct generated){.count = 0};
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static bool write_columns(struct store *store, struct generated generated, struct error *error)
{
    struct integer_column columns[COLUMNS];
    list_columns(&generated, columns);
    for (int column = 0; column < COLUMNS; column++)
        if (!store_write(store, columns[column].name, DTYPE_I32, generated.count, 0, *columns[column].values,
                         error))
            return false;
    return store_write(store, "log_probability", DTYPE_F32, generated.count, 0, generated.log_probability,
                       error);
}

static bool write_attributes(struct store *store, struct generation_counts counts,
                             const struct generated_origin *origin, struct error *error)
{
    struct named_count list[COUNTS];
    list_counts(&counts, list);
    for (int count = 0; count < COUNTS; count++)
        if (!store_set_integer(store, "/", list[count].name, *list[count].value, error))
            return false;
    return store_set_number(store, "/", "floating_point_operations", counts.floating_point_operations,
                            error) &&
           store_set_string(store, "/", "method", origin->method, error) &&
           store_set_string(store, "/", "settings", origin->settings, error) &&
           store_set_string(store, "/", "fingerprint", origin->fingerprint, error);
}

bool generated_save(const struct generated *generated, const struct generated_origin *origin,
                    const char *path, struct error *error)
{
    struct store *store;
    if (!store_create(&store, path, error))
        return false;
    if (write_columns(store, *generated, error) && write_attributes(store, generated->counts, origin, error))
        return store_commit(store, error);
    store_close(store);
    return false;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

/* Reads a column; all have the length of the first. */
static bool read_column(struct generated *generated, struct store *store, const char *name, const char *path,
                        enum dtype dtype, void **values, struct error *error)
{
    int64_t rows;
    if (!store_read(store, name, dtype, &rows, NULL, values, error))
        return false;
    if (generated->count < 0)
        generated->count = rows;
    if (rows != generated->count)
        return error_at(
            error, ERROR_RUN, path, 0,
            "/%s has %lld rows where /user has %lld; the file is damaged: remove it and run generate again",
            name, (long long)rows, (long long)generated->count);
    return true;
}

static bool read_columns(struct generated *generated, struct store *store, const char *path,
                         struct error *error)
{
    struct integer_column columns[COLUMNS];
    void *values = NULL;
    bool fine = true;
    list_columns(generated, columns);
    const int present = store_has(store, "cut") ? COLUMNS : COLUMNS_ALWAYS;
    for (int column = 0; fine && column < present; column++) {
        values = NULL;
        fine = read_column(generated, store, columns[column].name, path, DTYPE_I32, &values, error);
        *columns[column].values = values;
    }
    values = NULL;
    fine = fine && read_column(generated, store, "log_probability", path, DTYPE_F32, &values, error);
    generated->log_probability = values;
    if (!fine || present == COLUMNS)
        return fine;
    const size_t rows = (size_t)generated->count + 1;
    generated->cut = calloc(rows, sizeof *generated->cut);
    return generated->cut || error_memory(error, path, rows * sizeof *generated->cut, NULL);
}

static bool read_counts(struct generation_counts *counts, struct store *store, struct error *error)
{
    struct named_count list[COUNTS];
    list_counts(counts, list);
    const int present = store_has(store, "cut") ? COUNTS : COUNTS_ALWAYS;
    for (int count = 0; count < present; count++)
        if (!store_get_integer(store, "/", list[count].name, list[count].value, error))
            return false;
    return store_get_number(store, "/", "floating_point_operations", &counts->floating_point_operations,
                            error);
}

bool generated_load(struct generated *generated, const char *path, struct error *error)
{
    struct store *store;
    *generated = (struct generated){.count = -1};
    if (!store_open(&store, path, error))
        return false;
    const bool fine =
        read_columns(generated, store, path, error) && read_counts(&generated->counts, store, error);
    store_close(store);
    if (!fine)
        generated_free(generated);
    return fine;
}

bool generated_exists(const char *path, const char *fingerprint)
{
    struct error ignored = ERROR_INITIALIZER;
    struct store *store = NULL;
    char *found = NULL;
    const bool same = path_exists(path) && store_open(&store, path, &ignored) &&
                      store_get_string(store, "/", "fingerprint", &found, &ignored) &&
                      strcmp(found, fingerprint) == 0;
    free(found);
    store_close(store);
    return same;
}
