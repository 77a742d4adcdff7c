/* generation_models.h: small models, interactions and settings for tests of generation on any device. */
#ifndef IDREC_TESTS_GENERATION_MODELS_H
#define IDREC_TESTS_GENERATION_MODELS_H

#include <stdlib.h>
#include <string.h>

#include "models/language/ranker.h"
#include "models/language/sampler.h"
#include "tests/prompt_layouts.h"

static inline struct transformer_settings model_settings(int64_t vocabulary, int64_t key_heads,
                                                         bool positions)
{
    return (struct transformer_settings){.vocabulary = vocabulary,
                                         .width = 16,
                                         .layers = 3,
                                         .query_heads = 4,
                                         .key_heads = key_heads,
                                         .head_width = 8,
                                         .hidden = 24,
                                         .norm_epsilon = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .positions = positions,
                                         .tied = false};
}

/* A model with weights large enough for distributions that are far from uniform. */
static inline struct transformer *draw_model(struct backend *backend, struct transformer_settings settings,
                                             int64_t tokens_maximum, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    int64_t count;
    require(transformer_create(&model, backend, &settings, NULL, TRAIN_NOTHING, tokens_maximum,
                               tokens_maximum, 7, &error),
            &error);
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t p = 0; p < count; p++) {
        if (!parameters[p].decayed)
            continue;
        struct random_stream stream = random_stream_open(seed, RANDOM_TEST, 0, (uint64_t)p);
        const int64_t values = tensor_count(&parameters[p].value);
        real *weights = malloc((size_t)values * sizeof *weights);
        for (int64_t i = 0; i < values; i++)
            weights[i] = (real)(0.3 * random_normal(&stream));
        require(tensor_upload_rounded(backend, &parameters[p].value, weights, &error), &error);
        free(weights);
    }
    return model;
}

static inline struct transformer *make_model(struct backend *backend, struct transformer_settings settings,
                                             int64_t tokens_maximum)
{
    return draw_model(backend, settings, tokens_maximum, 5);
}

/* Logits of all positions of a sequence, uncached: [length, vocabulary]. */
static inline float *full_logits(struct transformer *model, const int32_t *tokens, int64_t length)
{
    struct error error = ERROR_INITIALIZER;
    int32_t *position = malloc((size_t)length * sizeof *position);
    const int32_t starts[2] = {0, (int32_t)length};
    float *logits = malloc((size_t)(length * transformer_settings_of(model)->vocabulary) * sizeof *logits);
    for (int64_t i = 0; i < length; i++)
        position[i] = (int32_t)i;
    const struct batch batch = {
        .tokens = length, .sequences = 1, .token = tokens, .position = position, .starts = starts};
    require(transformer_logits(model, &batch, position, length, logits, &error), &error);
    free(position);
    return logits;
}

static inline struct csr make_train(int64_t users, int64_t items, int64_t longest)
{
    struct csr train = {.rows = users, .columns = items};
    struct random_stream stream = random_stream_open(3, RANDOM_TEST, 1, 0);
    int32_t *order = malloc((size_t)items * sizeof *order);
    train.starts = calloc((size_t)users + 1, sizeof *train.starts);
    train.indices = calloc((size_t)(users * longest) + 1, sizeof *train.indices);
    for (int64_t i = 0; i < items; i++)
        order[i] = (int32_t)i;
    for (int64_t user = 0; user < users; user++) {
        const int64_t count = longest > 0 ? 1 + (int64_t)random_below(&stream, (uint32_t)longest) : 0;
        random_shuffle(&stream, order, items);
        memcpy(train.indices + train.starts[user], order, (size_t)count * sizeof *order);
        train.starts[user + 1] = train.starts[user] + count;
    }
    free(order);
    return train;
}

static inline struct sampler_settings sampler_settings(int64_t items, int64_t length)
{
    const struct vocabulary vocabulary = {.items = items, .users = 1000};
    return (struct sampler_settings){
        .vocabulary = vocabulary,
        .prompt = {.layout = layout_of_ids(vocabulary, true), .shuffle = true, .length_maximum = length},
        .batch = 64,
        .cache_bytes = (size_t)1 << 28,
        .samples = 1,
        .contexts = 1,
        .items_maximum = 6,
        .sampling = {.temperature = 1.0f, .top_p = 1.0f, .seed = 11},
        .constrained = true};
}

/* Numbers of slots about and between those of whole blocks of rows. */
static const int64_t slot_counts[] = {1, 3, 63, 64, 65, 200};
enum { SLOT_COUNTS = sizeof slot_counts / sizeof *slot_counts };

static inline bool same_list(const struct proposal_list *a, const struct proposal_list *b)
{
    return a->count == b->count && a->valid == b->valid && a->invalid == b->invalid &&
           a->already_seen == b->already_seen && a->duplicate == b->duplicate &&
           memcmp(a->row, b->row, (size_t)a->count * sizeof *a->row) == 0;
}

static inline struct proposal_list
run_sampler(struct transformer *model, const struct sampler_settings *settings, const struct csr *train)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct sampler *sampler;
    require(sampler_create(&sampler, model, settings, train, &error), &error);
    require(sampler_run(sampler, 0, train->rows, &list, &error), &error);
    sampler_free(sampler);
    proposal_list_sort(&list);
    proposal_list_vote(&list);
    return list;
}

static inline struct ranker_settings ranker_settings(int64_t items, int64_t length)
{
    const struct vocabulary vocabulary = {.items = items, .users = 1000};
    return (struct ranker_settings){
        .vocabulary = vocabulary,
        .prompt = {.layout = layout_of_ids(vocabulary, true), .shuffle = true, .length_maximum = length},
        .batch = 64,
        .cache_bytes = (size_t)1 << 28,
        .contexts = 3,
        .items_maximum = 5,
        .seed = 4};
}

static inline struct proposal_list run_rankers(struct transformer *const *models, int64_t count,
                                               const struct ranker_settings *settings,
                                               const struct csr *train)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct ranker *ranker;
    require(ranker_create(&ranker, models, count, settings, train, &error), &error);
    require(ranker_run(ranker, 0, train->rows, &list, &error), &error);
    ranker_free(ranker);
    return list;
}

static inline struct proposal_list run_ranker(struct transformer *model,
                                              const struct ranker_settings *settings, const struct csr *train)
{
    return run_rankers(&model, 1, settings, train);
}

#endif
