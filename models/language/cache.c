#include "models/language/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/layer.h"

/* What keeps a GPU busy needs more memory than a CPU's caches hold. */
enum { PASS_TOKENS_CPU = 2048, PASS_TOKENS_GPU = 16384 };

#define LENGTHS "prompts.length, generate.max_items, generate.max_tokens or generate.beams"
#define ADVICE "lower generate.memory, generate.batch, " LENGTHS
#define GIBIBYTE ((size_t)1 << 30)

/* Sequences that wait for their pass. Arrays of tokens have pass_tokens entries, the last of which may be
 * padding. */
struct read_queue {
    int64_t tokens, sequences;
    int32_t *token, *position, *slot;
    int32_t *starts; /* [slots + 2]: one more sequence holds the padding */
};

/* Parts of slots that wait to be copied, [slots] each. */
struct share_queue {
    int64_t count;
    int32_t *to, *from, *begin, *end;
};

/* What a pass reads of its rows, on the device. */
struct pass_inputs {
    struct tensor tokens, positions, slots; /* i32 [rows] */
    struct tensor lengths;                  /* i32 [rows], where attention goes over the cache */
};

/* The tensors of one pass over `rows` tokens. */
struct pass_tensors {
    struct layer_activations activations;
    struct layer_scratch scratch;
};

struct cache {
    struct layer_pass pass;
    struct cache_settings settings;
    struct attention_shape shape;
    int64_t logit_columns;
    struct arena cache_arena, pass_arena;
    struct tensor *keys, *values;              /* [layers], each [slots * capacity, key_heads * head_width] */
    struct read_queue whole, extensions;       /* sequences from their first token on, and those that go on */
    struct share_queue prefixes, shares;       /* before the extensions are read, and after */
    int32_t *pass_length;                      /* [pass_tokens] */
    int32_t *token, *position, *slot, *length; /* [slots, rounded up], a decode step with its padding */
};

/* ---- memory ------------------------------------------------------------------------------------------- */

static enum dtype storage_of(const struct layer_pass *pass)
{
    return transformer_storage(pass->settings);
}

static int64_t key_width(const struct transformer_settings *settings)
{
    return settings->key_heads * settings->head_width;
}

static void lay_out_cache(struct cache *cache)
{
    const int64_t rows = cache->settings.slots * cache->settings.capacity;
    for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
        const int64_t width = key_width(cache->pass.settings);
        cache->keys[layer] = arena_tensor_2d(&cache->cache_arena, storage_of(&cache->pass), rows, width);
        cache->values[layer] = arena_tensor_2d(&cache->cache_arena, storage_of(&cache->pass), rows, width);
    }
}

static struct pass_inputs lay_out_inputs(struct cache *cache, int64_t rows)
{
    struct arena *const arena = &cache->pass_arena;
    arena_return(arena, 0);
    return (struct pass_inputs){.tokens = arena_tensor_1d(arena, DTYPE_I32, rows),
                                .positions = arena_tensor_1d(arena, DTYPE_I32, rows),
                                .slots = arena_tensor_1d(arena, DTYPE_I32, rows),
                                .lengths = arena_tensor_1d(arena, DTYPE_I32, rows)};
}

static struct pass_tensors lay_out_pass(struct cache *cache, int64_t rows)
{
    struct arena *const arena = &cache->pass_arena;
    struct pass_tensors pass = {.activations.input.rank = 0};
    pass.activations.input =
        arena_tensor_2d(arena, storage_of(&cache->pass), rows, cache->pass.settings->width);
    layer_activations_lay_out(&pass.activations, arena, cache->pass.settings, cache->pass.lora, rows);
    layer_scratch_lay_out(&pass.scratch, arena, cache->pass.settings, cache->pass.lora, rows, false);
    return pass;
}

static struct tensor lay_out_starts(struct cache *cache, int64_t sequences)
{
    return arena_tensor_1d(&cache->pass_arena, DTYPE_I32, sequences + 1);
}

struct head_tensors {
    struct tensor normed, inverse_rms; /* [rows, width], [rows] */
    struct tensor logits;              /* [rows, logit_columns] */
};

static struct head_tensors lay_out_head(struct cache *cache, int64_t rows)
{
    struct arena *const arena = &cache->pass_arena;
    return (struct head_tensors){
        .normed = arena_tensor_2d(arena, storage_of(&cache->pass), rows, cache->pass.settings->width),
        .inverse_rms = arena_tensor_1d(arena, DTYPE_REAL, rows),
        .logits = arena_tensor_2d(arena, DTYPE_REAL, rows, cache->logit_columns),
    };
}

