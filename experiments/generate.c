/* generate.c: the stage that asks the language model for interactions of every user. Users are done in parts
 * of a fixed size, each of which is a file as soon as it is done, so a killed run goes on at the next part.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/generated.h"
#include "experiments/generator.h"
#include "experiments/language_model.h"

enum { PART_USERS = 512 };
#define CACHE_BYTES ((size_t)1 << 30)

struct generation {
    struct run *run;
    struct dataset dataset;
    struct language_prompts prompts;
    struct transformer *model;
    struct generator *generator;
    char settings[256], fingerprint[17];
    struct generated_origin origin;
};

/* ---- settings ----------------------------------------------------------------------------------------- */

struct sampler_settings language_sampler_settings(const struct run *run,
                                                  const struct language_prompts *prompts)
{
    const struct config *config = run->config;
    return (struct sampler_settings){
        .vocabulary = prompts->vocabulary,
        .prompt = prompts->settings,
        .batch = config_integer(config, "generate.batch"),
        .cache_bytes = CACHE_BYTES,
        .samples = config_integer(config, "generate.samples"),
        .contexts = config_integer(config, "generate.contexts"),
        .items_maximum = config_integer(config, "generate.max_items"),
        .sampling = {.temperature = (float)config_number(config, "generate.temperature"),
                     .top_p = (float)config_number(config, "generate.top_p"),
                     .top_k = config_integer(config, "generate.top_k"),
                     .seed = (uint64_t)config_integer(config, "seed")},
        .constrained = config_boolean(config, "generate.constrained"),
        .end_trained = language_end_is_trained(config),
    };
}

struct ranker_settings language_ranker_settings(const struct run *run, const struct language_prompts *prompts)
{
    const struct config *config = run->config;
    return (struct ranker_settings){
        .vocabulary = prompts->vocabulary,
        .prompt = prompts->settings,
        .batch = config_integer(config, "generate.batch"),
        .cache_bytes = CACHE_BYTES,
        .contexts = config_integer(config, "generate.contexts"),
        .items_maximum = config_integer(config, "generate.max_items"),
        .seed = (uint64_t)config_integer(config, "seed"),
    };
}

/* The settings that the rows depend on, which the batch is not one of. */
static void describe(struct generation *generation)
{
    const struct config *config = generation->run->config;
    const char *method = config_string(config, "generate.method");
    generator_describe(generation->settings, sizeof generation->settings, config);
    generation->origin = (struct generated_origin){method, generation->settings, generation->fingerprint};
}

