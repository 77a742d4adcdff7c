#include "experiments/augmented.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_file.h"
#include "core/store.h"

/* The columns of the file while they are written. */
struct columns {
    int64_t count;
    int32_t *user, *item, *source, *rank, *votes;
    float *weight, *log_probability;
};

static void columns_free(struct columns *columns)
{
    free(columns->user);
    free(columns->item);
    free(columns->source);
    free(columns->rank);
    free(columns->votes);
    free(columns->weight);
    free(columns->log_probability);
}

static bool columns_allocate(struct columns *columns, int64_t count, struct error *error)
{
    size_t length = (size_t)count + 1;
    *columns = (struct columns){
        .count = count,
        .user = calloc(length, sizeof *columns->user),
        .item = calloc(length, sizeof *columns->item),
        .source = calloc(length, sizeof *columns->source),
        .rank = calloc(length, sizeof *columns->rank),
        .votes = calloc(length, sizeof *columns->votes),
        .weight = calloc(length, sizeof *columns->weight),
        .log_probability = calloc(length, sizeof *columns->log_probability),
    };
    if (!columns->user || !columns->item || !columns->source || !columns->rank || !columns->votes ||
        !columns->weight || !columns->log_probability)
        return error_memory(error, "augmented rows", length * sizeof(int32_t) * 7, NULL);
    return true;
}

/* Real rows in the order of train, then the accepted candidates, which come first among all. */
static void columns_fill(struct columns *columns, const struct csr *train, const struct candidate *accepted,
                         double weight)
{
    int64_t row = 0;
    for (int64_t user = 0; user < train->rows; user++)
        for (int64_t i = train->starts[user]; i < train->starts[user + 1]; i++, row++) {
            columns->user[row] = (int32_t)user;
            columns->item[row] = train->indices[i];
            columns->weight[row] = 1;
        }
    for (; row < columns->count; row++, accepted++) {
        columns->user[row] = accepted->user;
        columns->item[row] = accepted->item;
        columns->source[row] = 1;
        columns->weight[row] = (float)weight;
        columns->rank[row] = accepted->rank;
        columns->votes[row] = accepted->votes;
        columns->log_probability[row] = accepted->log_probability;
    }
}

static bool columns_write(struct store *store, const struct columns *columns, struct error *error)
{
    int64_t count = columns->count;
    return store_write(store, "/user", DTYPE_I32, count, 0, columns->user, error) &&
           store_write(store, "/item", DTYPE_I32, count, 0, columns->item, error) &&
           store_write(store, "/source", DTYPE_I32, count, 0, columns->source, error) &&
           store_write(store, "/weight", DTYPE_F32, count, 0, columns->weight, error) &&
           store_write(store, "/rank", DTYPE_I32, count, 0, columns->rank, error) &&
           store_write(store, "/votes", DTYPE_I32, count, 0, columns->votes, error) &&
           store_write(store, "/log_probability", DTYPE_F32, count, 0, columns->log_probability, error);
}

static bool rejected_rows_write(struct store *store, const struct candidate *rejected, int64_t count,
                                struct error *error)
{
    size_t length = (size_t)count + 1;
    int32_t *user = malloc(length * sizeof *user), *item = malloc(length * sizeof *item);
    int32_t *reason = malloc(length * sizeof *reason);
    bool done = user && item && reason;
    if (!done)
        error_memory(error, "rejected rows", length * 3 * sizeof *user, NULL);
    for (int64_t i = 0; done && i < count; i++) {
        user[i] = rejected[i].user;
        item[i] = rejected[i].item;
        reason[i] = rejected[i].reason;
    }
    done = done && store_write(store, "/rejected/user", DTYPE_I32, count, 0, user, error) &&
           store_write(store, "/rejected/item", DTYPE_I32, count, 0, item, error) &&
           store_write(store, "/rejected/reason", DTYPE_I32, count, 0, reason, error);
    free(user);
    free(item);
    free(reason);
    return done;
}

