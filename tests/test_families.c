/*
 * Folders of every family, made by transformers and peft (goldens/make_families.py): logits, greedy continuation over
 * the cache, and with the adapter logits, loss and gradients. IDREC_FAMILIES names a folder with more of them.
 */
#include <dirent.h>
#include <unistd.h>

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
    require(checkpoint_load(&model, backend, expected->folder, adapter, NULL, 0, mode, false, PRECISION_F32,
                            FROZEN_PRECISION, false, expected->batch.tokens, expected->batch.sequences, 1,
                            &error),
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

/* ---- folders that are damaged or ask for more ---------------------------------------------------------- */

#define FAMILIES IDREC_SOURCE_DIR "/tests/goldens/families"

/* A copy of a golden folder, as links, with `file` rewritten: the first `before` in it becomes `after`. */
static char *changed_folder(const char *family, const char *file, const char *before, const char *after)
{
    struct error error = ERROR_INITIALIZER;
    char *source = path_format("%s/%s", FAMILIES, family), *text;
    char *copy = path_format("/tmp/idrec-families-%d", (int)getpid());
    size_t length;
    DIR *directory = opendir(source);
    require(path_remove(copy, &error) && folder_create(copy, &error), &error);
    for (const struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        char *from = path_format("%s/%s", source, entry->d_name),
             *to = path_format("%s/%s", copy, entry->d_name);
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, file) != 0)
            assert_int_equal(symlink(from, to), 0);
        free(from);
        free(to);
    }
    closedir(directory);
    char *from = path_format("%s/%s", source, file), *to = path_format("%s/%s", copy, file);
    require(file_read(from, &text, &length, &error), &error);
    char *place = strstr(text, before);
    assert_non_null(place);
    char *changed = path_format("%.*s%s%s", (int)(place - text), text, after, place + strlen(before));
    require(file_write(to, changed, strlen(changed), &error), &error);
    free(changed);
    free(text);
    free(to);
    free(from);
    free(source);
    return copy;
}

static bool load_inference(struct transformer **model, const char *folder, struct error *error)
{
    return checkpoint_load(model, backend, folder, NULL, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                           FROZEN_PRECISION, false, TOKENS_MAXIMUM, 1, 1, error);
}

static void refuses(const char *family, const char *file, const char *before, const char *after,
                    const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    char *folder = changed_folder(family, file, before, after);
    assert_false(load_inference(&model, folder, &error));
    if (strncmp(error.message, folder, strlen(folder)) != 0 || !strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    error = ERROR_INITIALIZER;
    require(path_remove(folder, &error), &error);
    free(folder);
}

#define INDEX "model.safetensors.index.json"

static void folders_and_their_config_must_agree(void **state)
{
    (void)state;
    refuses("llama_bias", "config.json", "\"attention_bias\": true", "\"attention_bias\": false",
            "is not part of a model as config.json has it");
    refuses("llama2", "config.json", "\"attention_bias\": false", "\"attention_bias\": true",
            "no tensor 'model.layers.0.self_attn.q_proj.bias'");
    refuses("qwen2", "config.json", "\"qwen2\"", "\"qwen3\"", "has the shape");
    refuses("llama31", "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
            "no tensor 'lm_head.weight'");
    refuses("tinyllama", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4096",
            "no tensor 'model.layers.2.");
    refuses("tinyllama", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
            "tensor 'model.layers.1.");
}

static void an_index_names_every_tensor_of_every_shard(void **state)
{
    (void)state;
    refuses("mistral", INDEX, "model-00002-of-00002", "model-00004-of-00002", "model-00004-of-00002");
    refuses("mistral", INDEX, "model-00002-of-00002.safetensors", "../mistral/model.safetensors",
            "in no file of");
    refuses("mistral", INDEX, "model-00002-of-00002", "model-00001-of-00002", "is not in model-00001");
    refuses("mistral", INDEX, "\"weight_map\"", "\"map\"", "'weight_map' is missing");
    refuses("mistral", INDEX, "\"model.norm.weight\"", "\"model.other.weight\"", "'model.other.weight'");
    refuses("mistral", INDEX, "{", "[{", "is no JSON object");
}

/* Within the window everything is as in the original; beyond it nothing is computed. */
static void sequences_beyond_the_window_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct expected expected;
    struct transformer *model;
    struct cache *cache;
    float logits[96];
    const int32_t row = 0;
    char *folder =
        changed_folder("mistral", "config.json", "\"sliding_window\": 128", "\"sliding_window\": 20");
    open_expected(&expected, FAMILIES "/mistral");
    require(load_inference(&model, folder, &error), &error);
    assert_int_equal(transformer_settings_of(model)->sequence_maximum, 20);
    assert_false(transformer_logits(model, &expected.batch, &row, 1, logits, &error));
    assert_non_null(strstr(error.message, "more than 20 tokens"));
    error = ERROR_INITIALIZER;
    assert_false(cache_create(&cache, model, &(struct cache_settings){GEMM_ROW_BLOCK, 21, 0}, &error));
    assert_non_null(strstr(error.message, "sequences of up to 21 tokens"));
    error = ERROR_INITIALIZER;
    expected.batch.tokens = expected.starts[1] = 20;
    require(transformer_logits(model, &expected.batch, &row, 1, logits, &error), &error);
    transformer_free(model);
    safetensors_close(expected.file);
    require(path_remove(folder, &error), &error);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(families_equal_the_original),
                                       cmocka_unit_test(folders_and_their_config_must_agree),
                                       cmocka_unit_test(an_index_names_every_tensor_of_every_shard),
                                       cmocka_unit_test(sequences_beyond_the_window_are_refused),
                                       cmocka_unit_test(more_families_equal_the_original)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
