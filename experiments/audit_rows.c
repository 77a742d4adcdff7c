#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/audit.h"
#include "experiments/provenance.h"

/* A set of rows under a name. */
struct row_set {
    const char *name;
    const struct csr *rows;
    bool real; /* they are the train rows themselves, which are no candidates of anything */
};

/* What a set shows, measured as the lists of recommenders are; PopREO needs test items and says nothing here. */
static bool exposure_json(json_t **record, const struct audit *audit, const struct row_set *set,
                          struct error *error)
{
    const struct exposure_context context = {.train = &audit->study->train,
                                             .hidden = &audit->study->train,
                                             .popularity = audit->popularity,
                                             .tail = audit->tail};
    double values[EXPOSURE_COUNT];
    if (!exposure_measure(values, set->rows, INT64_MAX, &context, error))
        return false;
    *record = json_object();
    for (int metric = 0; metric < EXPOSURE_COUNT; metric++)
        if (metric != EXPOSURE_OPPORTUNITY)
            json_object_set_new(*record, exposure_name((enum exposure_metric)metric),
                                metric == EXPOSURE_PARITY && set->real ? json_null()
                                                                       : audit_number(values[metric]));
    return true;
}

/* Who gets rows, and which items. */
static json_t *group_json(const struct audit *audit, const struct grouping *grouping,
                          const struct row_set *set)
{
    const struct groups *groups = &grouping->groups;
    const struct csr *rows = set->rows;
    int64_t counts[GROUPS_MAXIMUM] = {0}, users[GROUPS_MAXIMUM] = {0};
    for (int64_t user = 0; user < rows->rows; user++)
        for (int64_t i = rows->starts[user]; i < rows->starts[user + 1]; i++) {
            const int group = group_of(groups, grouping->of_items ? rows->indices[i] : user);
            if (group < 0)
                continue;
            counts[group]++;
            users[group] += i == rows->starts[user];
        }
    json_t *record = json_pack("{s:s, s:s, s:[], s:[]}", "by", grouping->name, "of",
                               grouping->of_items ? "item" : "user", "rows", "share");
    for (int group = 0; group < groups->count; group++) {
        const double share = (double)counts[group] / (double)csr_count(rows);
        json_array_append_new(json_object_get(record, "rows"), json_integer(counts[group]));
        json_array_append_new(json_object_get(record, "share"), audit_number(share));
    }
    if (grouping->of_items)
        return record;
    double lifts[GROUPS_MAXIMUM];
    const struct exposure_context context = {.train = &audit->study->train, .popularity = audit->popularity};
    popularity_lifts(lifts, rows, INT64_MAX, &context, groups);
    json_object_set_new(record, "popularity_lift", audit_numbers(lifts, groups->count));
    json_object_set_new(record, "users", json_array());
    for (int group = 0; group < groups->count; group++)
        json_array_append_new(json_object_get(record, "users"), json_integer(users[group]));
    return record;
}

static bool add_set(json_t *list, const struct audit *audit, struct row_set set, struct error *error)
{
    json_t *exposure, *groups = json_array();
    int64_t users = 0;
    if (!exposure_json(&exposure, audit, &set, error))
        return false;
    for (int64_t user = 0; user < set.rows->rows; user++)
        users += csr_row_length(set.rows, user) > 0;
    for (int i = 0; i < audit->grouping_count; i++)
        json_array_append_new(groups, group_json(audit, &audit->groupings[i], &set));
    json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:o}", "rows", set.name, "count",
                                          (json_int_t)csr_count(set.rows), "users", (json_int_t)users,
                                          "exposure", exposure, "groups", groups));
    return true;
}

static bool add_selected(json_t *list, const struct audit *audit, const json_t *selection,
                         struct error *error)
{
    struct csr rows = {0};
    bool done = selected_rows(&rows, audit->study, selection, "controls", error);
    if (done && csr_count(&rows) > 0) {
        char *name = path_format("%s: %s", json_string_value(json_object_get(selection, "recommender")),
                                 json_string_value(json_object_get(selection, "controls")));
        done = add_set(list, audit, (struct row_set){.name = name, .rows = &rows}, error);
        free(name);
    }
    csr_free(&rows);
    return done;
}

bool audit_rows_json(json_t **list, const struct audit *audit, const json_t *selections, struct error *error)
{
    const struct study *study = audit->study;
    *list = json_array();
    bool done =
        add_set(*list, audit, (struct row_set){.name = "train", .rows = &study->train, .real = true},
                error) &&
        (study->arm_count == 1 ||
         add_set(*list, audit, (struct row_set){.name = "accepted", .rows = &study->lists.items}, error));
    for (size_t i = 0; done && i < json_array_size(selections); i++)
        done = add_selected(*list, audit, json_array_get(selections, i), error);
    return done;
}
