#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json_file.h"
#include "experiments/cost.h"
#include "experiments/report.h"
#include "experiments/sweep_results.h"

/* The sum of a stage over the trials; made where it is missing. */
static json_t *find_row(json_t *rows, const char *stage)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(json_text_at(row, "stage"), stage) == 0)
            return row;
    }
    row = json_pack("{s:s, s:f, s:I, s:f, s:i}", "stage", stage, "seconds", 0.0, "tokens", (json_int_t)0,
                    "flops", 0.0, "trials", 0);
    json_array_append_new(rows, row);
    return row;
}

static void add_row(json_t *rows, const json_t *cost)
{
    const double seconds = cost_own_part(cost).seconds;
    if (seconds <= 0.0)
        return;
    json_t *row = find_row(rows, json_text_at(cost, "stage"));
    json_object_set_new(row, "seconds", json_real(json_number_at(row, "seconds") + seconds));
    json_object_set_new(
        row, "tokens",
        json_integer((json_int_t)(json_number_at(row, "tokens") + json_number_at(cost, "tokens"))));
    json_object_set_new(row, "flops",
                        json_real(json_number_at(row, "flops") + json_number_at(cost, "flops")));
    json_object_set_new(row, "trials", json_integer((json_int_t)json_number_at(row, "trials") + 1));
}

/* A trial that has not come to an end has no cost.json, or that of its last end. */
static void add_trial(json_t *sums, const struct sweep_trial *trial)
{
    char *path = path_format("%s/cost.json", trial->folder);
    json_t *costs = json_load_file(path, 0, NULL), *row;
    size_t index;
    free(path);
    if (!costs)
        return;
    json_array_foreach(json_object_get(costs, "rows"), index, row)
        add_row(json_object_get(sums, "rows"), row);
    json_object_set_new(sums, "trials", json_integer((json_int_t)json_number_at(sums, "trials") + 1));
    json_object_set_new(
        sums, "wall_seconds",
        json_real(json_number_at(sums, "wall_seconds") + json_number_at(costs, "wall_seconds")));
    json_decref(costs);
}

bool sweep_cost_write(const struct sweep *sweep, struct error *error)
{
    json_t *sums = json_pack("{s:i, s:f, s:[]}", "trials", 0, "wall_seconds", 0.0, "rows");
    for (int i = 0; sums && i < sweep->trial_count; i++)
        add_trial(sums, &sweep->trials[i]);
    char *path = sweep_path(sweep, "cost.json");
    const bool done = json_file_write(path, sums, error);
    free(path);
    json_decref(sums);
    return done;
}
