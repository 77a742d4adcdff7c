/* Adapters that peft made (goldens/make_adapter.py) against its logits, losses and gradients; what is saved here; and
 * what is refused. */
#include "adapter_folder.h"
#include "models/language/checkpoint_adapter.h"

static struct transformer *load(const char *adapter, const struct golden *golden)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(checkpoint_load(&model, backend, base, adapter, NULL, 0, TRAIN_LORA, false, PRECISION_F32,
                            FROZEN_PRECISION, false, golden->batch.tokens, golden->batch.sequences, 4,
                            &error),
            &error);
    return model;
}

static void adapters_of_peft_give_its_results(void **state)
{
    (void)state;
    for (size_t index = 0; index < ADAPTER_COUNT; index++) {
        struct golden golden = open_adapter_golden(adapter_names[index]);
        char *adapter = adapter_folder(adapter_names[index]);
        struct transformer *model = load(adapter, &golden);
        const struct safetensors_entry *expected = golden_entry(&golden, "logits");
        const double *losses = golden_entry(&golden, "losses")->data;
        float *logits = all_logits(model, &golden.batch);
        assert_close(adapter_names[index], logits, expected->data, expected->count);
        assert_near(accumulate(model, &golden.batch, 0.0, 1), losses[0], TOLERANCE * losses[0]);
        assert_gradients(&golden, model, "gradient");
        free(logits);
        transformer_free(model);
        free(adapter);
        golden_close(&golden);
    }
}

static void assert_same_settings(const struct lora_settings *one, const struct lora_settings *other)
{
    assert_int_equal(one->rank, other->rank);
    assert_true(one->alpha == other->alpha && one->dropout == other->dropout);
    assert_int_equal(one->rank_stabilized, other->rank_stabilized);
    assert_memory_equal(one->targets, other->targets, sizeof one->targets);
}

/* What peft wrote and what is written here for it say and hold the same. */
static void saved_adapters_come_back(void **state)
{
    (void)state;
    for (size_t index = 0; index < ADAPTER_COUNT; index++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_adapter_golden(adapter_names[index]);
        char *adapter = adapter_folder(adapter_names[index]), *copy = inside("copy");
        struct transformer *model = load(adapter, &golden);
        require(checkpoint_save_adapter(model, copy, &error), &error);
        struct transformer *other = load(copy, &golden);
        assert_same_settings(transformer_lora_of(model), transformer_lora_of(other));
        float *one = all_logits(model, &golden.batch), *two = all_logits(other, &golden.batch);
        assert_memory_equal(one, two,
                            (size_t)(golden.batch.tokens * golden.settings.vocabulary) * sizeof *one);
        free(one);
        free(two);
        transformer_free(other);
        transformer_free(model);
        free(copy);
        free(adapter);
        golden_close(&golden);
    }
}

static void scales_follow_the_rank(void **state)
{
    (void)state;
    assert_near(lora_scale(&(struct lora_settings){.rank = 16, .alpha = 8.0}), 0.5, 1e-12);
    assert_near(lora_scale(&(struct lora_settings){.rank = 16, .alpha = 8.0, .rank_stabilized = true}), 2.0,
                1e-12);
    assert_true(lora_scale(&(struct lora_settings){.alpha = 8.0}) == 0.0);
}

/* ---- adapter_config.json ------------------------------------------------------------------------------ */

/* Reads a config of a rank 2 adapter with `rest` added, for a base of three layers. */
static bool read_config(struct lora_settings *lora, const char *rest, struct error *error)
{
    struct error ignored = ERROR_INITIALIZER;
    char *text = path_format("{\"r\": 2, \"lora_alpha\": 3, \"lora_dropout\": 0.25, %s}", rest);
    char *path = inside("adapter_config.json");
    require(file_write(path, text, strlen(text), &ignored), &ignored);
    free(path);
    free(text);
    struct transformer_settings settings = {.vocabulary = 10, .layers = 3, .tied = true};
    return checkpoint_adapter_config_read(lora, &settings, folder, error);
}

/* `letters` are the first letters of the linears in their order (q k v o g u d). */
static void chooses(const char *rest, const char *letters)
{
    struct error error = ERROR_INITIALIZER;
    struct lora_settings lora;
    require(read_config(&lora, rest, &error), &error);
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        if (lora.targets[linear] != (strchr(letters, linear_name((enum linear)linear)[0]) != NULL))
            fail_msg("%s: %s", rest, linear_name((enum linear)linear));
}

