#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/statistics.h"
#include "experiments/audit.h"
#include "experiments/top_k_file.h"

/* What the lists of one fit measure at one cut. */
struct group_values {
    double recall[GROUPS_MAXIMUM], ndcg[GROUPS_MAXIMUM];
    double further[GROUPS_MAXIMUM]; /* of users: popularity lift; of items: share of exposure */
};
struct fit_values {
    double exposure[EXPOSURE_COUNT];
    struct group_values groups[GROUPINGS_MAXIMUM];
};

/* The values of all seeds and cuts of one arm, [seeds, cuts], and room for the lists of one fit. */
struct fit_audit {
    const struct audit *audit;
    const struct name_index *items;
    struct fit_values *values;
    struct csr lists;
};

static bool fit_audit_open(struct fit_audit *fits, const struct audit *audit, const struct name_index *items,
                           struct error *error)
{
    const struct study *study = audit->study;
    const size_t places = (size_t)(study->test_count * study->largest_cut + 1);
    *fits = (struct fit_audit){.audit = audit, .items = items};
    fits->values = calloc((size_t)(study->seeds * study->cut_count), sizeof *fits->values);
    fits->lists = (struct csr){.rows = study->train.rows, .columns = study->train.columns};
    fits->lists.starts = malloc((size_t)(study->train.rows + 1) * sizeof *fits->lists.starts);
    fits->lists.indices = malloc(places * sizeof *fits->lists.indices);
    return (fits->values && fits->lists.starts && fits->lists.indices) ||
           error_memory(error, "lists to audit", places * sizeof *fits->lists.indices,
                        "lower the largest of evaluate.k");
}

static void fit_audit_close(struct fit_audit *fits)
{
    csr_free(&fits->lists);
    free(fits->values);
}

/* One row a user, empty for those who are not tested. */
static void take_lists(struct csr *lists, const struct top_k *top)
{
    int64_t next = 0;
    lists->starts[0] = 0;
    for (int64_t user = 0; user < lists->rows; user++) {
        int64_t end = lists->starts[user];
        if (next < top->users && top->user[next] == user) {
            for (int64_t rank = 0; rank < top->k && top->items[next * top->k + rank] >= 0; rank++)
                lists->indices[end++] = top->items[next * top->k + rank];
            next++;
        }
        lists->starts[user + 1] = end;
    }
}

static void measure_groups(struct group_values *values, const struct csr *lists, int64_t k,
                           const struct exposure_context *context, const struct grouping *grouping)
{
    struct group_metrics metrics[GROUPS_MAXIMUM];
    if (grouping->of_items) {
        item_group_metrics(metrics, lists, context->truth, k, &grouping->groups);
        exposure_shares(values->further, lists, k, &grouping->groups);
    } else {
        user_group_metrics(metrics, lists, context->truth, k, &grouping->groups);
        popularity_lifts(values->further, lists, k, context, &grouping->groups);
    }
    for (int group = 0; group < grouping->groups.count; group++) {
        values->recall[group] = metrics[group].recall;
        values->ndcg[group] = metrics[group].ndcg;
    }
}

/* All cuts of one fit. */
static bool measure_fit(struct fit_values *values, struct fit_audit *fits, const char *path,
                        struct error *error)
{
    const struct audit *audit = fits->audit;
    const struct study *study = audit->study;
    const struct exposure_context context = {.train = &study->train,
                                             .hidden = &study->known,
                                             .truth = &study->test,
                                             .popularity = audit->popularity,
                                             .tail = audit->tail};
    struct top_k top = {0};
    bool done = top_k_read(&top, &study->dataset, fits->items, path, study->test_users, study->test_count,
                           study->largest_cut, error);
    if (done)
        take_lists(&fits->lists, &top);
    top_k_free(&top);
    for (int cut = 0; done && cut < study->cut_count; cut++) {
        done = exposure_measure(values[cut].exposure, &fits->lists, study->cuts[cut], &context, error);
        for (int i = 0; done && i < audit->grouping_count; i++)
            measure_groups(&values[cut].groups[i], &fits->lists, study->cuts[cut], &context,
                           &audit->groupings[i]);
    }
    return done;
}

static bool measure_arm(struct fit_audit *fits, int contestant, enum arm arm, struct error *error)
{
    const struct study *study = fits->audit->study;
    bool done = true;
    for (int64_t s = 0; done && s < study->seeds; s++) {
        char *folder = study_fit_folder(study, contestant, arm_name(arm), study->first_seed + (uint64_t)s);
        char *path = path_format("%s/top_k.tsv", folder);
        done = measure_fit(fits->values + s * study->cut_count, fits, path, error);
        free(path);
        free(folder);
    }
    return done;
}

