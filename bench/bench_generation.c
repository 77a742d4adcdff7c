/* Generation for users of the shape of MovieLens 100K: 943 users, 1,682 items, contexts of 85 items on
 * average, lists of 20. Weights are random.
 *
 *   bench_generation [PROMPTS]
 *
 * PROMPTS: the contexts are written there, a line of tokens each, for bench/peers/generation.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "models/language/ranker.h"
#include "models/language/sampler.h"

enum { USERS = 943, ITEMS = 1682, LIST = 20, LONGEST = 590, THREADS = 2, REPEATS = 3 };

struct shape {
    int64_t layers, width, heads, hidden;
};

static bool make_train(struct csr *train)
{
    *train = (struct csr){.rows = USERS,
                          .columns = ITEMS,
                          .starts = calloc(USERS + 1, sizeof *train->starts),
                          .indices = calloc((size_t)USERS * LONGEST, sizeof *train->indices)};
    int32_t *order = malloc(ITEMS * sizeof *order);
    if (!train->starts || !train->indices || !order)
        return false;
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    for (int32_t item = 0; item < ITEMS; item++)
        order[item] = item;
    for (int64_t user = 0; user < USERS; user++) { /* lengths are log-normal, as the data set's nearly are */
        const double length = exp(3.9 + 1.03 * random_normal(&stream));
        const int64_t count = length < 8 ? 8 : length > LONGEST ? LONGEST : (int64_t)length;
        random_shuffle(&stream, order, ITEMS);
        memcpy(train->indices + train->starts[user], order, (size_t)count * sizeof *order);
        train->starts[user + 1] = train->starts[user] + count;
    }
    free(order);
    return true;
}

static const struct vocabulary vocabulary = {.items = ITEMS, .users = USERS};
static const struct prompt_settings prompt = {
    .separator = true, .shuffle = true, .length_maximum = LONGEST + 4};

static bool write_prompts(const char *path, const struct csr *train, struct error *error)
{
    int32_t tokens[LONGEST + 4];
    FILE *stream = fopen(path, "w");
    if (!stream)
        return error_system(error, path, "cannot write", NULL);
    for (int32_t user = 0; user < USERS; user++) {
        const int64_t length =
            prompt_context(tokens, &vocabulary, &prompt, user, train->indices + train->starts[user],
                           csr_row_length(train, user), 1, 0);
        for (int64_t i = 0; i < length; i++)
            fprintf(stream, "%d%c", (int)tokens[i], i + 1 < length ? ' ' : '\n');
    }
    return fclose(stream) == 0 || error_system(error, path, "cannot write", NULL);
}

/* What one run did. */
struct work {
    int64_t interactions, tokens;
};

static bool sample(struct work *work, struct transformer *model, const struct csr *train, int64_t samples,
                   struct error *error)
{
    const struct sampler_settings settings = {.vocabulary = vocabulary,
                                              .prompt = prompt,
                                              .batch = 256,
                                              .cache_bytes = (size_t)1 << 30,
                                              .samples = samples,
                                              .contexts = 1,
                                              .items_maximum = LIST,
                                              .sampling = {.temperature = 0.8f, .top_p = 0.9f, .seed = 1},
                                              .constrained = true};
    struct proposal_list list = {.count = 0};
    struct sampler *sampler;
    if (!sampler_create(&sampler, model, &settings, train, error))
        return false;
    const bool done = sampler_run(sampler, 0, USERS, &list, error);
    *work = (struct work){list.count, sampler_tokens(sampler)};
    proposal_list_free(&list);
    sampler_free(sampler);
    return done;
}

static bool rank(struct work *work, struct transformer *model, const struct csr *train, int64_t contexts,
                 struct error *error)
{
    const struct ranker_settings settings = {.vocabulary = vocabulary,
                                             .prompt = prompt,
                                             .batch = 256,
                                             .cache_bytes = (size_t)1 << 30,
                                             .contexts = contexts,
                                             .items_maximum = LIST,
                                             .seed = 1};
    struct proposal_list list = {.count = 0};
    struct ranker *ranker;
    if (!ranker_create(&ranker, model, &settings, train, error))
        return false;
    const bool done = ranker_run(ranker, 0, USERS, &list, error);
    *work = (struct work){list.count, ranker_tokens(ranker)};
    proposal_list_free(&list);
    ranker_free(ranker);
    return done;
}

typedef bool method(struct work *, struct transformer *, const struct csr *, int64_t, struct error *);

static bool measure(const char *name, method *run, struct transformer *model, const struct csr *train,
                    int64_t count, struct error *error)
{
    struct backend *backend = transformer_backend(model);
    double best = INFINITY, operations = 0;
    struct work work;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        backend_reset_counters(backend);
        const double start = clock_seconds();
        if (!run(&work, model, train, count, error))
            return false;
        best = fmin(best, clock_seconds() - start);
        operations = backend->counters.floating_point_operations;
    }
    const struct transformer_settings *settings = transformer_settings_of(model);
    printf("layers %lld width %lld, %s %lld: %.3f s, %.0f interactions/s, %.0f tokens/s, %.0f GFLOP/s\n",
           (long long)settings->layers, (long long)settings->width, name, (long long)count, best,
           (double)work.interactions / best, (double)work.tokens / best, 1e-9 * operations / best);
    fflush(stdout);
    return true;
}

static bool measure_shape(struct backend *backend, const struct csr *train, struct shape shape,
                          struct error *error)
{
    const struct transformer_settings settings = {.vocabulary = vocabulary_size(&vocabulary),
                                                  .width = shape.width,
                                                  .layers = shape.layers,
                                                  .query_heads = shape.heads,
                                                  .key_heads = shape.heads,
                                                  .head_width = shape.width / shape.heads,
                                                  .hidden = shape.hidden,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 10000.0f,
                                                  .positions = true,
                                                  .tied = true};
    struct transformer *model;
    if (!transformer_create(&model, backend, &settings, NULL, TRAIN_NOTHING, 0, 0, 1, error))
        return false;
    const bool done = measure("samples", sample, model, train, 1, error) &&
                      measure("samples", sample, model, train, 4, error) &&
                      measure("ranking over contexts", rank, model, train, 8, error);
    transformer_free(model);
    return done;
}

static bool measure_all(const struct csr *train, const char *prompts, struct error *error)
{
    static const struct shape shapes[] = {{2, 64, 2, 176}, {4, 128, 4, 344}};
    struct backend *backend = backend_open("cpu", THREADS, error);
    bool done = backend && (!prompts || write_prompts(prompts, train, error));
    printf("%d users, %lld context items, lists of %d, %d threads\n", USERS, (long long)train->starts[USERS],
           LIST, THREADS);
    for (size_t i = 0; done && i < sizeof shapes / sizeof *shapes; i++)
        done = measure_shape(backend, train, shapes[i], error);
    backend_close(backend);
    return done;
}

int main(int argument_count, char **arguments)
{
    struct error error = ERROR_INITIALIZER;
    struct csr train;
    backend_prepare_process(arguments);
    bool done = make_train(&train) || error_memory(&error, "the data", (size_t)USERS * LONGEST * 4, NULL);
    done = done && measure_all(&train, argument_count > 1 ? arguments[1] : NULL, &error);
    csr_free(&train);
    error_print(&error, stderr);
    return done ? 0 : 1;
}