static void targets_are_read_as_peft_reads_them(void **state)
{
    (void)state;
    chooses("\"target_modules\": [\"v_proj\", \"q_proj\"]", "qv");
    chooses("\"target_modules\": [\"self_attn.v_proj\", \"mlp.up_proj\"]", "vu");
    chooses("\"target_modules\": \"all-linear\"", "qkvogud");
    chooses("\"target_modules\": \"all-linear\", \"exclude_modules\": [\"down_proj\"]", "qkvogu");
    chooses("\"target_modules\": \".*_proj\", \"exclude_modules\": \".*mlp.*\"", "qkvo");
    chooses("\"target_modules\": \".*\\\\.(q|o)_proj\"", "qo");
    chooses("\"target_modules\": [\"layers.0.self_attn.q_proj\", \"model.layers.1.self_attn.q_proj\", "
            "\"2.self_attn.q_proj\"]",
            "q");
}

static void keys_without_effect_are_passed_over(void **state)
{
    (void)state;
    chooses("\"target_modules\": [\"k_proj\"], \"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", "
            "\"bias\": \"none\", \"use_dora\": false, \"rank_pattern\": {}, \"modules_to_save\": null, "
            "\"layers_to_transform\": [], \"base_model_name_or_path\": \"some/where\", "
            "\"init_lora_weights\": \"gaussian\", \"megatron_core\": \"megatron.core\", \"of_a_later_peft\": "
            "null",
            "k");
}

static void refuses(const char *rest, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct lora_settings lora;
    if (read_config(&lora, rest, &error))
        fail_msg("%s is not refused", rest);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void what_is_lacking_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const keys[] = {"\"use_dora\": true",
                                       "\"modules_to_save\": [\"lm_head\"]",
                                       "\"rank_pattern\": {\"q_proj\": 4}",
                                       "\"alpha_pattern\": {\"v\": 1}",
                                       "\"layers_to_transform\": [0]",
                                       "\"layers_to_transform\": 0",
                                       "\"lora_bias\": true",
                                       "\"layer_replication\": [[0, 2]]",
                                       "\"trainable_token_indices\": [3]",
                                       "\"use_qalora\": true",
                                       "\"target_parameters\": [\"x\"]",
                                       "\"fan_in_fan_out\": true",
                                       "\"of_a_later_peft\": \"on\"",
                                       "\"alora_invocation_tokens\": [1]",
                                       "\"megatron_config\": {\"a\": 1}"};
    for (size_t index = 0; index < sizeof keys / sizeof *keys; index++) {
        char *rest = path_format("\"target_modules\": [\"q_proj\"], %s", keys[index]);
        char *name = path_format("'%.*s'", (int)strcspn(keys[index] + 1, "\""), keys[index] + 1);
        refuses(rest, name);
        free(name);
        free(rest);
    }
    refuses("\"target_modules\": [\"q_proj\"], \"bias\": \"lora_only\"",
            "bias \"lora_only\" is not supported");
    refuses("\"target_modules\": [\"q_proj\"], \"peft_type\": \"LOHA\"", "peft_type \"LOHA\"");
    refuses("\"target_modules\": [\"q_proj\"], \"task_type\": \"SEQ_CLS\"", "task_type \"SEQ_CLS\"");
    refuses("\"target_modules\": [\"q_proj\"], \"init_lora_weights\": \"pissa\"",
            "init_lora_weights \"pissa\"");
}

static void wrong_targets_are_refused(void **state)
{
    (void)state;
    refuses("\"target_modules\": [\"q_proj\", \"lm_head\"]", "'lm_head' is not supported");
    refuses("\"target_modules\": \".*(lm_head|q_proj)\"", "'lm_head' is not supported");
    refuses("\"target_modules\": [\"layers.0.self_attn.q_proj\"]", "q_proj in some layers and not in others");
    refuses("\"target_modules\": \".*[12].*v_proj\"", "v_proj in some layers and not in others");
    refuses("\"target_modules\": \".*(q_proj\"", "is no regular expression at character");
    refuses("\"target_modules\": \"q_proj\"", "names no linear");
    refuses("\"target_modules\": []", "names no linear");
    refuses("\"target_modules\": null", "names no linear");
    refuses("\"target_modules\": [\"q_proj\", 3]", "is no list of names");
    refuses("\"target_modules\": \"(((a?.)*)*)*[!?]\"", "takes too long");
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER, other = ERROR_INITIALIZER;
    struct lora_settings lora;
    struct transformer_settings settings = {.vocabulary = 10, .layers = 3},
                                endless = {.vocabulary = 10, .layers = (int64_t)1 << 60};
    refuses("\"target_modules\": [\"q_proj\"], \"lora_alpha\": 1", "duplicate");
    assert_false(read_config(&lora, "\"r\": 1", &error));
    char *path = inside("adapter_config.json");
    const char text[] =
        "{\"r\": 9000000000, \"lora_alpha\": 8, \"lora_dropout\": 0, \"target_modules\": [\"q_proj\"]}";
    error = ERROR_INITIALIZER;
    require(file_write(path, text, strlen(text), &error), &error);
    assert_false(checkpoint_adapter_config_read(&lora, &settings, folder, &error));
    assert_non_null(strstr(error.message, "rank r is 9000000000"));
    assert_true(!checkpoint_adapter_config_read(&lora, &endless, folder, &other));
    free(path);
}

