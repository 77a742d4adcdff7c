#include "core/interactions.h"

#include <stdlib.h>
#include <string.h>

#include "core/store.h"

const char *id_map_name(const struct id_map *map, int64_t index)
{
    return map->bytes + map->offsets[index];
}

void id_map_free(struct id_map *map)
{
    free(map->offsets);
    free(map->bytes);
    *map = (struct id_map){0};
}

int64_t csr_count(const struct csr *matrix)
{
    return matrix->starts ? matrix->starts[matrix->rows] : 0;
}

int64_t csr_row_length(const struct csr *matrix, int64_t row)
{
    return matrix->starts[row + 1] - matrix->starts[row];
}

int64_t csr_longest_row(const struct csr *matrix)
{
    int64_t longest = 0;
    for (int64_t row = 0; row < matrix->rows; row++)
        if (csr_row_length(matrix, row) > longest)
            longest = csr_row_length(matrix, row);
    return longest;
}

bool csr_contains_sorted(const struct csr *matrix, int64_t row, int32_t column)
{
    int64_t low = matrix->starts[row], high = matrix->starts[row + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (matrix->indices[middle] < column)
            low = middle + 1;
        else
            high = middle;
    }
    return low < matrix->starts[row + 1] && matrix->indices[low] == column;
}

static bool csr_allocate(struct csr *matrix, int64_t rows, int64_t columns, int64_t count,
                         struct error *error)
{
    *matrix = (struct csr){.rows = rows, .columns = columns};
    matrix->starts = calloc((size_t)rows + 1, sizeof *matrix->starts);
    matrix->indices = malloc((size_t)(count > 0 ? count : 1) * sizeof *matrix->indices);
    if (matrix->starts && matrix->indices)
        return true;
    csr_free(matrix);
    return error_memory(error, "a matrix of interactions", (size_t)count * 4 + (size_t)rows * 8, NULL);
}

bool csr_transpose(struct csr *transposed, const struct csr *matrix, struct error *error)
{
    const int64_t count = csr_count(matrix);
    if (!csr_allocate(transposed, matrix->columns, matrix->rows, count, error))
        return false;
    int64_t *starts = transposed->starts;
    for (int64_t index = 0; index < count; index++)
        starts[matrix->indices[index] + 1]++;
    for (int64_t column = 0; column < matrix->columns; column++)
        starts[column + 1] += starts[column];
    for (int64_t row = 0; row < matrix->rows; row++)
        for (int64_t index = matrix->starts[row]; index < matrix->starts[row + 1]; index++)
            transposed->indices[starts[matrix->indices[index]]++] = (int32_t)row;
    memmove(starts + 1, starts, (size_t)matrix->columns * sizeof *starts);
    starts[0] = 0;
    return true;
}

