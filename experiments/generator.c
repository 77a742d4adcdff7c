#include "experiments/generator.h"

#include <stdlib.h>
#include <string.h>

#include "models/language/item_beams.h"
#include "models/language/item_ranker.h"
#include "models/language/list_beams.h"
#include "models/language/list_sampler.h"

struct generator {
    struct generator_source source;
    const struct generator_way *way;
    void *method; /* of the way */
    struct item_writer writer;
    struct answer_parser *parser;
};

/* A method behind one set of functions. */
struct generator_way {
    bool (*create)(struct generator *generator, struct error *error);
    void (*free)(void *method);
    void (*print_memory)(const void *method, FILE *stream);
    bool (*run)(void *method, int64_t first, int64_t count, struct proposal_list *list, struct error *error);
    int64_t (*tokens)(const void *method);
};

/* ---- settings ------------------------------------------------------------------------------------------ */

static const char *const method_names[] = {[GENERATE_RANKING] = "ranking",
                                           [GENERATE_SAMPLING] = "sampling",
                                           [GENERATE_BEAM] = "beam",
                                           [GENERATE_BEAM_LISTS] = "beam_lists"};

const char *generator_method_name(enum generator_method method)
{
    return method_names[method];
}

enum generator_method generator_method_of(const struct config *config)
{
    const char *name = config_string(config, "generate.method");
    enum generator_method method = GENERATE_BEAM_LISTS;
    while (method > GENERATE_RANKING && strcmp(method_names[method], name) != 0)
        method--;
    return method;
}

static bool is_method(const struct config *config, enum generator_method method)
{
    return generator_method_of(config) == method;
}

static bool is_of_lists(enum generator_method method)
{
    return method == GENERATE_SAMPLING || method == GENERATE_BEAM_LISTS;
}

bool generator_makes_lists(const struct config *config)
{
    return is_of_lists(generator_method_of(config));
}

static struct sampling sampling_of(const struct config *config)
{
    return (struct sampling){.temperature = (float)config_number(config, "generate.temperature"),
                             .top_p = (float)config_number(config, "generate.top_p"),
                             .top_k = config_integer(config, "generate.top_k"),
                             .seed = (uint64_t)config_integer(config, "seed")};
}

/* At most the samples are used. */
static int64_t list_contexts(int64_t contexts, int64_t samples)
{
    return contexts < samples ? contexts : samples;
}

bool generator_check(const struct config *config, struct error *error)
{
    const int64_t beams = config_integer(config, "generate.beams");
    const int64_t groups = config_integer(config, "generate.beam_groups");
    if (is_method(config, GENERATE_BEAM) && !config_boolean(config, "generate.constrained"))
        return config_complain(config, "generate.constrained", error,
                               "is false, but the method `beam` ranks items; use beam_lists or sampling to "
                               "generate freely");
    if (!is_method(config, GENERATE_BEAM) && !is_method(config, GENERATE_BEAM_LISTS))
        return true;
    if (beams % groups != 0)
        return config_complain(config, "generate.beam_groups", error, "does not divide the %lld beams",
                               (long long)beams);
    const int64_t samples = config_integer(config, "generate.samples");
    const int64_t contexts = list_contexts(config_integer(config, "generate.contexts"), samples);
    const int64_t lists = (samples + contexts - 1) / contexts;
    return is_method(config, GENERATE_BEAM) || lists <= beams ||
           config_complain(config, "generate.beams", error,
                           "is less than the %lld lists that each context is to give; raise it, or lower "
                           "generate.samples",
                           (long long)lists);
}

