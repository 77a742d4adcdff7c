#include <string.h>

#include "experiments/compare.h"
#include "experiments/report.h"
#include "experiments/report_comparison.h"

/* Runs go by letters: their folders are too long for a table. */
static char letter_of(const json_t *result, const char *folder)
{
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(result, "runs"), index, run)
    {
        if (strcmp(json_text_at(run, "run"), folder) == 0)
            return (char)('A' + index);
    }
    return '?';
}

static void print_runs(const json_t *result, const struct document *document)
{
    static const char *const head[] = {"run", "folder", "seeds"};
    struct table table = {.columns = sizeof head / sizeof *head};
    table_cells(&table, head, sizeof head / sizeof *head);
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(result, "runs"), index, run)
    {
        const json_t *seeds = json_object_get(run, "seeds");
        const size_t count = json_array_size(seeds);
        table_cell(&table, "%c", (char)('A' + index));
        table_cell(&table, "%s", json_text_at(run, "run"));
        table_cell(&table, count > 1 ? "%lld to %lld" : "%lld",
                   (long long)json_integer_value(json_array_get(seeds, 0)),
                   (long long)json_integer_value(json_array_get(seeds, count - 1)));
    }
    document_table(document, &table);
}

static void print_test(const json_t *result, const struct document *document)
{
    const json_t *test = json_object_get(result, "test");
    document_paragraph(document,
                       "All are tested on the same %.0f interactions of %.0f users, by full rankings of %.0f "
                       "items; protocol %s, mask %s. Run A is what the others are compared with.",
                       json_number_at(test, "interactions"), json_number_at(test, "users"),
                       json_number_at(test, "items"), json_text_at(test, "protocol"),
                       json_text_at(test, "mask"));
    const json_t *run, *note;
    size_t index, number;
    json_array_foreach(json_object_get(result, "runs"), index, run)
    {
        json_array_foreach(json_object_get(run, "notes"), number, note)
        {
            document_paragraph(document, "%c: %s.", (char)('A' + index), json_string_value(note));
        }
    }
}

/* A table whose columns are the runs, after the first. */
static struct table begin_table(const json_t *result, const char *title)
{
    const size_t runs = json_array_size(json_object_get(result, "runs"));
    struct table table = {.columns = 1 + (int)runs};
    table_cell(&table, "%s", title);
    for (size_t i = 0; i < runs; i++)
        table_cell(&table, "%c", (char)('A' + i));
    return table;
}

static void print_differences(const json_t *result, const struct document *document)
{
    const json_t *differences = json_object_get(result, "differences"), *difference, *value;
    size_t index, number;
    document_heading(document, 2, "What the configurations differ in");
    if (json_array_size(differences) == 0) {
        document_paragraph(document, "Nothing but names and folders.");
        return;
    }
    struct table table = begin_table(result, "key");
    json_array_foreach(differences, index, difference)
    {
        table_cell(&table, "%s", json_text_at(difference, "key"));
        json_array_foreach(json_object_get(difference, "values"), number, value)
        {
            table_cell(&table, "%s", json_is_string(value) ? json_string_value(value) : "-");
        }
    }
    document_table(document, &table);
}

/* ---- comparisons --------------------------------------------------------------------------------------- */

static void add_arms(struct table *table, const json_t *comparison)
{
    const char *arm = json_text_at(comparison, "arm"), *against = json_text_at(comparison, "against");
    if (strcmp(arm, against) == 0)
        table_cell(table, "%s", arm);
    else
        table_cell(table, "%s / %s", arm, against);
}

static void add_comparison(struct table *table, const json_t *result, const json_t *comparison)
{
    table_cell(table, "%s", json_text_at(comparison, "metric"));
    table_cell(table, "%c", letter_of(result, json_text_at(comparison, "run")));
    add_arms(table, comparison);
    table_cell(table, "%.4f", json_number_at(comparison, "mean"));
    table_cell(table, "%.4f", json_number_at(comparison, "against_mean"));
    comparison_add_cells(table, comparison);
    table_cell(table, "%.0f", json_number_at(comparison, "seeds"));
}

/* Whether an earlier comparison of the recommender has the same note. */
static bool is_repeated(const json_t *comparisons, size_t place)
{
    const json_t *comparison = json_array_get(comparisons, place);
    for (size_t i = 0; i < place; i++) {
        const json_t *before = json_array_get(comparisons, i);
        if (strcmp(json_text_at(before, "recommender"), json_text_at(comparison, "recommender")) == 0 &&
            strcmp(json_text_at(before, "run"), json_text_at(comparison, "run")) == 0 &&
            strcmp(json_text_at(before, "note"), json_text_at(comparison, "note")) == 0)
            return true;
    }
    return false;
}

