#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/cost.h"
#include "experiments/report.h"
#include "experiments/report_comparison.h"

enum { TIME_SIZE = 32 };

/* "4.2 s", "12 min 05 s", "3 h 20 min". */
static void describe_time(char text[TIME_SIZE], double seconds)
{
    const long long whole = llround(seconds);
    if (seconds < 99.95)
        snprintf(text, TIME_SIZE, "%.1f s", seconds);
    else if (whole < 6000)
        snprintf(text, TIME_SIZE, "%lld min %02lld s", whole / 60, whole % 60);
    else
        snprintf(text, TIME_SIZE, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

static void add_time(struct table *table, double seconds)
{
    char text[TIME_SIZE];
    describe_time(text, seconds);
    table_cell(table, "%s", text);
}

/* ---- rows --------------------------------------------------------------------------------------------- */

/* What some row has, and the table shows. */
struct cost_columns {
    bool device_memory, energy;
};

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static struct cost_columns find_columns(const json_t *rows)
{
    struct cost_columns columns = {false, false};
    const json_t *row;
    size_t index;
    json_array_foreach(rows, index, row)
    {
        columns.device_memory = columns.device_memory || json_number_at(row, "peak_device_memory_bytes") > 0;
        columns.energy = columns.energy || json_number_at(row, "energy_joules") > 0;
    }
    return columns;
}

static void add_head(struct table *table, struct cost_columns columns)
{
    static const char *const head[] = {"stage", "time", "device", "tokens/s", "GFLOP/s", "peak memory, MiB"};
    table_cells(table, head, sizeof head / sizeof *head);
    if (columns.device_memory)
        table_cell(table, "of the GPU, MiB");
    if (columns.energy)
        table_cell(table, "energy, kJ");
    table->columns = table->count;
}

static void add_positive(struct table *table, const char *format, double value)
{
    if (value > 0 && strcmp(format, "%.1f") == 0)
        table_cell(table, "%.1f", value);
    else if (value > 0)
        table_cell(table, "%.0f", value);
    else
        table_cell(table, " ");
}

static void add_name(struct table *table, const json_t *row)
{
    const double attempts = json_number_at(row, "attempts");
    const char *stage = json_text_at(row, "stage");
    if (is_true(row, "reused"))
        table_cell(table, "%s (taken from another trial)", stage);
    else if (is_true(row, "under_way"))
        table_cell(table, "%s (until now)", stage);
    else if (attempts > 1)
        table_cell(table, "%s (%.0f attempts)", stage, attempts);
    else
        table_cell(table, "%s", stage);
}

static void add_row(struct table *table, const json_t *row, struct cost_columns columns)
{
    const double seconds = json_number_at(row, "seconds");
    add_name(table, row);
    add_time(table, seconds);
    table_cell(table, "%s", json_has(row, "device") ? json_text_at(row, "device") : " ");
    add_positive(table, "%.0f", json_number_at(row, "tokens_per_second"));
    add_positive(table, "%.1f", seconds > 0 ? json_number_at(row, "flops") / seconds / 1e9 : 0);
    add_positive(table, "%.0f", json_number_at(row, "peak_memory_bytes") / 1048576);
    if (columns.device_memory)
        add_positive(table, "%.0f", json_number_at(row, "peak_device_memory_bytes") / 1048576);
    if (columns.energy)
        add_positive(table, "%.1f", json_number_at(row, "energy_joules") / 1000);
}

static void add_sum(struct table *table, const json_t *costs, struct cost_columns columns)
{
    table_cell(table, "together");
    add_time(table, json_number_at(costs, "wall_seconds"));
    for (int i = 0; i < 4; i++)
        table_cell(table, " ");
    if (columns.device_memory)
        table_cell(table, " ");
    if (columns.energy)
        add_positive(table, "%.1f", json_number_at(costs, "energy_joules") / 1000);
}

static bool has_row(const json_t *rows, const char *stage)
{
    const json_t *row;
    size_t index;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(json_text_at(row, "stage"), stage) == 0)
            return true;
    }
    return false;
}

