/* Generation by models with random weights, for users whose contexts have the lengths of a data set's.
 *
 *   bench_generation [--device NAME] [--threads N] [--small] [WORKLOAD [PROMPTS]]
 *
 * WORKLOAD: ml-100k (943 users, 1,682 items), gowalla (29,858 users, 41,000 items, 12 layers 512 wide) or llama-8b (the
 * shape of Llama-3.1-8B, batches of 64 and 256). PROMPTS: the contexts are written there, a line of tokens each, for
 * bench/peers/generation.py. bf16 on a GPU. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "core/file.h"
#include "core/random.h"
#include "models/language/ranker.h"
#include "models/language/sampler.h"

enum { REPEATS_MAXIMUM = 3 };

struct shape {
    int64_t layers, width, heads, key_heads, hidden;
};

/* One way of generating for all users. */
struct run_way {
    int64_t batch;
    int64_t samples;  /* lists a user; 0: ranking */
    int64_t contexts; /* of ranking */
};

struct workload {
    const char *name;
    int64_t users, items, list, longest;
    double log_mean, log_deviation; /* of the contexts' lengths, which nearly are log-normal */
    struct shape shapes[2];
    struct run_way ways[3];
    bool tied;
    int repeats;
    const struct prompt_layout *layout; /* of the prompts; main() makes it */
};

static const struct workload workloads[] = {
    {"ml-100k",
     943,
     1682,
     20,
     590,
     3.9,
     1.03,
     {{2, 64, 2, 2, 176}, {4, 128, 4, 4, 344}},
     {{256, 1, 0}, {256, 4, 0}, {256, 0, 8}},
     true,
     3,
     NULL},
    {"gowalla",
     29858,
     40996,
     20,
     256,
     2.9,
     0.85,
     {{12, 512, 8, 8, 1376}},
     {{2048, 1, 0}, {256, 0, 8}},
     true,
     1,
     NULL},
    {"llama-8b",
     256,
     128252,
     64,
     256,
     5.0,
     0.3,
     {{32, 4096, 32, 8, 14336}},
     {{64, 1, 0}, {256, 1, 0}},
     false,
     1,
     NULL},
};
enum { WORKLOAD_COUNT = (int)(sizeof workloads / sizeof *workloads) };

static const struct workload *find_workload(const char *name, struct error *error)
{
    for (int i = 0; i < WORKLOAD_COUNT; i++)
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    error_set(error, ERROR_USAGE, "workload %s: use ml-100k, gowalla or llama-8b", name);
    return NULL;
}

/* Sizes that take a moment on a CPU and say nothing about speed. */
static struct workload smallest(const struct workload *workload)
{
    struct workload small = *workload;
    small.users = 40;
    small.items = 100;
    small.list = 4;
    small.longest = 20;
    small.log_mean = 2.2;
    small.repeats = 1;
    for (int i = 0; i < 2; i++)
        if (small.shapes[i].layers > 0)
            small.shapes[i] = (struct shape){2, 32, 4, 2, 64};
    return small;
}

static struct vocabulary vocabulary_of(const struct workload *workload)
{
    return (struct vocabulary){.items = workload->items, .users = workload->users};
}

static struct prompt_settings prompt_of(const struct workload *workload)
{
    return (struct prompt_settings){
        .layout = workload->layout, .shuffle = true, .length_maximum = workload->longest + 4};
}

/* ---- interactions ------------------------------------------------------------------------------------- */

static bool make_train(struct csr *train, const struct workload *workload)
{
    const int64_t users = workload->users, longest = workload->longest;
    *train = (struct csr){.rows = users,
                          .columns = workload->items,
                          .starts = calloc((size_t)users + 1, sizeof *train->starts),
                          .indices = calloc((size_t)(users * longest), sizeof *train->indices)};
    int32_t *order = malloc((size_t)workload->items * sizeof *order);
    if (!train->starts || !train->indices || !order) {
        free(order);
        return false;
    }
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    for (int32_t item = 0; item < workload->items; item++)
        order[item] = item;
    for (int64_t user = 0; user < users; user++) {
        const double length = exp(workload->log_mean + workload->log_deviation * random_normal(&stream));
        const int64_t count = length < 8 ? 8 : length > (double)longest ? longest : (int64_t)length;
        for (int64_t i = 0; i < count; i++) { /* the beginning of a shuffle */
            const int64_t other = i + random_below(&stream, (uint32_t)(workload->items - i));
            const int32_t item = order[other];
            order[other] = order[i];
            order[i] = item;
        }
        memcpy(train->indices + train->starts[user], order, (size_t)count * sizeof *order);
        train->starts[user + 1] = train->starts[user] + count;
    }
    free(order);
    return true;
}

