#include <string.h>

#include "experiments/arms.h"
#include "experiments/audit.h"
#include "experiments/report.h"

const json_t *report_audit_groups(const struct report *report, const char *by)
{
    const json_t *grouping, *audit = json_object_get(report->results, "audit");
    size_t index;
    json_array_foreach(json_object_get(audit, "groupings"), index, grouping)
    {
        if (strcmp(json_text_at(grouping, "by"), by) == 0)
            return json_object_get(grouping, "groups");
    }
    return NULL;
}

const json_t *report_audit_fit(const struct report *report, const char *recommender, const char *arm)
{
    const json_t *fit, *audit = json_object_get(report->results, "audit");
    size_t index;
    json_array_foreach(json_object_get(audit, "fits"), index, fit)
    {
        if (strcmp(json_text_at(fit, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(fit, "arm"), arm) == 0 &&
            (int64_t)json_number_at(fit, "k") == report_largest_cut(report))
            return fit;
    }
    return NULL;
}

const json_t *report_audit_entry(const json_t *fit, const char *by)
{
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(fit, "groups"), index, entry)
    {
        if (strcmp(json_text_at(entry, "by"), by) == 0)
            return entry;
    }
    return NULL;
}

static void add_number(struct table *table, const json_t *value)
{
    const double number = json_number_value(value);
    if (!json_is_number(value))
        table_cell(table, "-");
    else
        table_cell(table, number >= 100 ? "%.1f" : number >= 10 ? "%.2f" : "%.4f", number);
}

/* "Gini (lower)": what is better stands in the head of every column. */
static void add_heads(struct table *table, const enum exposure_metric *metrics, int count)
{
    for (int m = 0; m < count; m++) {
        const struct audit_term term = audit_term(metrics[m]);
        const char *arrow = strcmp(term.better, "lower") == 0    ? "↓"
                            : strcmp(term.better, "higher") == 0 ? "↑"
                                                                 : "→0";
        table_cell(table, "%s %s", term.label, arrow);
    }
}

static const enum exposure_metric compact[] = {EXPOSURE_GINI,       EXPOSURE_COVERAGE,    EXPOSURE_ENTROPY,
                                               EXPOSURE_POPULARITY, EXPOSURE_LIFT,        EXPOSURE_TAIL_SHARE,
                                               EXPOSURE_TAIL_COUNT, EXPOSURE_OPPORTUNITY, EXPOSURE_PARITY};
enum { COMPACT = sizeof compact / sizeof *compact };

static void exposure_table(const struct report *report, const struct document *document,
                           const char *recommender)
{
    const char *arms[ARM_COUNT];
    const int arm_count = report_names(report, "arm", arms, ARM_COUNT);
    char name[96];
    snprintf(name, sizeof name, "audit-%s", recommender);
    struct table table = {.name = name, .columns = COMPACT + 3};
    char rules[REPORT_RULES_SIZE];
    report_rules(report, rules);
    table_cell(&table, "%s, k = %lld%s", recommender, (long long)report_largest_cut(report), rules);
    table_cell(&table, "worst recall ↑");
    table_cell(&table, "gap ↓");
    add_heads(&table, compact, COMPACT);
    for (int a = 0; a < arm_count; a++) {
        const json_t *fit = report_audit_fit(report, recommender, arms[a]);
        if (fit == NULL)
            continue;
        const json_t *worst =
            json_object_get(json_object_get(report_audit_entry(fit, "history"), "worst"), "recall");
        table_cell(&table, "%s", arms[a]);
        add_number(&table, json_object_get(worst, "value"));
        add_number(&table, json_object_get(worst, "gap"));
        for (int m = 0; m < COMPACT; m++)
            add_number(&table, json_object_get(json_object_get(json_object_get(fit, "exposure"),
                                                               exposure_name(compact[m])),
                                               "mean"));
    }
    document_table(document, &table);
}

/* One measure of every arm in the groups of one way of grouping. */
static void group_table(const struct report *report, const struct document *document, const char *recommender,
                        const char *by, const char *measure)
{
    const char *arms[ARM_COUNT];
    const int arm_count = report_names(report, "arm", arms, ARM_COUNT);
    const json_t *groups = report_audit_groups(report, by), *value;
    struct table table = {.columns = 1 + (int)json_array_size(groups)};
    size_t index;
    table_cell(&table, "%s by %s", measure, by);
    json_array_foreach(groups, index, value) table_cell(&table, "%s", json_text_at(value, "name"));
    for (int a = 0; a < arm_count; a++) {
        const json_t *fit = report_audit_fit(report, recommender, arms[a]);
        const json_t *entry = report_audit_entry(fit, by);
        if (fit == NULL)
            continue;
        table_cell(&table, "%s", arms[a]);
        json_array_foreach(json_object_get(entry, measure), index, value) add_number(&table, value);
    }
    document_table(document, &table);
}

static void group_tables(const struct report *report, const struct document *document,
                         const char *recommender)
{
    const json_t *audit = json_object_get(report->results, "audit"), *grouping;
    char summary[128];
    size_t index;
    snprintf(summary, sizeof summary, "%s: recall, NDCG and exposure by group", recommender);
    document_fold_begin(document, summary);
    json_array_foreach(json_object_get(audit, "groupings"), index, grouping)
    {
        const char *by = json_text_at(grouping, "by");
        const bool of_items = strcmp(json_text_at(grouping, "of"), "item") == 0;
        group_table(report, document, recommender, by, "recall");
        group_table(report, document, recommender, by, "ndcg");
        group_table(report, document, recommender, by, of_items ? "exposure" : "popularity_lift");
    }
    document_fold_end(document);
}

