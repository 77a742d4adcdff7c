#include "experiments/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/counting.h"
#include "core/file.h"
#include "experiments/check.h"
#include "experiments/stages.h"

/* ---- stages ------------------------------------------------------------------------------------------- */

struct plan_stage *plan_add_stage(struct plan *plan, const char *name, bool part)
{
    /* More recommenders than there is room for share the last line. */
    const int place = plan->stage_count < PLAN_STAGES_MAXIMUM ? plan->stage_count++ : PLAN_STAGES_MAXIMUM - 1;
    struct plan_stage *const stage = &plan->stages[place];
    *stage = (struct plan_stage){.part = part, .trial = plan->place.trial};
    snprintf(stage->name, sizeof stage->name, "%s", name);
    return stage;
}

static void add_amount(struct plan_amount *amounts, int *count, const char *name, double bytes)
{
    if (bytes <= 0 || *count == PLAN_AMOUNTS_MAXIMUM)
        return;
    snprintf(amounts[*count].name, sizeof amounts[*count].name, "%s", name);
    amounts[(*count)++].bytes = bytes;
}

void plan_add_memory(struct plan_stage *stage, const char *name, double bytes)
{
    add_amount(stage->memory, &stage->memory_count, name, bytes);
}

void plan_add_file(struct plan_stage *stage, const char *name, double bytes)
{
    add_amount(stage->files, &stage->file_count, name, bytes);
}

static double sum_of(const struct plan_amount *amounts, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += amounts[i].bytes;
    return sum;
}

double plan_stage_memory(const struct plan_stage *stage)
{
    return sum_of(stage->memory, stage->memory_count);
}

double plan_stage_disk(const struct plan_stage *stage)
{
    return sum_of(stage->files, stage->file_count);
}

double plan_expected(struct plan_range range)
{
    return range.low > 0 ? sqrt(range.low * range.high) : range.high / 2;
}

struct plan_total plan_total(const struct plan *plan)
{
    struct plan_total total = {.slowest = -1, .largest = -1};
    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *const stage = &plan->stages[i];
        const double memory = plan_stage_memory(stage);
        if (stage->part || stage->taken)
            continue;
        if (total.slowest < 0 ||
            plan_expected(stage->seconds) > plan_expected(plan->stages[total.slowest].seconds))
            total.slowest = i;
        if (total.largest < 0 || memory > total.memory) {
            total.largest = i;
            total.memory = memory;
        }
        total.seconds.low += stage->seconds.low;
        total.seconds.high += stage->seconds.high;
        total.disk += plan_stage_disk(stage);
        total.passing = fmax(total.passing, stage->passing_bytes);
    }
    return total;
}

/* ---- what trials have in common ------------------------------------------------------------------------- */

bool plan_take_stage(struct plan *plan, const char *name)
{
    char key[PLAN_KEY_SIZE];
    const int number = stage_number(name);
    stage_settings_hash(plan->run.config, number, key);
    const struct plan_stage *const found = stages[number].shared ? plan_memo_find(plan->memo, key) : NULL;
    if (!found)
        return false;
    struct plan_stage *const stage = plan_add_stage(plan, name, false);
    *stage = *found;
    stage->taken = true;
    stage->saved = found->seconds;
    stage->seconds = (struct plan_range){0, 0};
    return true;
}

bool plan_offer_stage(struct plan *plan, const struct plan_stage *stage, struct error *error)
{
    char key[PLAN_KEY_SIZE];
    stage_settings_hash(plan->run.config, stage_number(stage->name), key);
    return plan_memo_keep(plan->memo, key, stage, sizeof *stage) ||
           error_memory(error, "the plan of a study", sizeof *stage, NULL);
}

/* ---- rates -------------------------------------------------------------------------------------------- */

double plan_assumed_seconds(const struct plan *plan, const struct operation_counters *work)
{
    const struct plan_options *const options = &plan->options;
    const double computing =
        work->floating_point_operations / (options->operations_per_second * options->efficiency);
    return options->bytes_per_second > 0 ? fmax(computing, work->bytes / options->bytes_per_second)
                                         : computing;
}

/* ---- making a plan ------------------------------------------------------------------------------------- */