static void write_explanations(const struct document *document, const json_t *costs)
{
    const json_t *rows = json_object_get(costs, "rows");
    const double killed = json_number_at(costs, "killed");
    document_paragraph(
        document,
        "The rows add up to the wall clock of all processes that have worked on this run (%.0f), until this "
        "report was written; cost.json has them to the end. \"other\" is the start and end of the program, "
        "checks, hashing of inputs and the start of the device.",
        json_number_at(costs, "processes"));
    if (killed > 0)
        document_paragraph(
            document, "%.0f of the processes were killed: at most the last %d s of each are not counted.",
            killed, METER_SECONDS);
    if (has_row(rows, "replaced"))
        document_paragraph(
            document, "\"replaced\" are stages for settings or data that are no longer those of the run.");
    if (has_row(rows, "waiting"))
        document_paragraph(document,
                           "\"waiting\" is for another trial that computed a stage which both need.");
    if (json_has(costs, "energy_source"))
        document_paragraph(
            document,
            "Energy is by the counters of the machine (%s: rapl all processor packages, nvml the GPU), "
            "which count whatever else ran there as well.",
            json_text_at(costs, "energy_source"));
    else
        document_paragraph(document, "Energy: no counter of the machine could be read.");
}

static void write_rows(const struct document *document, const json_t *costs)
{
    const json_t *rows = json_object_get(costs, "rows"), *row;
    const struct cost_columns columns = find_columns(rows);
    struct table table = {.name = "cost", .columns = 0};
    size_t index;
    add_head(&table, columns);
    json_array_foreach(rows, index, row) add_row(&table, row, columns);
    add_sum(&table, costs, columns);
    document_table(document, &table);
    write_explanations(document, costs);
}

/* ---- gain per hour ------------------------------------------------------------------------------------ */

static const json_t *gain_of(const json_t *entry, const char *metric)
{
    const json_t *gain;
    size_t index;
    json_array_foreach(json_object_get(entry, "gains"), index, gain)
    {
        if (strcmp(json_text_at(gain, "metric"), metric) == 0)
            return gain;
    }
    return NULL;
}

static double seconds_of(const json_t *entry, const char *name)
{
    const json_t *part;
    size_t index;
    json_array_foreach(json_object_get(entry, "parts"), index, part)
    {
        if (strcmp(json_text_at(part, "part"), name) == 0)
            return json_number_at(part, "seconds");
    }
    return 0;
}

static void add_interval(struct table *table, const json_t *gain)
{
    double interval[2];
    if (comparison_interval(interval, gain, "ci95"))
        table_cell(table, "[%+.2f, %+.2f] %%", 100 * interval[0], 100 * interval[1]);
    else
        table_cell(table, "not stated");
}

/* The unit of a rate: the largest that augmentation of no recommender fell short of. */
struct unit {
    const char *name;
    double hours;
};

static struct unit unit_of(const json_t *efficiency)
{
    double shortest = INFINITY;
    const json_t *entry;
    size_t index;
    json_array_foreach(efficiency, index, entry) shortest = fmin(shortest, json_number_at(entry, "seconds"));
    if (shortest >= 3600)
        return (struct unit){"hour", 1};
    return shortest >= 60 ? (struct unit){"minute", 1.0 / 60} : (struct unit){"second", 1.0 / 3600};
}

/* In per cent; null where there is nothing to relate a gain to. */
static void add_share(struct table *table, int digits, const json_t *gain, const char *key, double unit)
{
    if (json_has(gain, key))
        table_cell(table, "%+.*f %%", digits, unit * 100 * json_number_at(gain, key));
    else
        table_cell(table, "not stated");
}

static void add_gain(struct table *table, const json_t *entry, const char *metric, struct unit unit)
{
    const json_t *gain = gain_of(entry, metric);
    table_cell(table, "%s", json_text_at(entry, "recommender"));
    add_time(table, json_number_at(entry, "seconds"));
    add_time(table, seconds_of(entry, "choice"));
    table_cell(table, "%+.4f", json_number_at(gain, "difference"));
    add_share(table, 2, gain, "relative_gain", 1);
    add_interval(table, gain);
    table_cell(table, "%+.5f", unit.hours * json_number_at(gain, "difference_per_hour"));
    add_share(table, 3, gain, "relative_gain_per_hour", unit.hours);
}