/* What follows is empty where it has its default, so that older fingerprints stay. */
static void describe_lists(char *text, size_t size, const struct config *config)
{
    const struct sampling sampling = sampling_of(config);
    const int64_t tokens = config_integer(config, "generate.max_tokens");
    const char *constrained =
        config_boolean(config, "generate.constrained") ? "constrained" : "unconstrained";
    char limit[48] = "";
    if (tokens > 0)
        snprintf(limit, sizeof limit, "max_tokens %lld, ", (long long)tokens);
    if (is_method(config, GENERATE_SAMPLING))
        snprintf(
            text, size,
            "samples %lld, contexts %lld, temperature %g, top_p %g, top_k %lld, max_items %lld, %s%s, seed "
            "%llu",
            (long long)config_integer(config, "generate.samples"),
            (long long)config_integer(config, "generate.contexts"), (double)sampling.temperature,
            (double)sampling.top_p, (long long)sampling.top_k,
            (long long)config_integer(config, "generate.max_items"), limit, constrained,
            (unsigned long long)sampling.seed);
    else
        snprintf(text, size, "samples %lld, contexts %lld, max_items %lld, %s%s, seed %llu",
                 (long long)config_integer(config, "generate.samples"),
                 (long long)config_integer(config, "generate.contexts"),
                 (long long)config_integer(config, "generate.max_items"), limit, constrained,
                 (unsigned long long)sampling.seed);
}

void generator_describe(char *text, size_t size, const struct config *config)
{
    if (generator_makes_lists(config))
        describe_lists(text, size, config);
    else
        snprintf(text, size, "contexts %lld, max_items %lld, seed %llu",
                 (long long)config_integer(config, "generate.contexts"),
                 (long long)config_integer(config, "generate.max_items"),
                 (unsigned long long)config_integer(config, "seed"));
    if (!is_method(config, GENERATE_BEAM) && !is_method(config, GENERATE_BEAM_LISTS))
        return;
    const size_t length = strlen(text);
    snprintf(text + length, size - length, ", beams %lld, beam_groups %lld, diversity %g",
             (long long)config_integer(config, "generate.beams"),
             (long long)config_integer(config, "generate.beam_groups"),
             config_number(config, "generate.diversity"));
}

/* ---- the ways ------------------------------------------------------------------------------------------ */

/* The functions of a way, with the method's own type in front. */
#define WAY_FUNCTIONS(method)                                                                                \
    static void close_##method(void *made)                                                                   \
    {                                                                                                        \
        method##_free(made);                                                                                 \
    }                                                                                                        \
    static void print_##method(const void *made, FILE *stream)                                               \
    {                                                                                                        \
        method##_print_memory(made, stream);                                                                 \
    }                                                                                                        \
    static bool run_##method(void *made, int64_t first, int64_t count, struct proposal_list *list,           \
                             struct error *error)                                                            \
    {                                                                                                        \
        return method##_run(made, first, count, list, error);                                                \
    }                                                                                                        \
    static int64_t tokens_##method(const void *made)                                                         \
    {                                                                                                        \
        return method##_tokens(made);                                                                        \
    }                                                                                                        \
    static const struct generator_way method##_way = {create_##method, close_##method, print_##method,       \
                                                      run_##method, tokens_##method};

