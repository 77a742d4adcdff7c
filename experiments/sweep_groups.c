#include <math.h>
#include <string.h>

#include "experiments/sweep_report.h"

const json_t *sweep_report_audit(const struct sweep_report *report, int trial, const char *recommender,
                                 const char *arm)
{
    const struct run run = {.config = report->sweep->config};
    const struct report own = {.run = &run, .results = report->trials[trial]};
    return report_audit_fit(&own, recommender, arm);
}

const json_t *sweep_report_groups(const struct sweep_report *report, int trial)
{
    const struct report own = {.results = report->trials[trial]};
    return report_audit_groups(&own, "history");
}

const char *sweep_report_group_metric(const struct sweep_report *report)
{
    return strncmp(report->metric, "ndcg@", 5) == 0 ? "ndcg" : "recall";
}

double sweep_report_group_gain(const struct sweep_report *report, int trial, const char *recommender,
                               size_t group)
{
    static const char *const arms[] = {"augmented", "original"};
    double values[2];
    for (int i = 0; i < 2; i++) {
        const json_t *fit = sweep_report_audit(report, trial, recommender, arms[i]),
                     *entry = report_audit_entry(fit, "history"),
                     *value =
                         json_array_get(json_object_get(entry, sweep_report_group_metric(report)), group);
        values[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    return values[1] > 0 ? values[0] / values[1] - 1 : NAN;
}

/* The groups of the first trial that has some in this recommender's audit; NULL: none has. */
static const json_t *find_groups(const struct sweep_report *report, const char *recommender)
{
    for (int i = 0; i < report->sweep->trial_count; i++)
        if (sweep_report_audit(report, i, recommender, "augmented") && sweep_report_groups(report, i))
            return sweep_report_groups(report, i);
    return NULL;
}

static void add_gains(struct table *table, const struct sweep_report *report, int trial,
                      const char *recommender, const json_t *groups)
{
    const bool same = json_equal(sweep_report_groups(report, trial), groups);
    table_cell(table, "%s", report->sweep->trials[trial].name);
    for (size_t group = 0; group < json_array_size(groups); group++) {
        const double gain = same ? sweep_report_group_gain(report, trial, recommender, group) : NAN;
        if (!isnan(gain))
            table_cell(table, "%+.1f %%", 100 * gain);
        else
            table_cell(table, "%s", !same && group == 0 ? "other groups" : " ");
    }
}

/* Gain of the augmented arm among users of each length of history. */
static void write_table(const struct sweep_report *report, const struct document *document,
                        const char *recommender)
{
    const json_t *groups = find_groups(report, recommender), *group;
    size_t index;
    char name[96];
    if (!groups)
        return;
    snprintf(name, sizeof name, "groups-%s", recommender);
    struct table table = {.name = name, .columns = 1 + (int)json_array_size(groups)};
    table_cell(&table, "gain in %s@%lld, users with", sweep_report_group_metric(report),
               (long long)report->cut);
    json_array_foreach(groups, index, group) table_cell(&table, "%s", json_text_at(group, "name"));
    for (int i = 0; i < report->sweep->trial_count; i++)
        if (sweep_report_audit(report, i, recommender, "augmented") &&
            sweep_report_audit(report, i, recommender, "original"))
            add_gains(&table, report, i, recommender, groups);
    document_table_if_any(document, &table);
}

void sweep_report_write_groups(const struct sweep_report *report, const struct document *document)
{
    char gains[128];
    snprintf(gains, sizeof gains,
             "gain in %s@%lld by the number of the user's train interactions, in per cent.",
             sweep_report_group_metric(report), (long long)report->cut);
    document_heading(document, 2, "Groups and popularity");
    document_paragraph(
        document,
        "Whom the gain goes to, and what the lists show: users by the number of their train interactions; "
        "Gini "
        "coefficient of the items' places in lists (lower: spread more evenly) and mean train popularity of "
        "what is shown, in the original and the augmented arm. All measures are in the reports of the "
        "trials.");
    for (int i = 0; i < report->recommender_count; i++) {
        const char *recommender = report->recommenders[i];
        document_heading(document, 3, "%s", recommender);
        write_table(report, document, recommender);
        sweep_report_figure(document, "groups", recommender, gains);
        sweep_report_figure(document, "gini", recommender,
                            "Gini coefficient of exposure, without and with synthetic rows.");
        sweep_report_figure(document, "arp", recommender,
                            "mean popularity of the items shown, without and with synthetic rows.");
    }
}