/* One number of every seed, which lies `offset` bytes behind the start of a seed's values. */
static void gather(double *gathered, const struct fit_audit *fits, int cut, size_t offset)
{
    const struct study *study = fits->audit->study;
    for (int64_t s = 0; s < study->seeds; s++)
        gathered[s] = *(const double *)((const char *)&fits->values[s * study->cut_count + cut] + offset);
}

/* {"gini": {"mean", "deviation"}, ...} */
static json_t *exposure_json(const struct fit_audit *fits, int cut, double *scratch)
{
    const int64_t seeds = fits->audit->study->seeds;
    json_t *record = json_object();
    for (int metric = 0; metric < EXPOSURE_COUNT; metric++) {
        gather(scratch, fits, cut, offsetof(struct fit_values, exposure) + (size_t)metric * sizeof(double));
        json_object_set_new(record, exposure_name((enum exposure_metric)metric),
                            json_pack("{s:o, s:o}", "mean", audit_number(mean(scratch, seeds)), "deviation",
                                      audit_number(standard_deviation(scratch, seeds))));
    }
    return record;
}

/* Adds the means over the seeds under `name`, and which group is worst. */
static void add_series(json_t *record, const char *name, bool worst, const struct fit_audit *fits, int cut,
                       const struct grouping *grouping, size_t offset, double *scratch)
{
    double means[GROUPS_MAXIMUM];
    for (int group = 0; group < grouping->groups.count; group++) {
        gather(scratch, fits, cut, offset + (size_t)group * sizeof(double));
        means[group] = mean(scratch, fits->audit->study->seeds);
    }
    json_object_set_new(record, name, audit_numbers(means, grouping->groups.count));
    const struct group_spread spread = group_spread(means, grouping->groups.count);
    if (!worst || spread.worst < 0)
        return;
    json_object_set_new(json_object_get(record, "worst"), name,
                        json_pack("{s:s, s:f, s:f}", "group", grouping->groups.name[spread.worst], "value",
                                  spread.lowest, "gap", spread.gap));
}

static json_t *groups_json(const struct fit_audit *fits, int cut, double *scratch)
{
    const struct audit *audit = fits->audit;
    json_t *list = json_array();
    for (int i = 0; i < audit->grouping_count; i++) {
        const struct grouping *grouping = &audit->groupings[i];
        const size_t offset = offsetof(struct fit_values, groups) + (size_t)i * sizeof(struct group_values);
        json_t *record = json_pack("{s:s, s:s, s:{}}", "by", grouping->name, "of",
                                   grouping->of_items ? "item" : "user", "worst");
        add_series(record, "recall", true, fits, cut, grouping,
                   offset + offsetof(struct group_values, recall), scratch);
        add_series(record, "ndcg", true, fits, cut, grouping, offset + offsetof(struct group_values, ndcg),
                   scratch);
        add_series(record, grouping->of_items ? "exposure" : "popularity_lift", false, fits, cut, grouping,
                   offset + offsetof(struct group_values, further), scratch);
        json_array_append_new(list, record);
    }
    return list;
}

static bool add_arm(json_t *list, struct fit_audit *fits, int contestant, enum arm arm, double *scratch,
                    struct error *error)
{
    const struct study *study = fits->audit->study;
    if (!measure_arm(fits, contestant, arm, error))
        return false;
    for (int cut = 0; cut < study->cut_count; cut++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:o, s:o}", "recommender",
                                              study->contestants[contestant].label, "arm", arm_name(arm), "k",
                                              (json_int_t)study->cuts[cut], "seeds", (json_int_t)study->seeds,
                                              "exposure", exposure_json(fits, cut, scratch), "groups",
                                              groups_json(fits, cut, scratch)));
    return true;
}

bool audit_fits_json(json_t **list, const struct audit *audit, struct error *error)
{
    const struct study *study = audit->study;
    struct name_index items;
    struct fit_audit fits = {0};
    double *scratch = malloc((size_t)study->seeds * sizeof *scratch);
    bool done = name_index_open(&items, &study->dataset.item_ids, error) &&
                fit_audit_open(&fits, audit, &items, error) &&
                (scratch || error_memory(error, "the audit", (size_t)study->seeds * sizeof *scratch, NULL));
    *list = json_array();
    for (int contestant = 0; done && contestant < study->contestant_count; contestant++)
        for (int a = 0; done && a < study->arm_count; a++)
            done = !study_has_fit(study, contestant, study->arms[a]) ||
                   add_arm(*list, &fits, contestant, study->arms[a], scratch, error);
    fit_audit_close(&fits);
    name_index_close(&items);
    free(scratch);
    return done;
}