static bool write_prompts(const char *path, const struct workload *workload, const struct csr *train,
                          struct error *error)
{
    const struct prompt_settings prompt = prompt_of(workload);
    int32_t *tokens = malloc((size_t)prompt.length_maximum * sizeof *tokens);
    FILE *stream = fopen(path, "w");
    if (!stream || !tokens) {
        free(tokens);
        return error_system(error, path, "cannot write", NULL);
    }
    for (int32_t user = 0; user < workload->users; user++) {
        const int64_t length = prompt_context(tokens, &prompt, user, train->indices + train->starts[user],
                                              csr_row_length(train, user), 1, 0);
        for (int64_t i = 0; i < length; i++)
            fprintf(stream, "%d%c", (int)tokens[i], i + 1 < length ? ' ' : '\n');
    }
    free(tokens);
    return fclose(stream) == 0 || error_system(error, path, "cannot write", NULL);
}

/* ---- runs --------------------------------------------------------------------------------------------- */

/* What one run did. */
struct work {
    int64_t interactions, tokens;
    double seconds;
};

static size_t cache_bytes(const struct backend *backend)
{
    return (size_t)(backend->device == DEVICE_CPU ? 1 : 32) << 30;
}

static bool sample(struct work *work, struct transformer *model, const struct workload *workload,
                   const struct csr *train, struct run_way way, int64_t list_length, struct error *error)
{
    const struct sampler_settings settings = {.vocabulary = vocabulary_of(workload),
                                              .prompt = prompt_of(workload),
                                              .batch = way.batch,
                                              .cache_bytes = cache_bytes(transformer_backend(model)),
                                              .samples = way.samples,
                                              .contexts = 1,
                                              .items_maximum = list_length,
                                              .sampling = {.temperature = 0.8f, .top_p = 0.9f, .seed = 1},
                                              .constrained = true};
    struct proposal_list list = {.count = 0};
    struct sampler *sampler;
    if (!sampler_create(&sampler, model, &settings, train, error))
        return false;
    const double started = clock_seconds();
    const bool done = sampler_run(sampler, 0, workload->users, &list, error);
    *work = (struct work){list.count, sampler_tokens(sampler), clock_seconds() - started};
    proposal_list_free(&list);
    sampler_free(sampler);
    return done;
}

static bool rank(struct work *work, struct transformer *model, const struct workload *workload,
                 const struct csr *train, struct run_way way, struct error *error)
{
    const struct ranker_settings settings = {.vocabulary = vocabulary_of(workload),
                                             .prompt = prompt_of(workload),
                                             .batch = way.batch,
                                             .cache_bytes = cache_bytes(transformer_backend(model)),
                                             .contexts = way.contexts,
                                             .items_maximum = workload->list,
                                             .seed = 1};
    struct proposal_list list = {.count = 0};
    struct ranker *ranker;
    if (!ranker_create(&ranker, &model, 1, &settings, train, error))
        return false;
    const double started = clock_seconds();
    const bool done = ranker_run(ranker, 0, workload->users, &list, error);
    *work = (struct work){list.count, ranker_tokens(ranker), clock_seconds() - started};
    proposal_list_free(&list);
    ranker_free(ranker);
    return done;
}

/* The fastest of some runs. */
static bool fastest(struct work *best, struct transformer *model, const struct workload *workload,
                    const struct csr *train, struct run_way way, int64_t list_length, struct error *error)
{
    struct backend *backend = transformer_backend(model);
    struct work work;
    best->seconds = INFINITY;
    for (int repeat = 0; repeat < workload->repeats; repeat++) {
        backend_reset_counters(backend);
        if (!(way.samples > 0 ? sample(&work, model, workload, train, way, list_length, error)
                              : rank(&work, model, workload, train, way, error)))
            return false;
        if (work.seconds < best->seconds)
            *best = work;
    }
    return true;
}

/* ---- bytes of decoding -------------------------------------------------------------------------------- */

/* What steps must at least move: the weights once a step, the keys and values of what is before each token, and the
 * logits out and in. */
static double decoded_bytes(const struct transformer *model, const struct workload *workload,
                            const struct csr *train, struct run_way way, int64_t first_step)
{
    const struct transformer_settings *settings = transformer_settings_of(model);
    const double size = (double)dtype_size(transformer_storage(settings));
    const int64_t lists = workload->users * way.samples, steps = workload->list - first_step;
    const double waves = ceil((double)lists / (double)way.batch);
    const double query_width = (double)(settings->query_heads * settings->head_width);
    const double key_width = (double)(settings->key_heads * settings->head_width);
    const double layer =
        (double)settings->width * (2.0 * query_width + 2.0 * key_width + 3.0 * (double)settings->hidden);
    const double weights =
        (double)settings->layers * layer + (double)settings->width * (double)workload->items;
    const double mean_length = (double)train->starts[workload->users] / (double)workload->users +
                               0.5 * (double)(workload->list + first_step);
    const double cached = 2.0 * (double)settings->layers * key_width * mean_length;
    const double logits = 2.0 * (double)workload->items * sizeof(real);
    return (double)steps * (waves * weights * size + (double)lists * (cached * size + logits));
}

/* ---- measuring ---------------------------------------------------------------------------------------- */

