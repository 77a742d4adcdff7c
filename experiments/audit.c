#include "experiments/audit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DECILES = 10 };

struct audit_term audit_term(enum exposure_metric metric)
{
    static const struct audit_term terms[EXPOSURE_COUNT] = {
        [EXPOSURE_GINI] = {"Gini", "lower",
                           "inequality of the items' numbers of places: 0 all alike, near 1 a few have all"},
        [EXPOSURE_ENTROPY] = {"entropy", "higher", "of the items' shares of places, in bits"},
        [EXPOSURE_COVERAGE] = {"coverage", "higher", "share of the catalogue that is on any list"},
        [EXPOSURE_POPULARITY] = {"ARP", "lower", "train rows of an item on a list, mean over lists"},
        [EXPOSURE_LIFT] = {"lift", "near 0",
                           "how much more popular lists are than what the users have had: ARP / the same of "
                           "train histories - 1"},
        [EXPOSURE_NOVELTY] = {"novelty", "higher",
                              "self-information log2(users / train rows) of an item on a list, mean"},
        [EXPOSURE_TAIL_SHARE] = {"APLT", "higher", "share of a list that is long tail, mean over lists"},
        [EXPOSURE_TAIL_COUNT] = {"ACLT", "higher", "long-tail items on a list, mean over lists"},
        [EXPOSURE_TAIL_COVERAGE] = {"tail coverage", "higher", "share of the long tail that is on any list"},
        [EXPOSURE_OPPORTUNITY] = {"PopREO", "lower",
                                  "deviation / mean of the shares of test items found, head against tail"},
        [EXPOSURE_PARITY] = {"PopRSP", "lower",
                             "deviation / mean of the shares of candidates shown, head against tail"},
    };
    return terms[metric];
}

json_t *audit_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *audit_numbers(const double *values, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, audit_number(values[i]));
    return list;
}

static struct grouping *add_grouping(struct audit *audit, const char *name, bool of_items)
{
    struct grouping *grouping = &audit->groupings[audit->grouping_count++];
    *grouping = (struct grouping){.of_items = of_items};
    snprintf(grouping->name, sizeof grouping->name, "%s", name);
    return grouping;
}

static bool add_groupings(struct audit *audit, struct error *error)
{
    const struct study *study = audit->study;
    const int wanted = (int)config_integer(study->config, "evaluate.history_groups");
    bool done = groups_by_history(&add_grouping(audit, "history", false)->groups, &study->train,
                                  study->test_users, study->test_count, wanted, error) &&
                groups_by_popularity(&add_grouping(audit, "popularity", true)->groups, audit->popularity,
                                     study->train.columns, DECILES, error);
    for (int i = 0; done && i < (int)config_length(study->config, "evaluate.attributes"); i++)
        done = grouping_read(&audit->groupings[audit->grouping_count++], study->config, i, &study->dataset,
                             error);
    return done;
}

bool audit_open(struct audit *audit, const struct study *study, struct error *error)
{
    const size_t items = (size_t)study->train.columns + 1;
    *audit = (struct audit){.study = study};
    audit->popularity = malloc(items * sizeof *audit->popularity);
    audit->tail = malloc(items * sizeof *audit->tail);
    if (!audit->popularity || !audit->tail)
        return error_memory(error, "popularity of items", items * sizeof *audit->popularity, NULL);
    item_popularity(audit->popularity, &study->train);
    if (!long_tail(audit->tail, audit->popularity, study->train.columns,
                   config_number(study->config, "evaluate.head_share"), error))
        return false;
    for (int64_t item = 0; item < study->train.columns; item++)
        audit->tail_items += audit->tail[item];
    return add_groupings(audit, error);
}

void audit_close(struct audit *audit)
{
    for (int i = 0; i < audit->grouping_count; i++)
        groups_free(&audit->groupings[i].groups);
    free(audit->popularity);
    free(audit->tail);
}

/* Those among the tested users, or test rows of such items. */
static int64_t count_tested(const struct audit *audit, const struct grouping *grouping, int group)
{
    const struct csr *test = &audit->study->test;
    int64_t count = 0;
    for (int64_t i = 0; grouping->of_items && i < csr_count(test); i++)
        count += group_of(&grouping->groups, test->indices[i]) == group;
    for (int64_t i = 0; !grouping->of_items && i < audit->study->test_count; i++)
        count += group_of(&grouping->groups, audit->study->test_users[i]) == group;
    return count;
}

static json_t *grouping_json(const struct audit *audit, const struct grouping *grouping)
{
    json_t *list = json_array();
    for (int group = 0; group < grouping->groups.count; group++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", grouping->groups.name[group],
                                              "members", (json_int_t)groups_size(&grouping->groups, group),
                                              grouping->of_items ? "test_rows" : "test_users",
                                              (json_int_t)count_tested(audit, grouping, group)));
    return json_pack("{s:s, s:s, s:I, s:o}", "by", grouping->name, "of", grouping->of_items ? "item" : "user",
                     "without", (json_int_t)groups_size(&grouping->groups, -1), "groups", list);
}

bool audit_json(json_t **record, const struct study *study, const json_t *selections, struct error *error)
{
    struct audit audit;
    json_t *fits = NULL, *rows = NULL, *groupings = json_array();
    const bool done = audit_open(&audit, study, error) && audit_fits_json(&fits, &audit, error) &&
                      audit_rows_json(&rows, &audit, selections, error);
    for (int i = 0; done && i < audit.grouping_count; i++)
        json_array_append_new(groupings, grouping_json(&audit, &audit.groupings[i]));
    if (done)
        *record = json_pack("{s:f, s:I, s:O, s:O, s:O}", "head_share",
                            config_number(study->config, "evaluate.head_share"), "tail_items",
                            (json_int_t)audit.tail_items, "groupings", groupings, "fits", fits, "rows", rows);
    json_decref(groupings);
    json_decref(fits);
    json_decref(rows);
    audit_close(&audit);
    return done && (*record != NULL || error_memory(error, "the audit", 0, NULL));
}
