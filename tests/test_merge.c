/* Merged models against peft's logits of base and adapter (goldens/make_adapter.py), and what a merged folder holds. */
#include <unistd.h>

#include "adapter_folder.h"
#include "models/language/checkpoint_weights.h"
#include "models/language/merge.h"

static void write_text(const char *path, const char *text)
{
    struct error error = ERROR_INITIALIZER;
    require(file_write(path, text, strlen(text), &error), &error);
}

static char *read_text(const char *path)
{
    struct error error = ERROR_INITIALIZER;
    char *text;
    size_t length;
    require(file_read(path, &text, &length, &error), &error);
    return text;
}

static struct merge_result merge(const char *from, const char *adapter, const char *to, const char *type,
                                 int64_t shard_bytes)
{
    struct error error = ERROR_INITIALIZER;
    struct merge_result result;
    const struct merge_settings settings = {from, adapter, to, type, shard_bytes};
    require(merge_adapter(&result, &settings, &error), &error);
    return result;
}

/* The largest difference from the golden's logits, relative to the largest of them. */
static double difference(const char *model_folder, const struct golden *golden)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(checkpoint_load(&model, backend, model_folder, NULL, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                            FROZEN_PRECISION, false, golden->batch.tokens, golden->batch.sequences, 1,
                            &error),
            &error);
    const struct safetensors_entry *expected = golden_entry(golden, "logits");
    const float *golden_logits = expected->data;
    float *logits = all_logits(model, &golden->batch);
    double largest = 0.0, worst = 0.0;
    for (int64_t index = 0; index < expected->count; index++) {
        largest = fmax(largest, fabs((double)golden_logits[index]));
        worst = fmax(worst, fabs((double)logits[index] - (double)golden_logits[index]));
    }
    free(logits);
    transformer_free(model);
    return worst / largest;
}

static void merged_models_give_the_logits_of_peft(void **state)
{
    (void)state;
    for (size_t index = 0; index < ADAPTER_COUNT; index++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_adapter_golden(adapter_names[index]);
        char *adapter = adapter_folder(adapter_names[index]), *out = inside("merged");
        const int64_t shard_bytes = index % 2 == 0 ? INT64_MAX : 5000;
        const struct merge_result result = merge(base, adapter, out, NULL, shard_bytes);
        assert_true(checkpoint_complete(out));
        assert_true(result.merged > 0 && result.merged % 2 == 0);
        assert_int_equal(result.shards > 1, index % 2);
        assert_true(difference(base, &golden) > 0.1);
        if (!(difference(out, &golden) <= TOLERANCE))
            fail_msg("%s: off by %g", adapter_names[index], difference(out, &golden));
        require(path_remove(out, &error), &error);
        free(out);
        free(adapter);
        golden_close(&golden);
    }
}

/* Fewer digits, half the bytes; and again to f32, where nothing more is lost. */
static void types_are_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *type, *name;
        double tolerance;
    } cases[] = {{"F16", "float16", 0.01}, {"BF16", "bfloat16", 0.08}, {"F32", "float32", TOLERANCE}};
    struct golden golden = open_adapter_golden("stabilized");
    char *adapter = adapter_folder("stabilized");
    for (size_t index = 0; index < 3; index++) {
        struct error error = ERROR_INITIALIZER;
        struct weights *weights;
        char *out = inside(cases[index].name), *path = path_format("%s/config.json", out);
        const struct merge_result result = merge(base, adapter, out, cases[index].type, INT64_MAX);
        char *text = read_text(path), *expected = path_format("\"torch_dtype\": \"%s\"", cases[index].name);
        assert_non_null(strstr(text, expected));
        const double found = difference(out, &golden);
        if (!(found <= cases[index].tolerance) || (index < 2 && found < 1e-5))
            fail_msg("%s: off by %g", cases[index].name, found);
        require(weights_open(&weights, out, "model", &error), &error);
        int64_t numbers = 0;
        for (int64_t tensor = 0; tensor < weights_count(weights); tensor++) {
            assert_string_equal(weights_at(weights, tensor)->type, cases[index].type);
            numbers += weights_at(weights, tensor)->count;
        }
        assert_int_equal(result.bytes, numbers * (index < 2 ? 2 : 4));
        weights_close(weights);
        free(expected);
        free(text);
        free(path);
        free(out);
    }
    free(adapter);
    golden_close(&golden);
}

