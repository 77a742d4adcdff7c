#include "models/language/checkpoint_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint_document.h"
#include "models/language/checkpoint_keys.h"
#include "models/language/vocabulary.h"

/* A model_type, and what its configuration class takes for a key that is absent. */
static const struct family {
    const char *type, *architecture;
    int64_t key_heads, head_width; /* 0: as many as query heads; width / heads */
    int64_t window;                /* 0: none */
    bool window_is_asked_for;      /* by use_sliding_window, without which it is off */
    bool biases_queries;           /* always on q, k, v, whatever attention_bias says */
    bool has_feed_bias, has_head_norm;
} families[] = {
    {.type = "llama", .architecture = "LlamaForCausalLM", .has_feed_bias = true},
    {.type = "mistral", .architecture = "MistralForCausalLM", .key_heads = 8, .window = 4096},
    {.type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .key_heads = 32,
     .window = 4096,
     .window_is_asked_for = true,
     .biases_queries = true},
    {.type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .key_heads = 32,
     .head_width = 128,
     .window = 4096,
     .window_is_asked_for = true,
     .has_head_norm = true},
};

static const struct family *find_family(const char *type)
{
    for (size_t index = 0; index < sizeof families / sizeof *families; index++)
        if (strcmp(families[index].type, type) == 0)
            return &families[index];
    return NULL;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

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

static json_t *scaling_object(const struct rope_scaling *scaling)
{
    switch (scaling->type) {
    case ROPE_DEFAULT:
        break;
    case ROPE_LINEAR:
        return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", scaling->factor);
    case ROPE_LLAMA3:
        return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", scaling->factor,
                         "low_freq_factor", scaling->low_frequency_factor, "high_freq_factor",
                         scaling->high_frequency_factor, "original_max_position_embeddings",
                         (json_int_t)scaling->original_positions);
    }
    return json_null();
}

static json_t *token_value(int32_t token)
{
    return token < 0 ? json_null() : json_integer(token);
}

bool checkpoint_config_write(const struct transformer_settings *settings, enum dtype dtype,
                             const char *folder, struct error *error)
{
    const struct family *const family = find_family(transformer_family(settings));
    const json_int_t positions =
        settings->sequence_maximum > 0 ? (json_int_t)settings->sequence_maximum : (json_int_t)1 << 20;
    json_t *object = json_pack(
        "{s:[s], s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:b, s:b, s:b, s:o, "
        "s:o, s:b, s:I}",
        "architectures", family->architecture, "model_type", family->type, "torch_dtype",
        dtype == DTYPE_BF16 ? "bfloat16" : "float32", "hidden_act", "silu", "vocab_size",
        (json_int_t)settings->vocabulary, "hidden_size", (json_int_t)settings->width, "num_hidden_layers",
        (json_int_t)settings->layers, "num_attention_heads", (json_int_t)settings->query_heads,
        "num_key_value_heads", (json_int_t)settings->key_heads, "head_dim", (json_int_t)settings->head_width,
        "intermediate_size", (json_int_t)settings->hidden, "max_position_embeddings", positions,
        "rms_norm_eps", short_decimal(settings->norm_epsilon), "rope_theta",
        short_decimal(settings->rope_theta), "rope_scaling", scaling_object(&settings->rope_scaling),
        "tie_word_embeddings", settings->tied, "attention_bias", settings->attention_bias, "mlp_bias",
        settings->feed_bias, "bos_token_id", token_value(settings->begin), "eos_token_id",
        token_value(settings->end), "idrec_positions", settings->positions, "idrec_classes",
        (json_int_t)settings->classes);
    return document_write(object, folder, "config.json", error);
}

/* ---- values ------------------------------------------------------------------------------------------- */

/* Leaves *value as it is when the key is absent. */
static bool read_boolean(const struct document *document, const char *key, bool *value, struct error *error)
{
    const json_t *found = json_object_get(document->object, key);
    if (!found || json_is_null(found))
        return true;
    if (!json_is_boolean(found))
        return checkpoint_key_refuse(document, key, found, "not true or false; get the file anew", error);
    *value = json_is_true(found);
    return true;
}

static bool check_size(const struct document *document, const char *key, int64_t value, int64_t most,
                       struct error *error)
{
    return (value >= 1 && value <= most) || error_at(error, ERROR_RUN, document->path, 0,
                                                     "'%s' is %lld; at least 1 and at most %lld can be used",
                                                     key, (long long)value, (long long)most);
}

