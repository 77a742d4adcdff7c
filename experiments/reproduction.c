#include "experiments/reproduction.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/json_file.h"
#include "core/statistics.h"
#include "experiments/check.h"
#include "experiments/report.h"
#include "experiments/run.h"

bool reproduction_check(char **folder, const char *file, int override_count, char *const *overrides,
                        struct error *error)
{
    struct config *config = NULL;
    struct recipe recipe;
    const bool done = config_load(&config, file, override_count, overrides, error) &&
                      check_config(config, error) && recipe_read(&recipe, config, error);
    *folder = done ? run_folder(config) : NULL;
    config_free(config);
    return done;
}

bool reproduction_has_figures(bool *has_figures, const char *file, struct error *error)
{
    struct config *config = NULL;
    const bool done = config_load(&config, file, 0, NULL, error);
    *has_figures = done && recipe_is_there(config);
    config_free(config);
    return done;
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

/* What a recipe says of itself; its figures are still to be added. */
static json_t *describe_recipe(const struct recipe *recipe, const struct config *config, const char *file)
{
    char *protocol = path_format("%s split, %s", config_string(config, "data.split.method"),
                                 config_string(config, "evaluate.protocol"));
    json_t *record =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:[]}", "recipe", file, "name",
                  config_string(config, "name"), "recommender", recipe->recommender, "protocol", protocol,
                  "published_protocol", text_or_null(recipe->published_protocol), "source",
                  text_or_null(recipe->source), "minutes_expected", json_number_or_null(recipe->minutes),
                  "machine", text_or_null(recipe->machine), "figures");
    free(protocol);
    return record;
}

/* Mean over the seeds of the arm original; false when results.json has no such figure. */
static bool find_reached(double *reached, int *seeds, const struct report *report, const char *recommender,
                         const char *metric, struct error *error)
{
    double *values = malloc(REPORT_SEEDS_MAXIMUM * sizeof *values);
    if (!values)
        return error_memory(error, "figures of the seeds", REPORT_SEEDS_MAXIMUM * sizeof *values, NULL);
    *seeds = report_values(report, recommender, "original", metric, values, REPORT_SEEDS_MAXIMUM);
    *reached = mean(values, *seeds);
    free(values);
    return (*seeds > 0 && isfinite(*reached)) ||
           error_at(error, ERROR_RUN, report->run->folder, 0,
                    "results.json has no %s of %s in the arm original; run `evaluate` again", metric,
                    recommender);
}

static bool add_figures(json_t *record, const struct recipe *recipe, const struct report *report,
                        struct error *error)
{
    json_t *figures = json_object_get(record, "figures");
    bool all_reached = true;
    int seeds = 0;
    for (int i = 0; i < recipe->figure_count; i++) {
        const struct published_figure *figure = &recipe->figures[i];
        double reached = NAN;
        if (!find_reached(&reached, &seeds, report, recipe->recommender, figure->metric, error))
            return false;
        const enum figure_state state = figure_judge(figure, reached);
        all_reached = all_reached && state != FIGURE_MISSED;
        json_array_append_new(figures,
                              json_pack("{s:s, s:f, s:f, s:f, s:f, s:s}", "metric", figure->metric,
                                        "published", figure->value, "tolerance", figure->tolerance, "reached",
                                        reached, "difference", reached / figure->value - 1.0, "state",
                                        figure_state_name(state)));
    }
    json_object_set_new(record, "seeds", json_integer(seeds));
    json_object_set_new(record, "reached", json_boolean(all_reached));
    return true;
}

/* The seconds that preparation and training took, over all attempts, and the device. */
static void add_cost(json_t *record, const struct report *report)
{
    double seconds = 0.0;
    const char *device = "";
    const json_t *cost;
    size_t index;
    json_array_foreach(json_object_get(report->results, "cost"), index, cost)
    {
        const char *stage = json_text_at(cost, "stage");
        const bool trains = strcmp(stage, "train") == 0;
        if (trains || strcmp(stage, "prepare") == 0)
            seconds += json_number_at(cost, "seconds");
        if (trains)
            device = json_text_at(cost, "device");
    }
    json_object_set_new(record, "seconds", json_real(seconds));
    json_object_set_new(record, "device", json_string(device));
}

