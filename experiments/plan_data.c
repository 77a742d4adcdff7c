#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "experiments/manifest.h"
#include "experiments/plan.h"
#include "experiments/prepare.h"
#include "experiments/stages.h"

double plan_csr_bytes(const struct csr *matrix)
{
    return (double)((matrix->rows + 1) * (int64_t)sizeof *matrix->starts +
                    csr_count(matrix) * (int64_t)sizeof *matrix->indices);
}

/* Deflate leaves little more than an index's entropy, which popularity holds below log2(columns), and of a row's start
 * what a small difference takes. */
double plan_csr_file_bytes(const struct csr *matrix)
{
    const double bits = log2((double)(matrix->columns > 1 ? matrix->columns : 2));
    return (double)csr_count(matrix) * (bits + 1.5) / 8.0 + 1.9 * (double)(matrix->rows + 1);
}

double plan_id_bytes(const struct id_map *ids)
{
    if (ids->count == 0)
        return 1;
    return ids->offsets ? (double)ids->offsets[ids->count] / (double)ids->count - 1.0
                        : log10((double)ids->count + 1.0);
}

int64_t plan_users_with_any(const struct csr *matrix)
{
    int64_t users = 0;
    for (int64_t user = 0; user < matrix->rows; user++)
        users += csr_row_length(matrix, user) > 0;
    return users;
}

/* ---- data that are not here --------------------------------------------------------------------------- */

/* A user's rows: log-normal of the given mean and spread, at least 1 and at most all items. */
static double drawn_length(const struct plan_options *options, int64_t user)
{
    const double spread = options->mean_spread;
    const double mean = (double)options->interactions / (double)options->users;
    if (spread <= 0)
        return fmin(fmax(mean, 1.0), (double)options->items);
    struct random_stream stream = random_stream_open(1, RANDOM_INITIALIZE, 0, (uint64_t)user);
    const double length = mean * exp(spread * random_normal(&stream) - spread * spread / 2);
    return fmin(fmax(length, 1.0), (double)options->items);
}

/* Scaled, so that all rows together are as many as were given. */
static void draw_starts(int64_t *starts, const struct plan_options *options)
{
    double sum = 0, exact = 0;
    for (int64_t user = 0; user < options->users; user++)
        sum += drawn_length(options, user);
    starts[0] = 0;
    for (int64_t user = 0; user < options->users; user++) {
        exact += drawn_length(options, user) * (double)options->interactions / sum;
        const int64_t wanted = llround(exact) - starts[user];
        const int64_t rows = wanted < 1 ? 1 : wanted > options->items ? options->items : wanted;
        starts[user + 1] = starts[user] + rows;
    }
}

static bool invent(struct csr *matrix, const struct plan_options *options, struct error *error)
{
    const size_t users = (size_t)options->users;
    *matrix = (struct csr){.rows = options->users, .columns = options->items};
    matrix->starts = malloc((users + 1) * sizeof *matrix->starts);
    if (!matrix->starts)
        return error_memory(error, "users", users * sizeof *matrix->starts, NULL);
    draw_starts(matrix->starts, options);
    const int64_t count = csr_count(matrix);
    matrix->indices = malloc((size_t)count * sizeof *matrix->indices);
    if (!matrix->indices)
        return error_memory(error, "interactions", (size_t)count * sizeof *matrix->indices, NULL);
    for (int64_t user = 0; user < matrix->rows; user++) {
        const int64_t length = csr_row_length(matrix, user);
        for (int64_t i = 0; i < length; i++)
            matrix->indices[matrix->starts[user] + i] = (int32_t)(i * matrix->columns / length);
    }
    return true;
}

/* Every user is validated and tested on one item: what that costs depends on the users, hardly on their items. */
static bool invent_held_out(struct csr *matrix, const struct plan_options *options, struct error *error)
{
    struct plan_options one = *options;
    one.interactions = one.users;
    one.mean_spread = 0;
    return invent(matrix, &one, error);
}