/* Lays both kinds of passes out, over an arena that measures, and leaves the larger one's bytes as used. */
static void measure_passes(struct cache *cache)
{
    const int64_t rows = round_to_row_block(cache->settings.slots);
    lay_out_inputs(cache, cache->settings.pass_tokens);
    lay_out_pass(cache, cache->settings.pass_tokens);
    lay_out_starts(cache, cache->settings.slots + 1);
    const size_t reading = arena_mark(&cache->pass_arena);
    lay_out_inputs(cache, rows);
    lay_out_pass(cache, rows);
    lay_out_head(cache, rows);
    if (cache->pass_arena.used < reading)
        arena_return(&cache->pass_arena, reading);
}

static bool allocate_device(struct cache *cache, struct error *error)
{
    struct arena *const arenas[] = {&cache->cache_arena, &cache->pass_arena};
    lay_out_cache(cache);
    measure_passes(cache);
    if (!arena_reserve_all(arenas, (const char *const[]){ADVICE, ADVICE}, 2, error))
        return false;
    lay_out_cache(cache);
    return true;
}

static int32_t *allocate_integers(int64_t count)
{
    return calloc((size_t)count, sizeof(int32_t));
}

static bool allocate_reads(struct read_queue *queue, int64_t pass_tokens, int64_t slots)
{
    queue->token = allocate_integers(pass_tokens);
    queue->position = allocate_integers(pass_tokens);
    queue->slot = allocate_integers(pass_tokens);
    queue->starts = allocate_integers(slots + 2);
    return queue->token && queue->position && queue->slot && queue->starts;
}

static bool allocate_shares(struct share_queue *queue, int64_t slots)
{
    queue->to = allocate_integers(slots);
    queue->from = allocate_integers(slots);
    queue->begin = allocate_integers(slots);
    queue->end = allocate_integers(slots);
    return queue->to && queue->from && queue->begin && queue->end;
}

static void free_reads(struct read_queue *queue)
{
    free(queue->token);
    free(queue->position);
    free(queue->slot);
    free(queue->starts);
}

static void free_shares(struct share_queue *queue)
{
    free(queue->to);
    free(queue->from);
    free(queue->begin);
    free(queue->end);
}

static bool allocate_host(struct cache *cache, struct error *error)
{
    const int64_t slots = cache->settings.slots, pass_tokens = cache->settings.pass_tokens;
    const int64_t layers = cache->pass.settings->layers, rows = round_to_row_block(slots);
    cache->keys = calloc((size_t)layers, sizeof *cache->keys);
    cache->values = calloc((size_t)layers, sizeof *cache->values);
    cache->token = allocate_integers(rows);
    cache->position = allocate_integers(rows);
    cache->slot = allocate_integers(rows);
    cache->length = allocate_integers(rows);
    cache->pass_length = allocate_integers(pass_tokens);
    if (allocate_reads(&cache->whole, pass_tokens, slots) &&
        allocate_reads(&cache->extensions, pass_tokens, slots) && allocate_shares(&cache->prefixes, slots) &&
        allocate_shares(&cache->shares, slots) && cache->pass_length && cache->keys && cache->values &&
        cache->token && cache->position && cache->slot && cache->length)
        return true;
    return error_memory(error, "the queue of the attention cache", (size_t)(pass_tokens + slots) * 32,
                        ADVICE);
}

/* A cache without memory. A pass holds at most what goes into all slots. */
static struct cache describe(const struct transformer *model, const struct cache_settings *settings)
{
    struct backend *const backend = transformer_backend(model);
    const struct transformer_settings *const shape = transformer_settings_of(model);
    const int64_t longest = round_to_row_block(settings->capacity);
    const int64_t all = round_to_row_block(settings->slots * settings->capacity);
    const int64_t suits = backend->device == DEVICE_CPU ? PASS_TOKENS_CPU : PASS_TOKENS_GPU;
    struct cache cache = {
        .pass = transformer_inference_pass(model),
        .settings = *settings,
        .shape = {shape->query_heads, shape->key_heads, shape->head_width, .bidirectional = false},
        .logit_columns = transformer_logit_columns(model),
        .cache_arena = arena_measure(backend, "cache"),
        .pass_arena = arena_measure(backend, "activations")};
    cache.settings.pass_tokens = round_to_row_block(settings->pass_tokens);
    if (settings->pass_tokens == 0)
        cache.settings.pass_tokens = all < suits ? all : suits;
    if (cache.settings.pass_tokens < longest)
        cache.settings.pass_tokens = longest;
    return cache;
}

