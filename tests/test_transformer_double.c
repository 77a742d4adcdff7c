/*
 * Finite differences in double precision through the whole model: every element of small parameters, a sample
 * of the others, over single and set targets, tied and not, with and without adapters, biases, norms of queries and
 * keys, dropouts, recomputation; rotary positions are scaled.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/transformer.h"
#include "tests/support.h"

enum { TOKENS = 23, SEQUENCES = 3, VOCABULARY = 11, CLASSES = 8, SAMPLES = 24 };

struct variant {
    const char *name;
    bool tied, bias /* on q, k, v */, attention_bias /* on o too */, feed_bias, head_norm, sets, unshown,
        recompute, positions;
    int64_t key_heads;
    enum train_mode mode;
    struct lora_settings lora;
    double dropout;
};

#define EVERY_LINEAR                                                                                         \
    {                                                                                                        \
        true, true, true, true, true, true, true                                                             \
    }

static const struct variant variants[] = {
    {"tied, grouped", .tied = true, .positions = true, .key_heads = 2, .mode = TRAIN_ALL},
    {"untied, sets, biases, recomputed", .bias = true, .sets = true, .recompute = true, .positions = true,
     .key_heads = 4, .mode = TRAIN_ALL},
    {"tied, sets, no positions, dropout", .tied = true, .sets = true, .key_heads = 1, .mode = TRAIN_ALL,
     .dropout = 0.3},
    {"adapter everywhere, dropouts", .positions = true, .bias = true, .key_heads = 2, .mode = TRAIN_LORA,
     .lora = {.rank = 3, .alpha = 6.0, .dropout = 0.4, .targets = EVERY_LINEAR}, .dropout = 0.2},
    {"adapter on q and v, sets, recomputed", .tied = true, .sets = true, .recompute = true, .positions = true,
     .key_heads = 2, .mode = TRAIN_LORA,
     .lora = {.rank = 2, .alpha = 5.0, .dropout = 0.3, .targets = {[LINEAR_Q] = true, [LINEAR_V] = true}}},
    {"sets of what is not shown, grouped", .sets = true, .unshown = true, .positions = true, .key_heads = 2,
     .mode = TRAIN_ALL},
    {"base and adapter together", .tied = true, .positions = true, .key_heads = 4, .mode = TRAIN_ALL,
     .lora = {.rank = 2, .alpha = 2.0, .targets = EVERY_LINEAR}},
    {"norms of queries and keys", .head_norm = true, .positions = true, .key_heads = 2, .mode = TRAIN_ALL},
    {"norms and biases of the attention, no positions, recomputed", .tied = true, .head_norm = true,
     .attention_bias = true, .recompute = true, .key_heads = 1, .mode = TRAIN_ALL},
    {"every bias", .attention_bias = true, .feed_bias = true, .positions = true, .key_heads = 2,
     .mode = TRAIN_ALL},
    {"norms under an adapter, dropouts", .head_norm = true, .positions = true, .key_heads = 2,
     .mode = TRAIN_LORA, .lora = {.rank = 2, .alpha = 5.0, .dropout = 0.3, .targets = EVERY_LINEAR},
     .dropout = 0.2},
    {"every bias under an adapter", .attention_bias = true, .feed_bias = true, .positions = true,
     .key_heads = 2, .mode = TRAIN_LORA, .lora = {.rank = 2, .alpha = 5.0, .targets = EVERY_LINEAR}},
};

static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_close(backend);
    return 0;
}

static struct transformer *create(const struct variant *variant)
{
    const struct transformer_settings settings = {.vocabulary = VOCABULARY,
                                                  .width = 10,
                                                  .layers = 2,
                                                  .query_heads = 4,
                                                  .key_heads = variant->key_heads,
                                                  .head_width = 4,
                                                  .hidden = 14,
                                                  .classes = CLASSES,
                                                  .norm_epsilon = 1e-3f,
                                                  .rope_theta = 50.0f,
                                                  .positions = variant->positions,
                                                  .tied = variant->tied,
                                                  .attention_bias = variant->bias || variant->attention_bias,
                                                  .output_bias = variant->attention_bias,
                                                  .feed_bias = variant->feed_bias,
                                                  .head_norm = variant->head_norm,
                                                  .rope_scaling = {ROPE_LLAMA3, 8.0, 1.0, 4.0, 10},
                                                  .recompute = variant->recompute};
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(transformer_create(&model, backend, &settings, &variant->lora, variant->mode, TOKENS, SEQUENCES,
                               1, &error),
            &error);
    int64_t count;
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        struct random_stream stream = random_stream_open(3, RANDOM_TEST, 0, (uint64_t)index);
        double *values = parameters[index].value.data;
        const double offset = strstr(parameters[index].name, "norm") ? 1.0 : 0.0;
        for (int64_t element = 0; element < tensor_count(&parameters[index].value); element++)
            values[element] = offset + 0.3 * random_normal(&stream);
    }
    return model;
}