/* A size from 1 to `most`; the key has to be there. */
static bool read_size(const struct document *document, const char *key, int64_t *value, int64_t most,
                      struct error *error)
{
    return document_integer(document, key, value, error) && check_size(document, key, *value, most, error);
}

/* Absent: *value is left as it is; null: `none`. */
static bool read_optional_size(const struct document *document, const char *key, int64_t *value, int64_t none,
                               int64_t most, struct error *error)
{
    const json_t *found = json_object_get(document->object, key);
    if (json_is_null(found))
        *value = none;
    return !found || json_is_null(found) || read_size(document, key, value, most, error);
}

/* A number greater than 0 that a float holds. */
static bool read_positive(const struct document *document, const json_t *object, const char *key,
                          double *value, struct error *error)
{
    return document_number(document, object, key, value, error) &&
           (((float)*value > 0.0f && isfinite((float)*value)) ||
            checkpoint_key_refuse(document, key, json_object_get(object, key),
                                  "not greater than 0; get the file anew", error));
}

/* ---- rotary positions --------------------------------------------------------------------------------- */

static bool read_llama3(const struct document *document, const char *name, const json_t *object,
                        struct rope_scaling *scaling, struct error *error)
{
    const json_t *original = json_object_get(object, "original_max_position_embeddings");
    if (!json_is_integer(original) || json_integer_value(original) < 1 ||
        json_integer_value(original) > INT32_MAX)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s.original_max_position_embeddings' is missing or no number of tokens; get the "
                        "file anew",
                        name);
    scaling->original_positions = json_integer_value(original);
    if (!read_positive(document, object, "low_freq_factor", &scaling->low_frequency_factor, error) ||
        !read_positive(document, object, "high_freq_factor", &scaling->high_frequency_factor, error))
        return false;
    return scaling->low_frequency_factor < scaling->high_frequency_factor ||
           checkpoint_key_refuse(document, name, object,
                                 "with low_freq_factor not below high_freq_factor; get the file anew", error);
}

/* `object` is rope_scaling or, from transformers 5 on, rope_parameters. */
static bool read_scaling(const struct document *document, const char *name, const json_t *object,
                         struct rope_scaling *scaling, struct error *error)
{
    const json_t *found = json_object_get(object, "rope_type");
    const char *type = json_string_value(found ? found : json_object_get(object, "type"));
    if (!type)
        return checkpoint_key_refuse(document, name, object, "without a rope_type; get the file anew", error);
    if (strcmp(type, "default") != 0 && strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' asks for rotary positions of type '%.40s', which is not supported; default, "
                        "linear and llama3 are",
                        name, type);
    if (!checkpoint_rope_keys_check(document, name, object, error))
        return false;
    scaling->type = strcmp(type, "linear") == 0   ? ROPE_LINEAR
                    : strcmp(type, "llama3") == 0 ? ROPE_LLAMA3
                                                  : ROPE_DEFAULT;
    return scaling->type == ROPE_DEFAULT ||
           (read_positive(document, object, "factor", &scaling->factor, error) &&
            (scaling->type == ROPE_LINEAR || read_llama3(document, name, object, scaling, error)));
}

/* The base may stand in rope_parameters, beside it, or nowhere. */
static bool read_theta(const struct document *document, const json_t *parameters, float *theta,
                       struct error *error)
{
    double inside = 10000.0, outside = 10000.0;
    const json_t *const object = document->object;
    const bool has_inside = json_object_get(parameters, "rope_theta");
    const bool has_outside = !document_is_off(document, "rope_theta");
    if ((has_inside && !read_positive(document, parameters, "rope_theta", &inside, error)) ||
        (has_outside && !read_positive(document, object, "rope_theta", &outside, error)))
        return false;
    *theta = (float)(has_inside ? inside : outside);
    return !has_inside || !has_outside || (float)inside == (float)outside ||
           error_at(error, ERROR_RUN, document->path, 0,
                    "'rope_theta' is %g and, in rope_parameters, %g; remove the wrong one", outside, inside);
}