static void terms_table(const struct document *document)
{
    struct table table = {.columns = 3};
    table_cell(&table, "measure");
    table_cell(&table, "better");
    table_cell(&table, "meaning");
    table_cell(&table, "worst recall");
    table_cell(&table, "higher");
    table_cell(&table, "recall of the group of users, by length of history, that is served worst");
    table_cell(&table, "gap");
    table_cell(&table, "lower");
    table_cell(&table, "recall of the best served group minus that of the worst");
    for (int metric = 0; metric < EXPOSURE_COUNT; metric++) {
        const struct audit_term term = audit_term((enum exposure_metric)metric);
        table_cell(&table, "%s", term.label);
        table_cell(&table, "%s", term.better);
        table_cell(&table, "%s", term.meaning);
    }
    document_table(document, &table);
}

/* Who gets synthetic rows: a line a set, the share of its rows that each group has. */
static void receivers_table(const struct report *report, const struct document *document,
                            const json_t *grouping)
{
    const json_t *rows = json_object_get(json_object_get(report->results, "audit"), "rows"), *set, *value;
    const char *by = json_text_at(grouping, "by");
    struct table table = {.columns = 1 + (int)json_array_size(json_object_get(grouping, "groups"))};
    size_t index, place;
    table_cell(&table, "share of rows by %s", by);
    json_array_foreach(json_object_get(grouping, "groups"), index, value)
        table_cell(&table, "%s", json_text_at(value, "name"));
    json_array_foreach(rows, index, set)
    {
        table_cell(&table, "%s", json_text_at(set, "rows"));
        json_array_foreach(json_object_get(report_audit_entry(set, by), "share"), place, value)
            add_number(&table, value);
    }
    document_table(document, &table);
}

static void rows_tables(const struct report *report, const struct document *document)
{
    static const enum exposure_metric metrics[] = {
        EXPOSURE_GINI, EXPOSURE_COVERAGE,   EXPOSURE_ENTROPY,       EXPOSURE_POPULARITY,
        EXPOSURE_LIFT, EXPOSURE_TAIL_SHARE, EXPOSURE_TAIL_COVERAGE, EXPOSURE_PARITY};
    enum { METRICS = sizeof metrics / sizeof *metrics };
    const json_t *audit = json_object_get(report->results, "audit"), *set;
    struct table table = {.name = "synthetic", .columns = METRICS + 3};
    size_t index;
    if (json_array_size(json_object_get(audit, "rows")) < 2)
        return;
    document_paragraph(
        document, "The same of the synthetic rows alone, beside the train rows: accepted are all that passed "
                  "the filters, and for each recommender those that it is trained with.");
    table_cell(&table, "rows");
    table_cell(&table, "number");
    table_cell(&table, "users");
    add_heads(&table, metrics, METRICS);
    json_array_foreach(json_object_get(audit, "rows"), index, set)
    {
        table_cell(&table, "%s", json_text_at(set, "rows"));
        table_cell(&table, "%.0f", json_number_at(set, "count"));
        table_cell(&table, "%.0f", json_number_at(set, "users"));
        for (int m = 0; m < METRICS; m++)
            add_number(&table, json_object_get(json_object_get(set, "exposure"), exposure_name(metrics[m])));
    }
    document_table(document, &table);
    document_fold_begin(document, "Who gets synthetic rows, and which items");
    json_array_foreach(json_object_get(audit, "groupings"), index, set)
        receivers_table(report, document, set);
    document_fold_end(document);
}

static void write_introduction(const struct report *report, const struct document *document)
{
    const json_t *audit = json_object_get(report->results, "audit");
    const long long seeds = config_integer(report->run->config, "experiment.seeds");
    document_paragraph(
        document,
        "Who is served, and what is shown, before and after augmentation: means over %lld seed%s, of "
        "the users with test items%s. The arrows say what is better: ↓ lower, ↑ higher, →0 nearest "
        "to 0. Users are grouped by the number of their train interactions, items by tenths of "
        "popularity. The long tail are the %.0f items outside the most popular ones that have %.0f "
        "%% of the train interactions. Formulas and sources: docs/metrics.md; all values, with "
        "deviations over the seeds: tables/audit.csv.",
        seeds, seeds == 1 ? "" : "s", seeds == 1 ? "; from one seed nothing can be said of chance" : "",
        json_number_at(audit, "tail_items"), 100 * json_number_at(audit, "head_share"));
}

void report_audit(const struct report *report, const struct document *document)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    const int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    if (!json_has(report->results, "audit"))
        return;
    document_heading(document, 2, "Groups and popularity");
    write_introduction(report, document);
    for (int i = 0; i < count; i++) {
        char path[128];
        exposure_table(report, document, names[i]);
        snprintf(path, sizeof path, "plots/groups-%s.svg", names[i]);
        document_figure(document, path, "Recall by the number of the user's train interactions.");
        snprintf(path, sizeof path, "plots/exposure-%s.svg", names[i]);
        document_figure(document, path, "Places of lists by popularity of the item.");
        group_tables(report, document, names[i]);
    }
    rows_tables(report, document);
    terms_table(document);
}