static bool invent_dataset(struct plan_data_set *data, const struct plan *plan, struct error *error)
{
    const struct plan_options *const options = &plan->options;
    struct dataset *const dataset = &data->dataset;
    const bool test_selected =
        strcmp(config_string(plan->run.config, "evaluate.protocol"), "test_selected") == 0;
    if (options->users == 0 || options->items == 0 || options->interactions == 0)
        return error_set(error, ERROR_USAGE,
                         "--users, --items and --interactions (training rows) belong "
                         "together; give all three");
    if (options->interactions < options->users ||
        (double)options->interactions > 0.5 * (double)options->users * (double)options->items)
        return error_set(
            error, ERROR_USAGE,
            "--interactions=%lld: %lld users need at least one row each, and at most half of all "
            "%lld items",
            (long long)options->interactions, (long long)options->users, (long long)options->items);
    dataset->user_ids.count = options->users;
    dataset->item_ids.count = options->items;
    snprintf(data->source, sizeof data->source, "sizes as given, no data was read");
    if (!invent(&dataset->train, options, error) || !invent_held_out(&dataset->test, options, error))
        return false;
    if (!test_selected)
        return invent_held_out(&dataset->validation, options, error);
    dataset->validation = (struct csr){.rows = options->users, .columns = options->items};
    dataset->validation.starts = calloc((size_t)options->users + 1, sizeof *dataset->validation.starts);
    return dataset->validation.starts || error_memory(error, "users", 8 * (size_t)options->users, NULL);
}

/* ---- data that are -------------------------------------------------------------------------------------- */

/* Whether the settings by which a run's folder was prepared are those of the plan, files by their names. */
static bool is_prepared_alike(const struct config *prepared, const struct config *planned)
{
    const int prepare = stage_number("prepare");
    char before[33], wanted[33];
    stage_settings_hash(prepared, prepare, before);
    stage_settings_hash(planned, prepare, wanted);
    return strcmp(before, wanted) == 0;
}

/* Whether the run's folder holds what `prepare` made of the plan's input, which may be gone since. */
static bool is_prepared(const struct plan *plan)
{
    struct error ignored = ERROR_INITIALIZER;
    struct manifest *manifest = NULL;
    struct config *prepared = NULL;
    char *path = run_path(&plan->run, "config.yaml");
    const bool same = path_exists(path) && manifest_read(&manifest, plan->run.folder, &ignored) &&
                      manifest_outputs_present(manifest, "prepare", NULL) &&
                      config_load(&prepared, path, 0, NULL, &ignored) &&
                      is_prepared_alike(prepared, plan->run.config);
    config_free(prepared);
    manifest_close(manifest);
    free(path);
    return same;
}

/* From the input, as `prepare` would; where that is not at hand, as the run's folder has it. */
static bool read_dataset(struct plan_data_set *data, const struct plan *plan, struct error *error)
{
    struct error reason = ERROR_INITIALIZER;
    data->has_data = true;
    snprintf(data->source, sizeof data->source, "read from the input");
    if (prepare_dataset(&data->dataset, &plan->run, &reason))
        return true;
    if (!is_prepared(plan))
        return error_set(error, reason.kind,
                         "%.1500s; or give the sizes: --users=N --items=N --interactions=N", reason.message);
    char *path = run_path(&plan->run, "dataset.h5");
    snprintf(data->source, sizeof data->source, "read from %.200s", path);
    const bool done = dataset_load(&data->dataset, path, error);
    free(path);
    return done;
}

static bool find_data(struct plan_data_set *data, const struct plan *plan, struct error *error)
{
    const struct plan_options *const options = &plan->options;
    const bool given = options->users > 0 || options->items > 0 || options->interactions > 0;
    const double begun = clock_seconds();
    const bool done = (given ? invent_dataset(data, plan, error) : read_dataset(data, plan, error)) &&
                      csr_sorted(&data->train, &data->dataset.train, error) &&
                      csr_sorted(&data->validation, &data->dataset.validation, error);
    data->seconds = data->has_data ? clock_seconds() - begun : 0;
    return done;
}

bool plan_data(struct plan *plan, struct error *error)
{
    char stage[PLAN_KEY_SIZE], key[PLAN_KEY_SIZE];
    stage_settings_hash(plan->run.config, stage_number("prepare"), stage);
    plan_key_of_text(key, "data %s", stage);
    plan->data = plan_memo_find(plan->memo, key);
    if (!plan->data) {
        plan->data = plan_memo_keep_data(plan->memo, key);
        if (!plan->data)
            return error_memory(error, "the plan of a study", sizeof *plan->data, NULL);
        if (!find_data(plan->data, plan, error))
            return false;
    }
    plan->dataset = plan->data->dataset;
    plan->train = plan->data->train;
    plan->validation = plan->data->validation;
    return true;
}
