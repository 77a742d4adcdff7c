/* generate.c: the stage that asks the language model for interactions of every user. */
#include <stdlib.h>

#include "core/file.h"
#include "experiments/generation.h"

struct sampler_settings language_sampler_settings(const struct run *run,
                                                  const struct language_prompts *prompts)
{
    const struct config *config = run->config;
    return (struct sampler_settings){
        .vocabulary = prompts->vocabulary,
        .prompt = prompts->settings,
        .batch = config_integer(config, "generate.batch"),
        .cache_bytes = generation_cache_bytes(config),
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
        .cache_bytes = generation_cache_bytes(config),
        .contexts = config_integer(config, "generate.contexts"),
        .items_maximum = config_integer(config, "generate.max_items"),
        .seed = (uint64_t)config_integer(config, "seed"),
    };
}

static struct generator_source source_of(const struct run *run, const struct dataset *dataset,
                                         const struct language_prompts *prompts)
{
    const struct config *config = run->config;
    return (struct generator_source){.method = generator_method_of(config),
                                     .train = &dataset->train,
                                     .sampling = language_sampler_settings(run, prompts),
                                     .ranking = language_ranker_settings(run, prompts),
                                     .beams = {.beams = config_integer(config, "generate.beams"),
                                               .groups = config_integer(config, "generate.beam_groups"),
                                               .diversity = config_number(config, "generate.diversity")},
                                     .tokens_maximum = config_integer(config, "generate.max_tokens"),
                                     .single = prompts->single,
                                     .format =
                                         prompts->kind == INDEXING_TEXT ? &prompts->answer.format : NULL};
}

static void report(const struct run *run, const struct generated *generated, struct stage_cost *cost)
{
    const struct generation_counts *counts = &generated->counts;
    cost->tokens += counts->tokens;
    cost->floating_point_operations += counts->floating_point_operations;
    log_line(run->log,
             "generate: %lld interactions (%lld requested; %lld valid, %lld already seen, %lld repeated); "
             "%lld invalid",
             (long long)generated->count, (long long)counts->requested, (long long)counts->valid,
             (long long)counts->already_seen, (long long)counts->duplicate, (long long)counts->invalid);
    if (counts->malformed + counts->unknown + counts->incomplete > 0)
        log_line(run->log,
                 "generate: of the invalid %lld are no item by their format, %lld name none of the "
                 "catalogue; %lld lists were cut off within an item",
                 (long long)counts->malformed, (long long)counts->unknown, (long long)counts->incomplete);
}

static bool generate(struct run *run, const struct dataset *dataset, const struct language_prompts *prompts,
                     struct stage_cost *cost, struct error *error)
{
    char settings[256], *path = run_path(run, "generated.h5"), *parts = run_path(run, "generated_parts");
    struct generated generated;
    generator_describe(settings, sizeof settings, run->config);
    const struct generation_request request = {.run = run,
                                               .source = source_of(run, dataset, prompts),
                                               .stage = "generate",
                                               .settings = settings,
                                               .path = path,
                                               .parts = parts};
    const bool done = generation_make(&request, &generated, error);
    if (done) {
        report(run, &generated, cost);
        generated_free(&generated);
    }
    free(parts);
    free(path);
    return done;
}

bool stage_generate(struct run *run, struct stage_cost *cost, struct error *error)
{
    char *path = run_path(run, "dataset.h5");
    struct dataset dataset = {0};
    struct language_prompts prompts = {.tokens = 0};
    const bool done = dataset_load(&dataset, path, error) &&
                      language_prompts_open(&prompts, run, &dataset, true, error) &&
                      generate(run, &dataset, &prompts, cost, error);
    language_prompts_close(&prompts);
    dataset_free(&dataset);
    free(path);
    return done;
}
