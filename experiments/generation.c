#include "experiments/generation.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/file.h"
#include "experiments/language_base.h"
#include "experiments/shared_stages.h"
#include "experiments/turns.h"

size_t generation_cache_bytes(const struct config *config)
{
    return (size_t)ceil(config_number(config, "generate.memory") * 0x1p30);
}

/* A generation under way. */
struct generation {
    const struct generation_request *request;
    struct transformer **models; /* [language_members()]; NULL: not needed yet */
    struct generator *generator;
    char fingerprint[17];
    struct generated_origin origin;
};

/* ---- opening and closing ------------------------------------------------------------------------------ */

/* Below the run's folder, NULL-ended; malloc'ed, as each of them. */
static char **input_files_of(const struct config *config)
{
    static const char *const parts[][2] = {{"base", "model.safetensors"},
                                           {"adapter", "adapter_model.safetensors"},
                                           {"finetuned", "model.safetensors"}};
    const int64_t members = language_members(config);
    char **files = calloc((size_t)(3 + 3 * members), sizeof *files), **file = files;
    *file++ = path_format("dataset.h5");
    *file++ = path_format("language_model/indexing.h5");
    for (int64_t member = 0; member < members; member++)
        for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
            char *place = language_member_place(parts[part][0], member);
            *file++ = path_format("%s/%s", place, parts[part][1]);
            free(place);
        }
    return files;
}

/* Sets the fingerprint of all that the rows depend on. */
static bool take_fingerprint(struct generation *generation, struct error *error)
{
    static const char *const sections[] = {"language_model", "prompts", "finetune", NULL};
    uint64_t hash = 0;
    char **files = input_files_of(generation->request->run->config);
    char *text = path_format("%s: %s", generation->origin.method, generation->origin.settings);
    const bool fine = language_fingerprint(&hash, generation->request->run, text, sections,
                                           (const char *const *)files, error);
    snprintf(generation->fingerprint, sizeof generation->fingerprint, "%016" PRIx64, hash);
    free(text);
    for (char **file = files; *file; file++)
        free(*file);
    free(files);
    return fine;
}

/* Loads the models and lays out what the method needs. */
static bool open_method(struct generation *generation, struct error *error)
{
    struct generator_source source = generation->request->source;
    source.model_count = language_members(generation->request->run->config);
    source.models = generation->models = calloc((size_t)source.model_count, sizeof *generation->models);
    if (!generation->models)
        return error_memory(error, "the models", 0, NULL);
    for (int64_t member = 0; member < source.model_count; member++)
        if (!language_model_open(&generation->models[member], generation->request->run, member, 0, 0, error))
            return false;
    if (!generator_open(&generation->generator, &source, error))
        return false;
    if (run_leads(generation->request->run))
        generator_print_memory(generation->generator, stderr);
    return true;
}

/* ---- parts -------------------------------------------------------------------------------------------- */

static int64_t part_count(const struct generation *generation)
{
    return (generation->request->source.train->rows + GENERATION_PART_USERS - 1) / GENERATION_PART_USERS;
}

static char *part_path(const struct generation *generation, int64_t part)
{
    return path_format("%s/%06lld.h5", generation->request->parts, (long long)part);
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
    struct backend *backend = generation->request->run->backend;
    const int64_t tokens = generator_tokens(generation->generator);
    struct proposal_list list = {.count = 0};
    struct generated generated = {.count = 0};
    /* From 0 for every part: a difference of large sums would depend on the parts made before. */
    const struct operation_counters before = backend->counters;
    backend_reset_counters(backend);
    bool done = generator_run(generation->generator, first, users, &list, error) &&
                take_proposals(&generated, &list, error);
    generated.counts.tokens = generator_tokens(generation->generator) - tokens;
    generated.counts.floating_point_operations = backend->counters.floating_point_operations;
    backend_add_counters(backend, &before);
    done = done && generated_save(&generated, &generation->origin, path, error);
    generated_free(&generated);
    proposal_list_free(&list);
    return done;
}

/* Unless it is there already. */
static bool complete_part(struct generation *generation, int64_t part, int64_t count, struct error *error)
{
    char *path = part_path(generation, part);
    const bool done = generated_exists(path, generation->fingerprint) ||
                      ((generation->models || open_method(generation, error)) &&
                       make_part(generation, part * GENERATION_PART_USERS, count, path, error));
    free(path);
    return done;
}

