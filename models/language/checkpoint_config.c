#include "models/language/checkpoint_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/layer.h"
#include "models/language/vocabulary.h"

/* ---- files -------------------------------------------------------------------------------------------- */

/* Frees `object`; NULL counts as lack of memory. */
static bool write_json(json_t *object, const char *folder, const char *file, struct error *error)
{
    char *path = path_format("%s/%s", folder, file);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    const bool written =
        text ? file_write(path, text, strlen(text), error) : error_memory(error, path, 4096, NULL);
    free(text);
    free(path);
    json_decref(object);
    return written;
}

/* A JSON object and the path it came from, for messages. */
struct document {
    char *path;
    json_t *object;
};

static bool document_open(struct document *document, const char *folder, const char *file,
                          struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    json_error_t reason;
    document->path = path_format("%s/%s", folder, file);
    document->object = NULL;
    if (!file_read(document->path, &text, &length, error))
        return false;
    document->object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &reason);
    free(text);
    if (json_is_object(document->object))
        return true;
    return error_at(error, ERROR_RUN, document->path, document->object ? 0 : reason.line,
                    "is no JSON object (%s); get the file anew",
                    document->object ? "another value" : reason.text);
}

static void document_close(struct document *document)
{
    json_decref(document->object);
    free(document->path);
}

static bool read_integer(const struct document *document, const char *key, int64_t *value,
                         struct error *error)
{
    const json_t *found = json_object_get(document->object, key);
    if (!json_is_integer(found))
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' is missing or no whole number; get the file anew", key);
    *value = json_integer_value(found);
    return true;
}

static bool read_number(const struct document *document, const json_t *object, const char *key, double *value,
                        struct error *error)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_number(found))
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' is missing or no number; get the file anew", key);
    *value = json_number_value(found);
    return true;
}

/* True when the key is absent, null, false, an empty object or "": whatever it asks for is off. */
static bool is_off(const struct document *document, const char *key)
{
    const json_t *found = json_object_get(document->object, key);
    return !found || json_is_null(found) || json_is_false(found) ||
           (json_is_object(found) && json_object_size(found) == 0) ||
           (json_is_string(found) && json_string_length(found) == 0);
}

static bool refuse_unless_off(const struct document *document, const char *const *keys, int count,
                              struct error *error)
{
    for (int key = 0; key < count; key++)
        if (!is_off(document, keys[key]))
            return error_at(error, ERROR_RUN, document->path, 0,
                            "'%s' is not supported; choose a model without it", keys[key]);
    return true;
}

/* ---- models ------------------------------------------------------------------------------------------- */

/* The double with the fewest digits that still is this float. */
static double short_decimal(float value)
{
    char text[32];
    double decimal = (double)value;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        decimal = strtod(text, NULL);
        if ((float)decimal == value)
            break;
    }
    return decimal;
}

bool checkpoint_config_write(const struct transformer_settings *settings, enum dtype dtype,
                             const char *folder, struct error *error)
{
    const bool bias = settings->attention_bias;
    json_t *object = json_pack(
        "{s:[s], s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:b, s:b, s:i, s:i, "
        "s:b, s:I}",
        "architectures", bias ? "Qwen2ForCausalLM" : "LlamaForCausalLM", "model_type",
        bias ? "qwen2" : "llama", "torch_dtype", dtype == DTYPE_BF16 ? "bfloat16" : "float32", "hidden_act",
        "silu", "vocab_size", (json_int_t)settings->vocabulary, "hidden_size", (json_int_t)settings->width,
        "num_hidden_layers", (json_int_t)settings->layers, "num_attention_heads",
        (json_int_t)settings->query_heads, "num_key_value_heads", (json_int_t)settings->key_heads, "head_dim",
        (json_int_t)settings->head_width, "intermediate_size", (json_int_t)settings->hidden,
        "max_position_embeddings", (json_int_t)1 << 20, "rms_norm_eps", short_decimal(settings->norm_epsilon),
        "rope_theta", short_decimal(settings->rope_theta), "tie_word_embeddings", settings->tied,
        "attention_bias", bias, "mlp_bias", false, "bos_token_id", TOKEN_BEGIN, "eos_token_id", TOKEN_END,
        "idrec_positions", settings->positions, "idrec_classes", (json_int_t)settings->classes);
    return write_json(object, folder, "config.json", error);
}

static bool read_theta(const struct document *document, double *theta, struct error *error)
{
    const json_t *parameters = json_object_get(document->object, "rope_parameters");
    if (!json_is_object(parameters))
        return read_number(document, document->object, "rope_theta", theta, error);
    const char *type = json_string_value(json_object_get(parameters, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "rotary positions of type '%s' are not supported; choose a model without scaling",
                        type);
    return read_number(document, parameters, "rope_theta", theta, error);
}

static bool read_architecture(const struct document *document, struct transformer_settings *settings,
                              struct error *error)
{
    static const char *const unsupported[] = {"rope_scaling", "mlp_bias", "use_sliding_window"};
    const char *type = json_string_value(json_object_get(document->object, "model_type"));
    const char *activation = json_string_value(json_object_get(document->object, "hidden_act"));
    if (!type || (strcmp(type, "llama") != 0 && strcmp(type, "qwen2") != 0))
        return error_at(error, ERROR_RUN, document->path, 0,
                        "model_type '%s' is not supported; llama and qwen2 are", type ? type : "");
    if (!activation || strcmp(activation, "silu") != 0)
        return error_at(error, ERROR_RUN, document->path, 0, "hidden_act '%s' is not supported; silu is",
                        activation ? activation : "");
    settings->attention_bias = strcmp(type, "qwen2") == 0;
    if (!settings->attention_bias && !is_off(document, "attention_bias"))
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "a llama model with attention_bias has one on o_proj too, which is not supported; choose one "
            "without");
    settings->tied = json_is_true(json_object_get(document->object, "tie_word_embeddings"));
    settings->positions = !json_is_false(json_object_get(document->object, "idrec_positions"));
    return refuse_unless_off(document, unsupported, (int)(sizeof unsupported / sizeof *unsupported), error);
}

