/* new_token_goldens.h: adapters with new tokens that goldens/make_new_tokens.py wrote, with the results of peft. */
#ifndef IDREC_TESTS_NEW_TOKEN_GOLDENS_H
#define IDREC_TESTS_NEW_TOKEN_GOLDENS_H

#include "core/file.h"
#include "golden_transformer.h"
#include "models/language/checkpoint.h"

enum { NEW_TOKENS = 5 };

static const struct new_tokens_case {
    const char *name, *base;
} new_tokens_cases[] = {{"tied", "grouped_tied"}, {"untied", "plain"}};
enum { NEW_TOKENS_CASES = 2 };

/* The base, as a folder below `place`; malloc'ed. */
static inline char *save_new_tokens_base(const struct new_tokens_case *which, struct backend *backend,
                                         const char *place)
{
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open(which->base);
    struct transformer *model = golden_model(&golden, backend);
    char *folder = path_format("%s/%s", place, which->base);
    require(checkpoint_save_base(model, folder, &error), &error);
    transformer_free(model);
    golden_close(&golden);
    return folder;
}

/* A batch over old and new tokens, with the results of peft's adapter. */
static inline struct golden open_new_tokens_golden(const struct new_tokens_case *which)
{
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open(which->base);
    char *path = path_format("%s/tests/goldens/adapters/new_tokens_%s/golden.safetensors", IDREC_SOURCE_DIR,
                             which->name);
    safetensors_close(golden.file);
    require(safetensors_open(&golden.file, path, &error), &error);
    free(path);
    golden.batch.token = golden_entry(&golden, "token")->data;
    golden.batch.starts = golden_entry(&golden, "starts")->data;
    golden.batch.target = golden_entry(&golden, "target")->data;
    golden.batch.weight = golden_entry(&golden, "weight")->data;
    return golden;
}

static inline char *new_tokens_adapter(const struct new_tokens_case *which)
{
    return path_format("%s/tests/goldens/adapters/new_tokens_%s", IDREC_SOURCE_DIR, which->name);
}

/* The base with peft's adapter, to be trained. */
static inline struct transformer *load_new_tokens(const struct new_tokens_case *which,
                                                  const struct golden *golden, struct backend *backend,
                                                  const char *base, enum precision precision)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    char *adapter = new_tokens_adapter(which);
    require(checkpoint_load(&model, backend, base, adapter, NULL, 0, TRAIN_LORA, false, precision,
                            FROZEN_PRECISION, false, golden->batch.tokens, golden->batch.sequences, 4,
                            &error),
            &error);
    free(adapter);
    return model;
}

/* Logits, losses and gradients, of single targets and of sets. */
static inline void equals_new_tokens_golden(const struct golden *golden, struct transformer *model)
{
    const double *losses = golden_entry(golden, "losses")->data;
    const struct safetensors_entry *expected = golden_entry(golden, "logits");
    float *logits = all_logits(model, &golden->batch);
    assert_close("logits", logits, expected->data, expected->count);
    assert_near(accumulate(model, &golden->batch, 0.0, 1), losses[0], TOLERANCE * losses[0]);
    assert_gradients(golden, model, "gradient");
    clear_gradients(model);
    const struct batch sets = golden_sets(golden);
    assert_near(accumulate(model, &sets, 0.0, 1), losses[1], TOLERANCE * losses[1]);
    assert_gradients(golden, model, "set_gradient");
    clear_gradients(model);
    free(logits);
}

#endif