static bool take_parts(struct generation *generation, struct turns *turns, struct progress *progress,
                       struct error *error)
{
    const int64_t users = generation->request->source.train->rows;
    for (int64_t part;;) {
        if (!turns_take(turns, &part, error))
            return false;
        if (part < 0)
            return true;
        const int64_t rest = users - part * GENERATION_PART_USERS,
                      count = rest < GENERATION_PART_USERS ? rest : GENERATION_PART_USERS;
        if (!complete_part(generation, part, count, error))
            return false;
        progress_update(progress, part * GENERATION_PART_USERS + count, "%s", generation->origin.method);
    }
}

/* The ranks take the parts in turns. */
static bool make_parts(struct generation *generation, struct progress *progress, struct error *error)
{
    struct turns *turns;
    bool done = turns_open(&turns, generation->request->run, true, part_count(generation), error);
    if (done) {
        done = take_parts(generation, turns, progress, error);
        done = turns_end(turns, done, error);
    }
    turns_close(turns);
    return done;
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

/* ---- other trials of a study -------------------------------------------------------------------------- */

/* Malloc'ed; NULL: nothing is shared. */
static char *shared_path(const struct generation *generation)
{
    const struct generation_request *const request = generation->request;
    return request->shared && request->run->shared
               ? path_format("%s/ranking-%s", request->run->shared, generation->fingerprint)
               : NULL;
}

static bool take_shared(bool *taken, const struct generation *generation, struct error *error)
{
    char *path = shared_path(generation);
    *taken = path && generated_exists(path, generation->fingerprint);
    const bool done = !*taken || (path_remove(generation->request->path, error) &&
                                  shared_link(path, generation->request->path, error));
    if (done && *taken)
        log_line(generation->request->run->log, "%s: %s taken from %s", generation->request->stage,
                 generation->origin.method, path);
    free(path);
    return done;
}

/* Two trials may come with the same at a time: either's file will do. */
static bool offer_shared(const struct generation *generation, struct error *error)
{
    char *path = shared_path(generation);
    if (!path)
        return true;
    struct utsname host;
    uname(&host);
    char *part = path_format("%s.of-%s-%ld", path, host.nodename, (long)getpid());
    const bool done = path_remove(part, error) && shared_link(generation->request->path, part, error) &&
                      (rename(part, path) == 0 || error_system(error, path, "cannot make this file", NULL)) &&
                      path_remove(part, error);
    free(part);
    free(path);
    return done;
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static bool make_anew(struct generation *generation, struct error *error)
{
    const struct generation_request *const request = generation->request;
    if (!folder_create(request->parts, error))
        return false;
    struct progress *progress =
        progress_start(request->run->log, request->stage, "users", request->source.train->rows);
    const bool done = make_parts(generation, progress, error);
    progress_finish(progress, done ? "%s, %s" : "stopped (%s, %s)", generation->origin.method,
                    request->settings);
    if (!done || !run_leads(request->run))
        return done;
    return merge_parts(generation, request->path, error) && offer_shared(generation, error);
}

/* Whether there is something to do. Rank 0 looks, and the others do as it says. */
static bool find_missing(bool *missing, struct generation *generation, struct error *error)
{
    const struct run *const run = generation->request->run;
    bool taken = true;
    if (run_leads(run) && !generated_exists(generation->request->path, generation->fingerprint) &&
        !take_shared(&taken, generation, error))
        return false;
    int64_t wanted = !taken;
    const bool told = !run->communicator || comm_broadcast_integer(run->communicator, &wanted, 0, error);
    *missing = wanted != 0;
    return told;
}

static bool make_missing(struct generation *generation, struct error *error)
{
    const struct run *const run = generation->request->run;
    bool missing;
    return find_missing(&missing, generation, error) && (!missing || make_anew(generation, error)) &&
           (!run_leads(run) || path_remove(generation->request->parts, error)) &&
           run_wait_for_ranks(run, error);
}

bool generation_make(const struct generation_request *request, struct generated *made, struct error *error)
{
    struct generation generation = {.request = request};
    generation.origin = (struct generated_origin){generator_method_name(request->source.method),
                                                  request->settings, generation.fingerprint};
    const bool done = take_fingerprint(&generation, error) && make_missing(&generation, error) &&
                      generated_load(made, request->path, error);
    generator_close(generation.generator);
    for (int64_t member = 0; generation.models && member < language_members(request->run->config); member++)
        transformer_free(generation.models[member]);
    free(generation.models);
    return done;
}
