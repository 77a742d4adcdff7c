#include "models/language/merge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "models/language/checkpoint_adapter.h"
#include "models/language/checkpoint_config.h"
#include "models/language/checkpoint_document.h"
#include "models/language/checkpoint_folder.h"
#include "models/language/checkpoint_tokens.h"
#include "models/language/checkpoint_weights.h"
#include "models/language/layer.h"
#include "models/language/safetensors_values.h"
#include "models/language/safetensors_writer.h"

/* Numbers of a weight that are held at once, but at least one row. */
enum { BLOCK_NUMBERS = 1 << 20 };

/* A tensor of the new folder. */
struct part {
    const struct safetensors_entry *base, *a, *b; /* a, b NULL: nothing is added */
    const struct safetensors_entry *rows;         /* of new tokens, behind the base's; NULL: none */
    struct safetensors_entry target;              /* type, shape and bytes in the new file */
    int64_t shard;
};

struct merge {
    const struct merge_settings *settings;
    struct transformer_settings model; /* of the result */
    struct lora_settings lora;
    struct weights *base, *adapter;
    struct part *parts; /* [weights_count(base)], in the base's order */
    int64_t count, shards;
    char *fresh; /* the folder while it is written */
};

/* ---- which tensors are merged ------------------------------------------------------------------------- */

static bool has_shape(const struct safetensors_entry *entry, int64_t rows, int64_t columns)
{
    return entry->rank == 2 && entry->shape[0] == rows && entry->shape[1] == columns &&
           safetensors_type_is_float(entry->type);
}

static bool find_part(struct merge *merge, const struct weights *weights, const char *name, int64_t rows,
                      int64_t columns, const struct safetensors_entry **found, struct error *error)
{
    *found = weights_find(weights, name);
    if (!*found)
        return error_at(error, ERROR_RUN, weights_path(weights), 0,
                        "there is no tensor '%s'; base and adapter do not belong together", name);
    return has_shape(*found, rows, columns) ||
           error_at(error, ERROR_RUN, weights_path(weights), 0,
                    "tensor '%s' is no matrix [%" PRId64 ", %" PRId64 "] of numbers, as %s wants it", name,
                    rows, columns, merge->settings->base);
}

static struct part *part_of(const struct merge *merge, const struct safetensors_entry *base)
{
    struct part *part = merge->parts;
    while (part->base != base)
        part++;
    return part;
}

/* The weight of a linear with its pair. */
static bool pair_linear(struct merge *merge, int64_t layer, enum linear linear, struct error *error)
{
    const struct linear_shape shape = linear_shape(&merge->model, linear);
    const char *module = linear_module(linear);
    const struct safetensors_entry *base, *a, *b;
    char *name = path_format("model.layers.%" PRId64 ".%s", layer, module);
    char *weight = path_format("%s.weight", name);
    char *down = path_format("base_model.model.%s.lora_A.weight", name);
    char *up = path_format("base_model.model.%s.lora_B.weight", name);
    const bool found = find_part(merge, merge->base, weight, shape.out, shape.in, &base, error) &&
                       find_part(merge, merge->adapter, down, merge->lora.rank, shape.in, &a, error) &&
                       find_part(merge, merge->adapter, up, shape.out, merge->lora.rank, &b, error);
    if (found) {
        struct part *const part = part_of(merge, base);
        part->a = a;
        part->b = b;
    }
    free(up);
    free(down);
    free(weight);
    free(name);
    return found;
}

/* A table with the new tokens' rows of `module`. */
static bool pair_table(struct merge *merge, const char *table, const char *module, struct error *error)
{
    const int64_t added = merge->model.added, width = merge->model.width;
    const struct safetensors_entry *base, *rows;
    char *weight = path_format("%s.weight", table), *name = path_format(ADDED_ROWS_NAME, module);
    const bool found =
        find_part(merge, merge->base, weight, merge->model.vocabulary - added, width, &base, error) &&
        find_part(merge, merge->adapter, name, added, width, &rows, error);
    if (found)
        part_of(merge, base)->rows = rows;
    free(name);
    free(weight);
    return found;
}

/* A file may hold the output table of a tied model too. */
static bool pair_tables(struct merge *merge, struct error *error)
{
    static const char embedding[] = "model.embed_tokens", output[] = "lm_head";
    const bool tied = merge->model.tied;
    return merge->model.added == 0 || (pair_table(merge, embedding, embedding, error) &&
                                       ((tied && !weights_find(merge->base, "lm_head.weight")) ||
                                        pair_table(merge, output, tied ? embedding : output, error)));
}

