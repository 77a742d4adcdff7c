#include <string.h>

#include "experiments/report.h"
#include "experiments/sweep_report.h"

/* Whether the tables of gains have it: the own augmented arm against the original one, or a trial against the reference. */
static bool is_shown(const struct sweep_report *report, const json_t *comparison, const char *recommender)
{
    const bool own =
        strcmp(json_text_at(comparison, "trial"), json_text_at(comparison, "against_trial")) == 0;
    return strcmp(json_text_at(comparison, "recommender"), recommender) == 0 &&
           strcmp(json_text_at(comparison, "metric"), report->metric) == 0 &&
           (!own || strcmp(json_text_at(comparison, "against"), "original") == 0);
}

/* `notes`: {"NOTE": "TRIAL, TRIAL against REFERENCE (ARM), ..."} */
static bool add_note(json_t *notes, const json_t *comparison)
{
    const char *note = json_text_at(comparison, "note"), *trials = json_text_at(notes, note),
               *trial = json_text_at(comparison, "trial"),
               *against = json_text_at(comparison, "against_trial");
    const char *comma = *trials ? ", " : "";
    if (*note == '\0')
        return true;
    json_t *longer = strcmp(trial, against) == 0
                         ? json_sprintf("%s%s%s", trials, comma, trial)
                         : json_sprintf("%s%s%s against %s (%s)", trials, comma, trial, against,
                                        json_text_at(comparison, "arm"));
    return json_object_set_new(notes, note, longer) == 0;
}

void sweep_report_notes(const struct sweep_report *report, const struct document *document,
                        const char *recommender)
{
    json_t *notes = json_object(), *comparison, *trials;
    const char *note;
    size_t index;
    bool complete = notes != NULL;
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        if (is_shown(report, comparison, recommender))
            complete = add_note(notes, comparison) && complete;
    }
    if (json_object_size(notes) > 0) {
        document_paragraph(document, "What is to be known of these comparisons:");
        document_list_begin(document);
        json_object_foreach(notes, note, trials)
        {
            char name[256];
            snprintf(name, sizeof name, "%s:", note);
            document_list_item(document, name, json_string_value(trials));
        }
        document_list_end(document);
    }
    *document->incomplete = *document->incomplete || !complete;
    json_decref(notes);
}
