#include "experiments/provenance.h"

#include <stdlib.h>
#include <string.h>

#include "core/exposure.h"
#include "core/file.h"
#include "experiments/augmented.h"
#include "experiments/filter_settings.h"
#include "experiments/generated.h"

static bool load_generation_counts(struct generation_counts *counts, const struct study *study,
                                   struct error *error)
{
    char *path = run_path(study->run, "generated.h5");
    struct generated generated = {0};
    bool done = generated_load(&generated, path, error);
    *counts = generated.counts;
    generated_free(&generated);
    free(path);
    return done;
}

static int64_t count_common(const struct csr *rows, const struct csr *sorted)
{
    int64_t common = 0;
    for (int64_t user = 0; user < rows->rows; user++)
        for (int64_t i = rows->starts[user]; i < rows->starts[user + 1]; i++)
            common += csr_contains_sorted(sorted, user, rows->indices[i]);
    return common;
}

/* What each filter of the configuration refused, in their order. */
static bool add_rejected(json_t *rejected, const struct augmentation_counts *counts,
                         const struct config *config, struct error *error)
{
    struct filter filters[FILTERS_MAXIMUM];
    int filter_count = 0;
    if (!filter_settings_read(filters, &filter_count, config, error))
        return false;
    for (int i = 0; i < filter_count; i++)
        json_object_set_new(rejected, filter_name(filters[i].kind),
                            json_integer(counts->rejected[filters[i].kind]));
    return true;
}

bool generation_json(json_t **record, const struct study *study, struct error *error)
{
    struct generation_counts generated;
    struct augmentation_counts filtered;
    json_t *ensemble = NULL;
    char *path = run_path(study->run, "augmented.h5");
    bool done = load_generation_counts(&generated, study, error) &&
                augmented_load_counts(&filtered, path, error) &&
                augmented_ensemble_json(&ensemble, path, error);
    free(path);
    if (!done)
        return false;
    *record = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requested", (json_int_t)generated.requested, "valid",
        (json_int_t)generated.valid, "invalid", (json_int_t)generated.invalid, "already_seen",
        (json_int_t)generated.already_seen, "duplicate", (json_int_t)generated.duplicate, "accepted",
        (json_int_t)filtered.accepted, "in_test", (json_int_t)count_common(&study->lists.items, &study->test),
        "in_validation", (json_int_t)count_common(&study->lists.items, &study->validation));
    json_object_set_new(*record, "ensemble", ensemble);
    json_object_set_new(*record, "rejected", json_object());
    return add_rejected(json_object_get(*record, "rejected"), &filtered, study->config, error);
}

bool selected_rows(struct csr *rows, const struct study *study, const json_t *selection, const char *key,
                   struct error *error)
{
    const char *wanted = json_string_value(json_object_get(selection, key));
    struct choice choice = {.use = USE_NONE};
    for (int c = 0; wanted != NULL && c < study->choice_count; c++) {
        char name[CHOICE_NAME_SIZE];
        choice_name(name, &study->choices[c]);
        if (strcmp(name, wanted) == 0)
            choice = study->choices[c];
    }
    return choice_rows(rows, &choice, &study->lists, &study->train, error);
}

enum { DECILES = 10 };

static json_t *decile_shares(const char *name, const struct csr *rows, const struct groups *deciles)
{
    double shares[DECILES];
    exposure_shares(shares, rows, INT64_MAX, deciles);
    json_t *list = json_array();
    for (int d = 0; d < DECILES; d++)
        json_array_append_new(list, json_real(csr_count(rows) > 0 ? shares[d] : 0));
    return json_pack("{s:s, s:o}", "rows", name, "deciles", list);
}

static bool add_selected_shares(json_t *list, const struct study *study, const json_t *selection,
                                const struct groups *deciles, struct error *error)
{
    struct csr rows = {0};
    bool done = selected_rows(&rows, study, selection, "controls", error);
    if (done && csr_count(&rows) > 0) {
        char *name = path_format("%s: %s", json_string_value(json_object_get(selection, "recommender")),
                                 json_string_value(json_object_get(selection, "controls")));
        json_array_append_new(list, decile_shares(name, &rows, deciles));
        free(name);
    }
    csr_free(&rows);
    return done;
}

bool popularity_json(json_t **list, const struct study *study, const json_t *selections, struct error *error)
{
    const int64_t items = study->train.columns;
    struct groups deciles = {0};
    int64_t *popularity = malloc((size_t)(items + 1) * sizeof *popularity);
    bool done =
        popularity || error_memory(error, "popularity of items", (size_t)items * sizeof *popularity, NULL);
    if (done) {
        item_popularity(popularity, &study->train);
        done = groups_by_popularity(&deciles, popularity, items, DECILES, error);
    }
    if (done) {
        *list = json_array();
        json_array_append_new(*list, decile_shares("train", &study->train, &deciles));
        for (size_t i = 0; done && i < json_array_size(selections); i++)
            done = add_selected_shares(*list, study, json_array_get(selections, i), &deciles, error);
    }
    groups_free(&deciles);
    free(popularity);
    return done;
}