/* The base's config.json, byte for byte, its tokenizer, and a weight without an adapter stay as they are. */
static void the_rest_stays(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char *out = inside("rest"), *adapter = adapter_folder("list");
    char *tokenizer = inside("base/tokenizer.json"), *copy = inside("rest/tokenizer.json");
    char *config = inside("base/config.json"), *config_copy = inside("rest/config.json"),
         *fresh = inside("rest.new");
    struct weights *before, *after;
    write_text(tokenizer, "{\"any\": 1}");
    merge(base, adapter, out, NULL, INT64_MAX);
    char *text = read_text(copy), *one = read_text(config), *two = read_text(config_copy);
    assert_string_equal(text, "{\"any\": 1}");
    assert_string_equal(one, two);
    assert_false(path_exists(fresh));
    require(weights_open(&before, base, "model", &error) && weights_open(&after, out, "model", &error),
            &error);
    assert_int_equal(weights_count(before), weights_count(after));
    for (int64_t index = 0; index < weights_count(before); index++) {
        const struct safetensors_entry *old = weights_at(before, index),
                                       *new = weights_find(after, old->name);
        assert_int_equal(memcmp(old->data, new->data, old->bytes) != 0,
                         strstr(old->name, "q_proj") || strstr(old->name, "v_proj"));
    }
    weights_close(before);
    weights_close(after);
    free(two);
    free(one);
    free(text);
    free(fresh);
    free(config_copy);
    free(config);
    free(copy);
    free(tokenizer);
    free(adapter);
    free(out);
}

static void refuses(const char *from, const char *adapter, const char *to, const char *type, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct merge_result result;
    const struct merge_settings settings = {from, adapter, to, type, INT64_MAX};
    char *fresh = path_format("%s.new", to);
    assert_false(merge_adapter(&result, &settings, &error));
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    assert_false(path_exists(fresh));
    free(fresh);
}

/* The golden's base with one number replaced. */
static void save_spoiled_base(const char *to, float value)
{
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model = golden_model(&golden, backend);
    struct parameter *parameter = transformer_parameter(model, "model.layers.1.mlp.down_proj.weight");
    ((float *)parameter->value.data)[7] = value;
    require(checkpoint_save_base(model, to, &error), &error);
    transformer_free(model);
    golden_close(&golden);
}

static void what_cannot_be_merged_is_refused(void **state)
{
    (void)state;
    char *adapter = adapter_folder("list"), *out = inside("refused"), *spoiled = inside("spoiled");
    char *narrow = inside("narrow"), *weights = path_format("%s/adapter_model.safetensors", adapter);
    char *link = inside("narrow/adapter_model.safetensors"), *config = inside("narrow/adapter_config.json");
    struct error error = ERROR_INITIALIZER;
    refuses(base, adapter, base, NULL, "is already there");
    refuses(adapter, adapter, out, NULL, "config.json");
    refuses(base, base, out, NULL, "adapter_config.json");
    save_spoiled_base(spoiled, 1e6f);
    refuses(spoiled, adapter, out, "F16",
            "'model.layers.1.mlp.down_proj.weight' has values that are too large for F16");
    assert_false(path_exists(out));
    require(folder_create(narrow, &error), &error);
    assert_int_equal(symlink(weights, link), 0);
    write_text(config,
               "{\"r\": 3, \"lora_alpha\": 1, \"lora_dropout\": 0, \"target_modules\": [\"q_proj\"]}");
    refuses(base, narrow, out, NULL, "v_proj.lora_A.weight' is not part of");
    write_text(
        config,
        "{\"r\": 2, \"lora_alpha\": 1, \"lora_dropout\": 0, \"target_modules\": [\"q_proj\", \"v_proj\"]}");
    refuses(base, narrow, out, NULL, "is no matrix [2, 20]");
    write_text(
        config,
        "{\"r\": 3, \"lora_alpha\": 1, \"lora_dropout\": 0, \"target_modules\": [\"q_proj\", \"up_proj\"]}");
    refuses(base, narrow, out, NULL,
            "there is no tensor 'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'");
    free(config);
    free(link);
    free(weights);
    free(narrow);
    free(spoiled);
    free(out);
    free(adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_models_give_the_logits_of_peft),
        cmocka_unit_test(types_are_chosen),
        cmocka_unit_test(the_rest_stays),
        cmocka_unit_test(what_cannot_be_merged_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
