#include "models/language/checkpoint_keys.h"

#include <stdlib.h>
#include <string.h>

static const char *const read_keys[] = {
    "attention_bias",     "head_dim",
    "hidden_size",        "idrec_classes",
    "idrec_positions",    "intermediate_size",
    "layer_types",        "max_position_embeddings",
    "max_window_layers",  "mlp_bias",
    "model_type",         "num_attention_heads",
    "num_hidden_layers",  "num_key_value_heads",
    "rms_norm_eps",       "rope_parameters",
    "rope_scaling",       "rope_theta",
    "sliding_window",     "tie_word_embeddings",
    "use_sliding_window", "vocab_size",
};

static const char *const harmless_keys[] = {
    /* where it comes from, and how it was stored */
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
    "_flash_attn_2_enabled", "_name_or_path", "architectures", "attn_implementation", "dtype",
    "is_llama_config", "model_name", "name_or_path", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers.js_config", "transformers_version", "unsloth_fixed", "unsloth_version", "use_bfloat16",
    /* tokens */
    "bos_token_id", "decoder_start_token_id", "eos_token_id", "mask_token_id", "pad_token_id", "prefix",
    "sep_token_id", "unk_token_id",
    /* training, tasks and what is returned */
    "finetuning_task", "id2label", "initializer_range", "keys_to_ignore_at_inference", "label2id",
    "loss_type", "num_labels", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
    "task_specific_params", "tf_legacy_loss", "use_return_dict",
    /* how fast it is computed */
    "cache_implementation", "chunk_size_feed_forward", "is_decoder", "pretraining_tp", "use_cache",
    /* sampling */
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "temperature", "top_k", "top_p", "typical_p"};

/* Keys that may be off, or of one value with which they change nothing. */
static const struct neutral {
    const char *key;
    double number;
    const char *text; /* NULL: the number counts */
} neutral_keys[] = {
    {"attention_dropout", 0.0, NULL}, {"dropout", 0.0, NULL},        {"embd_pdrop", 0.0, NULL},
    {"hidden_act", 0.0, "silu"},      {"hidden_dropout", 0.0, NULL}, {"partial_rotary_factor", 1.0, NULL},
    {"resid_pdrop", 0.0, NULL},
};

static const char *const rope_keys[] = {"factor",
                                        "high_freq_factor",
                                        "low_freq_factor",
                                        "original_max_position_embeddings",
                                        "rope_theta",
                                        "rope_type",
                                        "type"};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static bool is_among(const char *key, const char *const *keys, size_t count)
{
    for (size_t index = 0; index < count; index++)
        if (strcmp(keys[index], key) == 0)
            return true;
    return false;
}

static bool is_neutral(const char *key, const json_t *value)
{
    for (size_t index = 0; index < COUNT(neutral_keys); index++) {
        const struct neutral *const neutral = &neutral_keys[index];
        if (strcmp(neutral->key, key) != 0)
            continue;
        return neutral->text ? json_is_string(value) && strcmp(json_string_value(value), neutral->text) == 0
                             : json_is_number(value) && !(json_number_value(value) < neutral->number) &&
                                   !(json_number_value(value) > neutral->number);
    }
    return false;
}

bool checkpoint_key_refuse(const struct document *document, const char *name, const json_t *value,
                           const char *advice, struct error *error)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text)
        return error_memory(error, document->path, 4096, NULL);
    error_at(error, ERROR_RUN, document->path, 0, "'%.80s' is %.80s%s, %s", name, text,
             strlen(text) > 80 ? "..." : "", advice);
    free(text);
    return false;
}

static bool check_key(const struct document *document, const char *name, const char *key, const json_t *value,
                      const char *const *known, size_t known_count, struct error *error)
{
    return is_among(key, known, known_count) || document_value_is_off(value) || is_neutral(key, value) ||
           checkpoint_key_refuse(
               document, name, value,
               "which is not supported; choose another model, or remove the key if it changes nothing that "
               "the model computes",
               error);
}

bool checkpoint_keys_check(const struct document *document, struct error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(document->object, key, value)
    {
        if (!is_among(key, harmless_keys, COUNT(harmless_keys)) &&
            !check_key(document, key, key, value, read_keys, COUNT(read_keys), error))
            return false;
    }
    return true;
}

bool checkpoint_rope_keys_check(const struct document *document, const char *name, const json_t *object,
                                struct error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        char full[120];
        snprintf(full, sizeof full, "%s.%.80s", name, key);
        if (!check_key(document, full, key, value, rope_keys, COUNT(rope_keys), error))
            return false;
    }
    return true;
}