static bool write_record(const struct run *run, const json_t *record, struct error *error)
{
    char *path = run_path(run, "reproduction.json");
    const bool done = json_file_write(path, record, error);
    free(path);
    return done;
}

static bool compare(json_t *record, const struct recipe *recipe, const struct run *run, int override_count,
                    char *const *overrides, struct error *error)
{
    struct report report;
    if (!report_open(&report, run, error))
        return false;
    json_t *overridden = json_array();
    for (int i = 0; i < override_count; i++)
        json_array_append_new(overridden, json_string(overrides[i]));
    json_object_set_new(record, "run", json_string(run->folder));
    json_object_set_new(record, "overrides", overridden);
    const bool done = add_figures(record, recipe, &report, error);
    if (done)
        add_cost(record, &report);
    report_close(&report);
    return done && write_record(run, record, error);
}

bool reproduction_run(json_t **record, const char *file, int override_count, char *const *overrides,
                      struct error *error)
{
    struct run run;
    struct recipe recipe;
    *record = NULL;
    if (!run_open(&run, NULL, file, override_count, overrides, error))
        return false;
    bool done = recipe_read(&recipe, run.config, error) && run_stage(&run, "report", true, error);
    if (done) {
        *record = describe_recipe(&recipe, run.config, file);
        done = *record ? compare(*record, &recipe, &run, override_count, overrides, error)
                       : error_memory(error, "the comparison with a recipe", 0, NULL);
    }
    if (!done) {
        json_decref(*record);
        *record = NULL;
    }
    run_close(&run);
    return done;
}

int reproduction_missed(const json_t *records)
{
    int missed = 0;
    const json_t *record, *figure;
    size_t index, place;
    json_array_foreach(records, index, record)
    {
        json_array_foreach(json_object_get(record, "figures"), place, figure)
        {
            missed += strcmp(json_text_at(figure, "state"), figure_state_name(FIGURE_MISSED)) == 0;
        }
    }
    return missed;
}

static void add_row(struct table *table, const json_t *record, const json_t *figure)
{
    table_cell(table, "%s", json_text_at(record, "name"));
    table_cell(table, "%s", json_text_at(record, "recommender"));
    table_cell(table, "%s", json_text_at(figure, "metric"));
    table_cell(table, "%.4f", json_number_at(figure, "published"));
    table_cell(table, "%.4f", json_number_at(figure, "reached"));
    table_cell(table, "%+.2f %%", 100 * json_number_at(figure, "difference"));
    table_cell(table, "%s (tolerance %g %%)", json_text_at(figure, "state"),
               100 * json_number_at(figure, "tolerance"));
    table_cell(table, "%s", json_text_at(record, "protocol"));
    table_cell(table, "%.0f", json_number_at(record, "seconds"));
}

static void print_notes(const json_t *record, const struct document *document)
{
    const char *name = json_text_at(record, "name");
    if (json_has(record, "source"))
        document_paragraph(document, "%s: published by %s%s%s", name, json_text_at(record, "source"),
                           json_has(record, "published_protocol") ? "; protocol: " : "",
                           json_text_at(record, "published_protocol"));
    const json_t *overrides = json_object_get(record, "overrides"), *override;
    char *list = path_format("%s", "");
    size_t index;
    json_array_foreach(overrides, index, override)
    {
        char *longer = path_format("%s %s", list, json_string_value(override));
        free(list);
        list = longer;
    }
    if (*list)
        document_paragraph(document,
                           "%s: overridden on the command line, so not the recipe as it is written:%s", name,
                           list);
    free(list);
}

/* A row for every figure of every record. */
typedef void figure_row(struct table *table, const json_t *record, const json_t *figure);
static void print_figures(const json_t *records, const char *const *head, int columns, figure_row *add,
                          const struct document *document)
{
    struct table table = {.columns = columns};
    table_cells(&table, head, (size_t)columns);
    const json_t *record, *figure;
    size_t index, place;
    json_array_foreach(records, index, record)
    {
        json_array_foreach(json_object_get(record, "figures"), place, figure)
        {
            add(&table, record, figure);
        }
    }
    document_table(document, &table);
}