static bool read_positions(const struct document *document, struct transformer_settings *settings,
                           struct error *error)
{
    const bool old = !document_is_off(document, "rope_scaling");
    const bool new = !document_is_off(document, "rope_parameters");
    const char *name = old ? "rope_scaling" : "rope_parameters";
    const json_t *object = old || new ? json_object_get(document->object, name) : NULL;
    if (old && new)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'rope_scaling' and 'rope_parameters' both say how positions turn; remove one");
    if (object && !json_is_object(object))
        return checkpoint_key_refuse(document, name, object, "no object; get the file anew", error);
    settings->positions = true;
    if (!read_boolean(document, "idrec_positions", &settings->positions, error))
        return false;
    if (settings->positions && settings->head_width % 2 != 0)
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "heads of %lld dimensions cannot be turned by their positions, which goes by pairs; get "
            "the file anew",
            (long long)settings->head_width);
    return read_theta(document, object, &settings->rope_theta, error) &&
           (!object || read_scaling(document, name, object, &settings->rope_scaling, error));
}

/* ---- the longest sequence ----------------------------------------------------------------------------- */

/* Whether layers attend to a window only: all where layer_types does not say otherwise. */
static bool read_layer_types(const struct document *document, bool *sliding, struct error *error)
{
    const json_t *types = json_object_get(document->object, "layer_types"), *type;
    size_t index;
    if (document_value_is_off(types))
        return true;
    if (!json_is_array(types))
        return checkpoint_key_refuse(document, "layer_types", types, "no list; get the file anew", error);
    *sliding = false;
    json_array_foreach(types, index, type)
    {
        const char *text = json_is_string(type) ? json_string_value(type) : "";
        if (strcmp(text, "sliding_attention") == 0)
            *sliding = true;
        else if (strcmp(text, "full_attention") != 0)
            return checkpoint_key_refuse(document, "layer_types", type,
                                         "which is not supported; full_attention and sliding_attention are",
                                         error);
    }
    return true;
}

/* *window = 0 when no layer has one. */
static bool read_window(const struct document *document, const struct family *family, int64_t layers,
                        int64_t *window, struct error *error)
{
    bool asked = !family->window_is_asked_for, listed = true;
    int64_t first = 28; /* the layer from which Qwen's slide */
    const bool has_types = !document_is_off(document, "layer_types");
    *window = family->window;
    if (!read_optional_size(document, "sliding_window", window, 0, INT32_MAX, error) ||
        !read_layer_types(document, &listed, error))
        return false;
    if (family->window_is_asked_for) {
        const json_t *found = json_object_get(document->object, "max_window_layers");
        first = json_is_integer(found) ? (int64_t)json_integer_value(found) : first;
        if (!read_boolean(document, "use_sliding_window", &asked, error))
            return false;
        if (has_types && listed && !asked)
            *window = 0;
        asked = asked && (has_types ? listed : first < layers);
    }
    if (has_types && listed && *window == 0)
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "'layer_types' has sliding_attention without a sliding_window in use; get the file anew");
    if (!asked)
        *window = 0;
    return true;
}

static bool read_longest(const struct document *document, const struct family *family,
                         struct transformer_settings *settings, struct error *error)
{
    int64_t window, positions = 0;
    if (!read_window(document, family, settings->layers, &window, error) ||
        !read_optional_size(document, "max_position_embeddings", &positions, 0, INT32_MAX, error))
        return false;
    settings->sequence_maximum = window > 0 && (positions == 0 || window < positions) ? window : positions;
    return true;
}

/* ---- the rest ----------------------------------------------------------------------------------------- */

static bool read_family(const struct document *document, const struct family **family, struct error *error)
{
    const char *type = json_string_value(json_object_get(document->object, "model_type"));
    *family = type ? find_family(type) : NULL;
    return *family || error_at(error, ERROR_RUN, document->path, 0,
                               "model_type '%.40s' is not supported; llama, mistral, qwen2 and qwen3 are",
                               type ? type : "");
}

