/* prepare.c: the stage that freezes the data set of a run: read, filter, split, check, dataset.h5. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/filter.h"
#include "core/readers.h"
#include "core/split.h"
#include "experiments/coverage.h"
#include "experiments/prepare.h"
#include "experiments/stages.h"
#include "models/recommenders/recommender.h"

/* The files of the input and the part that each of them is. */
struct input {
    char *paths[READER_PATHS_MAX];
    uint8_t part[READER_PATHS_MAX];
    int count;
};

static void input_free(struct input *input)
{
    for (int file = 0; file < input->count; file++)
        free(input->paths[file]);
}

static void add_input(struct input *input, const struct config *config, const char *key,
                      enum dataset_part part)
{
    if (config_is_null(config, "%s", key))
        return;
    input->paths[input->count] = config_data_path(config, key);
    input->part[input->count++] = (uint8_t)part;
}

static struct input find_input(const struct config *config, enum split_method method)
{
    struct input input = {.count = 0};
    if (method != SPLIT_PROVIDED) {
        add_input(&input, config, "data.path", PART_TRAIN);
    } else {
        add_input(&input, config, "data.split.train", PART_TRAIN);
        add_input(&input, config, "data.split.validation", PART_VALIDATION);
        add_input(&input, config, "data.split.test", PART_TEST);
    }
    return input;
}

/* check_config() has seen to it that the settings fit together. */
static struct split_settings find_split(const struct config *config)
{
    static const char *const methods[] = {"random", "leave_one_out", "temporal", "provided"};
    const char *method = config_string(config, "data.split.method");
    struct split_settings split = {.seed = (uint64_t)config_integer(config, "seed")};
    for (int index = 0; index < 4; index++)
        if (strcmp(method, methods[index]) == 0)
            split.method = (enum split_method)index;
    for (int part = 0; part < 3 && split.method != SPLIT_PROVIDED; part++)
        split.ratios[part] = config_number(config, "data.split.ratios[%d]", part);
    const bool validation_given = !config_is_null(config, "data.split.validation");
    const bool test_selected = strcmp(config_string(config, "evaluate.protocol"), "test_selected") == 0;
    split.validation_ratio =
        validation_given || test_selected ? 0 : config_number(config, "data.split.validation_ratio");
    return split;
}

static bool read_input(struct interactions *interactions, uint8_t **parts, const struct input *input,
                       const struct run *run, struct error *error)
{
    const struct config *config = run->config;
    const struct reader_settings settings = {
        .format = config_string(config, "data.format"),
        .user_column = config_string(config, "data.columns.user"),
        .item_column = config_string(config, "data.columns.item"),
        .rating_column = config_string(config, "data.columns.rating"),
        .time_column = config_string(config, "data.columns.time"),
    };
    int64_t first_rows[READER_PATHS_MAX + 1];
    char description[READER_DESCRIPTION_LENGTH];
    if (!interactions_read(interactions, (const char *const *)input->paths, input->count, &settings,
                           first_rows, description, error))
        return false;
    for (int file = 0; file < input->count; file++)
        log_line(run->log, "%s: %lld rows", input->paths[file],
                 (long long)(first_rows[file + 1] - first_rows[file]));
    log_line(run->log, "%s is read as %s", input->paths[0], description);
    if (input->count == 1)
        return true;
    *parts = malloc((size_t)interactions->count);
    if (!*parts)
        return error_memory(error, "the parts of the split", (size_t)interactions->count, NULL);
    for (int file = 0; file < input->count; file++)
        memset(*parts + first_rows[file], input->part[file],
               (size_t)(first_rows[file + 1] - first_rows[file]));
    return true;
}

/* Whether a recommender, or the language model, learns from the order of a user's items. */
static bool order_matters(const struct config *config)
{
    if (!config_boolean(config, "prompts.shuffle") && !stage_is_left_out(config, stage_number("pretrain")))
        return true;
    for (int i = 0; i < (int)config_length(config, "recommenders"); i++) {
        struct recommender_settings settings = {0};
        snprintf(settings.model, sizeof settings.model, "%s",
                 config_string(config, "recommenders[%d].model", i));
        if (recommender_reads_history(&settings))
            return true;
    }
    return false;
}

/* What order the sequential models learn from and are tested on. */
static void log_order(const struct run *run, const struct interactions *interactions,
                      enum split_method method)
{
    if (!order_matters(run->config))
        return;
    if (!interactions->times)
        log_line(run->log, "the file has no times: the order of its rows is taken for the order in time");
    if (method == SPLIT_RANDOM)
        log_line(run->log, "split: random mixes past and future for sequential models; leave_one_out or "
                           "temporal keeps the order");
}

