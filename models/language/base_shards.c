/*
 * base_shards.c: the weights of a frozen base divided among ranks. Every rank keeps its part of each layer: a run of the
 * layer's bytes, which are laid out alike in all layers. A pass reads whole layers in two places, that of layer i being
 * i % 2: while a layer is computed, the parts of the next one come into the other place. Where a pass ends the next one
 * begins, so two layers are there already.
 */
#include <stdio.h>

#include "core/comm.h"
#include "core/file.h"
#include "core/trace.h"
#include "models/language/transformer_state.h"

enum { PLACES = BASE_SHARD_PLACES, WORD_BYTES = sizeof(int32_t), ALIGNED_WORDS = 64 };

bool transformer_base_is_sharded(const struct transformer *model)
{
    return model->settings.shard_base && transformer_is_shared(model);
}

static int64_t places_used(const struct transformer *model)
{
    return model->settings.layers < PLACES ? model->settings.layers : PLACES;
}

/* ---- layout ------------------------------------------------------------------------------------------- */

struct arena *transformer_frozen_arena(struct transformer *model)
{
    return model->base.laid_out > 0 ? &model->base.places_arena : &model->weights_arena;
}

void base_shards_begin_layer(struct transformer *model, int64_t layer)
{
    struct base_shards *const base = &model->base;
    if (!transformer_base_is_sharded(model))
        return;
    base->laid_out = layer + 1;
    arena_return(&base->places_arena, (size_t)(layer % PLACES * base->words) * WORD_BYTES);
}

/* Parts of equal length, each of which begins at a multiple of 256 bytes. */
static int64_t padded_words(const struct transformer *model, size_t bytes)
{
    const int64_t unit = ALIGNED_WORDS * model->backend->communicator->size;
    const int64_t words = ((int64_t)bytes + WORD_BYTES - 1) / WORD_BYTES;
    return (words + unit - 1) / unit * unit;
}

void base_shards_end_layer(struct transformer *model, int64_t layer)
{
    struct base_shards *const base = &model->base;
    if (!transformer_base_is_sharded(model))
        return;
    if (layer == 0)
        base->words = padded_words(model, arena_mark(&base->places_arena));
    base->laid_out = 0;
}

void base_shards_lay_out(struct transformer *model)
{
    struct base_shards *const base = &model->base;
    if (!transformer_base_is_sharded(model))
        return;
    const struct communicator *const ranks = model->backend->communicator;
    const int64_t places = places_used(model);
    arena_return(&base->kept_arena, 0);
    arena_return(&base->places_arena, 0);
    base->own = comm_part(ranks, base->words, ranks->rank);
    base->own_count = comm_part(ranks, base->words, ranks->rank + 1) - base->own;
    const struct tensor all = arena_tensor_2d(&base->places_arena, DTYPE_I32, places, base->words);
    for (int64_t place = 0; place < places; place++) {
        base->place[place] = tensor_1d(NULL, DTYPE_I32, model->backend->device, base->words);
        if (all.data)
            base->place[place].data = (char *)all.data + place * base->words * WORD_BYTES;
        base->held[place] = -1;
    }
    base->kept = arena_tensor_2d(&base->kept_arena, DTYPE_I32, model->settings.layers, base->own_count);
}

/* ---- values ------------------------------------------------------------------------------------------- */

void transformer_keep_part(struct transformer *model, const struct parameter *parameter)
{
    const struct base_shards *const base = &model->base;
    if (parameter->shard == 0)
        return;
    const int64_t layer = parameter->shard - 1;
    char *const place = base->place[layer % PLACES].data;
    const int64_t own = base->own * WORD_BYTES, own_end = own + base->own_count * WORD_BYTES;
    const int64_t first = (char *)parameter->value.data - place;
    const int64_t end = first + (int64_t)tensor_bytes(&parameter->value);
    const int64_t from = first > own ? first : own, to = end < own_end ? end : own_end;
    char *const kept = (char *)base->kept.data + layer * base->own_count * WORD_BYTES;
    if (from < to)
        model->backend->copy(model->backend, kept + (from - own), place + from, (size_t)(to - from));
}

/* ---- passes ------------------------------------------------------------------------------------------- */

static bool begin_gather(struct transformer *model, int64_t layer, struct error *error)
{
    struct base_shards *const base = &model->base;
    const int64_t place = layer % PLACES;
    if (layer < 0 || layer >= model->settings.layers || base->held[place] == layer)
        return true;
    char what[48];
    snprintf(what, sizeof what, "all-gather, layer %lld", (long long)layer);
    const struct tensor kept = tensor_rows(&base->kept, layer, 1);
    model->backend->copy(model->backend, (int32_t *)base->place[place].data + base->own, kept.data,
                         tensor_bytes(&kept));
    base->held[place] = layer;
    return comm_begin_all_gather(model->backend->communicator, &base->place[place], what,
                                 &base->exchange[place], error);
}

bool transformer_bring_layer(struct transformer *model, int64_t layer, int64_t next, struct error *error)
{
    if (!transformer_base_is_sharded(model) || model->backend->counts_only)
        return true;
    const double begun = clock_seconds();
    if (!begin_gather(model, layer, error) ||
        !comm_await(model->backend->communicator, model->base.exchange[layer % PLACES], error))
        return false;
    model->base.exchange[layer % PLACES] = 0;
    if (trace_is_on(model->backend->trace))
        trace_add(model->backend->trace, TRACE_COMPUTES, begun, -1, "wait for layer %lld", (long long)layer);
    return begin_gather(model, next, error);
}

bool transformer_ask(struct transformer *model, bool asks, bool *any, struct error *error)
{
    double asking = asks;
    *any = asks;
    if (!transformer_base_is_sharded(model) || model->backend->counts_only)
        return true;
    const bool done = comm_sum_numbers(model->backend->communicator, &asking, 1, error);
    *any = asking > 0;
    return done;
}

double transformer_gathered_bytes(const struct transformer *model, int64_t batches)
{
    const struct base_shards *const base = &model->base;
    if (!transformer_base_is_sharded(model))
        return 0;
    const int64_t places = places_used(model);
    int64_t gathers = batches * 2 * (model->settings.layers - places);
    for (int64_t place = 0; batches > 0 && place < places; place++)
        gathers += base->held[place] != place;
    return (double)gathers * (double)(base->own_count * WORD_BYTES) *
           (double)(model->backend->communicator->size - 1);
}
