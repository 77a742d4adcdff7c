#include "models/language/checkpoint_adapter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint_document.h"
#include "models/language/checkpoint_tokens.h"
#include "models/language/layer.h"

#define LAYERS_MAXIMUM 4096
#define RANK_MAXIMUM 65536

/* "q_proj": the linear's name in peft's target_modules. */
static const char *target_name(enum linear linear)
{
    return strchr(linear_module(linear), '.') + 1;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* A whole number without a decimal point, as peft's own files have it. */
static json_t *number(double value)
{
    const bool whole = value == floor(value) && fabs(value) < 1e15;
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

bool checkpoint_adapter_config_write(const struct lora_settings *lora,
                                     const struct transformer_settings *settings, const char *folder,
                                     struct error *error)
{
    json_t *targets = json_array();
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        if (lora->targets[linear])
            json_array_append_new(targets, json_string(target_name((enum linear)linear)));
    json_t *object = json_pack(
        "{s:{}, s:n, s:n, s:s, s:b, s:b, s:b, s:n, s:n, s:{}, s:o, s:f, s:n, s:s, s:n, s:s, s:I, s:{}, s:n, "
        "s:o, s:s, s:b, s:b}",
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "none", "fan_in_fan_out", false,
        "inference_mode", true, "init_lora_weights", true, "layers_pattern", "layers_to_transform",
        "loftq_config", "lora_alpha", number(lora->alpha), "lora_dropout", lora->dropout, "megatron_config",
        "megatron_core", "megatron.core", "modules_to_save", "peft_type", "LORA", "r", (json_int_t)lora->rank,
        "rank_pattern", "revision", "target_modules", targets, "task_type", "CAUSAL_LM", "use_dora", false,
        "use_rslora", lora->rank_stabilized);
    if (settings->added > 0)
        json_object_set_new(object, "trainable_token_indices", checkpoint_tokens_value(settings));
    return document_write(object, folder, "adapter_config.json", error);
}

/* ---- which modules ------------------------------------------------------------------------------------ */

/* The modules that a key names: by a list of names or of what names end in, by a regular expression for whole names, or all
 * linears. Nothing when it has no value. */
struct selection {
    const json_t *list;
    pcre2_code *expression;
    pcre2_match_data *match;
    bool all_linear;
    bool undecided; /* a match took more steps than are allowed */
};

static bool compile_expression(struct selection *selection, const struct document *document, const char *key,
                               const char *text, struct error *error)
{
    int number = 0;
    size_t place = 0;
    unsigned char reason[128];
    selection->expression =
        pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                      &number, &place, NULL);
    if (!selection->expression) {
        pcre2_get_error_message(number, reason, sizeof reason);
        return error_at(error, ERROR_RUN, document->path, 0,
                        "'%s' is no regular expression at character %zu (%s); name the linears in a list",
                        key, place, (const char *)reason);
    }
    selection->match = pcre2_match_data_create_from_pattern(selection->expression, NULL);
    return selection->match || error_memory(error, key, 1024, NULL);
}

static bool selection_open(struct selection *selection, const struct document *document, const char *key,
                           struct error *error)
{
    const json_t *value = json_object_get(document->object, key);
    const char *text = json_string_value(value);
    size_t index;
    json_t *name;
    *selection = (struct selection){.list = value};
    json_array_foreach((json_t *)value, index, name)
    {
        if (!json_is_string(name))
            return error_at(error, ERROR_RUN, document->path, 0,
                            "'%s' is no list of names; name the linears there", key);
    }
    if (!text)
        return true;
    selection->all_linear = strcmp(text, "all-linear") == 0;
    return selection->all_linear || compile_expression(selection, document, key, text, error);
}

static void selection_close(struct selection *selection)
{
    pcre2_match_data_free(selection->match);
    pcre2_code_free(selection->expression);
}

/* Whether `module` is `name` or ends in ".name". */
static bool is_named(const char *module, const char *name)
{
    const size_t length = strlen(module), part = strlen(name);
    return length >= part && strcmp(module + length - part, name) == 0 &&
           (length == part || module[length - part - 1] == '.');
}

static bool selection_holds(struct selection *selection, const char *module)
{
    size_t index;
    json_t *name;
    if (selection->expression) {
        const int found = pcre2_match(selection->expression, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0,
                                      selection->match, NULL);
        selection->undecided |= found < 0 && found != PCRE2_ERROR_NOMATCH;
        return found >= 0;
    }
    json_array_foreach((json_t *)selection->list, index, name)
    {
        if (is_named(module, json_string_value(name)))
            return true;
    }
    return selection->all_linear;
}

/* ---- targets ------------------------------------------------------------------------------------------ */

static void module_name(char name[96], int64_t layer, enum linear linear)
{
    snprintf(name, 96, "model.layers.%lld.%s", (long long)layer, linear_module(linear));
}

/* Every name of the list has to be that of a linear; names are tried in each layer, since they may hold its number. */
static bool check_names(const struct document *document, const struct selection *selection, int64_t layers,
                        struct error *error)
{
    size_t index;
    json_t *name;
    json_array_foreach((json_t *)selection->list, index, name)
    {
        bool found = false;
        char module[96];
        for (int64_t place = 0; !found && place < layers * LINEAR_COUNT; place++) {
            module_name(module, place / LINEAR_COUNT, (enum linear)(place % LINEAR_COUNT));
            found = is_named(module, json_string_value(name));
        }
        if (!found)
            return error_at(
                error, ERROR_RUN, document->path, 0,
                "an adapter on '%s' is not supported; q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj "
                "and down_proj are",
                json_string_value(name));
    }
    return true;
}

static bool choose_targets(const struct document *document, struct selection *targets,
                           struct selection *excluded, int64_t layers, struct lora_settings *lora,
                           struct error *error)
{
    static const char *const others[] = {"model.embed_tokens", "lm_head"};
    bool any = false;
    for (int64_t place = 0; place < layers * LINEAR_COUNT; place++) {
        const enum linear linear = (enum linear)(place % LINEAR_COUNT);
        char module[96];
        module_name(module, place / LINEAR_COUNT, linear);
        const bool held = selection_holds(targets, module) && !selection_holds(excluded, module);
        if (targets->undecided || excluded->undecided)
            return error_at(error, ERROR_RUN, document->path, 0,
                            "the regular expression of 'target_modules' or 'exclude_modules' takes too long; "
                            "name the linears in a list");
        if (place >= LINEAR_COUNT && held != lora->targets[linear])
            return error_at(
                error, ERROR_RUN, document->path, 0,
                "'target_modules' has %s in some layers and not in others, which is not supported",
                target_name(linear));
        lora->targets[linear] = held;
        any = any || held;
    }
    for (int other = 0; other < 2 && !targets->all_linear; other++)
        if (selection_holds(targets, others[other]) && !selection_holds(excluded, others[other]))
            return error_at(error, ERROR_RUN, document->path, 0,
                            "an adapter on '%s' is not supported; only those of the layers' linears are",
                            others[other]);
    return any || error_at(error, ERROR_RUN, document->path, 0,
                           "'target_modules' names no linear of the model; name them there");
}

static bool read_targets(const struct document *document, int64_t layers, struct lora_settings *lora,
                         struct error *error)
{
    struct selection targets = {.list = NULL}, excluded = {.list = NULL};
    const bool read = selection_open(&targets, document, "target_modules", error) &&
                      selection_open(&excluded, document, "exclude_modules", error) &&
                      check_names(document, &targets, layers, error) &&
                      choose_targets(document, &targets, &excluded, layers, lora, error);
    selection_close(&targets);
    selection_close(&excluded);
    return read;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static bool is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t index = 0; index < count; index++)
        if (strcmp(word, words[index]) == 0)
            return true;
    return false;
}