static bool counts_write(struct store *store, const struct augmentation_counts *counts, struct error *error)
{
    char names[256] = "";
    for (int kind = 0; kind < FILTER_COUNT; kind++) {
        const char *name = filter_name((enum filter_kind)kind);
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", kind > 0 ? " " : "", name);
        if (!store_set_integer(store, "/rejected", name, counts->rejected[kind], error))
            return false;
    }
    return store_set_string(store, "/rejected", "filters", names, error) &&
           store_set_integer(store, "/", "candidates", counts->candidates, error) &&
           store_set_integer(store, "/", "accepted", counts->accepted, error);
}

static bool ensemble_write(struct store *store, const struct ensemble_lists *ensemble, struct error *error)
{
    return store_write_csr(store, "/ensemble", &ensemble->others.items, error) &&
           store_set_string(store, "/ensemble", "with", ensemble->all_names, error) &&
           store_set_string(store, "/ensemble", "without", ensemble->others_names, error) &&
           (isnan(ensemble->all_score) ||
            (store_set_number(store, "/ensemble", "with_score", ensemble->all_score, error) &&
             store_set_number(store, "/ensemble", "without_score", ensemble->others_score, error)));
}

static bool augmented_write(struct store *store, const struct csr *train, const struct candidate *candidates,
                            const struct augmentation_counts *counts, double weight,
                            const struct ensemble_lists *ensemble, struct error *error)
{
    struct columns columns;
    bool done = columns_allocate(&columns, csr_count(train) + counts->accepted, error);
    if (done) {
        columns_fill(&columns, train, candidates, weight);
        done = columns_write(store, &columns, error) &&
               rejected_rows_write(store, candidates + counts->accepted,
                                   counts->candidates - counts->accepted, error) &&
               counts_write(store, counts, error) && (!ensemble || ensemble_write(store, ensemble, error));
    }
    columns_free(&columns);
    return done;
}

bool augmented_save(const char *path, const struct csr *train, const struct candidate *candidates,
                    int64_t count, double weight, const struct ensemble_lists *ensemble, struct error *error)
{
    struct augmentation_counts counts = {.candidates = count};
    for (int64_t i = 0; i < count; i++) {
        if (candidates[i].reason == CANDIDATE_ACCEPTED)
            counts.accepted++;
        else
            counts.rejected[candidates[i].reason]++;
    }
    struct store *store;
    if (!store_create(&store, path, error))
        return false;
    if (!augmented_write(store, train, candidates, &counts, weight, ensemble, error)) {
        store_close(store);
        return false;
    }
    return store_commit(store, error);
}

bool augmented_load_counts(struct augmentation_counts *counts, const char *path, struct error *error)
{
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    bool done = store_get_integer(store, "/", "candidates", &counts->candidates, error) &&
                store_get_integer(store, "/", "accepted", &counts->accepted, error);
    for (int kind = 0; done && kind < FILTER_COUNT; kind++)
        done = store_get_integer(store, "/rejected", filter_name((enum filter_kind)kind),
                                 &counts->rejected[kind], error);
    store_close(store);
    return done;
}

static bool columns_read(struct store *store, struct columns *columns, struct error *error)
{
    int64_t counts[5];
    bool read = store_read(store, "/user", DTYPE_I32, &counts[0], 0, (void **)&columns->user, error) &&
                store_read(store, "/item", DTYPE_I32, &counts[1], 0, (void **)&columns->item, error) &&
                store_read(store, "/source", DTYPE_I32, &counts[2], 0, (void **)&columns->source, error) &&
                store_read(store, "/log_probability", DTYPE_F32, &counts[3], 0,
                           (void **)&columns->log_probability, error) &&
                store_read(store, "/votes", DTYPE_I32, &counts[4], 0, (void **)&columns->votes, error);
    if (read && (counts[0] != counts[1] || counts[0] != counts[2] || counts[0] != counts[3] ||
                 counts[0] != counts[4]))
        return error_set(error, ERROR_RUN,
                         "augmented.h5: columns differ in length; delete the file and run again");
    columns->count = read ? counts[0] : 0;
    return read;
}