static bool read_sizes(const struct document *document, struct transformer_settings *settings,
                       struct error *error)
{
    if (!read_integer(document, "vocab_size", &settings->vocabulary, error) ||
        !read_integer(document, "hidden_size", &settings->width, error) ||
        !read_integer(document, "num_hidden_layers", &settings->layers, error) ||
        !read_integer(document, "num_attention_heads", &settings->query_heads, error) ||
        !read_integer(document, "intermediate_size", &settings->hidden, error))
        return false;
    settings->key_heads = settings->query_heads;
    settings->head_width = settings->query_heads > 0 ? settings->width / settings->query_heads : 0;
    settings->classes = 0;
    return (is_off(document, "num_key_value_heads") ||
            read_integer(document, "num_key_value_heads", &settings->key_heads, error)) &&
           (is_off(document, "head_dim") ||
            read_integer(document, "head_dim", &settings->head_width, error)) &&
           (is_off(document, "idrec_classes") ||
            read_integer(document, "idrec_classes", &settings->classes, error));
}

bool checkpoint_config_read(struct transformer_settings *settings, const char *folder, struct error *error)
{
    struct document document;
    double theta = 0.0, epsilon = 0.0;
    *settings = (struct transformer_settings){.recompute = false};
    const bool read = document_open(&document, folder, "config.json", error) &&
                      read_architecture(&document, settings, error) &&
                      read_sizes(&document, settings, error) && read_theta(&document, &theta, error) &&
                      read_number(&document, document.object, "rms_norm_eps", &epsilon, error);
    settings->rope_theta = (float)theta;
    settings->norm_epsilon = (float)epsilon;
    document_close(&document);
    return read;
}

/* ---- adapters ----------------------------------------------------------------------------------------- */

/* "q_proj": the linear's name in peft's target_modules. */
static const char *target_name(enum linear linear)
{
    return strchr(linear_module(linear), '.') + 1;
}

bool checkpoint_adapter_config_write(const struct lora_settings *lora, const char *folder,
                                     struct error *error)
{
    json_t *targets = json_array();
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        if (lora->targets[linear])
            json_array_append_new(targets, json_string(target_name((enum linear)linear)));
    json_t *object = json_pack(
        "{s:s, s:s, s:n, s:I, s:f, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:n}", "peft_type", "LORA", "task_type",
        "CAUSAL_LM", "base_model_name_or_path", "r", (json_int_t)lora->rank, "lora_alpha", lora->alpha,
        "lora_dropout", lora->dropout, "target_modules", targets, "bias", "none", "fan_in_fan_out", false,
        "inference_mode", true, "use_rslora", false, "use_dora", false, "modules_to_save");
    return write_json(object, folder, "adapter_config.json", error);
}

static bool read_targets(const struct document *document, struct lora_settings *lora, struct error *error)
{
    const json_t *targets = json_object_get(document->object, "target_modules");
    size_t index;
    const json_t *target;
    if (json_array_size(targets) == 0)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'target_modules' is no list of linears; name them there");
    json_array_foreach(targets, index, target)
    {
        int linear = 0;
        const char *name = json_string_value(target);
        while (name && linear < LINEAR_COUNT && strcmp(name, target_name((enum linear)linear)) != 0)
            linear++;
        if (!name || linear == LINEAR_COUNT)
            return error_at(
                error, ERROR_RUN, document->path, 0,
                "an adapter on '%s' is not supported; q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj "
                "and down_proj are",
                name ? name : "");
        lora->targets[linear] = true;
    }
    return true;
}

bool checkpoint_adapter_config_read(struct lora_settings *lora, const char *folder, struct error *error)
{
    static const char *const unsupported[] = {"use_rslora",          "use_dora",     "fan_in_fan_out",
                                              "modules_to_save",     "rank_pattern", "alpha_pattern",
                                              "layers_to_transform", "lora_bias",    "layer_replication",
                                              "use_qalora"};
    struct document document;
    *lora = (struct lora_settings){.rank = 0};
    bool read =
        document_open(&document, folder, "adapter_config.json", error) &&
        refuse_unless_off(&document, unsupported, (int)(sizeof unsupported / sizeof *unsupported), error) &&
        read_integer(&document, "r", &lora->rank, error) &&
        read_number(&document, document.object, "lora_alpha", &lora->alpha, error) &&
        read_number(&document, document.object, "lora_dropout", &lora->dropout, error) &&
        read_targets(&document, lora, error);
    if (read && lora->rank < 1)
        read = error_at(error, ERROR_RUN, document.path, 0, "the rank r is %lld; at least 1 is expected",
                        (long long)lora->rank);
    document_close(&document);
    return read;
}