static bool is_used(const struct merge *merge, const struct safetensors_entry *entry)
{
    for (int64_t index = 0; index < merge->count; index++)
        if (merge->parts[index].a == entry || merge->parts[index].b == entry ||
            merge->parts[index].rows == entry)
            return true;
    return false;
}

/* Nothing of the adapter is left out. */
static bool check_used(const struct merge *merge, struct error *error)
{
    for (int64_t index = 0; index < weights_count(merge->adapter); index++) {
        const struct safetensors_entry *const entry = weights_at(merge->adapter, index);
        bool copy;
        if (is_used(merge, entry))
            continue;
        if (!checkpoint_tokens_copy(&copy, entry, merge->adapter, merge->base, &merge->model, error))
            return false;
        if (!copy)
            return error_at(
                error, ERROR_RUN, weights_path(merge->adapter), 0,
                "tensor '%.120s' is not part of a low-rank adapter as adapter_config.json has it, and "
                "is not supported; choose another adapter",
                entry->name);
    }
    return true;
}

static bool pair_all(struct merge *merge, struct error *error)
{
    for (int64_t place = 0; place < merge->model.layers * LINEAR_COUNT; place++)
        if (merge->lora.targets[place % LINEAR_COUNT] &&
            !pair_linear(merge, place / LINEAR_COUNT, (enum linear)(place % LINEAR_COUNT), error))
            return false;
    return pair_tables(merge, error) && check_used(merge, error);
}

/* Types, sizes and files of the new tensors. */
static void plan_files(struct merge *merge)
{
    int64_t held = 0;
    for (int64_t index = 0; index < merge->count; index++) {
        struct part *const part = &merge->parts[index];
        part->target = *part->base;
        if (merge->settings->type && safetensors_type_is_float(part->base->type))
            part->target.type = merge->settings->type;
        if (part->rows) {
            part->target.shape[0] += part->rows->shape[0];
            part->target.count += part->rows->count;
        }
        part->target.bytes = (size_t)part->target.count * safetensors_type_bytes(part->target.type);
        if (held > 0 && held + (int64_t)part->target.bytes > merge->settings->shard_bytes) {
            merge->shards++;
            held = 0;
        }
        part->shard = merge->shards;
        held += (int64_t)part->target.bytes;
    }
    merge->shards++;
}

static bool merge_open(struct merge *merge, const struct merge_settings *settings, struct error *error)
{
    *merge = (struct merge){.settings = settings};
    if (path_exists(settings->folder))
        return error_at(error, ERROR_USAGE, settings->folder, 0,
                        "is already there; choose another name, or remove it");
    if (!checkpoint_config_read(&merge->model, settings->base, error) ||
        !checkpoint_adapter_config_read(&merge->lora, &merge->model, settings->adapter, error) ||
        !weights_open(&merge->base, settings->base, "model", error) ||
        !weights_open(&merge->adapter, settings->adapter, "adapter_model", error))
        return false;
    merge->count = weights_count(merge->base);
    merge->parts = calloc((size_t)merge->count + 1, sizeof *merge->parts);
    if (!merge->parts)
        return error_memory(error, "the list of tensors", (size_t)merge->count * sizeof *merge->parts, NULL);
    for (int64_t index = 0; index < merge->count; index++)
        merge->parts[index].base = weights_at(merge->base, index);
    if (!pair_all(merge, error))
        return false;
    plan_files(merge);
    return true;
}

/* Removes what was written of a folder that did not get its name. */
static void merge_close(struct merge *merge, bool merged)
{
    struct error ignored = ERROR_INITIALIZER;
    if (merge->fresh && !merged)
        path_remove(merge->fresh, &ignored);
    weights_close(merge->base);
    weights_close(merge->adapter);
    free(merge->parts);
    free(merge->fresh);
}

/* ---- numbers ------------------------------------------------------------------------------------------ */

/* What a part is made of, in pieces. */
struct block {
    real *values, *delta; /* [rows, columns] */
    real *a;              /* [rank, columns]; NULL: nothing is added */
    real *b;              /* [rows, rank] */
    void *bytes;          /* of the new type */
    int64_t rows, columns, rank;
};

static void block_free(struct block *block)
{
    free(block->values);
    free(block->delta);
    free(block->a);
    free(block->b);
    free(block->bytes);
}

