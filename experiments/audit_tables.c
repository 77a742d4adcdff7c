#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/csv.h"
#include "experiments/report.h"

static void begin_line(FILE *stream, const json_t *record, const char *by, const char *group,
                       const char *measure)
{
    static const char *const keys[] = {"recommender", "arm"};
    if (json_has(record, "rows")) {
        csv_write_text(stream, json_text_at(record, "rows"));
    } else {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            csv_write_text(stream, json_text_at(record, keys[i]));
            fputc(',', stream);
        }
        csv_write_number(stream, json_object_get(record, "k"));
    }
    const char *const fields[] = {by, group, measure};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        fputc(',', stream);
        csv_write_text(stream, fields[i]);
    }
    fputc(',', stream);
}

/* {"mean", "deviation"} of the fits, a number of sets of rows. */
static void write_exposure(FILE *stream, const json_t *record)
{
    const char *measure;
    json_t *value;
    json_object_foreach(json_object_get(record, "exposure"), measure, value)
    {
        begin_line(stream, record, "", "", measure);
        if (json_is_object(value)) {
            csv_write_number(stream, json_object_get(value, "mean"));
            fputc(',', stream);
            csv_write_number(stream, json_object_get(value, "deviation"));
        } else {
            csv_write_number(stream, value);
        }
        fputc('\n', stream);
    }
}

static void write_groups(FILE *stream, const struct report *report, const json_t *record, bool fit)
{
    const json_t *entry;
    size_t index, place;
    json_array_foreach(json_object_get(record, "groups"), index, entry)
    {
        const char *by = json_text_at(entry, "by"), *measure;
        const json_t *names = report_audit_groups(report, by), *value;
        json_t *series;
        json_object_foreach((json_t *)entry, measure, series)
        {
            if (!json_is_array(series))
                continue;
            json_array_foreach(series, place, value)
            {
                begin_line(stream, record, by, json_text_at(json_array_get(names, place), "name"), measure);
                csv_write_number(stream, value);
                fputs(fit ? ",\n" : "\n", stream);
            }
        }
    }
}

static bool write_table(const struct report *report, const char *key, const char *name, const char *head,
                        struct error *error)
{
    const json_t *records = json_object_get(json_object_get(report->results, "audit"), key), *record;
    char *text = NULL;
    size_t length = 0, index;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL)
        return error_memory(error, name, 0, NULL);
    fprintf(stream, "%s\n", head);
    json_array_foreach(records, index, record)
    {
        write_exposure(stream, record);
        write_groups(stream, report, record, strcmp(key, "fits") == 0);
    }
    char *path = run_path(report->run, "tables/%s", name);
    const bool done =
        fclose(stream) == 0 ? file_write(path, text, length, error) : error_memory(error, name, length, NULL);
    free(path);
    free(text);
    return done;
}

bool audit_tables_write(const struct report *report, struct error *error)
{
    char *folder = run_path(report->run, "tables");
    const bool done = folder_create(folder, error);
    free(folder);
    return done &&
           write_table(report, "fits", "audit.csv", "recommender,arm,k,by,group,measure,mean,deviation",
                       error) &&
           write_table(report, "rows", "synthetic.csv", "rows,by,group,measure,value", error);
}
