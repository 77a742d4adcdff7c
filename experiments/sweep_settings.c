#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/sweep_report.h"

static int count_done(const struct sweep_report *report)
{
    int count = 0;
    for (int i = 0; i < report->sweep->trial_count; i++)
        count += strcmp(sweep_report_state(report, i), "done") == 0;
    return count;
}

enum { LINE_SIZE = 512, LINE_ROOM = 400 };

/* What the trials set a key to, each value once, as far as there is room; and what others have, by `settings` of the study. */
static void list_values(char text[LINE_SIZE], const struct sweep_report *report, const char *key,
                        const json_t *settings)
{
    int length = 0, without = 0;
    text[0] = '\0';
    for (int i = 0; i < report->sweep->trial_count && length < LINE_ROOM; i++) {
        const char *value = sweep_setting(&report->sweep->trials[i], key);
        bool known = value == NULL;
        without += value == NULL;
        for (int before = 0; before < i && !known; before++) {
            const char *other = sweep_setting(&report->sweep->trials[before], key);
            known = other && strcmp(other, value) == 0;
        }
        if (!known)
            length += snprintf(text + length, (size_t)(LINE_SIZE - length), "%s%.80s", length > 0 ? "; " : "",
                               value);
    }
    if (without > 0)
        snprintf(text + length, (size_t)(LINE_SIZE - length), "; elsewhere %.80s",
                 json_has(settings, key) ? json_text_at(settings, key) : "as the study has it");
}

/* The seeds that a trial's arms have; -1: it is not done. */
static int seeds_of(const struct sweep_report *report, int trial)
{
    const json_t *record = json_array_get(json_object_get(report->results, "trials"), (size_t)trial),
                 *entry = json_array_get(json_object_get(record, "recommenders"), 0);
    return entry ? (int)json_number_at(entry, "seeds") : -1;
}

/* "5; 3 in few, fewer" */
static void describe_seeds(char text[LINE_SIZE], const struct sweep_report *report)
{
    const int usual = (int)config_integer(report->sweep->config, "experiment.seeds");
    int length = snprintf(text, LINE_SIZE, "%d", usual);
    for (int i = 0; i < report->sweep->trial_count && length < LINE_ROOM; i++) {
        const int seeds = seeds_of(report, i);
        if (seeds >= 0 && seeds != usual)
            length += snprintf(text + length, (size_t)(LINE_SIZE - length), "; %d in %.80s", seeds,
                               report->sweep->trials[i].name);
    }
}

static void add_line(struct table *table, const char *what, const char *value)
{
    table_cell(table, "%s", what);
    table_cell(table, "%s", value);
}

void sweep_report_settings(const struct sweep_report *report, const struct document *document)
{
    const struct sweep *sweep = report->sweep;
    struct table table = {.name = "study", .columns = 2};
    char text[LINE_SIZE];
    table_cell(&table, "study");
    table_cell(&table, "%s", config_string(sweep->config, "name"));
    snprintf(text, sizeof text, "%d, of which %d done", sweep->trial_count, count_done(report));
    add_line(&table, "trials", text);
    add_line(&table, "reference trial", sweep->trials[sweep->reference].name);
    int length = 0;
    text[0] = '\0';
    for (int i = 0; i < report->recommender_count && length < LINE_ROOM; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", i > 0 ? ", " : "",
                           report->recommenders[i]);
    add_line(&table, "recommenders", text);
    describe_seeds(text, report);
    add_line(&table, "seeds an arm", text);
    add_line(&table, "metric that leads", report->metric);
    json_t *settings = report_settings_of_study(sweep);
    for (int i = 0; i < sweep->key_count; i++) {
        list_values(text, report, sweep->keys[i], settings);
        add_line(&table, sweep->keys[i], text);
    }
    json_decref(settings);
    document_table(document, &table);
}

/* "finetune.rank 4, seed 7"; malloc'ed. */
static char *describe_trial(const struct sweep_trial *trial)
{
    char *text = path_format("%s", trial->setting_count > 0 ? "" : "the study's configuration as written");
    for (int i = 0; i < trial->setting_count; i++) {
        char *longer = path_format("%s%s%s %s", text, i > 0 ? ", " : "", trial->settings[i].path,
                                   trial->settings[i].value);
        free(text);
        text = longer;
    }
    return text;
}

void sweep_report_links(const struct sweep_report *report, const struct document *document)
{
    document_fold_begin(document, "Report of every trial");
    document_list_begin(document);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        if (strcmp(sweep_report_state(report, i), "done") != 0)
            continue;
        const struct sweep_trial *trial = &report->sweep->trials[i];
        char *file = path_format("trials/%s/%s", trial->name, document_report_name(document));
        char *text = describe_trial(trial);
        document_list_link(document, trial->name, file, text);
        free(text);
        free(file);
    }
    document_list_end(document);
    document_fold_end(document);
}