static int compare_lengths(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* One line of the table: rows, users with any, and rows of such a user. */
static void log_part(const struct run *run, const char *name, const struct csr *part)
{
    int64_t *lengths = malloc((size_t)(part->rows + 1) * sizeof *lengths), users = 0;
    for (int64_t user = 0; user < part->rows && lengths; user++)
        if (csr_row_length(part, user) > 0)
            lengths[users++] = csr_row_length(part, user);
    if (users > 0) {
        qsort(lengths, (size_t)users, sizeof *lengths, compare_lengths);
        log_line(run->log, "%-10s %12lld %10lld %8lld %8lld %8lld", name, (long long)csr_count(part),
                 (long long)users, (long long)lengths[0], (long long)lengths[users / 2],
                 (long long)lengths[users - 1]);
    } else {
        log_line(run->log, "%-10s %12lld %10d", name, (long long)csr_count(part), 0);
    }
    free(lengths);
}

static bool log_coverage(const struct run *run, const struct dataset *dataset, struct error *error)
{
    struct coverage coverage;
    if (!coverage_count(&coverage, dataset, error))
        return false;
    log_line(run->log,
             "without a train row: %lld users, %lld items (they stay in the catalogue and are ranked)",
             (long long)coverage.unseen_users, (long long)coverage.unseen_items);
    if (coverage.validation_of_unseen + coverage.test_of_unseen > 0)
        log_line(run->log,
                 "held-out rows of such items, which no model can learn: %lld validation, %lld test",
                 (long long)coverage.validation_of_unseen, (long long)coverage.test_of_unseen);
    if (coverage.untested_users > 0)
        log_line(run->log, "not tested: %lld users, none of whose rows is held out; they only train",
                 (long long)coverage.untested_users);
    return true;
}

static void log_dataset(const struct run *run, const struct dataset *dataset)
{
    const struct preparation_counts *counts = &dataset->counts;
    const int64_t users = dataset->user_ids.count, items = dataset->item_ids.count;
    const int64_t rows =
        csr_count(&dataset->train) + csr_count(&dataset->validation) + csr_count(&dataset->test);
    log_line(run->log, "%s: %lld users, %lld items, %lld rows, density %.4f %%", dataset->name,
             (long long)users, (long long)items, (long long)rows,
             100.0 * (double)rows / ((double)users * (double)items));
    log_line(run->log,
             "dropped: %lld rated low, %lld duplicates, %lld in an earlier part, %lld of users not drawn, "
             "%lld outside the core",
             (long long)counts->below_rating, (long long)counts->duplicates, (long long)counts->overlaps,
             (long long)counts->not_drawn, (long long)counts->below_core);
    log_line(run->log, "%-10s %12s %10s %8s %8s %8s", "part", "rows", "users", "min", "median", "max");
    log_part(run, "train", &dataset->train);
    log_part(run, "validation", &dataset->validation);
    log_part(run, "test", &dataset->test);
}

static bool divide(struct dataset *dataset, const struct run *run, struct interactions *interactions,
                   uint8_t *parts, const struct split_settings *split, struct error *error)
{
    const struct filter_settings filter = {.min_rating = config_number(run->config, "data.min_rating"),
                                           .users = config_integer(run->config, "data.users"),
                                           .k_core = config_integer(run->config, "data.k_core"),
                                           .seed = (uint64_t)config_integer(run->config, "seed")};
    struct preparation_counts counts;
    if (!interactions_filter(interactions, parts, filter, &counts, error) ||
        !dataset_split(dataset, interactions, parts, *split, error))
        return false;
    dataset->name = path_format("%s", config_string(run->config, "name"));
    dataset->counts = counts;
    if (csr_count(&dataset->train) == 0 || csr_count(&dataset->test) == 0)
        return error_set(error, ERROR_RUN,
                         "the split leaves %lld train and %lld test rows; both are needed: change "
                         "data.split or data.k_core",
                         (long long)csr_count(&dataset->train), (long long)csr_count(&dataset->test));
    return dataset_check_disjoint(dataset, error);
}

bool prepare_dataset(struct dataset *dataset, const struct run *run, struct error *error)
{
    const struct split_settings split = find_split(run->config);
    struct input input = find_input(run->config, split.method);
    struct interactions interactions = {0};
    uint8_t *parts = NULL;
    *dataset = (struct dataset){0};
    bool done = read_input(&interactions, &parts, &input, run, error);
    if (done)
        log_order(run, &interactions, split.method);
    done = done && divide(dataset, run, &interactions, parts, &split, error);
    interactions_free(&interactions);
    free(parts);
    input_free(&input);
    if (!done)
        dataset_free(dataset);
    return done;
}

bool stage_prepare(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    struct dataset dataset;
    if (!prepare_dataset(&dataset, run, error))
        return false;
    char *path = run_path(run, "dataset.h5");
    const bool saved = dataset_save(&dataset, path, error);
    free(path);
    if (saved)
        log_dataset(run, &dataset);
    const bool done = saved && log_coverage(run, &dataset, error);
    dataset_free(&dataset);
    return done;
}