static size_t suitable_bytes_cpu(size_t free_bytes, size_t slot_bytes)
{
    const size_t block = GEMM_ROW_BLOCK * slot_bytes, half = free_bytes / 2;
    const size_t most = half < block ? half : block;
    return most > GIBIBYTE ? most : GIBIBYTE;
}

static size_t suitable_bytes_gpu(const struct transformer *model, const struct slots_wanted *wanted,
                                 size_t free_bytes)
{
    struct cache passes =
        describe(model, &(struct cache_settings){.slots = wanted->most, .capacity = wanted->capacity});
    measure_passes(&passes);
    const size_t left = free_bytes > passes.pass_arena.used ? free_bytes - passes.pass_arena.used : 0;
    const size_t suitable = left / 10 * 9;
    return suitable > GIBIBYTE ? suitable / GIBIBYTE * GIBIBYTE : suitable;
}

/* Bytes of keys and values that suit the device. */
static size_t suitable_bytes(const struct transformer *model, const struct slots_wanted *wanted,
                             size_t slot_bytes)
{
    struct backend *const backend = transformer_backend(model);
    const size_t free_bytes = backend->free_memory(backend);
    if (backend->device == DEVICE_CPU)
        return suitable_bytes_cpu(free_bytes, slot_bytes);
    return free_bytes > 0 ? suitable_bytes_gpu(model, wanted, free_bytes) : (size_t)wanted->most * slot_bytes;
}

/* Where memory sets the limit: on the CPU a step takes as long as its rows with their padding. */
static int64_t slots_within(const struct transformer *model, const struct slots_wanted *wanted,
                            int64_t fitting)
{
    const int64_t whole = fitting / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
    if (wanted->most <= fitting)
        return wanted->most;
    return transformer_backend(model)->device == DEVICE_CPU && whole > 0 && whole >= wanted->least ? whole
                                                                                                   : fitting;
}

bool cache_choose_slots(int64_t *slots, const struct transformer *model, const struct slots_wanted *wanted,
                        struct error *error)
{
    const struct layer_pass pass = transformer_inference_pass(model);
    const size_t slot_bytes =
        (size_t)(2 * pass.settings->layers * wanted->capacity * key_width(pass.settings)) *
        dtype_size(storage_of(&pass));
    const size_t bytes = wanted->bytes > 0 ? wanted->bytes : suitable_bytes(model, wanted, slot_bytes);
    *slots = slots_within(model, wanted, (int64_t)(bytes / slot_bytes));
    if (*slots >= wanted->least)
        return true;
    *slots = wanted->least;
    return wanted->bytes == 0 ||
           error_set(error, ERROR_USAGE,
                     "keys and values of %lld sequence%s of up to %lld tokens take %.3g GiB, but "
                     "generate.memory is %.3g; raise it, or lower " LENGTHS,
                     (long long)wanted->least, wanted->least > 1 ? "s" : "", (long long)wanted->capacity,
                     (double)wanted->least * (double)slot_bytes / (double)GIBIBYTE,
                     (double)wanted->bytes / (double)GIBIBYTE);
}

static bool check_capacity(int64_t capacity, int64_t longest, struct error *error)
{
    return longest == 0 || capacity <= longest ||
           error_set(
               error, ERROR_USAGE,
               "sequences of up to %lld tokens, but the checkpoint was made for %lld; lower prompts.length "
               "or generate.max_items",
               (long long)capacity, (long long)longest);
}

bool cache_create(struct cache **cache, struct transformer *model, const struct cache_settings *settings,
                  struct error *error)
{
    assert(settings->slots > 0 && settings->capacity > 1);
    struct cache *made = calloc(1, sizeof *made);
    *cache = NULL;
    if (!made)
        return error_memory(error, "the attention cache", sizeof *made, NULL);
    *made = describe(model, settings);
    if (!check_capacity(settings->capacity, transformer_settings_of(model)->sequence_maximum, error) ||
        !allocate_host(made, error) || !allocate_device(made, error)) {
        cache_free(made);
        return false;
    }
    *cache = made;
    return true;
}

void cache_use(struct cache *cache, const struct transformer *model)
{
    assert(transformer_backend(model) == cache->pass.backend &&
           transformer_logit_columns(model) == cache->logit_columns);
    cache->pass = transformer_inference_pass(model);
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
    free_reads(&cache->whole);
    free_reads(&cache->extensions);
    free_shares(&cache->prefixes);
    free_shares(&cache->shares);
    free(cache->pass_length);
    free(cache);
}

