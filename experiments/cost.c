#include "experiments/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json_file.h"
#include "experiments/manifest.h"
#include "experiments/stages.h"

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static json_t *text_or_null(const char *value)
{
    return value ? json_string(value) : json_null();
}

/* ---- the cost of a stage ------------------------------------------------------------------------------ */

/* What one process did for one stage. */
struct attempt {
    struct spent spent;
    const char *energy_source, *device;
    struct stage_cost done;
    double peak_memory, peak_device_memory; /* bytes; -1: the device has no memory of its own */
};

/* Of joules by different counters there is no sum. */
static double joules_with(const json_t *before, const struct attempt *attempt)
{
    const char *source = text(before, "energy_source");
    const bool alike =
        !before || (source && attempt->energy_source && strcmp(source, attempt->energy_source) == 0);
    return alike ? spent_of(before).joules + attempt->spent.joules : NAN;
}

static json_t *bytes_json(const json_t *before, const char *name, double peak)
{
    const double most = fmax(peak, number(before, name));
    return peak < 0.0 ? json_null() : json_integer((json_int_t)most);
}

static void add_attempt(json_t *record, const char *stage, const struct attempt *attempt)
{
    const json_t *before = json_object_get(record, "cost");
    const double seconds = number(before, "seconds") + attempt->spent.seconds;
    const double tokens = number(before, "tokens") + (double)attempt->done.tokens;
    const double operations = number(before, "flops") + attempt->done.floating_point_operations;
    const double joules = joules_with(before, attempt);
    json_t *cost =
        json_pack("{s:s, s:f, s:o, s:I, s:f, s:o, s:o, s:f, s:o, s:o, s:I}", "stage", stage, "seconds",
                  seconds, "device", text_or_null(attempt->device), "tokens", (json_int_t)tokens,
                  "tokens_per_second", seconds > 0.0 ? tokens / seconds : 0.0, "peak_memory_bytes",
                  bytes_json(before, "peak_memory_bytes", attempt->peak_memory), "peak_device_memory_bytes",
                  bytes_json(before, "peak_device_memory_bytes", attempt->peak_device_memory), "flops",
                  operations, "energy_joules", isnan(joules) ? json_null() : json_real(joules),
                  "energy_source", text_or_null(isnan(joules) ? NULL : attempt->energy_source), "attempts",
                  (json_int_t)number(before, "attempts") + (attempt->done.put_aside ? 0 : 1));
    if (json_object_get(before, "elsewhere"))
        json_object_set(cost, "elsewhere", json_object_get(before, "elsewhere"));
    if (attempt->done.at_once > 0)
        json_object_set_new(cost, "at_once", json_integer(attempt->done.at_once));
    json_object_set_new(record, "cost", cost);
}

void cost_begin(struct run *run, const char *stage)
{
    run->worked = true;
    meter_turn_to(run->meter, stage);
}

double cost_end(struct run *run, json_t *record, const char *stage, struct stage_cost done)
{
    struct attempt attempt = {.energy_source = meter_energy_source(run->meter),
                              .device = run->backend->description,
                              .done = done,
                              .peak_memory = (double)peak_memory_bytes(),
                              .peak_device_memory = -1.0};
    if (run->backend->device != DEVICE_CPU)
        attempt.peak_device_memory = (double)run->backend->memory.peak;
    meter_stage(run->meter, &attempt.spent);
    add_attempt(record, stage, &attempt);
    cost_settle(run);
    meter_turn_to(run->meter, NULL);
    return attempt.spent.seconds;
}

void cost_take_over(json_t *record)
{
    json_t *cost = json_object_get(record, "cost");
    if (cost)
        json_object_set_new(cost, "elsewhere", spent_json(spent_of(cost)));
}

struct spent cost_own_part(const json_t *cost)
{
    const struct spent none = {0.0, 0.0};
    if (!cost || json_is_true(json_object_get(cost, "reused")))
        return none;
    const json_t *elsewhere = json_object_get(cost, "elsewhere");
    return elsewhere ? spent_difference(spent_of(cost), spent_of(elsewhere)) : spent_of(cost);
}

/* ---- the clock of the folder -------------------------------------------------------------------------- */