/* Sets the fingerprint of all that the rows depend on. */
static bool take_fingerprint(struct generation *generation, struct error *error)
{
    static const char *const sections[] = {"language_model", "prompts", "finetune", NULL};
    static const char *const files[] = {"dataset.h5",
                                        "language_model/indexing.h5",
                                        "language_model/base/model.safetensors",
                                        "language_model/adapter/adapter_model.safetensors",
                                        "language_model/finetuned/model.safetensors",
                                        NULL};
    uint64_t hash = 0;
    char *text = path_format("%s: %s", generation->origin.method, generation->settings);
    const bool fine = language_fingerprint(&hash, generation->run, text, sections, files, error);
    snprintf(generation->fingerprint, sizeof generation->fingerprint, "%016" PRIx64, hash);
    free(text);
    return fine;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

static void close_generation(struct generation *generation)
{
    generator_close(generation->generator);
    transformer_free(generation->model);
    language_prompts_close(&generation->prompts);
    dataset_free(&generation->dataset);
}

static bool open_generation(struct generation *generation, struct run *run, struct error *error)
{
    char *path = run_path(run, "dataset.h5");
    *generation = (struct generation){.run = run};
    const bool loaded = dataset_load(&generation->dataset, path, error) &&
                        language_prompts_open(&generation->prompts, run, &generation->dataset, true, error);
    free(path);
    if (!loaded)
        return false;
    describe(generation);
    return take_fingerprint(generation, error);
}

/* Loads the model and lays out what the method needs. */
static bool open_method(struct generation *generation, struct error *error)
{
    struct generator_source source = {
        .config = generation->run->config,
        .train = &generation->dataset.train,
        .sampling = language_sampler_settings(generation->run, &generation->prompts),
        .ranking = language_ranker_settings(generation->run, &generation->prompts),
        .single = generation->prompts.single,
        .format = generation->prompts.kind == INDEXING_TEXT ? &generation->prompts.answer.format : NULL};
    if (!language_model_open(&generation->model, generation->run, 0, 0, error))
        return false;
    source.model = generation->model;
    if (!generator_open(&generation->generator, &source, error))
        return false;
    generator_print_memory(generation->generator, stderr);
    return true;
}

/* ---- parts -------------------------------------------------------------------------------------------- */

static int64_t part_count(const struct generation *generation)
{
    return (generation->dataset.train.rows + PART_USERS - 1) / PART_USERS;
}

static char *part_path(const struct generation *generation, int64_t part)
{
    return run_path(generation->run, "generated_parts/%06lld.h5", (long long)part);
}

static bool take_proposals(struct generated *generated, const struct proposal_list *list, struct error *error)
{
    if (!generated_allocate(generated, list->count, error))
        return false;
    for (int64_t row = 0; row < list->count; row++) {
        generated->user[row] = list->row[row].user;
        generated->item[row] = list->row[row].item;
        generated->sample[row] = list->row[row].sample;
        generated->position[row] = list->row[row].position;
        generated->votes[row] = list->row[row].votes;
        generated->cut[row] = list->row[row].cut;
        generated->log_probability[row] = list->row[row].log_probability;
    }
    generated->counts = (struct generation_counts){.requested = list->requested,
                                                   .valid = list->valid,
                                                   .invalid = list->invalid,
                                                   .malformed = list->malformed,
                                                   .unknown = list->unknown,
                                                   .incomplete = list->incomplete,
                                                   .already_seen = list->already_seen,
                                                   .duplicate = list->duplicate};
    return true;
}

static bool make_part(struct generation *generation, int64_t first, int64_t users, const char *path,
                      struct error *error)
{
    struct backend *backend = generation->run->backend;
    const int64_t tokens = generator_tokens(generation->generator);
    struct proposal_list list = {.count = 0};
    struct generated generated = {.count = 0};
    /* From 0 for every part: a difference of large sums would depend on the parts made before. */
    backend_reset_counters(backend);
    bool done = generator_run(generation->generator, first, users, &list, error) &&
                take_proposals(&generated, &list, error);
    generated.counts.tokens = generator_tokens(generation->generator) - tokens;
    generated.counts.floating_point_operations = backend->counters.floating_point_operations;
    done = done && generated_save(&generated, &generation->origin, path, error);
    generated_free(&generated);
    proposal_list_free(&list);
    return done;
}

/* Makes the parts that are not there yet. */
static bool make_parts(struct generation *generation, struct progress *progress, struct error *error)
{
    const int64_t users = generation->dataset.train.rows;
    for (int64_t part = 0; part < part_count(generation); part++) {
        const int64_t first = part * PART_USERS;
        const int64_t count = users - first < PART_USERS ? users - first : PART_USERS;
        char *path = part_path(generation, part);
        const bool done = generated_exists(path, generation->fingerprint) ||
                          ((generation->model || open_method(generation, error)) &&
                           make_part(generation, first, count, path, error));
        free(path);
        if (!done)
            return false;
        progress_update(progress, first + count, "%s", generation->origin.method);
    }
    return true;
}

/* ---- merging ------------------------------------------------------------------------------------------ */

static void add_counts(struct generation_counts *sum, const struct generation_counts *counts)
{
    sum->requested += counts->requested;
    sum->valid += counts->valid;
    sum->invalid += counts->invalid;
    sum->malformed += counts->malformed;
    sum->unknown += counts->unknown;
    sum->incomplete += counts->incomplete;
    sum->already_seen += counts->already_seen;
    sum->duplicate += counts->duplicate;
    sum->tokens += counts->tokens;
    sum->floating_point_operations += counts->floating_point_operations;
}

static void copy_rows(struct generated *to, int64_t row, const struct generated *from)
{
    const size_t bytes = (size_t)from->count * sizeof(int32_t);
    memcpy(to->user + row, from->user, bytes);
    memcpy(to->item + row, from->item, bytes);
    memcpy(to->sample + row, from->sample, bytes);
    memcpy(to->position + row, from->position, bytes);
    memcpy(to->votes + row, from->votes, bytes);
    memcpy(to->cut + row, from->cut, bytes);
    memcpy(to->log_probability + row, from->log_probability, (size_t)from->count * sizeof(float));
}

static bool join_parts(struct generated *joined, const struct generated *parts, int64_t count,
                       struct error *error)
{
    int64_t rows = 0;
    for (int64_t part = 0; part < count; part++)
        rows += parts[part].count;
    if (!generated_allocate(joined, rows, error))
        return false;
    for (int64_t part = 0, row = 0; part < count; row += parts[part++].count) {
        copy_rows(joined, row, &parts[part]);
        add_counts(&joined->counts, &parts[part].counts);
    }
    return true;
}

static bool load_parts(const struct generation *generation, struct generated *parts, struct error *error)
{
    bool fine = true;
    for (int64_t part = 0; fine && part < part_count(generation); part++) {
        char *path = part_path(generation, part);
        fine = generated_load(&parts[part], path, error);
        free(path);
    }
    return fine;
}

static bool merge_parts(const struct generation *generation, const char *path, struct error *error)
{
    const int64_t count = part_count(generation);
    struct generated *parts = calloc((size_t)count, sizeof *parts), joined = {.count = 0};
    if (!parts)
        return error_memory(error, "the parts of generated.h5", (size_t)count * sizeof *parts, NULL);
    const bool done = load_parts(generation, parts, error) && join_parts(&joined, parts, count, error) &&
                      generated_save(&joined, &generation->origin, path, error);
    for (int64_t part = 0; part < count; part++)
        generated_free(&parts[part]);
    generated_free(&joined);
    free(parts);
    return done;
}

/* ---- the stage ---------------------------------------------------------------------------------------- */

static bool make_generated(struct generation *generation, const char *parts, const char *path,
                           struct error *error)
{
    struct run *const run = generation->run;
    if (generated_exists(path, generation->fingerprint))
        return true;
    if (!folder_create(parts, error))
        return false;
    struct progress *progress = progress_start(run->log, "generate", "users", generation->dataset.train.rows);
    const bool done = make_parts(generation, progress, error);
    progress_finish(progress, done ? "%s, %s" : "stopped (%s, %s)", generation->origin.method,
                    generation->settings);
    return done && merge_parts(generation, path, error);
}

static bool report(const struct generation *generation, const char *path, struct stage_cost *cost,
                   struct error *error)
{
    struct generated generated;
    if (!generated_load(&generated, path, error))
        return false;
    const struct generation_counts *counts = &generated.counts;
    cost->tokens += counts->tokens;
    cost->floating_point_operations += counts->floating_point_operations;
    log_line(generation->run->log,
             "generate: %lld interactions (%lld requested; %lld valid, %lld already seen, %lld repeated); "
             "%lld invalid",
             (long long)generated.count, (long long)counts->requested, (long long)counts->valid,
             (long long)counts->already_seen, (long long)counts->duplicate, (long long)counts->invalid);
    if (counts->malformed + counts->unknown + counts->incomplete > 0)
        log_line(generation->run->log,
                 "generate: of the invalid %lld are no item by their format, %lld name none of the "
                 "catalogue; %lld lists "
                 "were cut off within an item",
                 (long long)counts->malformed, (long long)counts->unknown, (long long)counts->incomplete);
    generated_free(&generated);
    return true;
}

bool stage_generate(struct run *run, struct stage_cost *cost, struct error *error)
{
    struct generation generation;
    char *path = run_path(run, "generated.h5"), *parts = run_path(run, "generated_parts");
    const bool done = open_generation(&generation, run, error) &&
                      make_generated(&generation, parts, path, error) && path_remove(parts, error) &&
                      report(&generation, path, cost, error);
    close_generation(&generation);
    free(parts);
    free(path);
    return done;
}
