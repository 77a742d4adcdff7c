#include "experiments/compared_run.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/comparisons.h"
#include "experiments/fits.h"

/* ---- opening and checking ------------------------------------------------------------------------------ */

static bool check_arm(const struct compared_run *member, const char *name, struct error *error)
{
    if (!name || study_has_arm(&member->study, arm_from_name(name)))
        return true;
    char list[256] = "";
    for (int a = 0; a < member->study.arm_count; a++) {
        const size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, "%s%s", a > 0 ? ", " : "",
                 arm_name(member->study.arms[a]));
    }
    return error_set(error, ERROR_USAGE, "%s has no arm '%.60s'; it has: %s", member->run.folder, name, list);
}

static bool check_metric(const struct compared_run *member, const char *name, struct error *error)
{
    if (!name || series_find(&member->study, name) >= 0)
        return true;
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, &member->study);
    char list[METRIC_COUNT * CUTS_MAXIMUM * METRIC_NAME_SIZE] = "", label[METRIC_NAME_SIZE];
    for (int64_t i = 0; i < count; i++) {
        const size_t length = strlen(list);
        metric_label(label, series[i].metric, member->study.cuts[series[i].cut]);
        snprintf(list + length, sizeof list - length, "%s%s", i > 0 ? ", " : "", label);
    }
    return error_set(error, ERROR_USAGE, "%s has no %.60s; it has: %.800s", member->run.folder, name, list);
}

/* What was chosen on test, or ranked with other items hidden, is not to be held against what was not. */
static bool check_rules(const struct compared_run *base, const struct compared_run *other,
                        struct error *error)
{
    static const char *const keys[] = {"evaluate.protocol", "evaluate.mask"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = config_string(base->run.config, "%s", keys[i]),
                   *others = config_string(other->run.config, "%s", keys[i]);
        if (strcmp(value, others) != 0)
            return error_set(error, ERROR_USAGE,
                             "%s has %s: %s, and %s has %s; their figures do not mean the same and are not "
                             "compared",
                             base->run.folder, keys[i], value, other->run.folder, others);
    }
    return true;
}

bool compared_run_open(struct compared_run *member, const struct compared_run *first, const char *folder,
                       const char *arm, const char *metric, struct error *error)
{
    return run_open_done(&member->run, folder, "train", error) &&
           study_open(&member->study, &member->run, error) &&
           name_index_open(&member->items, &member->study.dataset.item_ids, error) &&
           check_arm(member, arm, error) && check_metric(member, metric, error) &&
           check_rules(first, member, error) &&
           same_data_open(&member->same, (struct named_study){first->run.folder, &first->study},
                          (struct named_study){member->run.folder, &member->study}, error);
}

void compared_run_close(struct compared_run *member)
{
    same_data_close(&member->same);
    name_index_close(&member->items);
    study_close(&member->study);
    run_close(&member->run);
}

/* ---- what is said of each run -------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void add_note(json_t *notes, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(notes, json_string(text));
}

/* What a reader has to know of the pairing with the first run. */
static void note_pairing(json_t *notes, const struct compared_run *member, const struct compared_run *first)
{
    const struct study *study = &member->study, *base = &first->study;
    const int64_t pairs = study->seeds < base->seeds ? study->seeds : base->seeds;
    if (study->seeds != base->seeds)
        add_note(notes, "%lld seeds against %lld: the first %lld of both are paired", (long long)study->seeds,
                 (long long)base->seeds, (long long)pairs);
    if (study->first_seed != base->first_seed)
        add_note(notes, "other seeds: seed %llu is paired with seed %llu, and so on",
                 (unsigned long long)study->first_seed, (unsigned long long)base->first_seed);
    if (pairs == 1)
        add_note(notes, "one seed: no test can be made; repeat with experiment.seeds of 5 or more");
    if (member->same.train_differences + member->same.validation_differences > 0)
        add_note(
            notes,
            "the runs are tested alike, but %lld interactions of train and %lld of validation are in one "
            "of them alone",
            (long long)member->same.train_differences, (long long)member->same.validation_differences);
}

bool compared_run_json(json_t **record, const struct compared_run *member, const struct compared_run *first,
                       struct error *error)
{
    json_t *seeds = json_array(), *notes = json_array();
    for (int64_t s = 0; s < member->study.seeds; s++)
        json_array_append_new(seeds, json_integer((json_int_t)member->study.first_seed + s));
    if (member != first)
        note_pairing(notes, member, first);
    *record = json_pack("{s:s, s:s, s:o, s:o, s:o}", "run", member->run.folder, "name",
                        config_string(member->run.config, "name"), "seeds", seeds, "notes", notes, "cost",
                        run_cost_table(&member->run));
    return *record || error_memory(error, "the description of a run", 0, NULL);
}
