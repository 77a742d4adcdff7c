#include "experiments/truth.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/store.h"
#include "experiments/controls.h"
#include "experiments/name_index.h"
#include "experiments/provenance.h"

/* What the users of the data set truly prefer, in the numbers of dataset.h5; rows ascend. */
static bool renumber(struct csr *preferred, const struct csr *planted, const struct id_map *planted_users,
                     const struct id_map *planted_items, const struct dataset *dataset, struct error *error)
{
    struct name_index users = {0}, items = {0};
    struct csr unsorted = {.rows = dataset->user_ids.count, .columns = dataset->item_ids.count};
    size_t most = (size_t)csr_count(planted) + 1;
    unsorted.starts = calloc((size_t)unsorted.rows + 1, sizeof *unsorted.starts);
    unsorted.indices = malloc(most * sizeof *unsorted.indices);
    bool done = unsorted.starts && unsorted.indices
                    ? name_index_open(&users, planted_users, error) &&
                          name_index_open(&items, &dataset->item_ids, error)
                    : error_memory(error, "true preferences", most * sizeof *unsorted.indices, NULL);
    for (int64_t user = 0; done && user < unsorted.rows; user++) {
        const char *name = id_map_name(&dataset->user_ids, user);
        int32_t row = name_index_find(&users, name, strlen(name));
        unsorted.starts[user + 1] = unsorted.starts[user];
        for (int64_t i = row < 0 ? 0 : planted->starts[row]; row >= 0 && i < planted->starts[row + 1]; i++) {
            const char *item_name = id_map_name(planted_items, planted->indices[i]);
            int32_t item = name_index_find(&items, item_name, strlen(item_name));
            if (item >= 0)
                unsorted.indices[unsorted.starts[user + 1]++] = item;
        }
    }
    done = done && csr_sorted(preferred, &unsorted, error);
    name_index_close(&users);
    name_index_close(&items);
    csr_free(&unsorted);
    return done;
}

static bool load_preferred(struct csr *preferred, const char *path, const struct dataset *dataset,
                           struct error *error)
{
    struct store *store;
    struct id_map users = {0}, items = {0};
    struct csr planted = {0};
    if (!store_open(&store, path, error))
        return false;
    bool done = store_read_ids(store, "/users/id", &users, error) &&
                store_read_ids(store, "/items/id", &items, error) &&
                store_read_csr(store, "/preferred", &planted, error) &&
                renumber(preferred, &planted, &users, &items, dataset, error);
    id_map_free(&users);
    id_map_free(&items);
    csr_free(&planted);
    store_close(store);
    return done;
}

static double preferred_share(const struct csr *rows, const struct csr *preferred)
{
    int64_t hits = 0, total = csr_count(rows);
    for (int64_t user = 0; user < rows->rows; user++)
        for (int64_t i = rows->starts[user]; i < rows->starts[user + 1]; i++)
            hits += csr_contains_sorted(preferred, user, rows->indices[i]);
    return total > 0 ? (double)hits / (double)total : 0;
}

static bool add_shares(json_t *record, const struct study *study, const json_t *selection,
                       const struct csr *preferred, struct error *error)
{
    struct csr rows = {0}, uniform = {0}, popular = {0};
    bool done = selected_rows(&rows, study, selection, "controls", error) &&
                control_random(&uniform, &rows, &study->train, study->first_seed, error) &&
                control_popularity(&popular, &rows, &study->train, study->first_seed, error);
    if (done)
        json_array_append_new(record, json_pack("{s:O, s:O, s:I, s:f, s:f, s:f}", "recommender",
                                                json_object_get(selection, "recommender"), "choice",
                                                json_object_get(selection, "controls"), "rows",
                                                (json_int_t)csr_count(&rows), "preferred",
                                                preferred_share(&rows, preferred), "control_random",
                                                preferred_share(&uniform, preferred), "control_popularity",
                                                preferred_share(&popular, preferred)));
    csr_free(&rows);
    csr_free(&uniform);
    csr_free(&popular);
    return done;
}

static bool add_all_shares(json_t **record, const struct study *study, const json_t *selections,
                           const char *path, struct error *error)
{
    struct csr preferred = {0};
    bool done = load_preferred(&preferred, path, &study->dataset, error);
    *record = json_array();
    for (size_t i = 0; done && i < json_array_size(selections); i++)
        done = add_shares(*record, study, json_array_get(selections, i), &preferred, error);
    csr_free(&preferred);
    return done;
}

char *truth_path(const struct config *config)
{
    char *data = config_data_path(config, "data.path");
    char *path = data != NULL ? path_format("%s.truth.h5", data) : NULL;
    free(data);
    if (path != NULL && path_exists(path))
        return path;
    free(path);
    return NULL;
}

bool truth_load(struct csr *preferred, const struct study *study, struct error *error)
{
    char *path = truth_path(study->run->config);
    *preferred = (struct csr){0};
    const bool done = path == NULL || load_preferred(preferred, path, &study->dataset, error);
    free(path);
    return done;
}

bool truth_json(json_t **record, const struct study *study, const json_t *selections, struct error *error)
{
    char *path = truth_path(study->run->config);
    bool done = path == NULL || add_all_shares(record, study, selections, path, error);
    free(path);
    return done;
}