void cache_print_memory(const struct cache *cache, FILE *stream)
{
    const struct arena *const arenas[] = {&cache->cache_arena, &cache->pass_arena};
    char title[96];
    snprintf(title, sizeof title, "memory of decoding, with room for %lld sequence%s of up to %lld tokens",
             (long long)cache->settings.slots, cache->settings.slots > 1 ? "s" : "",
             (long long)cache->settings.capacity);
    arena_print_table(stream, title, arenas, 2);
}

/* ---- passes ------------------------------------------------------------------------------------------- */

/* The part of a layer that both passes begin with: its keys and values are in the cache afterwards. */
static void attend_input(struct cache *cache, int64_t layer, struct pass_tensors *pass,
                         const struct tensor *positions, const struct tensor *slots)
{
    struct layer_activations *const a = &pass->activations;
    layer_attention_input(&cache->pass, layer, a, &pass->scratch, positions);
    op_cache_store(cache->pass.backend, &cache->keys[layer], &a->k, slots, positions,
                   cache->settings.capacity);
    op_cache_store(cache->pass.backend, &cache->values[layer], &a->v, slots, positions,
                   cache->settings.capacity);
}

/* Over the cache a token sees those before it and itself. */
static void upload_lengths(struct cache *cache, const struct read_queue *queue, struct tensor *lengths)
{
    int32_t *const length = cache->pass_length;
    if (queue != &cache->extensions)
        return;
    for (int64_t i = 0; i < lengths->shape[0]; i++)
        length[i] = queue->position[i] + 1;
    tensor_upload(cache->pass.backend, lengths, length);
}

/* Attention goes over the sequences of the pass, or, where these go on from tokens in the cache, over the cache. */
static void read_pass(struct cache *cache, const struct read_queue *queue, int64_t rows, int64_t sequences)
{
    struct backend *const backend = cache->pass.backend;
    const int64_t layers = cache->pass.settings->layers;
    struct pass_inputs inputs = lay_out_inputs(cache, rows);
    struct pass_tensors pass = lay_out_pass(cache, rows);
    struct tensor starts = lay_out_starts(cache, sequences);
    struct layer_activations *const a = &pass.activations;
    tensor_upload(backend, &inputs.tokens, queue->token);
    tensor_upload(backend, &inputs.positions, queue->position);
    tensor_upload(backend, &inputs.slots, queue->slot);
    tensor_upload(backend, &starts, queue->starts);
    upload_lengths(cache, queue, &inputs.lengths);
    model_embed(&cache->pass, &a->input, &inputs.tokens);
    for (int64_t layer = 0; layer < layers; layer++) {
        attend_input(cache, layer, &pass, &inputs.positions, &inputs.slots);
        if (layer == layers - 1)
            break;
        if (queue == &cache->extensions)
            op_attention_decode(backend, &a->attended, &a->q, &cache->keys[layer], &cache->values[layer],
                                &inputs.slots, &inputs.lengths, cache->settings.capacity, cache->shape);
        else
            op_attention_forward(backend, &a->attended, &a->log_sum_exp, &a->q, &a->k, &a->v, &starts,
                                 cache->shape);
        layer_attention_output(&cache->pass, layer, a, &pass.scratch);
        layer_feed_forward(&cache->pass, layer, a, &pass.scratch, &a->input);
    }
}

static void share_slots(struct cache *cache, struct share_queue *queue)
{
    struct backend *const backend = cache->pass.backend;
    if (queue->count == 0)
        return;
    struct pass_inputs lists = lay_out_inputs(cache, queue->count);
    tensor_upload(backend, &lists.tokens, queue->to);
    tensor_upload(backend, &lists.positions, queue->from);
    tensor_upload(backend, &lists.slots, queue->begin);
    tensor_upload(backend, &lists.lengths, queue->end);
    for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
        op_cache_share(backend, &cache->keys[layer], &lists.tokens, &lists.positions, &lists.slots,
                       &lists.lengths, cache->settings.capacity);
        op_cache_share(backend, &cache->values[layer], &lists.tokens, &lists.positions, &lists.slots,
                       &lists.lengths, cache->settings.capacity);
    }
    queue->count = 0;
}