/* Keys that are read below, and those that say nothing about what the trained adapter computes. */
static bool is_understood(const char *key)
{
    static const char *const keys[] = {"r",
                                       "lora_alpha",
                                       "lora_dropout",
                                       "target_modules",
                                       "exclude_modules",
                                       "use_rslora",
                                       "trainable_token_indices",
                                       "bias",
                                       "peft_type",
                                       "task_type",
                                       "init_lora_weights",
                                       "peft_version",
                                       "auto_mapping",
                                       "base_model_name_or_path",
                                       "revision",
                                       "inference_mode",
                                       "eva_config",
                                       "layers_pattern",
                                       "megatron_core",
                                       "qalora_group_size",
                                       "ensure_weight_tying"};
    return is_one_of(key, keys, sizeof keys / sizeof *keys);
}

/* A key of a later peft that is set is refused as well. */
static bool refuse_unsupported(const struct document *document, struct error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(document->object, key, value)
    {
        if (!is_understood(key) && !document_is_off(document, key))
            return error_at(error, ERROR_RUN, document->path, 0,
                            "'%.80s' is not supported; choose an adapter without it", key);
    }
    return true;
}

/* A word that, where it is given, has to be one of those. */
static bool check_word(const struct document *document, const char *key, const char *const *words,
                       size_t count, struct error *error)
{
    const json_t *value = json_object_get(document->object, key);
    if (!value || json_is_null(value) ||
        (json_is_string(value) && is_one_of(json_string_value(value), words, count)))
        return true;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    error_at(error, ERROR_RUN, document->path, 0, "%s %.80s is not supported; %s is", key, text ? text : "?",
             words[0]);
    free(text);
    return false;
}

