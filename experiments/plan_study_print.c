#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/plan_study.h"
#include "experiments/plan_units.h"

enum { COLUMN = 10, NAME_LEAST = 14, NAME_MOST = 44, MOST_EXPENSIVE = 3 };

/* The stage of that name, or NULL. */
static const struct plan_stage *find_stage(const struct planned_trial *planned, const char *name)
{
    for (int i = 0; i < planned->stage_count; i++)
        if (!planned->stages[i].part && strcmp(planned->stages[i].name, name) == 0)
            return &planned->stages[i];
    return NULL;
}

/* Stages that no trial has need no column. */
static bool is_used(const struct study_plan *study, int stage)
{
    for (int i = 0; i < study->trial_count; i++)
        if (find_stage(&study->trials[i], stages[stage].name))
            return true;
    return false;
}

static int name_width(const struct study_plan *study)
{
    size_t width = NAME_LEAST;
    for (int i = 0; i < study->trial_count; i++) {
        const size_t length = strlen(study->trials[i].trial->name);
        width = length > width ? length : width;
    }
    return width < NAME_MOST ? (int)width : NAME_MOST;
}

static void print_head(const struct study_plan *study, int width, FILE *stream)
{
    char memory[32];
    fprintf(stream, "%s on %s: %d trials, %d at a time; %lld users, %lld items, %lld training rows (%s)\n",
            config_string(study->sweep->config, "name"), study->device, study->trial_count, study->at_once,
            (long long)study->users, (long long)study->items, (long long)study->rows, study->source);
    if (study->memory_available > 0)
        fprintf(stream, "memory that can be used: %s\n", plan_bytes_text(memory, study->memory_available));
    fprintf(stream, "\n%-*s", width, "trial");
    for (int i = 0; i < STAGE_COUNT; i++)
        if (is_used(study, i))
            fprintf(stream, "%*s", COLUMN, stages[i].name);
    fprintf(stream, "%*s%*s%*s\n", COLUMN, "all", COLUMN, "memory", COLUMN, "disk");
}

static void print_cell(const struct plan_stage *stage, FILE *stream)
{
    char text[32] = "-";
    if (stage && stage->taken)
        snprintf(text, sizeof text, "=");
    else if (stage)
        plan_seconds_text(text, plan_expected(stage->seconds));
    fprintf(stream, "%*s", COLUMN, text);
}

static void print_trial(const struct study_plan *study, const struct planned_trial *planned, int width,
                        FILE *stream)
{
    char time[32], memory[32], disk[32];
    fprintf(stream, "%-*.*s", width, width, planned->trial->name);
    for (int i = 0; i < STAGE_COUNT; i++)
        if (is_used(study, i))
            print_cell(find_stage(planned, stages[i].name), stream);
    fprintf(stream, "%*s%*s%*s\n", COLUMN, plan_seconds_text(time, plan_expected(planned->total.seconds)),
            COLUMN, plan_bytes_text(memory, planned->total.memory), COLUMN,
            plan_bytes_text(disk, planned->total.disk));
}

static void print_common(const struct study_plan *study, FILE *stream)
{
    char saved[32];
    if (study->stages_taken == 0 && study->fits_taken == 0)
        return;
    fprintf(
        stream,
        "= is computed by a trial above; %lld stages and %lld of %lld fits are taken so, which saves %s\n",
        (long long)study->stages_taken, (long long)study->fits_taken, (long long)study->fits,
        plan_seconds_text(saved, plan_expected(study->saved)));
}

static void print_expensive(const struct study_plan *study, FILE *stream)
{
    char time[32];
    int *const order = malloc((size_t)study->trial_count * sizeof *order);
    if (!order)
        abort();
    study_plan_order(order, study);
    fprintf(stream, "the most expensive trials:");
    for (int i = 0; i < study->trial_count && i < MOST_EXPENSIVE; i++) {
        const struct planned_trial *const planned = &study->trials[order[i]];
        fprintf(stream, "%s %s (%s)", i == 0 ? "" : ",", planned->trial->name,
                plan_seconds_text(time, plan_expected(planned->total.seconds)));
    }
    fprintf(stream, "\n");
    free(order);
}