/* A tensor that is no matrix is a single row or, where long, rows of BLOCK_NUMBERS. */
static bool block_allocate(struct block *block, const struct part *part, int64_t rank, struct error *error)
{
    const int64_t columns = part->a ? part->base->shape[1] : 1;
    const int64_t rows = columns < BLOCK_NUMBERS ? BLOCK_NUMBERS / columns : 1;
    const size_t numbers = (size_t)(rows * columns);
    *block = (struct block){.rows = rows, .columns = columns, .rank = rank};
    block->values = malloc(numbers * sizeof *block->values);
    block->bytes = malloc(numbers * safetensors_type_bytes(part->target.type));
    if (part->a) {
        block->delta = malloc(numbers * sizeof *block->delta);
        block->a = malloc((size_t)(rank * columns) * sizeof *block->a);
        block->b = malloc((size_t)(rows * rank) * sizeof *block->b);
    }
    if (block->values && block->bytes && (!part->a || (block->delta && block->a && block->b)))
        return true;
    block_free(block);
    return error_memory(error, part->base->name, 3 * numbers * sizeof *block->values, NULL);
}

/* values += scale b a, by whole rows in parallel. */
static void add_product(struct block *block, int64_t rows, real scale)
{
    const int64_t columns = block->columns, rank = block->rank;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        real *const delta = block->delta + row * columns, *const values = block->values + row * columns;
        memset(delta, 0, (size_t)columns * sizeof *delta);
        for (int64_t k = 0; k < rank; k++) {
            const real factor = block->b[row * rank + k];
            const real *const a = block->a + k * columns;
            for (int64_t column = 0; column < columns; column++)
                delta[column] += factor * a[column];
        }
        for (int64_t column = 0; column < columns; column++)
            values[column] += scale * delta[column];
    }
}

static bool write_block(const struct merge *merge, const struct part *part, struct block *block,
                        int64_t first, int64_t rows, struct safetensors_writer *writer, struct error *error)
{
    const int64_t count = rows * block->columns;
    safetensors_values(block->values, part->base, first * block->columns, count);
    if (part->a) {
        safetensors_values(block->b, part->b, first * block->rank, rows * block->rank);
        add_product(block, rows, (real)lora_scale(&merge->lora));
    }
    const int64_t too_large = safetensors_store(block->bytes, part->target.type, block->values, count);
    if (too_large > 0)
        return error_at(error, ERROR_RUN, weights_path(merge->base), 0,
                        "tensor '%.120s' has values that are too large for %s; choose --dtype=bf16 or f32",
                        part->base->name, part->target.type);
    return safetensors_writer_append(writer, block->bytes,
                                     (size_t)count * safetensors_type_bytes(part->target.type), error);
}

static bool write_converted(const struct merge *merge, const struct part *part,
                            struct safetensors_writer *writer, struct error *error)
{
    struct block block;
    if (!block_allocate(&block, part, merge->lora.rank, error))
        return false;
    if (part->a)
        safetensors_values(block.a, part->a, 0, part->a->count);
    const int64_t rows = part->base->count / block.columns;
    bool written = true;
    for (int64_t first = 0; written && first < rows; first += block.rows)
        written = write_block(merge, part, &block, first,
                              rows - first < block.rows ? rows - first : block.rows, writer, error);
    block_free(&block);
    return written;
}

/* ---- files -------------------------------------------------------------------------------------------- */

static char *shard_name(const struct merge *merge, int64_t shard)
{
    return merge->shards == 1
               ? path_format("model.safetensors")
               : path_format("model-%05" PRId64 "-of-%05" PRId64 ".safetensors", shard + 1, merge->shards);
}

/* The base's numbers, merged or converted where they have to be. */
static bool write_numbers(const struct merge *merge, const struct part *part,
                          struct safetensors_writer *writer, struct error *error)
{
    const bool same = !part->a && strcmp(part->base->type, part->target.type) == 0;
    return same ? safetensors_writer_append(writer, part->base->data, part->base->bytes, error)
                : write_converted(merge, part, writer, error);
}

static bool write_part(const struct merge *merge, const struct part *part, struct safetensors_writer *writer,
                       struct error *error)
{
    const struct part rows = {.base = part->rows, .target = part->target};
    return write_numbers(merge, part, writer, error) &&
           (!part->rows || write_numbers(merge, &rows, writer, error));
}

static bool write_parts(const struct merge *merge, const struct part *parts, int64_t count,
                        struct safetensors_writer *writer, struct error *error)
{
    bool written = true;
    for (int64_t index = 0; written && index < count; index++)
        written = interrupt_check(error) && write_part(merge, &parts[index], writer, error);
    return written;
}

static bool write_shard(const struct merge *merge, const struct part *parts, int64_t count,
                        struct error *error)
{
    struct safetensors_entry *entries = calloc((size_t)count, sizeof *entries);
    if (!entries)
        return error_memory(error, "the list of tensors", (size_t)count * sizeof *entries, NULL);
    for (int64_t index = 0; index < count; index++)
        entries[index] = parts[index].target;
    char *name = shard_name(merge, parts->shard), *path = path_format("%s/%s", merge->fresh, name);
    struct safetensors_writer *writer = NULL;
    const bool written = safetensors_writer_open(&writer, path, entries, count, error) &&
                         write_parts(merge, parts, count, writer, error) &&
                         safetensors_writer_commit(writer, error);
    safetensors_writer_close(writer);
    free(path);
    free(name);
    free(entries);
    return written;
}

