#include "models/language/checkpoint_adapter.h"

#include <string.h>

#include "models/language/checkpoint_document.h"
#include "models/language/layer.h"

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
    return document_write(object, folder, "adapter_config.json", error);
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
    bool read = document_open(&document, folder, "adapter_config.json", error) &&
                document_refuse_unless_off(&document, unsupported,
                                           (int)(sizeof unsupported / sizeof *unsupported), error) &&
                document_integer(&document, "r", &lora->rank, error) &&
                document_number(&document, document.object, "lora_alpha", &lora->alpha, error) &&
                document_number(&document, document.object, "lora_dropout", &lora->dropout, error) &&
                read_targets(&document, lora, error);
    if (read && lora->rank < 1)
        read = error_at(error, ERROR_RUN, document.path, 0, "the rank r is %lld; at least 1 is expected",
                        (long long)lora->rank);
    document_close(&document);
    return read;
}