/* A folder of before there were clocks: what its stages took is all that is known. */
static json_t *first_clock(const struct manifest *manifest)
{
    struct spent spent = {0.0, 0.0};
    for (int i = 0; i < STAGE_COUNT; i++) {
        const json_t *cost = json_object_get(manifest_stage(manifest, stages[i].name), "cost");
        spent = spent_sum(spent, cost_own_part(cost));
    }
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:n, s:n}", "spent", spent_json(spent), "waiting",
                     spent_json((struct spent){0.0, 0.0}), "replaced", spent_json((struct spent){0.0, 0.0}),
                     "processes", 0, "killed", 0, "session", "energy_source");
}

static json_t *clock_of(const struct run *run)
{
    json_t *clock = manifest_get(run->manifest, "clock");
    if (json_is_object(clock))
        return clock;
    manifest_set(run->manifest, "clock", first_clock(run->manifest));
    return manifest_get(run->manifest, "clock");
}

static void add_to(json_t *clock, const char *name, struct spent spent)
{
    json_object_set_new(clock, name, spent_json(spent_sum(spent_of(json_object_get(clock, name)), spent)));
}

/* What the clock has of a process already. */
static struct spent counted(const json_t *clock, const char *session)
{
    const json_t *last = json_object_get(clock, "session");
    const char *name = text(last, "name");
    return name && strcmp(name, session) == 0 ? spent_of(json_object_get(last, "spent"))
                                              : (struct spent){0.0, 0.0};
}

/* Counts all that a process has spent by now. */
static void count(json_t *clock, const char *session, struct spent spent, const char *source)
{
    const struct spent before = counted(clock, session);
    const char *name = text(json_object_get(clock, "session"), "name"), *with = text(clock, "energy_source");
    const bool first = number(clock, "processes") == 0;
    if (!name || strcmp(name, session) != 0)
        json_object_set_new(clock, "processes", json_integer((json_int_t)number(clock, "processes") + 1));
    if (!first && (!with || !source || strcmp(with, source) != 0))
        source = NULL;
    struct spent added = spent_difference(spent, before);
    added.joules = source ? added.joules : NAN;
    add_to(clock, "spent", added);
    json_object_set_new(clock, "energy_source", text_or_null(source));
    json_object_set_new(clock, "session",
                        json_pack("{s:s, s:o}", "name", session, "spent", spent_json(spent)));
}

void cost_settle(const struct run *run)
{
    count(clock_of(run), meter_session(run->meter), meter_read(run->meter), meter_energy_source(run->meter));
}

void cost_replace(const struct run *run, const char *stage)
{
    const json_t *cost = json_object_get(manifest_stage(run->manifest, stage), "cost");
    const struct spent own = cost_own_part(cost);
    if (own.seconds > 0.0)
        add_to(clock_of(run), "replaced", own);
}

void cost_waited(const struct run *run, struct spent from)
{
    add_to(clock_of(run), "waiting", spent_difference(meter_read(run->meter), from));
}

/* ---- a process that was killed ------------------------------------------------------------------------ */

/* The time of the stage that it worked for, unless the record has it. */
static void count_stage(const struct run *run, const json_t *left, struct spent before)
{
    const struct spent began = spent_of(json_object_get(left, "began"));
    const char *stage = text(left, "stage");
    json_t *record = stage ? manifest_stage(run->manifest, stage) : NULL;
    if (!record || json_is_true(json_object_get(record, "complete")) || began.seconds < before.seconds)
        return;
    const struct spent spent = spent_difference(spent_of(json_object_get(left, "spent")), began);
    const struct attempt attempt = {.spent = spent,
                                    .energy_source = text(left, "energy_source"),
                                    .device = run->backend->description,
                                    .peak_memory = number(left, "peak_memory_bytes"),
                                    .peak_device_memory = run->backend->device == DEVICE_CPU ? -1.0 : 0.0};
    add_attempt(record, stage, &attempt);
}

/* The manifest is saved before attempt.json goes, and tells what it has of that process, so that nothing counts twice. */
static bool take_left_behind(const struct run *run, struct error *error)
{
    json_t *left = meter_left_behind(run->folder);
    if (!left)
        return meter_forget_left_behind(run->folder, error);
    json_t *clock = clock_of(run);
    const struct spent spent = spent_of(json_object_get(left, "spent")),
                       before = counted(clock, text(left, "session"));
    if (spent.seconds > before.seconds) {
        count_stage(run, left, before);
        count(clock, text(left, "session"), spent, text(left, "energy_source"));
    }
    json_object_set_new(clock, "killed", json_integer((json_int_t)number(clock, "killed") + 1));
    json_decref(left);
    return manifest_save(run->manifest, error) && meter_forget_left_behind(run->folder, error);
}