static void print_recommender(const json_t *result, const struct document *document, const char *recommender)
{
    static const char *const head[] = {"metric", "run", "arm", "mean", "mean of A"};
    struct table table = {.columns = sizeof head / sizeof *head + COMPARISON_CELLS + 1};
    const json_t *comparisons = json_object_get(result, "comparisons"), *comparison;
    size_t index;
    document_heading(document, 2, "%s", recommender);
    table_cells(&table, head, sizeof head / sizeof *head);
    comparison_add_heads(&table, NULL);
    table_cell(&table, "seeds");
    json_array_foreach(comparisons, index, comparison)
    {
        if (strcmp(json_text_at(comparison, "recommender"), recommender) == 0)
            add_comparison(&table, result, comparison);
    }
    document_table(document, &table);
    json_array_foreach(comparisons, index, comparison)
    {
        if (strcmp(json_text_at(comparison, "recommender"), recommender) == 0 &&
            json_has(comparison, "note") && !is_repeated(comparisons, index))
            document_paragraph(document, "%c, %s: %s.", letter_of(result, json_text_at(comparison, "run")),
                               json_text_at(comparison, "metric"), json_text_at(comparison, "note"));
    }
}

/* Metrics may differ in how many of their comparisons have a test. */
static double largest_family(const json_t *result)
{
    const json_t *comparison;
    size_t index;
    double largest = 0;
    json_array_foreach(json_object_get(result, "comparisons"), index, comparison)
    {
        if (json_number_at(comparison, "family") > largest)
            largest = json_number_at(comparison, "family");
    }
    return largest;
}

static void print_comparisons(const json_t *result, const struct document *document)
{
    const json_t *comparison;
    size_t index;
    const char *before = "";
    json_array_foreach(json_object_get(result, "comparisons"), index, comparison)
    {
        const char *recommender = json_text_at(comparison, "recommender");
        if (strcmp(recommender, before) != 0)
            print_recommender(result, document, recommender);
        before = recommender;
    }
    document_paragraph(
        document,
        "Gains are those of the mean, relative to run A; seeds and users are paired. The effect size is "
        "Cohen's d over users. p must hold for other seeds and other users alike, and is corrected by "
        "Holm's method for all comparisons of one metric above, %.0f, and for no others: the report of a "
        "run or a study corrects for its own, so that its verdict can be another. Detectable is the "
        "smallest gain that so many seeds and users would show with 80 %% chance. More in "
        "docs/statistics.md.",
        largest_family(result));
    json_array_foreach(json_object_get(result, "left_out"), index, comparison)
    {
        document_paragraph(document, "Not compared: %s of %c: %s.", json_text_at(comparison, "recommender"),
                           letter_of(result, json_text_at(comparison, "run")),
                           json_text_at(comparison, "reason"));
    }
}

/* ---- cost ---------------------------------------------------------------------------------------------- */

static const json_t *find_cost(const json_t *run, const char *stage)
{
    const json_t *cost;
    size_t index;
    json_array_foreach(json_object_get(run, "cost"), index, cost)
    {
        if (strcmp(json_text_at(cost, "stage"), stage) == 0)
            return cost;
    }
    return NULL;
}

static void add_cost(struct table *table, const json_t *cost)
{
    const double tokens = json_number_at(cost, "tokens");
    const char *shared = json_is_true(json_object_get(cost, "reused")) ? " (taken from another trial)" : "";
    if (!cost)
        table_cell(table, "-");
    else if (tokens > 0)
        table_cell(table, "%.1f s, %.3g tokens%s", json_number_at(cost, "seconds"), tokens, shared);
    else
        table_cell(table, "%.1f s%s", json_number_at(cost, "seconds"), shared);
}

/* Every stage that any of the runs has done; they all have the same order. */
static void print_cost(const json_t *result, const struct document *document)
{
    static const char *const stages[] = {"prepare", "pretrain", "finetune", "generate",
                                         "augment", "tune",     "train"};
    struct table table = begin_table(result, "stage");
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        const json_t *run;
        size_t index;
        bool any = false;
        json_array_foreach(json_object_get(result, "runs"), index, run)
        {
            any = any || find_cost(run, stages[i]);
        }
        if (any)
            table_cell(&table, "%s", stages[i]);
        json_array_foreach(json_object_get(result, "runs"), index, run)
        {
            if (any)
                add_cost(&table, find_cost(run, stages[i]));
        }
    }
    document_heading(document, 2, "Cost");
    document_table(document, &table);
}

bool compare_print(const json_t *result, enum document_format format, FILE *stream)
{
    bool incomplete = false;
    const struct document document = {
        .stream = stream, .format = format, .folder = ".", .incomplete = &incomplete};
    document_begin(&document, "Comparison of runs");
    print_runs(result, &document);
    print_test(result, &document);
    print_differences(result, &document);
    print_comparisons(result, &document);
    print_cost(result, &document);
    document_end(&document);
    return !incomplete;
}
