/* golden_transformer.h: the cases that goldens/make_transformer.py wrote: a model and a batch with its
 * results, which the model must reach on any device. */
#ifndef IDREC_TESTS_GOLDEN_TRANSFORMER_H
#define IDREC_TESTS_GOLDEN_TRANSFORMER_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/safetensors.h"
#include "models/language/transformer.h"
#include "tests/support.h"

/* Relative to transformers and peft in float64; what is promised is 1e-4. */
#define TOLERANCE 1e-4 /* f32 against float64; 2.5e-5 is the worst seen, without optimisation */

static const char *const case_names[] = {"plain", "grouped_tied", "bias", "lora_all", "lora_qv"};
#define CASE_COUNT (sizeof case_names / sizeof *case_names)

struct golden {
    struct transformer_settings settings;
    struct lora_settings lora;
    struct safetensors *file;
    struct batch batch; /* of single targets; golden_sets() makes it one of sets */
    int32_t *position;
};

static inline void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.9g is not within %.3g of %.9g", value, tolerance, expected);
}

static const struct safetensors_entry *golden_entry(const struct golden *golden, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(golden->file, name);
    if (!entry)
        fail_msg("the golden has no '%s'", name);
    return entry;
}

static inline void golden_read_settings(struct golden *golden, const char *path)
{
    json_t *object = json_load_file(path, 0, NULL), *targets, *target;
    json_int_t vocabulary, width, layers, query_heads, key_heads, head_width, hidden, rank;
    double epsilon, theta;
    int tied, bias;
    size_t index;
    if (json_unpack(object, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:F, s:F, s:I, s:F, s:o}",
                    "vocabulary", &vocabulary, "width", &width, "layers", &layers, "query_heads",
                    &query_heads, "key_heads", &key_heads, "head_width", &head_width, "hidden", &hidden,
                    "tied", &tied, "attention_bias", &bias, "norm_epsilon", &epsilon, "rope_theta", &theta,
                    "rank", &rank, "alpha", &golden->lora.alpha, "targets", &targets) != 0)
        fail_msg("%s: unreadable", path);
    golden->settings = (struct transformer_settings){.vocabulary = vocabulary,
                                                     .width = width,
                                                     .layers = layers,
                                                     .query_heads = query_heads,
                                                     .key_heads = key_heads,
                                                     .head_width = head_width,
                                                     .hidden = hidden,
                                                     .norm_epsilon = (float)epsilon,
                                                     .rope_theta = (float)theta,
                                                     .positions = true,
                                                     .tied = tied,
                                                     .attention_bias = bias};
    golden->lora.rank = rank;
    json_array_foreach(targets, index, target)
    {
        for (int linear = 0; linear < LINEAR_COUNT; linear++)
            if (strcmp(json_string_value(target), linear_name((enum linear)linear)) == 0)
                golden->lora.targets[linear] = true;
    }
    json_decref(object);
}

static inline struct golden golden_open(const char *name)
{
    struct golden golden = {.file = NULL};
    struct error error = ERROR_INITIALIZER;
    char path[512];
    snprintf(path, sizeof path, "%s/tests/goldens/transformer_%s.json", IDREC_SOURCE_DIR, name);
    golden_read_settings(&golden, path);
    snprintf(path, sizeof path, "%s/tests/goldens/transformer_%s.safetensors", IDREC_SOURCE_DIR, name);
    require(safetensors_open(&golden.file, path, &error), &error);
    const struct safetensors_entry *starts = golden_entry(&golden, "starts");
    golden.batch = (struct batch){.tokens = golden_entry(&golden, "token")->count,
                                  .sequences = starts->count - 1,
                                  .token = golden_entry(&golden, "token")->data,
                                  .starts = starts->data,
                                  .target = golden_entry(&golden, "target")->data,
                                  .weight = golden_entry(&golden, "weight")->data};
    golden.position = calloc((size_t)golden.batch.tokens, sizeof *golden.position);
    for (int64_t sequence = 0; sequence < golden.batch.sequences; sequence++)
        for (int32_t token = golden.batch.starts[sequence]; token < golden.batch.starts[sequence + 1];
             token++)
            golden.position[token] = token - golden.batch.starts[sequence];
    golden.batch.position = golden.position;
    return golden;
}

static inline struct batch golden_sets(const struct golden *golden)
{
    struct batch batch = golden->batch;
    batch.target = NULL;
    batch.target_starts = golden_entry(golden, "set_starts")->data;
    batch.target_items = golden_entry(golden, "set_items")->data;
    return batch;
}

static inline void golden_close(struct golden *golden)
{
    safetensors_close(golden->file);
    free(golden->position);
}

/* The golden's model with the golden's weights: its adapter is trained if it has one, else everything. */
static inline struct transformer *golden_model(const struct golden *golden, struct backend *backend)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    int64_t count;
    require(transformer_create(&model, backend, &golden->settings, &golden->lora,
                               golden->lora.rank > 0 ? TRAIN_LORA : TRAIN_ALL, golden->batch.tokens,
                               golden->batch.sequences, 1, &error),
            &error);
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++)
        require(
            safetensors_read(golden->file, parameters[index].name, backend, &parameters[index].value, &error),
            &error);
    transformer_values_changed(model);
    return model;
}