static void write_gains(const struct report *report, const struct document *document,
                        const json_t *efficiency)
{
    static const char *const head[] = {"recommender", "augmentation took", "of it the choice",
                                       "gain, test",  "relative",          "95 % interval"};
    const struct unit unit = unit_of(efficiency);
    struct table table = {.name = "efficiency", .columns = sizeof head / sizeof *head + 2};
    const json_t *entry;
    size_t index;
    document_heading(document, 3, "Gain for the time");
    document_paragraph(document,
                       "Augmentation takes pretraining, fine-tuning, generation and filters, which serve all "
                       "recommenders and are "
                       "counted in full for each, and the fits that the choice on validation tried, in time "
                       "of the device: of a GPU "
                       "where it was one. The gain is that of the augmented arm over the original one in %s. "
                       "Gain a %s is one divided "
                       "by the other, no forecast; results.json has it per hour.",
                       report->metric, unit.name);
    table_cells(&table, head, sizeof head / sizeof *head);
    table_cell(&table, "gain a %s", unit.name);
    table_cell(&table, "relative");
    json_array_foreach(efficiency, index, entry) add_gain(&table, entry, report->metric, unit);
    document_table(document, &table);
}

static void add_score(struct table *table, const json_t *object, const char *key)
{
    if (json_has(object, key))
        table_cell(table, "%.4f", json_number_at(object, key));
    else
        table_cell(table, "none");
}

static void add_tuning(struct table *table, const json_t *entry)
{
    const json_t *tuning = json_object_get(entry, "tuning"),
                 *validation = json_object_get(entry, "validation");
    char budget[TIME_SIZE], all[TIME_SIZE];
    describe_time(budget, json_number_at(tuning, "budget_seconds"));
    describe_time(all, json_number_at(tuning, "seconds"));
    table_cell(table, "%s", json_text_at(entry, "recommender"));
    add_score(table, tuning, "as_written");
    add_score(table, tuning, "reached");
    if (is_true(tuning, "ended"))
        table_cell(table, "%s, all of it", all);
    else
        table_cell(table, "%s of %s", budget, all);
    add_score(table, validation, "original");
    add_score(table, validation, "augmented");
}

static void write_tuning(const struct document *document, const json_t *efficiency)
{
    const char *const head[] = {"recommender", "as written",           "tuned as long",
                                "tuning took", "without augmentation", "with augmentation"};
    struct table table = {.name = "efficiency-tuning", .columns = sizeof head / sizeof *head};
    const json_t *entry, *first = NULL;
    size_t index;
    json_array_foreach(efficiency, index, entry) first = first || !json_has(entry, "tuning") ? first : entry;
    if (!first) {
        document_paragraph(
            document,
            "The recommenders were not tuned: what the same time spent on their settings would have "
            "gained is not known (tune.use).");
        return;
    }
    document_paragraph(
        document,
        "The same time spent on tuning instead: %s on validation with the settings as written, and the best "
        "that the search had found when it had taken as long as augmentation did (one seed). Beside it what "
        "the choice saw, with the tuned settings: the mean over its seeds without and with augmentation.",
        json_text_at(json_object_get(first, "tuning"), "metric"));
    table_cells(&table, head, sizeof head / sizeof *head);
    json_array_foreach(efficiency, index, entry)
    {
        if (json_has(entry, "tuning"))
            add_tuning(&table, entry);
    }
    document_table(document, &table);
}

void report_cost(const struct report *report, const struct document *document)
{
    json_t *costs = cost_json(report->run);
    const json_t *efficiency = json_object_get(report->results, "efficiency");
    document_heading(document, 2, "Cost");
    write_rows(document, costs);
    json_decref(costs);
    if (json_array_size(efficiency) == 0)
        return;
    write_gains(report, document, efficiency);
    write_tuning(document, efficiency);
}