static bool create_ranker(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    struct ranker *made;
    const bool done =
        ranker_create(&made, source->models, source->model_count, &source->ranking, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(ranker)

static bool create_sampler(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    struct sampler *made;
    const bool done = sampler_create(&made, source->models[0], &source->sampling, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(sampler)

static bool create_item_ranker(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    const struct ranker_settings *const ranking = &source->ranking;
    const struct item_ranker_settings settings = {.prompt = ranking->prompt,
                                                  .writer = &generator->writer,
                                                  .batch = ranking->batch,
                                                  .cache_bytes = ranking->cache_bytes,
                                                  .contexts = ranking->contexts,
                                                  .items_maximum = ranking->items_maximum,
                                                  .seed = ranking->seed};
    struct item_ranker *made;
    const bool done = item_ranker_create(&made, source->models[0], &settings, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(item_ranker)

static bool create_list_sampler(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    const struct sampler_settings *const sampling = &source->sampling;
    const struct list_sampler_settings settings = {.prompt = sampling->prompt,
                                                   .writer = &generator->writer,
                                                   .parser = generator->parser,
                                                   .batch = sampling->batch,
                                                   .cache_bytes = sampling->cache_bytes,
                                                   .samples = sampling->samples,
                                                   .contexts = sampling->contexts,
                                                   .items_maximum = sampling->items_maximum,
                                                   .tokens_maximum = source->tokens_maximum,
                                                   .sampling = sampling->sampling,
                                                   .constrained = sampling->constrained};
    struct list_sampler *made;
    const bool done = list_sampler_create(&made, source->models[0], &settings, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(list_sampler)

static bool create_item_beams(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    const struct ranker_settings *const ranking = &source->ranking;
    const struct item_beams_settings settings = {.search = {.prompt = ranking->prompt,
                                                            .batch = ranking->batch,
                                                            .cache_bytes = ranking->cache_bytes,
                                                            .contexts = ranking->contexts,
                                                            .beams = source->beams.beams,
                                                            .groups = source->beams.groups,
                                                            .diversity = source->beams.diversity,
                                                            .seed = ranking->seed},
                                                 .writer = &generator->writer,
                                                 .items_maximum = ranking->items_maximum};
    struct item_beams *made;
    const bool done = item_beams_create(&made, source->models[0], &settings, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(item_beams)

static bool create_list_beams(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    const struct sampler_settings *const sampling = &source->sampling;
    const int64_t contexts = list_contexts(sampling->contexts, sampling->samples);
    const struct list_beams_settings settings = {.search = {.prompt = sampling->prompt,
                                                            .batch = sampling->batch,
                                                            .cache_bytes = sampling->cache_bytes,
                                                            .contexts = contexts,
                                                            .beams = source->beams.beams,
                                                            .groups = source->beams.groups,
                                                            .diversity = source->beams.diversity,
                                                            .seed = sampling->sampling.seed},
                                                 .writer = &generator->writer,
                                                 .parser = generator->parser,
                                                 .samples = sampling->samples,
                                                 .items_maximum = sampling->items_maximum,
                                                 .tokens_maximum = source->tokens_maximum,
                                                 .constrained = sampling->constrained};
    struct list_beams *made;
    const bool done = list_beams_create(&made, source->models[0], &settings, source->train, error);
    generator->method = made;
    return done;
}
WAY_FUNCTIONS(list_beams)

static const struct generator_way *choose_way(const struct generator_source *source)
{
    switch (source->method) {
    case GENERATE_BEAM:
        return &item_beams_way;
    case GENERATE_BEAM_LISTS:
        return &list_beams_way;
    case GENERATE_RANKING:
        return source->single ? &ranker_way : &item_ranker_way;
    default:
        return source->single ? &sampler_way : &list_sampler_way;
    }
}

/* ---- the generator ------------------------------------------------------------------------------------- */

/* The trie of items, and what reads answers that are written freely. */
static bool open_items(struct generator *generator, struct error *error)
{
    const struct generator_source *const source = &generator->source;
    const struct prompt_layout *const layout = source->sampling.prompt.layout;
    return item_writer_create(&generator->writer, &layout->answer,
                              source->sampling.end_trained ? layout->end : -1, error) &&
           (source->sampling.constrained ||
            answer_parser_create(&generator->parser, &generator->writer, source->format, error));
}

bool generator_open(struct generator **generator, const struct generator_source *source, struct error *error)
{
    struct generator *made = calloc(1, sizeof *made);
    *generator = NULL;
    if (!made)
        return error_memory(error, "the generator", sizeof *made, NULL);
    made->source = *source;
    made->way = choose_way(source);
    const bool single = made->way == &ranker_way || made->way == &sampler_way;
    if ((!single && !open_items(made, error)) || !made->way->create(made, error)) {
        generator_close(made);
        return false;
    }
    *generator = made;
    return true;
}

void generator_close(struct generator *generator)
{
    if (!generator)
        return;
    if (generator->method)
        generator->way->free(generator->method);
    answer_parser_free(generator->parser);
    item_writer_free(&generator->writer);
    free(generator);
}

void generator_print_memory(const struct generator *generator, FILE *stream)
{
    generator->way->print_memory(generator->method, stream);
}

int64_t generator_tokens(const struct generator *generator)
{
    return generator->way->tokens(generator->method);
}

bool generator_run(struct generator *generator, int64_t first, int64_t count, struct proposal_list *list,
                   struct error *error)
{
    if (!generator->way->run(generator->method, first, count, list, error))
        return false;
    if (is_of_lists(generator->source.method)) {
        proposal_list_sort(list);
        proposal_list_vote(list);
    }
    return true;
}
