#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/report.h"
#include "models/recommenders/settings.h"

/* STUDY of STUDY/trials/NAME, malloc'ed; NULL: it is another folder. */
static char *study_folder(const char *folder, const char **name)
{
    const char *last = strrchr(folder, '/');
    static const char trials[] = "/trials";
    const size_t length = last ? (size_t)(last - folder) : 0;
    if (length <= strlen(trials) || strncmp(last - strlen(trials), trials, strlen(trials)) != 0)
        return NULL;
    *name = last + 1;
    return path_format("%.*s", (int)(length - strlen(trials)), folder);
}

static bool open_study(struct report *report, const char *folder, const char *name, struct error *error)
{
    struct sweep *study = calloc(1, sizeof *study);
    if (study == NULL)
        return error_memory(error, "the study of a trial", sizeof *study, NULL);
    if (!sweep_open_folder(study, folder, error)) {
        free(study);
        return false;
    }
    report->trial = sweep_find(study, name);
    if (report->trial >= 0) {
        report->study = study;
        return true;
    }
    sweep_close(study);
    free(study);
    return true;
}

bool report_find_study(struct report *report, struct error *error)
{
    const char *name = NULL;
    char *place = realpath(report->run->folder, NULL), *folder = place ? study_folder(place, &name) : NULL,
         *config = folder ? path_format("%s/config.yaml", folder) : NULL;
    const bool done = config == NULL || !path_exists(config) || open_study(report, folder, name, error);
    free(config);
    free(folder);
    free(place);
    return done;
}

void report_title(const struct report *report, const struct document *document)
{
    char title[512];
    const char *name = config_string(report->run->config, "name");
    snprintf(title, sizeof title, "%s%s%s", name, report->study ? ": trial " : "",
             report->study ? report->study->trials[report->trial].name : "");
    document_begin(document, title);
}

static void collect(void *object, const char *path, const char *value)
{
    json_object_set_new(object, path, json_string(value));
}

json_t *report_settings_of_study(const struct sweep *study)
{
    json_t *values = json_object();
    config_visit(study->config, recommender_reads_setting, collect, values);
    return values;
}

static void write_settings(const struct report *report, const struct document *document)
{
    const struct sweep_trial *trial = &report->study->trials[report->trial];
    struct table table = {.name = "trial", .columns = 3};
    json_t *values = report_settings_of_study(report->study);
    table_cell(&table, "what the trial sets");
    table_cell(&table, "here");
    table_cell(&table, "the study's configuration");
    for (int i = 0; i < trial->setting_count; i++) {
        table_cell(&table, "%s", trial->settings[i].path);
        table_cell(&table, "%s", trial->settings[i].value);
        table_cell(&table, "%s",
                   json_has(values, trial->settings[i].path) ? json_text_at(values, trial->settings[i].path)
                                                             : "otherwise");
    }
    json_decref(values);
    document_table_if_any(document, &table);
}

void report_trial(const struct report *report, const struct document *document)
{
    if (report->study == NULL)
        return;
    const struct sweep_trial *trial = &report->study->trials[report->trial];
    document_paragraph(document, "This is the trial %s of the study %s. %s", trial->name,
                       config_string(report->study->config, "name"),
                       trial->setting_count > 0 ? "It sets:"
                                                : "It sets nothing: the study's configuration as written.");
    write_settings(report, document);
    document_list_begin(document);
    char *file = path_format("../../%s", document_report_name(document));
    document_list_link(document, "The report of the study", file,
                       "(when all trials have ended) holds the trials against each other.");
    free(file);
    document_list_end(document);
}

void report_trial_verdict(const struct report *report, const struct document *document)
{
    const json_t *comparison, *family = NULL;
    size_t index;
    if (report->study == NULL)
        return;
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        if (family == NULL && strcmp(json_text_at(comparison, "metric"), report->metric) == 0)
            family = json_object_get(comparison, "family");
    }
    document_paragraph(document,
                       "Of this trial alone: p is corrected for the %.0f comparison%s of %s in this run. The "
                       "study %s corrects "
                       "for those of all its trials, question by question; where its verdict is another, the "
                       "study's verdict "
                       "stands.",
                       json_number_value(family), json_number_value(family) == 1 ? "" : "s", report->metric,
                       config_string(report->study->config, "name"));
}