/* A file with a table that was trained too is not taken for a plain adapter. */
static void further_tensors_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    char *adapter = adapter_folder("list"), *config = path_format("%s/adapter_config.json", adapter), *text;
    char *copy = inside("narrower"), *target = inside("narrower/adapter_config.json");
    char *weights = path_format("%s/adapter_model.safetensors", adapter),
         *link = inside("narrower/adapter_model.safetensors");
    size_t length;
    require(folder_create(copy, &error) && file_read(config, &text, &length, &error), &error);
    assert_int_equal(symlink(weights, link), 0);
    char *place = strstr(text, "\"v_proj\"");
    assert_non_null(place);
    memcpy(place, "\"q_proj\"", 8);
    require(file_write(target, text, length, &error), &error);
    assert_false(checkpoint_load(&model, backend, base, copy, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                                 FROZEN_PRECISION, false, 0, 0, 1, &error));
    assert_non_null(strstr(error.message, "v_proj.lora_A.weight' is not part of"));
    free(text);
    free(link);
    free(weights);
    free(target);
    free(copy);
    free(config);
    free(adapter);
}

/* ---- for goldens/check_adapter.py --------------------------------------------------------------------- */

static void train(struct transformer *model, const struct golden *golden)
{
    struct error error = ERROR_INITIALIZER;
    for (int64_t step = 1; step <= 5; step++) {
        accumulate(model, &golden->batch, 0.0, (uint64_t)step);
        require(
            transformer_step(model, (struct adamw){0.05f, 0.9f, 0.99f, 1e-8f, 0.0f, step}, 1.0, NULL, &error),
            &error);
    }
}

static void save_logits(struct transformer *model, const struct golden *golden, const char *path)
{
    struct error error = ERROR_INITIALIZER;
    float *logits = all_logits(model, &golden->batch);
    const struct named_tensor tensor = {
        .name = "logits",
        .tensor =
            tensor_2d(logits, DTYPE_F32, DEVICE_CPU, golden->batch.tokens, golden->settings.vocabulary)};
    require(safetensors_write(path, backend, &tensor, 1, &error), &error);
    free(logits);
}

/* Fresh adapters, trained for a few steps, below `place`, with their logits. */
static void save_trained(const char *place)
{
    for (int way = 0; way < 4; way++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = golden_open("grouped_tied");
        struct lora_settings lora = {.rank = 2 + way, .alpha = 3.5, .rank_stabilized = way % 2 == 1};
        for (int linear = 0; linear < LINEAR_COUNT; linear++)
            lora.targets[linear] = way >= 2 || linear == LINEAR_Q || linear == LINEAR_V;
        struct transformer *model;
        char *copy = path_format("%s/%d/base", place, way),
             *adapter = path_format("%s/%d/adapter", place, way);
        char *logits = path_format("%s/%d/logits.safetensors", place, way);
        require(checkpoint_load(&model, backend, base, NULL, &lora, 0, TRAIN_LORA, false, PRECISION_F32,
                                FROZEN_PRECISION, false, golden.batch.tokens, golden.batch.sequences, 4,
                                &error),
                &error);
        train(model, &golden);
        require(checkpoint_save_base(model, copy, &error) && checkpoint_save_adapter(model, adapter, &error),
                &error);
        save_logits(model, &golden, logits);
        free(logits);
        free(adapter);
        free(copy);
        transformer_free(model);
        golden_close(&golden);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 2) {
        set_up(NULL);
        save_trained(arguments[1]);
        return tear_down(NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_of_peft_give_its_results),
        cmocka_unit_test(saved_adapters_come_back),
        cmocka_unit_test(scales_follow_the_rank),
        cmocka_unit_test(targets_are_read_as_peft_reads_them),
        cmocka_unit_test(keys_without_effect_are_passed_over),
        cmocka_unit_test(what_is_lacking_is_refused_by_name),
        cmocka_unit_test(wrong_targets_are_refused),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(further_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
