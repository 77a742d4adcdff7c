#include <string.h>

#include "experiments/sweep_report.h"

const json_t *sweep_report_entry(const struct sweep_report *report, int trial, const char *recommender,
                                 const char *arm)
{
    const json_t *record = json_array_get(json_object_get(report->results, "trials"), (size_t)trial), *entry;
    size_t index;
    json_array_foreach(json_object_get(record, "recommenders"), index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(entry, "arm"), arm) == 0)
            return entry;
    }
    return NULL;
}

enum { KEY_SIZE = 640 };

/* No name has a line break. */
static void write_key(char key[KEY_SIZE], const char *trial, const char *recommender, const char *arm,
                      const char *against, const char *against_trial)
{
    snprintf(key, KEY_SIZE, "%s\n%s\n%s\n%s\n%s", trial, recommender, arm, against, against_trial);
}

/* The comparisons of the leading metric by what they compare. */
static bool index_comparisons(struct sweep_report *report, struct error *error)
{
    const json_t *comparison;
    size_t index;
    report->comparisons = json_object();
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        char key[KEY_SIZE];
        if (strcmp(json_text_at(comparison, "metric"), report->metric) != 0)
            continue;
        write_key(key, json_text_at(comparison, "trial"), json_text_at(comparison, "recommender"),
                  json_text_at(comparison, "arm"), json_text_at(comparison, "against"),
                  json_text_at(comparison, "against_trial"));
        json_object_set(report->comparisons, key, (json_t *)comparison);
    }
    return report->comparisons || error_memory(error, "the comparisons of a study", 0, NULL);
}

const json_t *sweep_report_comparison(const struct sweep_report *report, int trial, const char *recommender,
                                      const char *arm, const char *against, const char *against_trial)
{
    const char *name = report->sweep->trials[trial].name;
    char key[KEY_SIZE];
    write_key(key, name, recommender, arm, against, against_trial ? against_trial : name);
    return json_object_get(report->comparisons, key);
}

int sweep_report_family(const struct sweep_report *report, enum question question)
{
    const json_t *family;
    size_t index;
    json_array_foreach(json_object_get(report->results, "families"), index, family)
    {
        if (strcmp(json_text_at(family, "metric"), report->metric) == 0 &&
            strcmp(json_text_at(family, "question"), question_name(question)) == 0)
            return (int)json_number_at(family, "size");
    }
    return 0;
}

const char *sweep_report_control(const char *arm)
{
    static const char prefix[] = "control.";
    return strncmp(arm, prefix, strlen(prefix)) == 0 ? arm + strlen(prefix) : arm;
}

const json_t *sweep_report_strongest_control(const struct sweep_report *report, int trial,
                                             const char *recommender)
{
    const json_t *strongest = NULL;
    for (int arm = ARM_AUGMENTED + 1; arm < ARM_COUNT; arm++) {
        const json_t *comparison =
            sweep_report_comparison(report, trial, recommender, "augmented", arm_name((enum arm)arm), NULL);
        if (comparison && (!strongest || json_number_at(comparison, "against_mean") >
                                             json_number_at(strongest, "against_mean")))
            strongest = comparison;
    }
    return strongest;
}

const char *sweep_report_adopted(const struct sweep_report *report, int trial, const char *recommender)
{
    const json_t *selection;
    size_t index;
    if (!report->trials)
        return NULL;
    json_array_foreach(json_object_get(report->trials[trial], "selection"), index, selection)
    {
        if (strcmp(json_text_at(selection, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(selection, "select"), "validation") == 0)
            return json_text_at(selection, "chosen");
    }
    return NULL;
}

bool sweep_report_is_augmented(const struct sweep_report *report)
{
    for (int trial = 0; trial < report->sweep->trial_count; trial++)
        for (int i = 0; i < report->recommender_count; i++)
            if (sweep_report_comparison(report, trial, report->recommenders[i], "augmented", "original",
                                        NULL))
                return true;
    return false;
}

/* Every recommender of any trial, once. */
static void find_recommenders(struct sweep_report *report)
{
    const json_t *trial, *entry;
    size_t index, number;
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            const char *name = json_text_at(entry, "recommender");
            int place = 0;
            while (place < report->recommender_count && strcmp(report->recommenders[place], name) != 0)
                place++;
            if (place == report->recommender_count && place < REPORT_NAMES_MAXIMUM)
                report->recommenders[report->recommender_count++] = name;
        }
    }
}

bool sweep_report_prepare(struct sweep_report *report, struct error *error)
{
    report_leading_metric(report->metric, report->sweep->config);
    report->cut = report_cut_of(report->sweep->config);
    find_recommenders(report);
    return index_comparisons(report, error);
}

const char *sweep_report_state(const struct sweep_report *report, int trial)
{
    return json_text_at(json_array_get(json_object_get(report->results, "trials"), (size_t)trial), "state");
}