static bool read_biases(const struct document *document, const struct family *family,
                        struct transformer_settings *settings, struct error *error)
{
    bool attention = false;
    if (!read_boolean(document, "attention_bias", &attention, error) ||
        !read_boolean(document, "mlp_bias", &settings->feed_bias, error) ||
        !read_boolean(document, "tie_word_embeddings", &settings->tied, error))
        return false;
    settings->head_norm = family->has_head_norm;
    settings->attention_bias = attention || family->biases_queries;
    settings->output_bias = attention && !family->biases_queries;
    if (settings->feed_bias && !family->has_feed_bias)
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'mlp_bias' is true, which no model of type %s has; get the file anew", family->type);
    return !attention || strcmp(family->type, "mistral") != 0 ||
           error_at(error, ERROR_RUN, document->path, 0,
                    "'attention_bias' is true, which no model of type mistral has; get the file anew");
}

static bool read_heads(const struct document *document, const struct family *family,
                       struct transformer_settings *settings, struct error *error)
{
    const int64_t heads = settings->query_heads, width = settings->width;
    settings->key_heads = family->key_heads > 0 ? family->key_heads : heads;
    settings->head_width = family->head_width > 0 ? family->head_width : width / heads;
    if (!read_optional_size(document, "num_key_value_heads", &settings->key_heads, heads, 4096, error) ||
        !read_optional_size(document, "head_dim", &settings->head_width, width / heads, 4096, error))
        return false;
    if (heads % settings->key_heads != 0)
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "'num_attention_heads' is %lld, no multiple of the %lld of 'num_key_value_heads'; get "
            "the file anew",
            (long long)heads, (long long)settings->key_heads);
    if (document_is_off(document, "head_dim") && family->head_width == 0 && width % heads != 0)
        return error_at(
            error, ERROR_RUN, document->path, 0,
            "'hidden_size' is %lld, no multiple of the %lld of 'num_attention_heads', and there is "
            "no 'head_dim'; get the file anew",
            (long long)width, (long long)heads);
    return check_size(document, "head_dim", settings->head_width, 4096, error);
}

static bool read_sizes(const struct document *document, const struct family *family,
                       struct transformer_settings *settings, struct error *error)
{
    const int64_t million = 1 << 20;
    if (!read_size(document, "vocab_size", &settings->vocabulary, INT32_MAX, error) ||
        !read_size(document, "hidden_size", &settings->width, million, error) ||
        !read_size(document, "num_hidden_layers", &settings->layers, 4096, error) ||
        !read_size(document, "num_attention_heads", &settings->query_heads, 4096, error) ||
        !read_size(document, "intermediate_size", &settings->hidden, million, error) ||
        !read_heads(document, family, settings, error))
        return false;
    settings->classes = 0;
    return document_is_off(document, "idrec_classes") ||
           read_size(document, "idrec_classes", &settings->classes, settings->vocabulary, error);
}

static bool read_norm(const struct document *document, struct transformer_settings *settings,
                      struct error *error)
{
    double epsilon = 1e-6;
    const bool read = document_is_off(document, "rms_norm_eps") ||
                      read_positive(document, document->object, "rms_norm_eps", &epsilon, error);
    settings->norm_epsilon = (float)epsilon;
    return read;
}

/* Of several tokens the first. */
static int32_t read_token(const struct document *document, const char *key)
{
    const json_t *found = json_object_get(document->object, key);
    found = json_is_array(found) ? json_array_get(found, 0) : found;
    const json_int_t token = json_is_integer(found) ? json_integer_value(found) : -1;
    return token >= 0 && token <= INT32_MAX ? (int32_t)token : -1;
}

static bool read_document(const struct document *document, struct transformer_settings *settings,
                          struct error *error)
{
    const struct family *family;
    *settings = (struct transformer_settings){.begin = read_token(document, "bos_token_id"),
                                              .end = read_token(document, "eos_token_id")};
    return read_family(document, &family, error) && checkpoint_keys_check(document, error) &&
           read_biases(document, family, settings, error) && read_sizes(document, family, settings, error) &&
           read_positions(document, settings, error) && read_longest(document, family, settings, error) &&
           read_norm(document, settings, error);
}

bool checkpoint_config_read(struct transformer_settings *settings, const char *folder, struct error *error)
{
    struct document document;
    const bool read =
        document_open(&document, folder, "config.json", error) && read_document(&document, settings, error);
    document_close(&document);
    return read;
}

bool checkpoint_config_parse(struct transformer_settings *settings, const char *path, const char *text,
                             size_t length, struct error *error)
{
    struct document document;
    const bool read =
        document_parse(&document, path, text, length, error) && read_document(&document, settings, error);
    document_close(&document);
    return read;
}
