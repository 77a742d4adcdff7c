#include "models/language/checkpoint_config.h"

#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint_document.h"
#include "models/language/vocabulary.h"

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
    return document_write(object, folder, "config.json", error);
}

static bool read_theta(const struct document *document, double *theta, struct error *error)
{
    const json_t *parameters = json_object_get(document->object, "rope_parameters");
    if (!json_is_object(parameters))
        return document_number(document, document->object, "rope_theta", theta, error);
    const char *type = json_string_value(json_object_get(parameters, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "rotary positions of type '%s' are not supported; choose a model without scaling",
                        type);
    return document_number(document, parameters, "rope_theta", theta, error);
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
    if (!settings->attention_bias && !document_is_off(document, "attention_bias"))
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "a llama model with attention_bias has one on o_proj too, which is not supported; choose one "
            "without");
    settings->tied = json_is_true(json_object_get(document->object, "tie_word_embeddings"));
    settings->positions = !json_is_false(json_object_get(document->object, "idrec_positions"));
    return document_refuse_unless_off(document, unsupported, (int)(sizeof unsupported / sizeof *unsupported),
                                      error);
}

static bool read_sizes(const struct document *document, struct transformer_settings *settings,
                       struct error *error)
{
    if (!document_integer(document, "vocab_size", &settings->vocabulary, error) ||
        !document_integer(document, "hidden_size", &settings->width, error) ||
        !document_integer(document, "num_hidden_layers", &settings->layers, error) ||
        !document_integer(document, "num_attention_heads", &settings->query_heads, error) ||
        !document_integer(document, "intermediate_size", &settings->hidden, error))
        return false;
    settings->key_heads = settings->query_heads;
    settings->head_width = settings->query_heads > 0 ? settings->width / settings->query_heads : 0;
    settings->classes = 0;
    return (document_is_off(document, "num_key_value_heads") ||
            document_integer(document, "num_key_value_heads", &settings->key_heads, error)) &&
           (document_is_off(document, "head_dim") ||
            document_integer(document, "head_dim", &settings->head_width, error)) &&
           (document_is_off(document, "idrec_classes") ||
            document_integer(document, "idrec_classes", &settings->classes, error));
}

bool checkpoint_config_read(struct transformer_settings *settings, const char *folder, struct error *error)
{
    struct document document;
    double theta = 0.0, epsilon = 0.0;
    *settings = (struct transformer_settings){.recompute = false};
    const bool read = document_open(&document, folder, "config.json", error) &&
                      read_architecture(&document, settings, error) &&
                      read_sizes(&document, settings, error) && read_theta(&document, &theta, error) &&
                      document_number(&document, document.object, "rms_norm_eps", &epsilon, error);
    settings->rope_theta = (float)theta;
    settings->norm_epsilon = (float)epsilon;
    document_close(&document);
    return read;
}