/* The padding is one more sequence, which goes into no slot. */
static void read_queued(struct cache *cache, struct read_queue *queue)
{
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
        read_pass(cache, queue, rows, sequences);
    queue->tokens = queue->sequences = 0;
}

/* Reads what is queued. */
void cache_flush(struct cache *cache)
{
    read_queued(cache, &cache->whole);
    share_slots(cache, &cache->prefixes);
    read_queued(cache, &cache->extensions);
    share_slots(cache, &cache->shares);
}

/* ---- the interface ------------------------------------------------------------------------------------ */

static void queue_tokens(struct cache *cache, struct read_queue *queue, int32_t slot, int64_t first,
                         const int32_t *tokens, int64_t count)
{
    assert(slot >= 0 && slot < cache->settings.slots && count >= 1 && first >= 0 &&
           first + count < cache->settings.capacity);
    if (queue->tokens + count > cache->settings.pass_tokens || queue->sequences == cache->settings.slots)
        cache_flush(cache);
    memcpy(queue->token + queue->tokens, tokens, (size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++) {
        queue->position[queue->tokens + i] = (int32_t)(first + i);
        queue->slot[queue->tokens + i] = slot;
    }
    queue->tokens += count;
    queue->starts[++queue->sequences] = (int32_t)queue->tokens;
}

void cache_read(struct cache *cache, int32_t slot, const int32_t *tokens, int64_t count)
{
    queue_tokens(cache, &cache->whole, slot, 0, tokens, count);
}

static void queue_share(struct cache *cache, struct share_queue *queue, int32_t to, int32_t from,
                        int64_t begin, int64_t end)
{
    if (queue->count == cache->settings.slots)
        cache_flush(cache);
    queue->to[queue->count] = to;
    queue->from[queue->count] = from;
    queue->begin[queue->count] = (int32_t)begin;
    queue->end[queue->count++] = (int32_t)end;
}

void cache_extend(struct cache *cache, int32_t slot, int32_t from, int64_t shared, const int32_t *tokens,
                  int64_t count)
{
    queue_tokens(cache, &cache->extensions, slot, shared, tokens, count);
    queue_share(cache, &cache->prefixes, slot, from, 0, shared);
}

void cache_share(struct cache *cache, int32_t to, int32_t from, int64_t begin, int64_t end)
{
    queue_share(cache, &cache->shares, to, from, begin, end);
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

/* Decodes over what the arena has left. */
static void run_step(struct cache *cache, struct decode_rows rows, struct tensor *logits)
{
    struct pass_tensors pass = lay_out_pass(cache, rows.token->shape[0]);
    struct head_tensors head = lay_out_head(cache, rows.token->shape[0]);
    struct layer_activations *const a = &pass.activations;
    model_embed(&cache->pass, &a->input, rows.token);
    for (int64_t layer = 0; layer < cache->pass.settings->layers; layer++) {
        attend_input(cache, layer, &pass, rows.position, rows.slot);
        op_attention_decode(cache->pass.backend, &a->attended, &a->q, &cache->keys[layer],
                            &cache->values[layer], rows.slot, rows.length, cache->settings.capacity,
                            cache->shape);
        layer_attention_output(&cache->pass, layer, a, &pass.scratch);
        layer_feed_forward(&cache->pass, layer, a, &pass.scratch, &a->input);
    }
    model_final_norm(&cache->pass, &head.normed, &head.inverse_rms, &a->input);
    model_logits(&cache->pass, &head.logits, &head.normed);
    *logits = head.logits;
}

void cache_step(struct cache *cache, struct decode_rows rows, struct tensor *logits)
{
    arena_return(&cache->pass_arena, 0);
    run_step(cache, rows, logits);
}

void cache_decode(struct cache *cache, const struct decode_step *step, struct tensor *logits)
{
    struct backend *const backend = cache->pass.backend;
    const int64_t rows = round_to_row_block(step->count);
    assert(step->count >= 1 && step->count <= cache->settings.slots);
    cache_flush(cache);
    stage_step(cache, step, rows);
    struct pass_inputs inputs = lay_out_inputs(cache, rows);
    tensor_upload(backend, &inputs.tokens, cache->token);
    tensor_upload(backend, &inputs.positions, cache->position);
    tensor_upload(backend, &inputs.slots, cache->slot);
    tensor_upload(backend, &inputs.lengths, cache->length);
    run_step(cache,
             (struct decode_rows){.token = &inputs.tokens,
                                  .position = &inputs.positions,
                                  .length = &inputs.lengths,
                                  .slot = &inputs.slots},
             logits);
}