void reproduction_print(const json_t *records, const struct document *document)
{
    static const char *const head[] = {"recipe",     "recommender", "metric",   "published", "reached",
                                       "difference", "verdict",     "protocol", "seconds"};
    const json_t *record;
    size_t index;
    print_figures(records, head, sizeof head / sizeof *head, add_row, document);
    json_array_foreach(records, index, record)
    {
        print_notes(record, document);
    }
}

/* ---- what recipes there are ---------------------------------------------------------------------------- */

static json_t *expected_figures(const struct recipe *recipe)
{
    json_t *figures = json_array();
    for (int i = 0; i < recipe->figure_count; i++) {
        const struct published_figure *figure = &recipe->figures[i];
        json_array_append_new(figures, json_pack("{s:s, s:f, s:f, s:o}", "metric", figure->metric,
                                                 "published", figure->value, "tolerance", figure->tolerance,
                                                 "measured", json_number_or_null(figure->measured)));
    }
    return figures;
}

/* A file of a folder may be a base that recipes extend; a file that is named must be a recipe. */
static bool list_file(json_t *records, const char *path, bool named, struct error *error)
{
    struct config *config = NULL;
    struct recipe recipe;
    bool done = config_load(&config, path, 0, NULL, error);
    if (done && (named || recipe_is_there(config))) {
        done = recipe_read(&recipe, config, error);
        json_t *record = done ? describe_recipe(&recipe, config, path) : NULL;
        if (record)
            json_object_set_new(record, "figures", expected_figures(&recipe));
        done = done && (json_array_append_new(records, record) == 0 ||
                        error_memory(error, "the list of recipes", 0, NULL));
    }
    config_free(config);
    return done;
}

static int is_yaml(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && dot != entry->d_name && strcmp(dot, ".yaml") == 0;
}

bool recipes_list(json_t *records, const char *path, struct error *error)
{
    struct stat status;
    struct dirent **entries;
    if (stat(path, &status) != 0)
        return error_system(error, path, "cannot list recipes", "name a folder or a file of recipes");
    if (!S_ISDIR(status.st_mode))
        return list_file(records, path, true, error);
    const int count = scandir(path, &entries, is_yaml, alphasort);
    if (count < 0)
        return error_system(error, path, "cannot list recipes", NULL);
    bool done = true;
    for (int i = 0; i < count; i++) {
        char *file = path_format("%s/%s", path, entries[i]->d_name);
        done = done && list_file(records, file, false, error);
        free(file);
        free(entries[i]);
    }
    free(entries);
    return done;
}

static void add_listed_row(struct table *table, const json_t *record, const json_t *figure)
{
    const double published = json_number_at(figure, "published"),
                 measured = json_number_at(figure, "measured");
    const bool is_measured = json_has(figure, "measured");
    table_cell(table, "%s", json_text_at(record, "recipe"));
    table_cell(table, "%s", json_text_at(figure, "metric"));
    table_cell(table, "%.4f", published);
    table_cell(table, "%g %%", 100 * json_number_at(figure, "tolerance"));
    if (is_measured) {
        table_cell(table, "%.4f", measured);
        table_cell(table, "%+.2f %%", 100 * (measured / published - 1.0));
    } else {
        table_cell(table, "not measured");
        table_cell(table, " ");
    }
    if (json_has(record, "minutes_expected"))
        table_cell(table, "%g", json_number_at(record, "minutes_expected"));
    else
        table_cell(table, " ");
    table_cell(table, "%s", json_has(record, "machine") ? json_text_at(record, "machine") : " ");
    table_cell(table, "%s", json_text_at(record, "protocol"));
    table_cell(table, "%s", json_has(record, "source") ? json_text_at(record, "source") : " ");
}

void recipes_print(const json_t *records, const struct document *document)
{
    static const char *const head[] = {"recipe",     "metric",  "published", "tolerance", "measured",
                                       "difference", "minutes", "machine",   "protocol",  "source"};
    print_figures(records, head, sizeof head / sizeof *head, add_listed_row, document);
}