/* Equal within TOLERANCE by norm, and element by element relative to the largest. */
static inline void assert_close(const char *what, const float *values, const float *expected, int64_t count)
{
    double square = 0.0, difference = 0.0, largest = 0.0, worst = 0.0;
    for (int64_t index = 0; index < count; index++) {
        const double gap = (double)values[index] - (double)expected[index];
        square += (double)expected[index] * (double)expected[index];
        difference += gap * gap;
        largest = fmax(largest, fabs((double)expected[index]));
        worst = fmax(worst, isnan(gap) ? INFINITY : fabs(gap));
    }
    if (!(sqrt(difference) <= TOLERANCE * sqrt(square)) || !(worst <= TOLERANCE * largest))
        fail_msg("%s: off by %.3g of its norm, by %.3g of its largest", what, sqrt(difference / square),
                 worst / largest);
}

/* What the device holds, as floats; malloc'ed. */
static inline float *download(struct backend *backend, const struct tensor *tensor)
{
    float *values = malloc(tensor_bytes(tensor));
    tensor_download(backend, values, tensor);
    return values;
}

static inline void assert_gradients(const struct golden *golden, struct transformer *model, const char *kind)
{
    int64_t count, compared = 0;
    const struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        char name[160];
        snprintf(name, sizeof name, "%s.%s", kind, parameters[index].name);
        if (!parameters[index].trained) {
            assert_null(safetensors_find(golden->file, name));
            assert_int_equal(parameters[index].gradient.rank, 0);
            assert_int_equal(parameters[index].first_moment.rank, 0);
            continue;
        }
        const struct safetensors_entry *entry = golden_entry(golden, name);
        float *gradient = download(transformer_backend(model), &parameters[index].gradient);
        assert_close(name, gradient, entry->data, entry->count);
        free(gradient);
        compared++;
    }
    assert_true(compared > 0);
}

static inline void clear_gradients(struct transformer *model)
{
    int64_t count;
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++)
        if (parameters[index].trained)
            tensor_zero(transformer_backend(model), &parameters[index].gradient);
}

static inline double accumulate(struct transformer *model, const struct batch *batch, double dropout,
                                uint64_t step)
{
    struct error error = ERROR_INITIALIZER;
    double loss = 0.0;
    require(transformer_accumulate(model, batch, dropout, 5, step, &loss, &error), &error);
    return loss;
}

/* The gradients of all trained parameters, one after another; malloc'ed. */
static inline float *copy_gradients(struct transformer *model, int64_t *length)
{
    int64_t count, used = 0;
    struct parameter *parameters = transformer_parameters(model, &count);
    *length = 0;
    for (int64_t index = 0; index < count; index++)
        *length += parameters[index].trained ? tensor_count(&parameters[index].gradient) : 0;
    float *values = malloc((size_t)*length * sizeof *values);
    for (int64_t index = 0; index < count; index++)
        if (parameters[index].trained) {
            tensor_download(transformer_backend(model), values + used, &parameters[index].gradient);
            used += tensor_count(&parameters[index].gradient);
        }
    return values;
}

/* Loss and gradients, of single targets and of sets. */
static inline void equals_the_golden(const char *name, struct backend *backend)
{
    struct golden golden = golden_open(name);
    struct transformer *model = golden_model(&golden, backend);
    const double *losses = golden_entry(&golden, "losses")->data;
    assert_near(accumulate(model, &golden.batch, 0.0, 1), losses[0], TOLERANCE * losses[0]);
    assert_gradients(&golden, model, "gradient");
    clear_gradients(model);
    const struct batch sets = golden_sets(&golden);
    assert_near(accumulate(model, &sets, 0.0, 1), losses[1], TOLERANCE * losses[1]);
    assert_gradients(&golden, model, "set_gradient");
    transformer_free(model);
    golden_close(&golden);
}

/* The logits of all tokens; malloc'ed. */
static inline float *all_logits(struct transformer *model, const struct batch *batch)
{
    struct error error = ERROR_INITIALIZER;
    const int64_t vocabulary = transformer_settings_of(model)->vocabulary;
    int32_t *rows = malloc((size_t)batch->tokens * sizeof *rows);
    float *logits = malloc((size_t)(batch->tokens * vocabulary) * sizeof *logits);
    for (int32_t row = 0; row < batch->tokens; row++)
        rows[row] = row;
    require(transformer_logits(model, batch, rows, batch->tokens, logits, &error), &error);
    free(rows);
    return logits;
}

static inline void logits_equal_the_golden(const char *name, struct backend *backend)
{
    struct golden golden = golden_open(name);
    struct transformer *model = golden_model(&golden, backend);
    const struct safetensors_entry *expected = golden_entry(&golden, "logits");
    float *logits = all_logits(model, &golden.batch);
    assert_close("logits", logits, expected->data, expected->count);
    free(logits);
    transformer_free(model);
    golden_close(&golden);
}

#endif