/* ---- rows --------------------------------------------------------------------------------------------- */

struct rows {
    json_t *list;
    struct spent sum, replaced;
};

/* With what the stage under way has spent so far. */
static void add_stage(struct rows *rows, const struct run *run, int number_of, const char *under_way,
                      struct spent so_far)
{
    const char *stage = stages[number_of].name;
    json_t *record = manifest_stage(run->manifest, stage);
    json_t *cost = json_deep_copy(json_object_get(record, "cost"));
    if (under_way && strcmp(under_way, stage) == 0) {
        json_t *row =
            cost ? cost : json_pack("{s:s, s:s}", "stage", stage, "device", run->backend->description);
        const struct spent spent = spent_sum(spent_of(row), so_far);
        json_object_set_new(row, "seconds", json_real(spent.seconds));
        json_object_set_new(row, "energy_joules",
                            isnan(spent.joules) ? json_null() : json_real(spent.joules));
        json_object_set_new(row, "under_way", json_true());
        cost = row;
    }
    const struct spent own = cost_own_part(cost);
    if (cost && stage_is_left_out(run->config, number_of)) {
        rows->replaced = spent_sum(rows->replaced, own);
        json_decref(cost);
    } else if (cost) {
        rows->sum = spent_sum(rows->sum, own);
        json_array_append_new(rows->list, cost);
    }
}

static void add_other(struct rows *rows, const char *name, struct spent spent)
{
    if (spent.seconds <= 0.0)
        return;
    json_t *row = spent_json(spent);
    json_object_set_new(row, "stage", json_string(name));
    json_array_append_new(rows->list, row);
    rows->sum = spent_sum(rows->sum, spent);
}

/* What the folder's clock shows now. */
static struct spent wall_of(const struct run *run, const json_t *clock)
{
    const struct spent settled = spent_of(json_object_get(clock, "spent"));
    if (!run->meter)
        return settled;
    return spent_sum(settled,
                     spent_difference(meter_read(run->meter), counted(clock, meter_session(run->meter))));
}

json_t *cost_json(const struct run *run)
{
    const json_t *clock = clock_of(run);
    struct rows rows = {.list = json_array(), .replaced = spent_of(json_object_get(clock, "replaced"))};
    struct spent so_far = {0.0, 0.0};
    const struct spent wall = wall_of(run, clock);
    const char *under_way = run->meter ? meter_stage(run->meter, &so_far) : NULL;
    for (int i = 0; i < STAGE_COUNT; i++)
        add_stage(&rows, run, i, under_way, so_far);
    add_other(&rows, "waiting", spent_of(json_object_get(clock, "waiting")));
    add_other(&rows, "replaced", rows.replaced);
    add_other(&rows, "other", spent_difference(wall, rows.sum));
    return json_pack("{s:f, s:o, s:O, s:O, s:O, s:o}", "wall_seconds", wall.seconds, "energy_joules",
                     isnan(wall.joules) ? json_null() : json_real(wall.joules), "energy_source",
                     json_object_get(clock, "energy_source"), "processes",
                     json_object_get(clock, "processes"), "killed", json_object_get(clock, "killed"), "rows",
                     rows.list);
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

bool cost_open(struct run *run, double started, struct error *error)
{
    const struct energy_places places = energy_places(run->backend->pci_bus);
    return clock_of(run) && take_left_behind(run, error) &&
           meter_open(&run->meter, run->folder, started, &places, error);
}

static bool write_cost(const struct run *run, struct error *error)
{
    json_t *costs = cost_json(run);
    char *path = run_path(run, "cost.json");
    const bool done = json_file_write(path, costs, error);
    free(path);
    json_decref(costs);
    return done;
}

void cost_close(struct run *run)
{
    struct error error = ERROR_INITIALIZER;
    if (run->meter && run->worked) {
        cost_settle(run);
        if (!manifest_save(run->manifest, &error) || !write_cost(run, &error))
            log_line(run->log, "%s", error.message);
    }
    meter_close(run->meter);
    run->meter = NULL;
}
