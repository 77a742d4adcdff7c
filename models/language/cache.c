#include "models/language/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/layer.h"

#define ADVICE "lower generate.batch, generate.max_items or prompts.length"

/* Sequences that wait for their pass. Arrays of tokens have pass_tokens entries, the last of which may be
 * padding. */
struct read_queue {
    int64_t tokens, sequences, shares;
    int32_t *token, *position, *slot;
    int32_t *starts; /* [slots + 2]: one more sequence holds the padding */
    struct {
        int32_t to, from;
        int64_t count;
    } * share; /* [slots] */
};

/* The tensors of one pass over `rows` tokens. */
struct pass_tensors {
    struct tensor tokens, positions, slots; /* i32 [rows] */
    struct layer_activations activations;
    struct layer_scratch scratch;
};

struct cache {
    struct layer_pass pass;
    struct cache_settings settings;
    struct attention_shape shape;
    int64_t classes;
    struct arena cache_arena, pass_arena;
    struct tensor *keys, *values; /* [layers], each [slots * capacity, key_heads * head_width] */
    struct read_queue queue;
    int32_t *token, *position, *slot, *length; /* [slots], a decode step with its padding */
};

/* ---- memory ------------------------------------------------------------------------------------------- */

static int64_t key_width(const struct transformer_settings *settings)
{
    return settings->key_heads * settings->head_width;
}

int64_t cache_slots_within(const struct transformer *model, int64_t capacity, int64_t wanted, size_t bytes)
{
    const struct transformer_settings *settings = transformer_settings_of(model);
    const size_t slot_bytes =
        (size_t)(2 * settings->layers * capacity * key_width(settings)) * dtype_size(DTYPE_REAL);
    const int64_t fitting = (int64_t)(bytes / slot_bytes) / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
    const int64_t rounded = round_to_row_block(wanted);
    const int64_t slots = rounded < fitting ? rounded : fitting;
    return slots > GEMM_ROW_BLOCK ? slots : GEMM_ROW_BLOCK;
}

static void lay_out_cache(struct cache *cache)
{
    const int64_t rows = cache->settings.slots * cache->settings.capacity;
    for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
        const int64_t width = key_width(cache->pass.settings);
        cache->keys[layer] = arena_tensor_2d(&cache->cache_arena, DTYPE_REAL, rows, width);
        cache->values[layer] = arena_tensor_2d(&cache->cache_arena, DTYPE_REAL, rows, width);
    }
}

static struct pass_tensors lay_out_pass(struct cache *cache, int64_t rows)
{
    struct arena *const arena = &cache->pass_arena;
    struct pass_tensors pass = {.tokens.rank = 0};
    arena_return(arena, 0);
    pass.tokens = arena_tensor_1d(arena, DTYPE_I32, rows);
    pass.positions = arena_tensor_1d(arena, DTYPE_I32, rows);
    pass.slots = arena_tensor_1d(arena, DTYPE_I32, rows);
    pass.activations.input = arena_tensor_2d(arena, DTYPE_REAL, rows, cache->pass.settings->width);
    layer_activations_lay_out(&pass.activations, arena, cache->pass.settings, cache->pass.lora, rows);
    layer_scratch_lay_out(&pass.scratch, arena, cache->pass.settings, cache->pass.lora, rows, false);
    return pass;
}

static struct tensor lay_out_starts(struct cache *cache, int64_t sequences)
{
    return arena_tensor_1d(&cache->pass_arena, DTYPE_I32, sequences + 1);
}

struct head_tensors {
    struct tensor lengths;             /* i32 [rows] */
    struct tensor normed, inverse_rms; /* [rows, width], [rows] */
    struct tensor logits;              /* [rows, classes] */
};

static struct head_tensors lay_out_head(struct cache *cache, int64_t rows)
{
    struct arena *const arena = &cache->pass_arena;
    return (struct head_tensors){
        .lengths = arena_tensor_1d(arena, DTYPE_I32, rows),
        .normed = arena_tensor_2d(arena, DTYPE_REAL, rows, cache->pass.settings->width),
        .inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows),
        .logits = arena_tensor_2d(arena, DTYPE_REAL, rows, cache->classes),
    };
}

static bool allocate_device(struct cache *cache, struct error *error)
{
    lay_out_cache(cache);
    lay_out_pass(cache, cache->settings.pass_tokens);
    lay_out_starts(cache, cache->settings.slots + 1);
    const size_t reading = arena_mark(&cache->pass_arena);
    lay_out_pass(cache, cache->settings.slots);
    lay_out_head(cache, cache->settings.slots);
    if (!arena_reserve(&cache->cache_arena, 0, ADVICE, error) ||
        !arena_reserve(&cache->pass_arena, reading, ADVICE, error))
        return false;
    lay_out_cache(cache);
    return true;
}

static int32_t *allocate_integers(int64_t count)
{
    return calloc((size_t)count, sizeof(int32_t));
}

