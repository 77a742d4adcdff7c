/*
 * Folders of every family, made by transformers and peft (goldens/make_families.py): logits, greedy continuation over
 * the cache, and with the adapter logits, loss and gradients. IDREC_FAMILIES names a folder with more of them.
 */
#include <dirent.h>

#include "core/file.h"
#include "golden_transformer.h"
#include "models/language/cache.h"
#include "models/language/checkpoint.h"

enum { PROMPT = 8, CONTINUED = 64, TOKENS_MAXIMUM = 64 };

/* What the original computes. */
struct expected {
    const char *folder;
    struct safetensors *file;
    int32_t position[TOKENS_MAXIMUM], starts[2], target[TOKENS_MAXIMUM];
    float weight[TOKENS_MAXIMUM];
    struct batch batch; /* one sequence, each of whose tokens predicts the next with the same weight */
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

static const struct safetensors_entry *entry_of(const struct expected *expected, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(expected->file, name);
    if (!entry)
        fail_msg("%s: no '%s'", expected->folder, name);
    return entry;
}

static void open_expected(struct expected *expected, const char *folder)
{
    struct error error = ERROR_INITIALIZER;
    char *path = path_format("%s/expected.safetensors", folder);
    *expected = (struct expected){.folder = folder};
    require(safetensors_open(&expected->file, path, &error), &error);
    free(path);
    const struct safetensors_entry *token = entry_of(expected, "token");
    const int32_t count = (int32_t)token->count;
    assert_in_range(count, PROMPT, TOKENS_MAXIMUM);
    for (int32_t index = 0; index < count; index++) {
        expected->position[index] = index;
        expected->target[index] = index + 1 < count ? ((const int32_t *)token->data)[index + 1] : -1;
        expected->weight[index] = 1.0f / (float)(count - 1);
    }
    expected->starts[1] = count;
    expected->batch = (struct batch){.tokens = count,
                                     .sequences = 1,
                                     .token = token->data,
                                     .position = expected->position,
                                     .starts = expected->starts,
                                     .target = expected->target,
                                     .weight = expected->weight};
}

static struct transformer *load(const struct expected *expected, const char *adapter, enum train_mode mode)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(checkpoint_load(&model, backend, expected->folder, adapter, NULL, mode, false, PRECISION_F32,
                            FROZEN_PRECISION, expected->batch.tokens, expected->batch.sequences, 1, &error),
            &error);
    return model;
}

static void check_logits(const struct expected *expected, struct transformer *model, const char *name)
{
    const struct safetensors_entry *entry = entry_of(expected, name);
    float *logits = all_logits(model, &expected->batch);
    assert_int_equal(entry->count, expected->batch.tokens * transformer_settings_of(model)->vocabulary);
    assert_close(name, logits, entry->data, entry->count);
    free(logits);
}

static int32_t best_of(const struct tensor *logits, int64_t vocabulary)
{
    const float *values = logits->data;
    int32_t best = 0;
    for (int32_t token = 1; token < vocabulary; token++)
        if (values[token] > values[best])
            best = token;
    return best;
}

/* Reads the prompt but its last token, then decodes greedily. */
static void check_continuation(const struct expected *expected, struct transformer *model)
{
    struct error error = ERROR_INITIALIZER;
    struct cache *cache;
    const struct cache_settings settings = {.slots = GEMM_ROW_BLOCK, .capacity = PROMPT + CONTINUED};
    const int32_t *wanted = entry_of(expected, "continuation")->data, slot = 5;
    int32_t token = expected->batch.token[PROMPT - 1];
    require(cache_create(&cache, model, &settings, &error), &error);
    cache_read(cache, slot, expected->batch.token, PROMPT - 1);
    for (int32_t index = 0; index < CONTINUED; index++) {
        struct tensor logits;
        const int32_t position = PROMPT - 1 + index;
        const struct decode_step step = {.count = 1, .slot = &slot, .token = &token, .position = &position};
        cache_decode(cache, &step, &logits);
        token = best_of(&logits, transformer_settings_of(model)->vocabulary);
        if (token != wanted[index])
            fail_msg("%s: token %d of the continuation is %d, not %d", expected->folder, index, token,
                     wanted[index]);
    }
    cache_free(cache);
}

static void check_gradients(const struct expected *expected, struct transformer *model)
{
    int64_t count, compared = 0;
    const struct parameter *const parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        char name[160];
        snprintf(name, sizeof name, "gradient.%s", parameters[index].name);
        if (!parameters[index].trained)
            continue;
        const struct safetensors_entry *entry = entry_of(expected, name);
        assert_close(name, parameters[index].gradient.data, entry->data, entry->count);
        compared++;
    }
    for (int64_t index = 0; index < safetensors_count(expected->file); index++)
        compared -= strncmp(safetensors_at(expected->file, index)->name, "gradient.", 9) == 0;
    assert_int_equal(compared, 0);
}

static void check_folder(const char *folder)
{
    struct expected expected;
    char *adapter = path_format("%s/adapter", folder);
    print_message("%s\n", folder);
    open_expected(&expected, folder);
    struct transformer *model = load(&expected, NULL, TRAIN_NOTHING);
    check_logits(&expected, model, "logits");
    check_continuation(&expected, model);
    transformer_free(model);
    model = load(&expected, adapter, TRAIN_LORA);
    check_logits(&expected, model, "adapted_logits");
    const double loss = *(const double *)entry_of(&expected, "loss")->data;
    assert_near(accumulate(model, &expected.batch, 0.0, 1), loss, TOLERANCE * loss);
    check_gradients(&expected, model);
    transformer_free(model);
    safetensors_close(expected.file);
    free(adapter);
}

/* All folders within; how many. */
static int check_folders(const char *place)
{
    int checked = 0;
    DIR *directory = opendir(place);
    if (!directory)
        fail_msg("%s cannot be opened", place);
    for (const struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        if (entry->d_name[0] == '.')
            continue;
        char *folder = path_format("%s/%s", place, entry->d_name);
        check_folder(folder);
        free(folder);
        checked++;
    }
    closedir(directory);
    return checked;
}

static void families_equal_the_original(void **state)
{
    (void)state;
    assert_int_equal(check_folders(IDREC_SOURCE_DIR "/tests/goldens/families"), 11);
}

static void more_families_equal_the_original(void **state)
{
    (void)state;
    const char *place = getenv("IDREC_FAMILIES");
    if (!place)
        skip();
    assert_true(check_folders(place) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(families_equal_the_original),
                                       cmocka_unit_test(more_families_equal_the_original)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