static void print_excess(const struct study_plan *study, FILE *stream)
{
    char needed[32], available[32];
    if (study->memory_available <= 0 || study->memory <= study->memory_available)
        return;
    fprintf(stream, "%d trials at a time do not fit: they need %s of %s; lower experiment.trials_at_once\n",
            study->at_once, plan_bytes_text(needed, study->memory),
            plan_bytes_text(available, study->memory_available));
}

void study_plan_print(const struct study_plan *study, FILE *stream)
{
    char time[72], memory[32], disk[32];
    const int width = name_width(study);
    print_head(study, width, stream);
    for (int i = 0; i < study->trial_count; i++)
        print_trial(study, &study->trials[i], width, stream);
    fprintf(stream, "\n");
    print_common(study, stream);
    print_expensive(study, stream);
    print_excess(study, stream);
    sweep_expect_print(&study->comparisons, stream);
    if (plan_is_wide(study->seconds))
        fprintf(stream, "from %s, as early stopping goes\n", plan_range_text(time, study->seconds));
    fprintf(stream, "about %s%s with %d trial%s at a time, %s of memory, %s of disk\n",
            plan_seconds_text(time, plan_expected(study->seconds)),
            study->measured ? "" : " (assumed, not measured)", study->at_once, study->at_once == 1 ? "" : "s",
            plan_bytes_text(memory, study->memory), plan_bytes_text(disk, study->disk + study->passing));
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static json_t *trial_json(const struct study_plan *study, const struct planned_trial *planned)
{
    json_t *list = json_array();
    for (int i = 0; i < planned->stage_count; i++) {
        const struct plan_stage *const stage = &planned->stages[i];
        json_t *record = plan_stage_json(stage, study->measured, study->memory_available);
        json_object_set_new(record, "taken", json_boolean(stage->taken));
        if (stage->taken)
            json_object_set_new(record, "taken_from", json_string(study->trials[stage->trial].trial->name));
        json_array_append_new(list, record);
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:f, s:f, s:f, s:f}", "trial", planned->trial->name, "sets",
                     sweep_settings_json(planned->trial), "stages", list, "seconds",
                     plan_range_json(planned->total.seconds), "expected_seconds",
                     plan_expected(planned->total.seconds), "memory_bytes", planned->total.memory,
                     "disk_bytes", planned->total.disk, "passing_bytes", planned->total.passing);
}

static json_t *expensive_json(const struct study_plan *study)
{
    json_t *list = json_array();
    int *const order = malloc((size_t)study->trial_count * sizeof *order);
    if (!order)
        abort();
    study_plan_order(order, study);
    for (int i = 0; i < study->trial_count && i < MOST_EXPENSIVE; i++)
        json_array_append_new(list, json_string(study->trials[order[i]].trial->name));
    free(order);
    return list;
}

json_t *study_plan_json(const struct study_plan *study)
{
    json_t *trials = json_array();
    for (int i = 0; i < study->trial_count; i++)
        json_array_append_new(trials, trial_json(study, &study->trials[i]));
    json_t *total = json_pack(
        "{s:o, s:f, s:o, s:o, s:I, s:I, s:I, s:f, s:b, s:f, s:f, s:o}", "seconds",
        plan_range_json(study->seconds), "expected_seconds", plan_expected(study->seconds), "work_seconds",
        plan_range_json(study->work), "saved_seconds", plan_range_json(study->saved), "stages_taken",
        (json_int_t)study->stages_taken, "fits", (json_int_t)study->fits, "fits_taken",
        (json_int_t)study->fits_taken, "memory_bytes", study->memory, "fits_memory",
        study->memory_available <= 0 || study->memory <= study->memory_available, "disk_bytes", study->disk,
        "passing_bytes", study->passing, "most_expensive", expensive_json(study));
    return json_pack("{s:s, s:s, s:s, s:{s:I, s:I, s:I, s:s}, s:f, s:i, s:o, s:o, s:o}", "name",
                     config_string(study->sweep->config, "name"), "device", study->device, "basis",
                     study->measured ? "measured" : "assumed", "data", "users", (json_int_t)study->users,
                     "items", (json_int_t)study->items, "train", (json_int_t)study->rows, "source",
                     study->source, "memory_available_bytes", study->memory_available, "trials_at_once",
                     study->at_once, "trials", trials, "total", total, "comparisons",
                     sweep_expect_json(&study->comparisons));
}