static int compare_columns(const void *a, const void *b)
{
    const int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

bool csr_copy(struct csr *copy, const struct csr *matrix, struct error *error)
{
    const int64_t count = csr_count(matrix);
    if (!csr_allocate(copy, matrix->rows, matrix->columns, count, error))
        return false;
    memcpy(copy->starts, matrix->starts, ((size_t)matrix->rows + 1) * sizeof *copy->starts);
    if (count > 0)
        memcpy(copy->indices, matrix->indices, (size_t)count * sizeof *copy->indices);
    return true;
}

bool csr_append(struct csr *result, const struct csr *a, const struct csr *b, struct error *error)
{
    if (!csr_allocate(result, a->rows, a->columns, csr_count(a) + csr_count(b), error))
        return false;
    int64_t filled = 0;
    for (int64_t row = 0; row < a->rows; row++)
        for (int part = 0; part < 2; part++) {
            const struct csr *from = part == 0 ? a : b;
            const int64_t length = csr_row_length(from, row);
            if (length > 0)
                memcpy(result->indices + filled, from->indices + from->starts[row],
                       (size_t)length * sizeof *result->indices);
            filled += length;
            result->starts[row + 1] = filled;
        }
    return true;
}

bool csr_sorted(struct csr *sorted, const struct csr *matrix, struct error *error)
{
    if (!csr_copy(sorted, matrix, error))
        return false;
#pragma omp parallel for schedule(dynamic, 1024)
    for (int64_t row = 0; row < matrix->rows; row++)
        qsort(sorted->indices + sorted->starts[row], (size_t)csr_row_length(sorted, row),
              sizeof *sorted->indices, compare_columns);
    return true;
}

/* Merges two ascending rows into `merged`; returns the length. */
static int64_t merge_rows(int32_t *merged, const struct csr *a, const struct csr *b, int64_t row)
{
    int64_t left = a->starts[row], right = b->starts[row], length = 0;
    const int64_t left_end = a->starts[row + 1], right_end = b->starts[row + 1];
    while (left < left_end || right < right_end) {
        const int32_t from_a = left < left_end ? a->indices[left] : INT32_MAX;
        const int32_t from_b = right < right_end ? b->indices[right] : INT32_MAX;
        merged[length++] = from_a < from_b ? from_a : from_b;
        left += from_a <= from_b;
        right += from_b <= from_a;
    }
    return length;
}

bool csr_union(struct csr *result, const struct csr *a, const struct csr *b, struct error *error)
{
    if (a->rows != b->rows || a->columns != b->columns)
        return error_set(
            error, ERROR_RUN, "two matrices of different shape cannot be united: [%lld, %lld], [%lld, %lld]",
            (long long)a->rows, (long long)a->columns, (long long)b->rows, (long long)b->columns);
    if (!csr_allocate(result, a->rows, a->columns, csr_count(a) + csr_count(b), error))
        return false;
    for (int64_t row = 0; row < a->rows; row++)
        result->starts[row + 1] =
            result->starts[row] + merge_rows(result->indices + result->starts[row], a, b, row);
    return true;
}

void csr_free(struct csr *matrix)
{
    free(matrix->starts);
    free(matrix->indices);
    *matrix = (struct csr){0};
}

void interactions_free(struct interactions *interactions)
{
    free(interactions->users);
    free(interactions->items);
    free(interactions->ratings);
    free(interactions->times);
    id_map_free(&interactions->user_ids);
    id_map_free(&interactions->item_ids);
    *interactions = (struct interactions){0};
}

void dataset_free(struct dataset *dataset)
{
    free(dataset->name);
    free(dataset->train_times);
    id_map_free(&dataset->user_ids);
    id_map_free(&dataset->item_ids);
    csr_free(&dataset->train);
    csr_free(&dataset->validation);
    csr_free(&dataset->test);
    *dataset = (struct dataset){0};
}

bool dataset_check_disjoint(const struct dataset *dataset, struct error *error)
{
    static const char *const names[] = {"train", "validation", "test"};
    const struct csr *const parts[] = {&dataset->train, &dataset->validation, &dataset->test};
    struct place {
        int64_t user;
        int part;
    } *places =
        malloc((size_t)(dataset->item_ids.count + 1) * sizeof *places); /* where an item was seen last */
    if (!places)
        return error_memory(error, "the leak check", (size_t)dataset->item_ids.count * sizeof *places, NULL);
    for (int64_t item = 0; item < dataset->item_ids.count; item++)
        places[item].user = -1;
    bool disjoint = true;
    for (int64_t user = 0; user < dataset->user_ids.count && disjoint; user++)
        for (int part = 0; part < 3; part++)
            for (int64_t index = parts[part]->starts[user]; index < parts[part]->starts[user + 1]; index++) {
                struct place *place = &places[parts[part]->indices[index]];
                if (place->user == user)
                    disjoint =
                        error_set(error, ERROR_RUN,
                                  "leak: user '%s' has item '%s' in %s and in %s; prepare the data set again",
                                  id_map_name(&dataset->user_ids, user),
                                  id_map_name(&dataset->item_ids, parts[part]->indices[index]),
                                  names[place->part], names[part]);
                *place = (struct place){.user = user, .part = part};
            }
    free(places);
    return disjoint;
}

/* ---- dataset.h5 --------------------------------------------------------------------------------------- */

static const char *const count_names[] = {"rows_read", "below_rating", "duplicates", "overlaps",
                                          "below_core"};

static void count_fields(struct preparation_counts *counts, int64_t *fields[5])
{
    fields[0] = &counts->rows_read;
    fields[1] = &counts->below_rating;
    fields[2] = &counts->duplicates;
    fields[3] = &counts->overlaps;
    fields[4] = &counts->below_core;
}

/* Data sets that were made before users could be drawn do not have it. */
static bool read_not_drawn(struct preparation_counts *counts, struct store *store, struct error *error)
{
    return !store_has_attribute(store, "/", "not_drawn") ||
           store_get_integer(store, "/", "not_drawn", &counts->not_drawn, error);
}

static bool write_attributes(const struct dataset *dataset, struct store *store, struct error *error)
{
    struct preparation_counts counts = dataset->counts;
    int64_t *fields[5];
    count_fields(&counts, fields);
    for (int field = 0; field < 5; field++)
        if (!store_set_integer(store, "/", count_names[field], *fields[field], error))
            return false;
    return store_set_integer(store, "/", "not_drawn", counts.not_drawn, error) &&
           store_set_string(store, "/", "name", dataset->name, error) &&
           store_set_integer(store, "/", "users", dataset->user_ids.count, error) &&
           store_set_integer(store, "/", "items", dataset->item_ids.count, error) &&
           store_set_integer(store, "/", "train", csr_count(&dataset->train), error) &&
           store_set_integer(store, "/", "validation", csr_count(&dataset->validation), error) &&
           store_set_integer(store, "/", "test", csr_count(&dataset->test), error);
}

bool dataset_save(const struct dataset *dataset, const char *path, struct error *error)
{
    struct store *store;
    if (!store_create(&store, path, error))
        return false;
    const bool written =
        store_write_ids(store, "/users/id", &dataset->user_ids, error) &&
        store_write_ids(store, "/items/id", &dataset->item_ids, error) &&
        store_write_csr(store, "/train", &dataset->train, error) &&
        store_write_csr(store, "/validation", &dataset->validation, error) &&
        store_write_csr(store, "/test", &dataset->test, error) &&
        (!dataset->train_times || store_write(store, "/train/time", DTYPE_I64, csr_count(&dataset->train), 0,
                                              dataset->train_times, error)) &&
        write_attributes(dataset, store, error);
    if (written)
        return store_commit(store, error);
    store_close(store);
    return false;
}

static bool read_attributes(struct dataset *dataset, struct store *store, struct error *error)
{
    int64_t *fields[5];
    count_fields(&dataset->counts, fields);
    for (int field = 0; field < 5; field++)
        if (!store_get_integer(store, "/", count_names[field], fields[field], error))
            return false;
    return read_not_drawn(&dataset->counts, store, error) &&
           store_get_string(store, "/", "name", &dataset->name, error);
}

static bool read_times(struct dataset *dataset, struct store *store, const char *path, struct error *error)
{
    if (!store_has(store, "/train/time"))
        return true;
    int64_t count;
    void *times = NULL;
    if (!store_read(store, "/train/time", DTYPE_I64, &count, NULL, &times, error))
        return false;
    dataset->train_times = times;
    if (count != csr_count(&dataset->train))
        return error_at(error, ERROR_RUN, path, 0, "/train/time has not one value a row; run prepare again");
    return true;
}

static bool check_shapes(const struct dataset *dataset, const char *path, struct error *error)
{
    const struct csr *const parts[] = {&dataset->train, &dataset->validation, &dataset->test};
    for (int part = 0; part < 3; part++)
        if (parts[part]->rows != dataset->user_ids.count || parts[part]->columns != dataset->item_ids.count)
            return error_at(error, ERROR_RUN, path, 0, "its parts are not [users, items]; run prepare again");
    return true;
}

bool dataset_load(struct dataset *dataset, const char *path, struct error *error)
{
    *dataset = (struct dataset){0};
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    const bool done = store_read_ids(store, "/users/id", &dataset->user_ids, error) &&
                      store_read_ids(store, "/items/id", &dataset->item_ids, error) &&
                      store_read_csr(store, "/train", &dataset->train, error) &&
                      store_read_csr(store, "/validation", &dataset->validation, error) &&
                      store_read_csr(store, "/test", &dataset->test, error) &&
                      read_times(dataset, store, path, error) && read_attributes(dataset, store, error) &&
                      check_shapes(dataset, path, error);
    store_close(store);
    if (!done)
        dataset_free(dataset);
    return done;
}
