#include <stdlib.h>
#include <string.h>

#include "experiments/report.h"

void report_describe_settings(char *text, size_t size, const json_t *settings)
{
    const char *name;
    json_t *value;
    size_t length = 0;
    *text = '\0';
    json_object_foreach((json_t *)settings, name, value)
    {
        char *number = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        const char *shown = json_is_string(value) ? json_string_value(value) : number;
        if (length < size)
            length += (size_t)snprintf(text + length, size - length, "%s%s %s", length > 0 ? ", " : "", name,
                                       shown ? shown : "");
        free(number);
    }
}

static void add_line(struct table *table, const json_t *search)
{
    const json_t *written = json_object_get(search, "as_written"), *best = json_object_get(search, "best");
    const double before = json_number_at(written, "score"), after = json_number_at(best, "score");
    char settings[1024];
    report_describe_settings(settings, sizeof settings, json_object_get(best, "settings"));
    table_cell(table, "%s", json_text_at(search, "recommender"));
    table_cell(table, "%s%s", json_text_at(search, "arm"),
               json_has(search, "shared_with") ? " (the original rows: shared)" : "");
    table_cell(table, "%.0f", json_number_at(search, "trials"));
    table_cell(table, "%.0f", json_number_at(search, "epochs"));
    table_cell(table, "%.1f", json_number_at(search, "seconds"));
    if (json_has(written, "score"))
        table_cell(table, "%.4f", before);
    else
        table_cell(table, "failed");
    table_cell(table, "%.4f", after);
    table_cell(table, "%s", settings);
}

/* Whether the search of some arm but the original is there. */
static bool tunes_other_arms(const json_t *tuning)
{
    const json_t *search;
    size_t index;
    json_array_foreach(tuning, index, search)
    {
        if (strcmp(json_text_at(search, "arm"), "original") != 0)
            return true;
    }
    return false;
}

static void write_budget(const struct report *report, const struct document *document, const json_t *tuning)
{
    const char *arms[8];
    const bool others = report_names(report, "arm", arms, 8) > 1;
    const long long trials = (long long)json_number_at(json_array_get(tuning, 0), "trials");
    if (tunes_other_arms(tuning))
        document_paragraph(
            document,
            "Every arm of the table had the same budget: the same %lld trials, judged alike. An arm "
            "that is not in it trained with what was found for original. Where the choice on validation "
            "adopted no rows, the augmented arm is the original one, with its settings.",
            trials);
    else if (others)
        document_paragraph(
            document,
            "Only the arm original was tuned, with %lld trials; all other arms trained with what "
            "was found for it. Had they been tuned as well (tune.arms), they could only have done "
            "better on validation.",
            trials);
    else
        document_paragraph(document, "The arm original was tuned with %lld trials.", trials);
}

void report_tuning(const struct report *report, const struct document *document)
{
    const json_t *tuning = json_object_get(report->results, "tuning"), *search;
    if (json_array_size(tuning) == 0)
        return;
    const char *metric = json_text_at(json_array_get(tuning, 0), "metric");
    static const char *const head[] = {"recommender", "arm", "trials", "epochs", "seconds"};
    struct table table = {.columns = 8};
    size_t index;
    document_heading(document, 2, "Tuning");
    document_paragraph(
        document,
        "Before training, settings of the recommenders were searched on validation (%s, one seed). "
        "The first trial is the configuration as written.",
        metric);
    write_budget(report, document, tuning);
    table_cells(&table, head, sizeof head / sizeof *head);
    table_cell(&table, "%s as written", metric);
    table_cell(&table, "of the best");
    table_cell(&table, "best settings");
    json_array_foreach(tuning, index, search) add_line(&table, search);
    document_table(document, &table);
}