static bool allocate_host(struct cache *cache, struct error *error)
{
    const int64_t slots = cache->settings.slots, pass_tokens = cache->settings.pass_tokens;
    const int64_t layers = cache->pass.settings->layers;
    struct read_queue *const queue = &cache->queue;
    cache->keys = calloc((size_t)layers, sizeof *cache->keys);
    cache->values = calloc((size_t)layers, sizeof *cache->values);
    cache->token = allocate_integers(slots);
    cache->position = allocate_integers(slots);
    cache->slot = allocate_integers(slots);
    cache->length = allocate_integers(slots);
    queue->token = allocate_integers(pass_tokens);
    queue->position = allocate_integers(pass_tokens);
    queue->slot = allocate_integers(pass_tokens);
    queue->starts = allocate_integers(slots + 2);
    queue->share = calloc((size_t)slots, sizeof *queue->share);
    if (cache->keys && cache->values && cache->token && cache->position && cache->slot && cache->length &&
        queue->token && queue->position && queue->slot && queue->starts && queue->share)
        return true;
    return error_memory(error, "the queue of the attention cache", (size_t)(pass_tokens + slots) * 16,
                        ADVICE);
}

bool cache_create(struct cache **cache, struct transformer *model, const struct cache_settings *settings,
                  struct error *error)
{
    assert(settings->slots > 0 && settings->slots % GEMM_ROW_BLOCK == 0 && settings->capacity > 1);
    struct cache *made = calloc(1, sizeof *made);
    *cache = NULL;
    if (!made)
        return error_memory(error, "the attention cache", sizeof *made, NULL);
    const struct transformer_settings *model_settings = transformer_settings_of(model);
    struct backend *backend = transformer_backend(model);
    const int64_t longest = round_to_row_block(settings->capacity);
    made->pass = transformer_inference_pass(model);
    made->settings = *settings;
    made->settings.pass_tokens = round_to_row_block(settings->pass_tokens);
    if (made->settings.pass_tokens < longest)
        made->settings.pass_tokens = longest;
    made->shape = (struct attention_shape){model_settings->query_heads, model_settings->key_heads,
                                           model_settings->head_width};
    made->classes = model_settings->classes > 0 ? model_settings->classes : model_settings->vocabulary;
    made->cache_arena = arena_measure(backend, "cache");
    made->pass_arena = arena_measure(backend, "activations");
    if (!allocate_host(made, error) || !allocate_device(made, error)) {
        cache_free(made);
        return false;
    }
    *cache = made;
    return true;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    arena_release(&cache->cache_arena);
    arena_release(&cache->pass_arena);
    free(cache->keys);
    free(cache->values);
    free(cache->token);
    free(cache->position);
    free(cache->slot);
    free(cache->length);
    free(cache->queue.token);
    free(cache->queue.position);
    free(cache->queue.slot);
    free(cache->queue.starts);
    free(cache->queue.share);
    free(cache);
}

void cache_print_memory(const struct cache *cache, FILE *stream)
{
    const struct arena *const arenas[] = {&cache->cache_arena, &cache->pass_arena};
    arena_print_table(stream, "memory of decoding", arenas, 2);
}

/* ---- passes ------------------------------------------------------------------------------------------- */

static void upload_pass(struct cache *cache, struct pass_tensors *pass, const int32_t *tokens,
                        const int32_t *positions, const int32_t *slots)
{
    tensor_upload(cache->pass.backend, &pass->tokens, tokens);
    tensor_upload(cache->pass.backend, &pass->positions, positions);
    tensor_upload(cache->pass.backend, &pass->slots, slots);
}

/* The part of a layer that both passes begin with: its keys and values are in the cache afterwards. */
static void attend_input(struct cache *cache, int64_t layer, struct pass_tensors *pass)
{
    struct layer_activations *const a = &pass->activations;
    layer_attention_input(&cache->pass, layer, a, &pass->scratch, &pass->positions);
    op_cache_store(cache->pass.backend, &cache->keys[layer], &a->k, &pass->slots, &pass->positions,
                   cache->settings.capacity);
    op_cache_store(cache->pass.backend, &cache->values[layer], &a->v, &pass->slots, &pass->positions,
                   cache->settings.capacity);
}

static void read_pass(struct cache *cache, int64_t rows, int64_t sequences)
{
    const int64_t layers = cache->pass.settings->layers;
    struct pass_tensors pass = lay_out_pass(cache, rows);
    struct tensor starts = lay_out_starts(cache, sequences);
    struct layer_activations *const a = &pass.activations;
    upload_pass(cache, &pass, cache->queue.token, cache->queue.position, cache->queue.slot);
    tensor_upload(cache->pass.backend, &starts, cache->queue.starts);
    model_embed(&cache->pass, &a->input, &pass.tokens);
    for (int64_t layer = 0; layer < layers; layer++) {
        attend_input(cache, layer, &pass);
        if (layer == layers - 1)
            break;
        op_attention_forward(cache->pass.backend, &a->attended, &a->log_sum_exp, &a->q, &a->k, &a->v, &starts,
                             cache->shape);
        layer_attention_output(&cache->pass, layer, a, &pass.scratch);
        layer_feed_forward(&cache->pass, layer, a, &pass.scratch, &a->input);
    }
}

