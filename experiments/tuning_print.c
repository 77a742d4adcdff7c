#include <stdlib.h>
#include <string.h>

#include "experiments/document.h"
#include "experiments/tuning.h"

enum { PRINTED_TRIALS = 10 };

/* A line of trials.tsv, its score with fewer digits. */
static void print_line(struct table *table, char *line)
{
    enum { SCORE = 3 };
    line[strcspn(line, "\n")] = '\0';
    char *cell;
    for (int column = 0; (cell = strsep(&line, "\t")) != NULL; column++) {
        char *end;
        const double score = strtod(cell, &end);
        if (column == SCORE && end != cell)
            table_cell(table, "%.5f", score);
        else
            table_cell(table, "%s", cell);
    }
}

static bool print_trials(const struct document *document, const char *path, struct error *error)
{
    FILE *stream = fopen(path, "r");
    if (!stream)
        return error_system(error, path, "cannot read this", "run `tune` again");
    char *line = NULL;
    size_t size = 0;
    struct table table = {0};
    for (int lines = 0; lines <= PRINTED_TRIALS && getline(&line, &size, stream) > 0; lines++) {
        for (const char *letter = line; lines == 0 && *letter; letter++)
            table.columns += *letter == '\t' || *letter == '\n';
        print_line(&table, line);
    }
    document_table(document, &table);
    free(line);
    fclose(stream);
    return true;
}

static double score_of(const json_t *record, const char *name)
{
    return json_number_value(json_object_get(json_object_get(record, name), "score"));
}

static void print_summary(const struct document *document, const json_t *record)
{
    const double written = score_of(record, "as_written"), best = score_of(record, "best");
    const char *metric = json_string_value(json_object_get(record, "metric"));
    const json_int_t trials = json_integer_value(json_object_get(record, "trials"));
    if (written > 0)
        document_paragraph(document,
                           "Trial 0 is the configuration as written: %s %.5f on validation; the best of %lld "
                           "has %.5f, %+.2f %%.",
                           metric, written, (long long)trials, best, 100 * (best / written - 1));
    else
        document_paragraph(document,
                           "The configuration as written scores nothing; the best of %lld has %s %.5f.",
                           (long long)trials, metric, best);
}

static bool print_search(const struct document *document, const struct study *study, int contestant,
                         enum arm arm, struct error *error)
{
    const char *label = study->contestants[contestant].label;
    json_t *record;
    if (!tuning_load(&record, study, contestant, arm, error))
        return false;
    bool done = true;
    if (json_object_get(record, "shared_with")) {
        document_paragraph(document,
                           "%s, %s: nothing is added to the rows, so what was found for original holds.",
                           label, arm_name(arm));
    } else {
        char *path = tuning_path(study, contestant, arm, "trials.tsv");
        document_heading(document, 3, "%s, %s", label, arm_name(arm));
        done = print_trials(document, path, error);
        print_summary(document, record);
        free(path);
    }
    json_decref(record);
    return done;
}

bool tuning_print(const struct run *run, FILE *stream, struct error *error)
{
    bool incomplete = false;
    const struct document document = {
        .stream = stream, .format = DOCUMENT_TEXT, .folder = run->folder, .incomplete = &incomplete};
    struct study study;
    struct tune_settings settings;
    bool done =
        study_settings_read(&study, run->config, error) && tune_settings_read(&settings, &study, error);
    study.run = run;
    for (int contestant = 0; done && contestant < study.contestant_count; contestant++)
        for (int a = 0; done && a < settings.arm_count && tune_space(&settings, &study, contestant).count > 0;
             a++)
            done = print_search(&document, &study, contestant, settings.arms[a], error);
    study_close(&study);
    if (done)
        fprintf(stream, "tables and best settings: %s/tune\n", run->folder);
    return done && (!incomplete || error_memory(error, "the table of trials", 0, NULL));
}
