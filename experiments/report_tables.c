#include <string.h>

#include "experiments/report.h"

static void selection_table(const struct report *report, const struct document *document,
                            const json_t *selection)
{
    char name[96];
    snprintf(name, sizeof name, "selection-%s", json_text_at(selection, "recommender"));
    struct table table = {.name = name, .columns = 4};
    char rules[REPORT_RULES_SIZE];
    report_rules(report, rules);
    table_cell(&table, "%s%s", json_text_at(selection, "recommender"), rules);
    table_cell(&table, "validation %s", json_text_at(selection, "metric"));
    table_cell(&table, "gain");
    table_cell(&table, "standard error");
    const json_t *candidate;
    size_t index;
    json_array_foreach(json_object_get(selection, "candidates"), index, candidate)
    {
        const char *choice = json_text_at(candidate, "choice");
        table_cell(&table, "%s%s", choice,
                   strcmp(choice, json_text_at(selection, "chosen")) == 0 ? " (chosen)" : "");
        table_cell(&table, "%.4f", json_number_at(candidate, "mean"));
        table_cell(&table, "%+.5f", json_number_at(candidate, "gain"));
        table_cell(&table, "%.5f", json_number_at(candidate, "standard_error"));
    }
    document_table(document, &table);
}

static void amount_figure(const struct document *document, const char *kind, const json_t *selection)
{
    char path[128];
    snprintf(path, sizeof path, "plots/%s-%s.svg", kind, json_text_at(selection, "recommender"));
    document_figure(document, path,
                    "Gain on validation by the amount of synthetic rows, with its standard error.");
}

void report_selection(const struct report *report, const struct document *document)
{
    const json_t *selections = json_object_get(report->results, "selection"), *selection;
    size_t index;
    if (json_array_size(selections) == 0)
        return;
    document_heading(document, 2, "Choice on validation");
    document_paragraph(document,
                       "Every candidate is trained with the same seeds as without augmentation and judged on "
                       "validation. The best one is adopted only if its mean gain is positive and larger "
                       "than augment.margin of its standard errors. A number after the use is rows a user, "
                       "one with x a share of the user's history, q a quantile of confidence.");
    json_array_foreach(selections, index, selection)
    {
        document_paragraph(document, "%s: %s.", json_text_at(selection, "recommender"),
                           json_text_at(selection, "reason"));
        if (json_array_size(json_object_get(selection, "candidates")) > 0)
            selection_table(report, document, selection);
        amount_figure(document, "amount", selection);
        amount_figure(document, "amount-proportional", selection);
    }
}

static void add_counts(struct table *table, const json_t *counts, const char *prefix)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)counts, key, value)
    {
        if (!json_is_integer(value))
            continue;
        table_cell(table, "%s%s", prefix, key);
        table_cell(table, "%lld", (long long)json_integer_value(value));
    }
}

static void truth_table(const struct report *report, const struct document *document)
{
    const json_t *truth = json_object_get(report->results, "truth"), *entry;
    size_t index;
    if (json_array_size(truth) == 0)
        return;
    document_paragraph(document,
                       "The data are artificial, so it is known which items a user truly prefers. Share of "
                       "the rows that are truly preferred:");
    struct table table = {.name = "truth", .columns = 5};
    static const char *const head[] = {"recommender", "rows", "synthetic", "control.random",
                                       "control.popularity"};
    table_cells(&table, head, sizeof head / sizeof *head);
    json_array_foreach(truth, index, entry)
    {
        table_cell(&table, "%s: %s", json_text_at(entry, "recommender"), json_text_at(entry, "choice"));
        table_cell(&table, "%.0f", json_number_at(entry, "rows"));
        table_cell(&table, "%.3f", json_number_at(entry, "preferred"));
        table_cell(&table, "%.3f", json_number_at(entry, "control_random"));
        table_cell(&table, "%.3f", json_number_at(entry, "control_popularity"));
    }
    document_table(document, &table);
}

void report_generation(const struct report *report, const struct document *document)
{
    const json_t *generation = json_object_get(report->results, "generation");
    if (generation == NULL)
        return;
    document_heading(document, 2, "Synthetic interactions");
    document_paragraph(document,
                       "Counts of generation and of the filters. in_test counts accepted rows that equal a "
                       "test pair: they are reported and never filtered, for a filter that knew them would "
                       "leak the test.");
    struct table table = {.name = "generation", .columns = 2};
    table_cell(&table, "counter");
    table_cell(&table, "rows");
    add_counts(&table, generation, "");
    add_counts(&table, json_object_get(generation, "rejected"), "refused by ");
    document_table(document, &table);
    truth_table(report, document);
    document_figure(document, "plots/popularity.svg",
                    "Rows by popularity of their items: each tenth of the items, the most popular first.");
}