static bool write_weights(const struct merge *merge, struct error *error)
{
    for (int64_t first = 0, end; first < merge->count; first = end) {
        for (end = first + 1; end < merge->count && merge->parts[end].shard == merge->parts[first].shard;
             end++)
            continue;
        if (!write_shard(merge, merge->parts + first, end - first, error))
            return false;
    }
    return true;
}

static int64_t total_bytes(const struct merge *merge)
{
    int64_t bytes = 0;
    for (int64_t index = 0; index < merge->count; index++)
        bytes += (int64_t)merge->parts[index].target.bytes;
    return bytes;
}

static bool write_index(const struct merge *merge, struct error *error)
{
    if (merge->shards == 1)
        return true;
    json_t *map = json_object();
    for (int64_t index = 0; index < merge->count; index++) {
        char *name = shard_name(merge, merge->parts[index].shard);
        json_object_set_new(map, merge->parts[index].base->name, json_string(name));
        free(name);
    }
    json_t *object = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total_bytes(merge),
                               "weight_map", map);
    return document_write(object, merge->fresh, "model.safetensors.index.json", error);
}

static bool copy_file(const struct merge *merge, const char *name, struct error *error)
{
    char *from = path_format("%s/%s", merge->settings->base, name),
         *to = path_format("%s/%s", merge->fresh, name);
    char *bytes = NULL;
    size_t length = 0;
    const bool copied = !path_exists(from) ||
                        (file_read(from, &bytes, &length, error) && file_write(to, bytes, length, error));
    free(bytes);
    free(to);
    free(from);
    return copied;
}

static void set_type(json_t *config, const char *type)
{
    const char *name = strcmp(type, "F32") == 0   ? "float32"
                       : strcmp(type, "F16") == 0 ? "float16"
                                                  : "bfloat16";
    const bool later = json_object_get(config, "dtype") != NULL;
    if (later)
        json_object_set_new(config, "dtype", json_string(name));
    if (!later || json_object_get(config, "torch_dtype"))
        json_object_set_new(config, "torch_dtype", json_string(name));
}

static void set_tokens(json_t *config, int64_t vocabulary)
{
    json_object_set_new(config, "vocab_size", json_integer((json_int_t)vocabulary));
    if (json_object_get(config, "idrec_classes"))
        json_object_set_new(config, "idrec_classes", json_integer((json_int_t)vocabulary));
}

/* The base's own file with all its keys; only the type of the weights and the number of tokens may differ. */
static bool write_config(const struct merge *merge, struct error *error)
{
    const char *type = merge->settings->type;
    if (!type && merge->model.added == 0)
        return copy_file(merge, "config.json", error);
    struct document document;
    if (!document_open(&document, merge->settings->base, "config.json", error)) {
        document_close(&document);
        return false;
    }
    if (type)
        set_type(document.object, type);
    if (merge->model.added > 0)
        set_tokens(document.object, merge->model.vocabulary);
    const bool written = document_write(json_incref(document.object), merge->fresh, "config.json", error);
    document_close(&document);
    return written;
}

static bool copy_tokenizer(const struct merge *merge, struct error *error)
{
    static const char *const names[] = {"tokenizer.json",     "tokenizer_config.json",
                                        "tokenizer.model",    "special_tokens_map.json",
                                        "vocab.json",         "merges.txt",
                                        "added_tokens.json",  "chat_template.jinja",
                                        "chat_template.json", "generation_config.json"};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (!copy_file(merge, names[index], error))
            return false;
    return true;
}

bool merge_adapter(struct merge_result *result, const struct merge_settings *settings, struct error *error)
{
    struct merge merge;
    const bool merged = merge_open(&merge, settings, error) &&
                        checkpoint_folder_begin(&merge.fresh, settings->folder, error) &&
                        write_config(&merge, error) && copy_tokenizer(&merge, error) &&
                        write_weights(&merge, error) && write_index(&merge, error) &&
                        checkpoint_folder_commit(settings->folder, error);
    *result = (struct merge_result){
        .tensors = merge.count, .added_tokens = merge.model.added, .shards = merge.shards};
    for (int64_t index = 0; merge.parts && index < merge.count; index++)
        result->merged += merge.parts[index].a != NULL;
    result->bytes = merge.parts ? total_bytes(&merge) : 0;
    merge_close(&merge, merged);
    return merged;
}