static void copy_shares(struct cache *cache)
{
    struct backend *const backend = cache->pass.backend;
    const size_t row = (size_t)key_width(cache->pass.settings) * dtype_size(DTYPE_REAL);
    const size_t stride = row * (size_t)cache->settings.capacity;
    for (int64_t i = 0; i < cache->queue.shares; i++) {
        const size_t to = (size_t)cache->queue.share[i].to * stride;
        const size_t from = (size_t)cache->queue.share[i].from * stride;
        const size_t bytes = (size_t)cache->queue.share[i].count * row;
        for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
            char *keys = cache->keys[layer].data, *values = cache->values[layer].data;
            backend->copy(backend, keys + to, keys + from, bytes);
            backend->copy(backend, values + to, values + from, bytes);
        }
    }
}

/* Reads what is queued; the padding is one more sequence, which goes into no slot. */
static void flush(struct cache *cache)
{
    struct read_queue *const queue = &cache->queue;
    int64_t sequences = queue->sequences;
    const int64_t rows = round_to_row_block(queue->tokens);
    if (rows > queue->tokens) {
        for (int64_t i = queue->tokens; i < rows; i++) {
            queue->token[i] = 0;
            queue->position[i] = (int32_t)(i - queue->tokens);
            queue->slot[i] = -1;
        }
        queue->starts[++sequences] = (int32_t)rows;
    }
    if (queue->tokens > 0)
        read_pass(cache, rows, sequences);
    copy_shares(cache);
    queue->tokens = queue->sequences = queue->shares = 0;
}

/* ---- the interface ------------------------------------------------------------------------------------ */

void cache_read(struct cache *cache, int32_t slot, const int32_t *tokens, int64_t count)
{
    struct read_queue *const queue = &cache->queue;
    assert(slot >= 0 && slot < cache->settings.slots && count >= 1 && count < cache->settings.capacity);
    if (queue->tokens + count > cache->settings.pass_tokens || queue->sequences == cache->settings.slots)
        flush(cache);
    memcpy(queue->token + queue->tokens, tokens, (size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++) {
        queue->position[queue->tokens + i] = (int32_t)i;
        queue->slot[queue->tokens + i] = slot;
    }
    queue->tokens += count;
    queue->starts[++queue->sequences] = (int32_t)queue->tokens;
}

void cache_share(struct cache *cache, int32_t to, int32_t from, int64_t count)
{
    struct read_queue *const queue = &cache->queue;
    if (queue->shares == cache->settings.slots)
        flush(cache);
    queue->share[queue->shares].to = to;
    queue->share[queue->shares].from = from;
    queue->share[queue->shares++].count = count;
}

/* Completes a step to `rows` rows, of which those from count on belong to no slot. */
static void stage_step(struct cache *cache, const struct decode_step *step, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        const bool used = i < step->count;
        assert(!used || (step->position[i] >= 0 && step->position[i] < cache->settings.capacity));
        cache->token[i] = used ? step->token[i] : 0;
        cache->position[i] = used ? step->position[i] : 0;
        cache->slot[i] = used ? step->slot[i] : -1;
        cache->length[i] = cache->position[i] + 1;
    }
}

void cache_decode(struct cache *cache, const struct decode_step *step, struct tensor *logits)
{
    const int64_t rows = round_to_row_block(step->count);
    assert(step->count >= 1 && step->count <= cache->settings.slots);
    flush(cache);
    stage_step(cache, step, rows);
    struct pass_tensors pass = lay_out_pass(cache, rows);
    struct head_tensors head = lay_out_head(cache, rows);
    struct layer_activations *const a = &pass.activations;
    upload_pass(cache, &pass, cache->token, cache->position, cache->slot);
    tensor_upload(cache->pass.backend, &head.lengths, cache->length);
    model_embed(&cache->pass, &a->input, &pass.tokens);
    for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
        attend_input(cache, layer, &pass);
        op_attention_decode(cache->pass.backend, &a->attended, &a->q, &cache->keys[layer],
                            &cache->values[layer], &pass.slots, &head.lengths, cache->settings.capacity,
                            cache->shape);
        layer_attention_output(&cache->pass, layer, a, &pass.scratch);
        layer_feed_forward(&cache->pass, layer, a, &pass.scratch, &a->input);
    }
    model_final_norm(&cache->pass, &head.normed, &head.inverse_rms, &a->input);
    model_logits(&cache->pass, &head.logits, &head.normed);
    *logits = head.logits;
}