/* The synthetic rows stand user by user, best first, which is the order of ranked lists. */
static bool lists_from_columns(struct ranked_lists *lists, const struct columns *columns,
                               const struct csr *train, struct error *error)
{
    size_t most = (size_t)columns->count + 1;
    lists->items = (struct csr){.rows = train->rows, .columns = train->columns};
    lists->items.starts = calloc((size_t)train->rows + 1, sizeof *lists->items.starts);
    lists->items.indices = malloc(most * sizeof *lists->items.indices);
    lists->log_probability = malloc(most * sizeof *lists->log_probability);
    lists->votes = malloc(most * sizeof *lists->votes);
    if (!lists->items.starts || !lists->items.indices || !lists->log_probability || !lists->votes)
        return error_memory(error, "synthetic rows", most * 3 * sizeof(int32_t), NULL);
    int64_t taken = 0;
    int32_t previous = 0;
    for (int64_t i = 0; i < columns->count; i++) {
        if (columns->source[i] == 0)
            continue;
        int32_t user = columns->user[i], item = columns->item[i];
        if (user < previous || user >= train->rows || item < 0 || item >= train->columns)
            return error_set(
                error, ERROR_RUN,
                "augmented.h5: row %lld is out of order or out of range; delete the file and run "
                "again",
                (long long)i);
        previous = user;
        lists->items.starts[user + 1]++;
        lists->items.indices[taken] = item;
        lists->votes[taken] = columns->votes[i];
        lists->log_probability[taken++] = columns->log_probability[i];
    }
    for (int64_t user = 0; user < train->rows; user++)
        lists->items.starts[user + 1] += lists->items.starts[user];
    return true;
}

bool augmented_load(struct ranked_lists *lists, const char *path, const struct csr *train,
                    struct error *error)
{
    *lists = (struct ranked_lists){0};
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    struct columns columns = {0};
    bool done = columns_read(store, &columns, error) && lists_from_columns(lists, &columns, train, error);
    columns_free(&columns);
    store_close(store);
    return done;
}

static json_t *names_json(char *names)
{
    json_t *list = json_array();
    char *rest = NULL;
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        json_array_append_new(list, json_string(name));
    return list;
}

static bool read_ensemble(json_t **record, struct store *store, struct error *error)
{
    char *with = NULL, *without = NULL;
    double with_score = NAN, without_score = NAN;
    const bool done = store_get_string(store, "/ensemble", "with", &with, error) &&
                      store_get_string(store, "/ensemble", "without", &without, error) &&
                      (!store_has_attribute(store, "/ensemble", "with_score") ||
                       (store_get_number(store, "/ensemble", "with_score", &with_score, error) &&
                        store_get_number(store, "/ensemble", "without_score", &without_score, error)));
    if (done)
        *record = json_pack("{s:o, s:o, s:o, s:o}", "with", names_json(with), "without", names_json(without),
                            "with_score", json_number_or_null(with_score), "without_score",
                            json_number_or_null(without_score));
    free(with);
    free(without);
    return done;
}

bool augmented_ensemble_json(json_t **record, const char *path, struct error *error)
{
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    *record = json_null();
    const bool done = !store_has_attribute(store, "/ensemble", "with") || read_ensemble(record, store, error);
    store_close(store);
    return done;
}

bool augmented_load_ensemble(struct csr *lists, const char *path, const struct csr *train,
                             struct error *error)
{
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    const bool done = store_read_csr(store, "/ensemble", lists, error);
    store_close(store);
    return done && ((lists->rows == train->rows && lists->columns == train->columns) ||
                    error_at(error, ERROR_RUN, path, 0,
                             "its ensemble is of other users or items; delete the file and run again"));
}
