/* golden_transformer.h: the cases that goldens/make_transformer.py wrote: a model and a batch with its
 * results. */
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

static void golden_read_settings(struct golden *golden, const char *path)
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

static struct golden golden_open(const char *name)
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

static void golden_close(struct golden *golden)
{
    safetensors_close(golden->file);
    free(golden->position);
}

/* The golden's model with the golden's weights: its adapter is trained if it has one, else everything. */
static struct transformer *golden_model(const struct golden *golden, struct backend *backend)
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
    return model;
}

#endif