/* Some ways to begin take what the adapter begins with out of the base's weights; it then belongs to another base. */
static bool check_start(const struct document *document, struct error *error)
{
    static const char *const words[] = {"gaussian", "eva", "orthogonal"};
    return json_is_boolean(json_object_get(document->object, "init_lora_weights")) ||
           check_word(document, "init_lora_weights", words, sizeof words / sizeof *words, error);
}

static bool check_kind(const struct document *document, struct error *error)
{
    static const char *const type[] = {"LORA"}, *const task[] = {"CAUSAL_LM"}, *const bias[] = {"none"};
    return check_word(document, "peft_type", type, 1, error) &&
           check_word(document, "task_type", task, 1, error) &&
           check_word(document, "bias", bias, 1, error) && check_start(document, error);
}

bool checkpoint_adapter_config_read(struct lora_settings *lora, struct transformer_settings *settings,
                                    const char *folder, struct error *error)
{
    struct document document;
    const int64_t layers = settings->layers;
    *lora = (struct lora_settings){.rank = 0};
    bool read = document_open(&document, folder, "adapter_config.json", error) &&
                check_kind(&document, error) && refuse_unsupported(&document, error) &&
                document_integer(&document, "r", &lora->rank, error) &&
                document_number(&document, document.object, "lora_alpha", &lora->alpha, error) &&
                document_number(&document, document.object, "lora_dropout", &lora->dropout, error);
    if (read && (lora->rank < 1 || lora->rank > RANK_MAXIMUM))
        read = error_at(error, ERROR_RUN, document.path, 0, "the rank r is %lld; 1 to %d are expected",
                        (long long)lora->rank, RANK_MAXIMUM);
    if (read && (layers < 1 || layers > LAYERS_MAXIMUM))
        read = error_at(error, ERROR_RUN, document.path, 0,
                        "belongs to a base of %lld layers; 1 to %d are expected", (long long)layers,
                        LAYERS_MAXIMUM);
    read = read && read_targets(&document, layers, lora, error) &&
           checkpoint_tokens_read(&document, settings, error);
    lora->rank_stabilized = !document_is_off(&document, "use_rslora");
    document_close(&document);
    return read;
}
