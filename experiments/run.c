#include "experiments/run.h"

#include <fcntl.h>
#include <malloc.h>
#include <omp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/store.h"
#include "core/trace.h"
#include "cuda/backend.h"
#include "experiments/check.h"
#include "experiments/check_language.h"
#include "experiments/cost.h"
#include "experiments/manifest.h"
#include "experiments/ranks_alike.h"
#include "experiments/shared_stages.h"
#include "experiments/stages.h"
#include "experiments/study_folder.h"
#include "experiments/sweep.h"
#include "models/recommenders/settings.h"

static int run_ranks(const struct run *run)
{
    return run->communicator ? run->communicator->size : 1;
}

bool run_leads(const struct run *run)
{
    return !run->communicator || run->communicator->rank == 0;
}

bool run_wait_for_ranks(const struct run *run, struct error *error)
{
    if (run_ranks(run) == 1)
        return true;
    run->communicator->patient = true;
    const bool done = comm_barrier(run->communicator, error);
    run->communicator->patient = false;
    return done;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

static bool write_config(const struct run *run, struct error *error)
{
    char *text = NULL, *path = run_path(run, "config.yaml");
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    bool done = stream && config_write(run->config, recommender_reads_setting, stream);
    if (stream)
        fclose(stream);
    done =
        done ? file_write(path, text, length, error) : error_memory(error, "the configuration", length, NULL);
    free(text);
    free(path);
    return done;
}

/* Says which device the run is on and what `fast` does there, once and whenever that is another; and why `auto` is not a
 * GPU where it might be. */
static void describe_device(const struct run *run)
{
    const struct backend *backend = run->backend;
    struct error reason = ERROR_INITIALIZER;
    const bool fast = config_boolean(run->config, "fast");
    json_t *device =
        json_pack("{s:s, s:s, s:i, s:i, s:b}", "name", backend->name, "description", backend->description,
                  "threads", backend->threads, "ranks", run_ranks(run), "fast", fast);
    const bool known = json_equal(device, manifest_get(run->manifest, "device"));
    manifest_set(run->manifest, "device", device);
    if (known)
        return;
    if (backend->device == DEVICE_CPU && strcmp(config_string(run->config, "device"), "auto") == 0 &&
        cuda_device_count(&reason) == 0)
        log_line(run->log, "device: %s, %d threads; %s", backend->description, backend->threads,
                 cuda_is_built_in() ? "no GPU answers; `idrec devices` tells why" : "built without CUDA");
    else
        log_line(run->log, "device: %s, %d threads", backend->description, backend->threads);
    if (fast)
        log_line(run->log, backend->fast
                               ? "fast: products of f32 by TF32, sums in any order; results are less "
                                 "precise and differ from run to run"
                               : "fast: changes nothing on the CPU");
}

static bool write_description(const struct run *run, struct error *error)
{
    manifest_describe(run->manifest);
    describe_device(run);
    manifest_set(run->manifest, "seeds",
                 json_pack("{s:I, s:I}", "seed", (json_int_t)config_integer(run->config, "seed"),
                           "recommenders", (json_int_t)config_integer(run->config, "experiment.seeds")));
    return manifest_save(run->manifest, error);
}

char *run_folder(const struct config *config)
{
    return config_is_null(config, "output") ? path_format("runs/%s", config_string(config, "name"))
                                            : config_file_path(config, "output");
}

/* The device of this rank, with `threads` of the host, or as many as the configuration says. */
static bool open_backend(struct run *run, int threads, struct error *error)
{
    struct error ignored = ERROR_INITIALIZER;
    struct communicator *communicator = run->communicator;
    const char *device = config_string(run->config, "device");
    char name[16];
    if (threads == 0)
        threads = (int)config_integer(run->config, "threads");
    if (run_ranks(run) > 1) {
        const int gpus = strcmp(device, "cpu") == 0 ? 0 : cuda_device_count(&ignored);
        if (!comm_device(communicator, device, gpus, name, error))
            return false;
        device = name;
        if (threads == 0)
            threads = comm_threads(communicator, omp_get_max_threads());
    }
    run->backend = backend_open(device, threads, error);
    if (run->backend && run_ranks(run) > 1)
        run->backend->communicator = communicator;
    if (run->backend)
        run->backend->fast = run->backend->device == DEVICE_CUDA && config_boolean(run->config, "fast");
    return run->backend && (run_ranks(run) == 1 || run->backend->device == DEVICE_CPU ||
                            cuda_join_ranks(communicator, run->backend, error));
}

/* `started`: clock_seconds() when the process turned to the run. */
static bool open_from(struct run *run, struct communicator *communicator, struct config *config, int threads,
                      const char *shared, double started, struct error *error)
{
    *run = (struct run){.config = config, .communicator = communicator};
    run->folder = run_folder(config);
    run->shared = shared ? path_format("%s", shared) : NULL;
    const bool by_ranks = run_ranks(run) > 1;
    bool done =
        (!by_ranks || ranks_check_settings(communicator, config, error)) && open_backend(run, threads, error);
    if (done && run_leads(run))
        done = folder_create(run->folder, error) && manifest_open(&run->manifest, run->folder, error) &&
               cost_open(run, started, error);
    done = done && (!by_ranks || ranks_check_folder(communicator, run->folder, error));
    if (done)
        run->log = run_leads(run) ? log_open(run->folder) : log_open_silent();
    if (!done && communicator)
        communicator->failing = true;
    if (!done)
        run_close(run);
    return done;
}

bool run_open(struct run *run, struct communicator *communicator, const char *config_path, int override_count,
              char *const *overrides, struct error *error)
{
    struct config *config = NULL;
    const double started = clock_seconds();
    *run = (struct run){0};
    if (config_load(&config, config_path, override_count, overrides, error) && check_config(config, error) &&
        check_language_files(config, error) &&
        (!sweep_is_declared(config) ||
         config_complain(
             config, "experiment", error,
             "declares the trials of a study; `idrec run` takes it, and with --trial=NAME --through=STAGE it "
             "does single stages of one of them")))
        return open_from(run, communicator, config, 0, NULL, started, error);
    config_free(config);
    return false;
}

bool run_open_config(struct run *run, struct communicator *communicator, struct config *config, int threads,
                     const char *shared, struct error *error)
{
    return open_from(run, communicator, config, threads, shared, clock_seconds(), error);
}

bool run_open_trace(struct run *run, const char *path, struct error *error)
{
    if (path && !trace_open(&run->trace, path, error))
        return false;
    run->backend->trace = run->trace;
    if (run->communicator)
        run->communicator->trace = run->trace;
    return true;
}

void run_close(struct run *run)
{
    if (run->communicator) {
        comm_leave_device(run->communicator);
        run->communicator->trace = NULL;
    }
    if (run->backend)
        backend_close(run->backend);
    run->backend = NULL;
    trace_close(run->trace);
    cost_close(run);
    log_close(run->log);
    manifest_close(run->manifest);
    config_free(run->config);
    free(run->folder);
    free(run->shared);
    *run = (struct run){0};
}

void run_count_start(struct run *run)
{
    if (run->meter)
        meter_count_start(run->meter);
}

char *run_path(const struct run *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *relative = path_format_list(format, arguments);
    va_end(arguments);
    char *path = path_format("%s/%s", run->folder, relative);
    free(relative);
    return path;
}

/* ---- stages ------------------------------------------------------------------------------------------- */

/* From here on the peaks of the resident memory and of the device's are counted anew, without what earlier stages freed. */
static void reset_peak_memory(struct backend *backend)
{
    backend->memory.peak = backend->memory.bytes;
    malloc_trim(0);
    const int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    if (write(descriptor, "5", 1) != 1)
        log_line(NULL,
                 "the peak of memory could not be reset; the figures count from the start of the program");
    close(descriptor);
}

static bool remove_below(const struct run *run, const char *const *paths, struct error *error)
{
    bool done = true;
    for (int i = 0; done && paths[i]; i++) {
        char *path = run_path(run, "%s", paths[i]);
        done = path_remove(path, error);
        free(path);
    }
    return done;
}

/* The record of a stage that is to be run: the one of an interrupted attempt at the same inputs, whose state
 * is kept, or else a new one, with everything older removed that the stage does not sort out itself. */
static json_t *open_record(struct run *run, const struct stage *stage, const char *inputs,
                           struct error *error)
{
    json_t *record = manifest_stage(run->manifest, stage->name);
    const char *recorded = json_string_value(json_object_get(record, "inputs"));
    if (recorded && strcmp(recorded, inputs) == 0 && !json_is_true(json_object_get(record, "complete")))
        return record;
    if (!stage->keeps_outputs && !remove_below(run, stage->outputs, error))
        return NULL;
    if (!remove_below(run, stage->state, error))
        return NULL;
    cost_replace(run, stage->name);
    record = manifest_begin(run->manifest, stage->name, inputs);
    cost_settle(run);
    return manifest_save(run->manifest, error) ? record : NULL;
}

static bool is_shared(const struct run *run, const struct stage *stage)
{
    return run->shared && stage->shared;
}

/* What rank 0 tells the others of a stage. */
enum { STAGE_IS_DONE, STAGE_BEGINS };

static bool tell_ranks(const struct run *run, int64_t what, struct error *error)
{
    return run_ranks(run) == 1 || comm_broadcast_integer(run->communicator, &what, 0, error);
}

/* With what rank 0 has recorded of the stages before. */
static bool take_part(struct run *run, const struct stage *stage, struct error *error)
{
    struct stage_cost cost = {0};
    backend_reset_counters(run->backend);
    const bool done = manifest_read(&run->manifest, run->folder, error) && stage->work(run, &cost, error);
    manifest_close(run->manifest);
    run->manifest = NULL;
    return done;
}

/* A rank other than 0 takes part in a stage when it is called, and waits until rank 0 says that the stage is done: rank 0
 * may have much to do alone. */
static bool follow(struct run *run, int number, struct error *error)
{
    const struct stage *stage = &stages[number];
    int64_t what = STAGE_BEGINS;
    while (what != STAGE_IS_DONE) {
        run->communicator->patient = true;
        const bool told = comm_broadcast_integer(run->communicator, &what, 0, error);
        run->communicator->patient = false;
        if (!told || (what == STAGE_BEGINS && !take_part(run, stage, error)))
            return false;
    }
    return true;
}

static bool compute(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    json_t *record = open_record(run, stage, inputs, error);
    if (!record || (stage->by_ranks && !tell_ranks(run, STAGE_BEGINS, error)))
        return false;
    reset_peak_memory(run->backend);
    backend_reset_counters(run->backend);
    struct stage_cost cost = {0};
    cost_begin(run, stage->name);
    const bool done = stage->work(run, &cost, error) &&
                      manifest_complete(run->manifest, stage->name, stage->outputs, error);
    cost.put_aside = !done && error->kind == ERROR_PUT_ASIDE;
    const double seconds = cost_end(run, record, stage->name, cost);
    if (!done) {
        struct error later = ERROR_INITIALIZER;
        if (!manifest_save(run->manifest, &later))
            log_line(run->log, "%s", later.message);
        return false;
    }
    if ((is_shared(run, stage) && !shared_stage_publish(run, stage, inputs, error)) ||
        !manifest_save(run->manifest, error))
        return false;
    log_line(run->log, "%s: done in %.1f s", stage->name, seconds);
    return true;
}

/* The folder's description changes with its content only: a command that is refused leaves it as it was. */
static bool work(struct run *run, const struct stage *stage, const char *inputs, struct error *error)
{
    if (!write_config(run, error) || !write_description(run, error))
        return false;
    return is_shared(run, stage) ? shared_stage_work(run, stage, inputs, compute, error)
                                 : compute(run, stage, inputs, error);
}

static bool is_up_to_date(const struct run *run, int number, const char *inputs)
{
    const json_t *record = manifest_stage(run->manifest, stages[number].name);
    const char *recorded = json_string_value(json_object_get(record, "inputs"));
    return recorded && strcmp(recorded, inputs) == 0 &&
           manifest_outputs_present(run->manifest, stages[number].name, NULL);
}

/* Runs one stage, or, when it must not be run, demands that it has been. */
static bool run_one(struct run *run, int number, bool may_run, const char *wanted, struct error *error)
{
    const struct stage *stage = &stages[number];
    char inputs[33];
    run->stage = stage->name;
    if (!stage_inputs_hash(run, number, inputs, error))
        return false;
    if (is_up_to_date(run, number, inputs)) {
        if (may_run)
            log_line(run->log, "%s: up to date", stage->name);
        return !is_shared(run, stage) || shared_stage_offer(run, stage, inputs, error);
    }
    if (!may_run)
        return error_at(
            error, ERROR_RUN, run->folder, 0,
            "%s needs the results of %s, which are missing or belong to other settings; give `idrec run` "
            "the same configuration first",
            wanted, stage->name);
    return work(run, stage, inputs, error);
}

/* What the configuration asks of the data is checked before anything else is done with them. */
static bool check_data(const struct run *run, struct error *error)
{
    struct store *store;
    int64_t items = 0;
    char *path = run_path(run, "dataset.h5");
    bool done = store_open(&store, path, error);
    if (done) {
        done = store_get_integer(store, "/", "items", &items, error);
        store_close(store);
    }
    free(path);
    return done && check_cuts(run->config, items, error);
}

static bool lead(struct run *run, int number, bool may_run, const char *wanted, struct error *error)
{
    return run_one(run, number, may_run, wanted, error) && (number > 0 || check_data(run, error)) &&
           tell_ranks(run, STAGE_IS_DONE, error);
}

bool run_stage(struct run *run, const char *stage, bool through, struct error *error)
{
    const int last = stage_number(stage);
    if (last < 0)
        return error_set(error, ERROR_USAGE, "%s: no such stage", stage);
    unsigned needed = 1U << last;
    for (int i = last; i >= 0; i--)
        if (needed & (1U << i))
            needed |= stage_reads(run->config, i);
    for (int i = 0; i <= last; i++)
        if ((needed & (1U << i)) &&
            !(run_leads(run) ? lead(run, i, through || i == last, stage, error) : follow(run, i, error)))
            return false;
    return true;
}

static bool check_stage(const struct run *run, int number, struct error *error)
{
    char inputs[33];
    if (!stage_inputs_hash(run, number, inputs, error))
        return false;
    return is_up_to_date(run, number, inputs) ||
           error_at(error, ERROR_RUN, run->folder, 0,
                    "the results of %s are missing, incomplete or of other settings or data than the folder "
                    "holds now; run `idrec %s` with the configuration of this folder",
                    stages[number].name, stages[number].name);
}

bool run_open_done(struct run *run, const char *folder, const char *stage, struct error *error)
{
    *run = (struct run){.folder = path_format("%s", folder)};
    char *path = path_format("%s/config.yaml", folder);
    const bool done = folder_check_run(folder, error) && folder_check_trial(folder, stage, error) &&
                      manifest_read(&run->manifest, folder, error) &&
                      config_load(&run->config, path, 0, NULL, error) &&
                      check_stage(run, stage_number(stage), error);
    free(path);
    return done;
}

bool run_check_stage(const char *folder, const char *stage, struct error *error)
{
    struct run run;
    const bool done = run_open_done(&run, folder, stage, error);
    run_close(&run);
    return done;
}

json_t *run_cost_table(const struct run *run)
{
    json_t *table = json_array();
    for (int i = 0; i < stage_number("evaluate"); i++) {
        json_t *record = manifest_stage(run->manifest, stages[i].name);
        json_t *cost = json_object_get(record, "cost");
        if (cost && json_is_true(json_object_get(record, "complete")) && !stage_is_left_out(run->config, i))
            json_array_append(table, cost);
    }
    return table;
}