/* Of another machine a GPU's layouts are planned, unless the configuration says CPU. */
static bool open_devices(struct plan *plan, struct error *error)
{
    const struct config *config = plan->run.config;
    const char *name = config_string(config, "device");
    const int threads = (int)config_integer(config, "threads");
    enum device_kind kind = strcmp(name, "cpu") == 0 ? DEVICE_CPU : DEVICE_CUDA;
    if (plan->options.operations_per_second <= 0) {
        plan->device = backend_open(name, threads, error);
        if (!plan->device)
            return false;
        plan->device->fast = plan->device->device == DEVICE_CUDA && config_boolean(config, "fast");
        kind = plan->device->device;
    }
    plan->run.backend = counting_backend_open(kind, threads, error);
    if (!plan->run.backend)
        return false;
    plan->ranks = (struct communicator){.name = "planned", .size = (int)plan->options.ranks, .local_size = 1};
    plan->run.backend->communicator = &plan->ranks;
    return true;
}

static void find_memory(struct plan *plan)
{
    const struct backend *const device = plan->device;
    const int64_t host = available_memory_bytes();
    plan->memory_available = plan->options.memory;
    if (plan->memory_available <= 0 && device && device->device == DEVICE_CUDA)
        plan->memory_available = (double)device->free_memory(plan->device);
    else if (plan->memory_available <= 0 && device && host < INT64_MAX)
        plan->memory_available = (double)host;
    counting_backend_set_memory(plan->run.backend, (size_t)plan->memory_available);
}

/* Of data that are not here. */
#define ROW_SECONDS 3e-7

/* Reading and splitting is measured; it takes about 64 bytes of memory a row. */
static bool plan_prepare(struct plan *plan, struct error *error)
{
    if (!plan_data(plan, error))
        return false;
    if (plan_take_stage(plan, "prepare"))
        return true;
    const struct dataset *const dataset = &plan->dataset;
    struct plan_stage *const stage = plan_add_stage(plan, "prepare", false);
    const double rows =
        (double)(csr_count(&dataset->train) + csr_count(&dataset->validation) + csr_count(&dataset->test));
    const double seconds = plan->data->has_data ? plan->data->seconds : ROW_SECONDS * rows;
    stage->seconds = (struct plan_range){seconds, seconds};
    snprintf(stage->work, sizeof stage->work, "%lld users, %lld items, %lld training rows",
             (long long)dataset->train.rows, (long long)dataset->train.columns,
             (long long)csr_count(&dataset->train));
    snprintf(stage->rate, sizeof stage->rate,
             plan->data->has_data ? "measured: the data were read" : "assumed: 0.3 us a row");
    plan_add_memory(stage, "rows while they are read", 64 * rows);
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    plan_add_file(stage, "dataset.h5",
                  plan_csr_file_bytes(&dataset->train) + plan_csr_file_bytes(&dataset->validation) +
                      plan_csr_file_bytes(&dataset->test) +
                      (double)dataset->user_ids.count * plan_id_bytes(&dataset->user_ids) / 2 +
                      (double)dataset->item_ids.count * plan_id_bytes(&dataset->item_ids) / 2 +
                      (dataset->train_times ? 1.8 * (double)csr_count(&dataset->train) : 0) + 1e4);
    stage->lower = "raise data.k_core";
    return plan_offer_stage(plan, stage, error);
}

static bool open_rankings(struct plan *plan, struct error *error)
{
    const size_t count = (size_t)plan->study.contestant_count + 1;
    plan->rankings = calloc(count, sizeof *plan->rankings);
    return plan->rankings ||
           error_memory(error, "the plan of rankings", count * sizeof *plan->rankings, NULL);
}

bool plan_make(struct plan *plan, struct config *config, const struct plan_options *options,
               struct plan_memo *memo, struct plan_place place, struct error *error)
{
    *plan = (struct plan){.options = *options, .memo = memo, .place = place, .run = {.config = config}};
    if (!open_devices(plan, error))
        return false;
    plan->run.folder = run_folder(plan->run.config);
    plan->has_language_model = !stage_is_left_out(plan->run.config, stage_number("pretrain"));
    find_memory(plan);
    return study_settings_read(&plan->study, plan->run.config, error) && open_rankings(plan, error) &&
           plan_prepare(plan, error) && plan_language(plan, error) && plan_recommenders(plan, error);
}

void plan_free(struct plan *plan)
{
    free(plan->rankings);
    study_close(&plan->study);
    if (plan->device)
        backend_close(plan->device);
    if (plan->run.backend)
        backend_close(plan->run.backend);
    config_free(plan->run.config);
    free(plan->run.folder);
    *plan = (struct plan){.stage_count = 0};
}
