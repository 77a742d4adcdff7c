/* What config.json may say: real folders' keys, and everything that has to be refused by name and value. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/language/checkpoint_config.h"
#include "tests/support.h"

#define SIZES                                                                                                \
    "\"vocab_size\": 30, \"hidden_size\": 24, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "        \
    "\"intermediate_size\": 28"
#define LLAMA "\"model_type\": \"llama\", " SIZES
#define MISTRAL "\"model_type\": \"mistral\", \"num_key_value_heads\": 2, " SIZES
#define QWEN2 "\"model_type\": \"qwen2\", \"num_key_value_heads\": 2, " SIZES
#define QWEN3 "\"model_type\": \"qwen3\", \"num_key_value_heads\": 2, " SIZES

static struct transformer_settings read(const char *text)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer_settings settings;
    require(checkpoint_config_parse(&settings, "config.json", text, strlen(text), &error), &error);
    return settings;
}

static void refuses(const char *text, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer_settings settings;
    if (checkpoint_config_parse(&settings, "config.json", text, strlen(text), &error))
        fail_msg("%s is accepted", text);
    if (strncmp(error.message, "config.json:", 12) != 0 || !strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void absent_keys_are_as_in_transformers(void **state)
{
    (void)state;
    const struct transformer_settings llama = read("{" LLAMA "}");
    assert_true(llama.rope_theta == 10000.0f && llama.norm_epsilon == 1e-6f && llama.positions);
    assert_int_equal(llama.key_heads, 4);
    assert_int_equal(llama.head_width, 6);
    assert_int_equal(llama.sequence_maximum, 0);
    assert_false(llama.tied || llama.attention_bias || llama.output_bias || llama.feed_bias);
    const struct transformer_settings mistral =
        read("{\"num_key_value_heads\": null, \"model_type\": \"mistral\", " SIZES "}");
    assert_int_equal(mistral.key_heads, 4);
    assert_int_equal(mistral.sequence_maximum, 4096);
    refuses("{\"model_type\": \"mistral\", " SIZES "}", "no multiple of the 8 of 'num_key_value_heads'");
    const struct transformer_settings qwen2 = read("{" QWEN2 "}");
    assert_true(qwen2.attention_bias && !qwen2.output_bias && !qwen2.head_norm);
    assert_int_equal(qwen2.sequence_maximum, 0);
    const struct transformer_settings qwen3 = read("{" QWEN3 "}");
    assert_true(qwen3.head_norm && !qwen3.attention_bias);
    assert_int_equal(qwen3.head_width, 128);
}

static void biases_are_where_the_family_has_them(void **state)
{
    (void)state;
    const struct transformer_settings llama =
        read("{\"attention_bias\": true, \"mlp_bias\": true, " LLAMA "}");
    assert_true(llama.attention_bias && llama.output_bias && llama.feed_bias);
    const struct transformer_settings qwen2 = read("{\"attention_bias\": true, " QWEN2 "}");
    assert_true(qwen2.attention_bias && !qwen2.output_bias);
    const struct transformer_settings qwen3 = read("{\"attention_bias\": true, " QWEN3 "}");
    assert_true(qwen3.attention_bias && qwen3.output_bias && qwen3.head_norm);
    refuses("{\"attention_bias\": true, " MISTRAL "}", "'attention_bias' is true");
    refuses("{\"mlp_bias\": true, " QWEN3 "}", "'mlp_bias' is true");
    refuses("{\"attention_bias\": \"yes\", " LLAMA "}", "'attention_bias' is \"yes\", not true or false");
}

static void the_longest_sequence_is_within_window_and_positions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t longest;
    } cases[] = {
        {"{\"max_position_embeddings\": 2048, " LLAMA "}", 2048},
        {"{\"max_position_embeddings\": 32768, \"sliding_window\": 4096, " MISTRAL "}", 4096},
        {"{\"max_position_embeddings\": 32768, \"sliding_window\": null, " MISTRAL "}", 32768},
        {"{\"max_position_embeddings\": 2048, \"sliding_window\": 4096, " MISTRAL "}", 2048},
        {"{\"sliding_window\": 300, \"use_sliding_window\": false, " QWEN2 "}", 0},
        {"{\"sliding_window\": 300, \"use_sliding_window\": true, \"max_window_layers\": 2, " QWEN2 "}", 0},
        {"{\"sliding_window\": 300, \"use_sliding_window\": true, \"max_window_layers\": 1, " QWEN2 "}", 300},
        {"{\"sliding_window\": 300, \"use_sliding_window\": true, \"max_window_layers\": 0, "
         "\"layer_types\": [\"full_attention\", \"full_attention\"], " QWEN3 "}",
         0},
        {"{\"sliding_window\": 300, \"use_sliding_window\": true, "
         "\"layer_types\": [\"full_attention\", \"sliding_attention\"], " QWEN3 "}",
         300},
        {"{\"sliding_window\": 300, " LLAMA "}", 300},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++)
        assert_int_equal(read(cases[index].text).sequence_maximum, cases[index].longest);
    refuses("{\"layer_types\": [\"chunked_attention\"], " QWEN3 "}",
            "'layer_types' is \"chunked_attention\"");
    refuses("{\"layer_types\": [\"sliding_attention\"], " QWEN3 "}", "without a sliding_window");
    refuses("{\"layer_types\": 3, " QWEN3 "}", "'layer_types' is 3, no list");
    refuses("{\"sliding_window\": 0, " MISTRAL "}", "'sliding_window' is 0; at least 1");
}

static void positions_are_scaled(void **state)
{
    (void)state;
    const struct transformer_settings old =
        read("{\"rope_theta\": 5e5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, " LLAMA "}");
    assert_true(old.rope_theta == 5e5f && old.rope_scaling.type == ROPE_LINEAR &&
                old.rope_scaling.factor == 2.0);
    const struct transformer_settings new = read(
        "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 5e5, \"factor\": 8, "
        "\"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}, " LLAMA
        "}");
    assert_true(new.rope_theta == 5e5f && new.rope_scaling.type == ROPE_LLAMA3);
    assert_int_equal(new.rope_scaling.original_positions, 8192);
    assert_true(read("{\"rope_scaling\": null, \"rope_parameters\": {\"rope_type\": \"default\"}, " LLAMA "}")
                    .rope_scaling.type == ROPE_DEFAULT);
    refuses("{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}, " LLAMA "}",
            "'rope_scaling' asks for rotary positions of type 'yarn'");
    refuses("{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4}, " LLAMA "}", "of type 'dynamic'");
    refuses("{\"rope_parameters\": {\"rope_type\": \"longrope\"}, " LLAMA "}", "of type 'longrope'");
    refuses("{\"rope_scaling\": {\"type\": \"linear\"}, " LLAMA "}", "'factor' is missing");
    refuses("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}, " LLAMA "}",
            "'factor' is 0, not greater");
    refuses("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"attention_factor\": 1.5}, " LLAMA "}",
            "'rope_scaling.attention_factor' is 1.5");
    refuses("{\"rope_scaling\": {\"factor\": 2}, " LLAMA "}", "without a rope_type");
    refuses("{\"rope_scaling\": \"linear\", " LLAMA "}", "'rope_scaling' is \"linear\", no object");
    refuses("{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
            "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}, " LLAMA "}",
            "low_freq_factor not below");
    refuses("{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
            "\"high_freq_factor\": 4}, " LLAMA "}",
            "original_max_position_embeddings' is missing");
    refuses(
        "{\"rope_theta\": 1e4, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 1e6}, " LLAMA
        "}",
        "'rope_theta' is 10000 and, in rope_parameters, 1e+06");
    refuses("{\"rope_scaling\": {\"type\": \"default\"}, \"rope_parameters\": {\"rope_type\": "
            "\"default\"}, " LLAMA "}",
            "both say");
    refuses("{\"rope_theta\": -1, " LLAMA "}", "'rope_theta' is -1, not greater than 0");
}

static void what_is_lacking_is_refused_by_name_and_value(void **state)
{
    (void)state;
    static const char *const keys[][2] = {
        {"\"hidden_act\": \"gelu_pytorch_tanh\"", "'hidden_act' is \"gelu_pytorch_tanh\""},
        {"\"final_logit_softcapping\": 30.0", "'final_logit_softcapping' is 30.0"},
        {"\"attn_logit_softcapping\": 50.0", "'attn_logit_softcapping' is 50.0"},
        {"\"partial_rotary_factor\": 0.5", "'partial_rotary_factor' is 0.5"},
        {"\"num_local_experts\": 8", "'num_local_experts' is 8"},
        {"\"quantization_config\": {\"quant_method\": \"gptq\"}",
         "'quantization_config' is {\"quant_method\":\"gptq\"}"},
        {"\"attention_multiplier\": 0.01", "'attention_multiplier' is 0.01"},
        {"\"attention_dropout\": 0.1", "'attention_dropout' is 0.1"},
        {"\"auto_map\": {\"AutoModel\": \"m.M\"}", "'auto_map' is"},
        {"\"something_new\": 0", "'something_new' is 0"},
        {"\"tie_word_embeddings\": 1", "'tie_word_embeddings' is 1, not true or false"},
    };
    for (size_t index = 0; index < sizeof keys / sizeof *keys; index++) {
        char text[600];
        snprintf(text, sizeof text, "{%s, " LLAMA "}", keys[index][0]);
        refuses(text, keys[index][1]);
    }
    refuses("{\"model_type\": \"gemma2\", " SIZES "}", "model_type 'gemma2' is not supported");
    refuses("{\"model_type\": 3, " SIZES "}", "model_type '' is not supported");
    refuses("{" SIZES "}", "model_type '' is not supported");
}

/* Off or of the value that changes nothing, or known to concern something else. */
static void what_changes_nothing_is_accepted(void **state)
{
    (void)state;
    read("{\"final_logit_softcapping\": null, \"partial_rotary_factor\": 1.0, \"attention_dropout\": 0, "
         "\"quantization_config\": {}, \"use_mrope\": false, \"hidden_act\": \"silu\", \"_name_or_path\": "
         "\"x\", "
         "\"torch_dtype\": \"bfloat16\", \"eos_token_id\": [1, 2], \"temperature\": 0.6, \"pretraining_tp\": "
         "2, "
         "\"transformers_version\": \"4.31.0\", \"transformers.js_config\": {\"dtype\": \"q4\"}, " LLAMA "}");
}