static void print_run(const struct transformer *model, const struct work *work, struct run_way way)
{
    const struct transformer_settings *settings = transformer_settings_of(model);
    const struct operation_counters *counters = &transformer_backend(model)->counters;
    printf("layers %lld width %lld, batch %lld, %s %lld: %.3f s, %.0f interactions/s, %.0f tokens/s, "
           "%.0f GFLOP/s\n",
           (long long)settings->layers, (long long)settings->width, (long long)way.batch,
           way.samples > 0 ? "samples" : "ranking over contexts",
           (long long)(way.samples > 0 ? way.samples : way.contexts), work->seconds,
           (double)work->interactions / work->seconds, (double)work->tokens / work->seconds,
           1e-9 * counters->floating_point_operations / work->seconds);
    fflush(stdout);
}

/* Decoding without the reading of contexts: what lists take longer than lists of one item. */
static bool measure_steps(struct transformer *model, const struct workload *workload, const struct csr *train,
                          struct run_way way, const struct work *whole, const struct ceilings *ceilings,
                          struct error *error)
{
    struct work shortest;
    if (!fastest(&shortest, model, workload, train, way, 1, error))
        return false;
    const double seconds = whole->seconds - shortest.seconds;
    if (seconds <= 0.0) {
        printf("  of which steps: too short to be told apart from the reading of contexts\n");
        return true;
    }
    const double rate = decoded_bytes(model, workload, train, way, 1) / seconds;
    printf("  of which steps: %.3f s, %.0f tokens/s, %.1f GB/s (%.1f %% of copy)\n", seconds,
           (double)(whole->interactions - shortest.interactions) / seconds, 1e-9 * rate,
           100.0 * rate / ceilings->copy_bytes);
    fflush(stdout);
    return true;
}

static bool measure_way(struct transformer *model, const struct workload *workload, const struct csr *train,
                        struct run_way way, const struct ceilings *ceilings, struct error *error)
{
    struct work work;
    if (!fastest(&work, model, workload, train, way, workload->list, error))
        return false;
    print_run(model, &work, way);
    return way.samples == 0 || measure_steps(model, workload, train, way, &work, ceilings, error);
}

static bool measure_shape(struct backend *backend, const struct workload *workload, const struct csr *train,
                          struct shape shape, const struct ceilings *ceilings, struct error *error)
{
    const struct vocabulary vocabulary = vocabulary_of(workload);
    const struct transformer_settings settings = {
        .vocabulary = vocabulary_size(&vocabulary),
        .classes = vocabulary_classes(&vocabulary),
        .width = shape.width,
        .layers = shape.layers,
        .query_heads = shape.heads,
        .key_heads = shape.key_heads,
        .head_width = shape.width / shape.heads,
        .hidden = shape.hidden,
        .norm_epsilon = 1e-5f,
        .rope_theta = 10000.0f,
        .positions = true,
        .tied = workload->tied,
        .precision = backend->device == DEVICE_CPU ? PRECISION_F32 : PRECISION_BF16};
    struct transformer *model;
    if (!transformer_create(&model, backend, &settings, NULL, TRAIN_NOTHING, 0, 0, 1, error))
        return false;
    bool done = true;
    for (int way = 0; done && way < 3 && workload->ways[way].batch > 0; way++)
        done = measure_way(model, workload, train, workload->ways[way], ceilings, error);
    transformer_free(model);
    return done;
}

static bool measure_workload(struct backend *backend, const struct workload *workload, const char *prompts,
                             bool small, struct error *error)
{
    struct csr train;
    struct ceilings ceilings;
    bool done =
        make_train(&train, workload) || error_memory(error, "the data", (size_t)workload->users * 4, NULL);
    done = done && (!prompts || write_prompts(prompts, workload, &train, error)) &&
           ceilings_measure(&ceilings, backend, small, error);
    if (done) {
        ceilings_print(&ceilings, backend);
        printf("%s: %lld users, %lld context items, lists of %lld, on %s\n", workload->name,
               (long long)workload->users, (long long)train.starts[workload->users],
               (long long)workload->list, backend->description);
    }
    for (int i = 0; done && i < 2 && workload->shapes[i].layers > 0; i++)
        done = measure_shape(backend, workload, &train, workload->shapes[i], &ceilings, error);
    csr_free(&train);
    return done;
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&argument_count, &arguments);
    struct error error = ERROR_INITIALIZER;
    const struct workload *chosen = find_workload(argument_count > 1 ? arguments[1] : "ml-100k", &error);
    struct backend *backend = chosen ? backend_open(device.name, device.threads, &error) : NULL;
    bool done = false;
    if (backend) {
        struct workload workload = device.small ? smallest(chosen) : *chosen;
        const struct vocabulary vocabulary = vocabulary_of(&workload);
        struct prompt_layout layout = {.piece_count = 0};
        workload.layout = &layout;
        done = prompt_layout_of_ids(&layout, &vocabulary, true, &error) &&
               measure_workload(backend, &workload, argument_count > 2 ? arguments[2] : NULL, device.small,
                                &error);
        prompt_layout_free(&layout);
    }
    error_print(&error, stderr);
    backend_close(backend);
    return done ? 0 : (int)error.kind;
}