struct example {
    int32_t token[TOKENS], position[TOKENS], starts[SEQUENCES + 1], target[TOKENS], items[TOKENS * 3];
    int64_t set_starts[TOKENS + 1];
    float weight[TOKENS];
    struct batch batch;
};

/* Whether `item` is a token of the sequence that begins at `first`, up to `token`. */
static bool is_shown(const struct example *example, int32_t first, int32_t token, int32_t item)
{
    for (int32_t before = first; before <= token; before++)
        if (example->token[before] == item)
            return true;
    return false;
}

/* unshown: a position's set holds what its sequence has not shown, and only that competes. */
static void make_example(struct example *example, bool sets, bool unshown)
{
    struct random_stream stream = random_stream_open(4, RANDOM_TEST, 1, 0);
    *example = (struct example){.starts = {0, 1, 9, TOKENS}};
    for (int32_t token = 0, sequence = 0; token < TOKENS; token++) {
        sequence += token == example->starts[sequence + 1];
        example->token[token] = (int32_t)random_below(&stream, VOCABULARY);
        example->position[token] = token - example->starts[sequence];
        example->target[token] = (int32_t)random_below(&stream, CLASSES + 1) - 1;
        example->weight[token] = token % 4 == 1 ? 0.0f : 0.5f + random_float(&stream);
        example->set_starts[token + 1] = example->set_starts[token] + random_below(&stream, 4);
        for (int64_t item = example->set_starts[token]; item < example->set_starts[token + 1]; item++)
            do
                example->items[item] = (int32_t)random_below(&stream, CLASSES);
            while (unshown && is_shown(example, example->starts[sequence], token, example->items[item]));
    }
    example->batch = (struct batch){.tokens = TOKENS,
                                    .sequences = SEQUENCES,
                                    .token = example->token,
                                    .position = example->position,
                                    .starts = example->starts,
                                    .target = sets ? NULL : example->target,
                                    .target_starts = sets ? example->set_starts : NULL,
                                    .target_items = example->items,
                                    .exclude_shown = unshown,
                                    .weight = example->weight};
}

static double loss_of(struct transformer *model, const struct example *example, double dropout)
{
    struct error error = ERROR_INITIALIZER;
    double loss = 0.0;
    require(transformer_accumulate(model, &example->batch, dropout, 11, 2, &loss, &error), &error);
    return loss;
}

/* (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12h, exact to h^4. */
static double slope(struct transformer *model, const struct example *example, double dropout, double *value)
{
    const double kept = *value, step = 4e-5;
    double sum = 0.0;
    const double offsets[] = {-2.0, -1.0, 1.0, 2.0}, factors[] = {1.0, -8.0, 8.0, -1.0};
    for (int index = 0; index < 4; index++) {
        *value = kept + offsets[index] * step;
        sum += factors[index] * loss_of(model, example, dropout);
    }
    *value = kept;
    return sum / (12.0 * step);
}

static void check_parameter(struct transformer *model, const struct example *example,
                            const struct variant *variant, struct parameter *parameter,
                            const double *gradient)
{
    const int64_t count = tensor_count(&parameter->value);
    const int64_t stride = count > SAMPLES ? count / SAMPLES : 1;
    double *values = parameter->value.data, largest = 0.0;
    for (int64_t element = 0; element < count; element++)
        largest = fmax(largest, fabs(gradient[element]));
    if (!(largest > 1e-6))
        fail_msg("%s: %s has no gradient", variant->name, parameter->name);
    for (int64_t element = 0; element < count; element += stride) {
        const double expected = slope(model, example, variant->dropout, &values[element]);
        if (!(fabs(gradient[element] - expected) <= 1e-7 * fmax(largest, 1e-2)))
            fail_msg("%s: %s[%lld] is %.12g, not %.12g", variant->name, parameter->name, (long long)element,
                     gradient[element], expected);
    }
}

static void check_variant(const struct variant *variant)
{
    struct transformer *model = create(variant);
    struct example example;
    int64_t count, trained = 0;
    make_example(&example, variant->sets, variant->unshown);
    struct parameter *parameters = transformer_parameters(model, &count);
    loss_of(model, &example, variant->dropout);
    double *gradients[64] = {NULL};
    for (int64_t index = 0; index < count; index++)
        if (parameters[index].trained) {
            const size_t bytes = tensor_bytes(&parameters[index].gradient);
            gradients[index] = malloc(bytes);
            memcpy(gradients[index], parameters[index].gradient.data, bytes);
        }
    for (int64_t index = 0; index < count; index++)
        if (parameters[index].trained) {
            check_parameter(model, &example, variant, &parameters[index], gradients[index]);
            free(gradients[index]);
            trained++;
        }
    assert_true(trained > 0);
    transformer_free(model);
}

static void gradients_equal_finite_differences(void **state)
{
    (void)state;
    for (size_t index = 0; index < sizeof variants / sizeof *variants; index++)
        check_variant(&variants[index]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_equal_finite_differences)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