/* A llama whose key `name` has another value. */
static void refuses_size(const char *name, const char *value, const char *part)
{
    static const char *const keys[][2] = {
        {"vocab_size", "30"},         {"hidden_size", "24"},       {"num_hidden_layers", "2"},
        {"num_attention_heads", "4"}, {"intermediate_size", "28"}, {"num_key_value_heads", "null"},
        {"head_dim", "null"},         {"rms_norm_eps", "1e-5"},    {"idrec_classes", "null"}};
    char text[600] = "{\"model_type\": \"llama\"";
    for (size_t key = 0; key < sizeof keys / sizeof *keys; key++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, ", \"%s\": %s", keys[key][0],
                 strcmp(keys[key][0], name) == 0 ? value : keys[key][1]);
    }
    strcat(text, "}");
    refuses(text, part);
}

static void sizes_out_of_bounds_are_refused(void **state)
{
    (void)state;
    refuses_size("vocab_size", "4611686018427387904",
                 "'vocab_size' is 4611686018427387904; at least 1 and at");
    refuses_size("vocab_size", "99999999999999999999", "is no JSON object");
    refuses_size("vocab_size", "0", "'vocab_size' is 0");
    refuses_size("vocab_size", "30.0", "'vocab_size' is missing or no whole number");
    refuses_size("hidden_size", "-1", "'hidden_size' is -1");
    refuses_size("hidden_size", "25", "'hidden_size' is 25, no multiple of the 4");
    refuses_size("num_hidden_layers", "1000000000",
                 "'num_hidden_layers' is 1000000000; at least 1 and at most 4096");
    refuses_size("num_attention_heads", "0", "'num_attention_heads' is 0");
    refuses_size("num_key_value_heads", "3", "no multiple of the 3 of 'num_key_value_heads'");
    refuses_size("num_key_value_heads", "0", "'num_key_value_heads' is 0");
    refuses_size("head_dim", "0", "'head_dim' is 0");
    refuses_size("head_dim", "5", "heads of 5 dimensions");
    refuses_size("head_dim", "4098", "'head_dim' is 4098; at least 1 and at most 4096");
    refuses_size("intermediate_size", "9223372036854775807", "'intermediate_size' is 9223372036854775807");
    refuses_size("idrec_classes", "31", "'idrec_classes' is 31; at least 1 and at most 30");
    refuses_size("rms_norm_eps", "0", "'rms_norm_eps' is 0, not greater than 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(absent_keys_are_as_in_transformers),
                                       cmocka_unit_test(biases_are_where_the_family_has_them),
                                       cmocka_unit_test(the_longest_sequence_is_within_window_and_positions),
                                       cmocka_unit_test(positions_are_scaled),
                                       cmocka_unit_test(what_is_lacking_is_refused_by_name_and_value),
                                       cmocka_unit_test(what_changes_nothing_is_accepted),
                                       cmocka_unit_test(sizes_out_of_bounds_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
