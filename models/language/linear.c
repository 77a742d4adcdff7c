#include <math.h>

#include "models/language/layer.h"

const char *linear_name(enum linear linear)
{
    static const char *const names[LINEAR_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};
    return names[linear];
}

const char *linear_module(enum linear linear)
{
    static const char *const modules[LINEAR_COUNT] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    return modules[linear];
}

double lora_scale(const struct lora_settings *lora)
{
    if (lora->rank <= 0)
        return 0.0;
    return lora->alpha / (lora->rank_stabilized ? sqrt((double)lora->rank) : (double)lora->rank);
}

struct linear_shape linear_shape(const struct transformer_settings *settings, enum linear linear)
{
    const int64_t width = settings->width, hidden = settings->hidden;
    const int64_t query_width = settings->query_heads * settings->head_width;
    const int64_t key_width = settings->key_heads * settings->head_width;
    switch (linear) {
    case LINEAR_Q:
        return (struct linear_shape){query_width, width};
    case LINEAR_K:
    case LINEAR_V:
        return (struct linear_shape){key_width, width};
    case LINEAR_O:
        return (struct linear_shape){width, query_width};
    case LINEAR_GATE:
    case LINEAR_UP:
        return (struct linear_shape){hidden, width};
    case LINEAR_DOWN:
        return (struct linear_shape){width, hidden};
    case LINEAR_COUNT:
        break;
    }
    return (struct linear_shape){0, 0};
}

bool linear_has_bias(const struct transformer_settings *settings, enum linear linear)
{
    switch (linear) {
    case LINEAR_Q:
    case LINEAR_K:
    case LINEAR_V:
        return settings->attention_bias;
    case LINEAR_O:
        return settings->output_bias;
    case LINEAR_GATE:
    case LINEAR_UP:
    case LINEAR_DOWN:
        return settings->feed_bias;
    case LINEAR_COUNT:
        break;
    }
    return false;
}
