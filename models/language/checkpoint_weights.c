#include "models/language/checkpoint_weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/checkpoint_document.h"

#define INDEX_ADVICE "get the folder anew"

struct weights {
    char *path;
    struct document index; /* object NULL: one file holds everything */
    const json_t *map;
    struct shard {
        const char *name; /* as the index has it; NULL: one file */
        struct safetensors *file;
    } * shards;
    int64_t shard_count, count;
};

static bool open_shard(struct weights *weights, const char *folder, const char *name, struct error *error)
{
    char *path = path_format("%s/%s", folder, name);
    struct shard *const shard = &weights->shards[weights->shard_count];
    const bool opened = safetensors_open(&shard->file, path, error);
    free(path);
    if (!opened)
        return false;
    shard->name = name;
    weights->count += safetensors_count(shard->file);
    weights->shard_count++;
    return true;
}

static const struct shard *find_shard(const struct weights *weights, const char *name)
{
    for (int64_t shard = 0; shard < weights->shard_count; shard++)
        if (strcmp(weights->shards[shard].name, name) == 0)
            return &weights->shards[shard];
    return NULL;
}

/* A shard's file lies in the folder itself. */
static bool is_file_name(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool open_shards(struct weights *weights, const char *folder, struct error *error)
{
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)weights->map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!is_file_name(name))
            return error_at(error, ERROR_RUN, weights->path, 0,
                            "tensor '%.80s' is in no file of this folder; " INDEX_ADVICE, tensor);
        if (!find_shard(weights, name) && !open_shard(weights, folder, name, error))
            return false;
        if (!safetensors_find(find_shard(weights, name)->file, tensor))
            return error_at(error, ERROR_RUN, weights->path, 0,
                            "tensor '%.80s' is not in %.80s; " INDEX_ADVICE, tensor, name);
    }
    return true;
}

/* Since each name of the index is in its shard, a shard has more only when the counts differ. */
static bool check_counts(const struct weights *weights, struct error *error)
{
    const size_t named = json_object_size(weights->map);
    if ((size_t)weights->count == named)
        return true;
    return error_at(error, ERROR_RUN, weights->path, 0,
                    "names %zu tensors, but its files hold %lld; " INDEX_ADVICE, named,
                    (long long)weights->count);
}

static bool open_index(struct weights *weights, const char *folder, const char *stem, struct error *error)
{
    char *name = path_format("%s.safetensors.index.json", stem);
    const bool read = document_open(&weights->index, folder, name, error);
    free(name);
    if (!read)
        return false;
    weights->map = json_object_get(weights->index.object, "weight_map");
    if (json_object_size(weights->map) == 0)
        return error_at(error, ERROR_RUN, weights->path, 0,
                        "'weight_map' is missing or empty; " INDEX_ADVICE);
    weights->shards = calloc(json_object_size(weights->map), sizeof *weights->shards);
    if (!weights->shards)
        return error_memory(error, "the list of shards",
                            json_object_size(weights->map) * sizeof *weights->shards, NULL);
    return open_shards(weights, folder, error) && check_counts(weights, error);
}

static bool open_single(struct weights *weights, const char *folder, const char *stem, struct error *error)
{
    char *name = path_format("%s.safetensors", stem);
    weights->shards = calloc(1, sizeof *weights->shards);
    const bool opened = weights->shards ? open_shard(weights, folder, name, error)
                                        : error_memory(error, name, sizeof *weights->shards, NULL);
    if (opened)
        weights->shards[0].name = NULL;
    free(name);
    return opened;
}

bool weights_open(struct weights **weights, const char *folder, const char *stem, struct error *error)
{
    char *single = path_format("%s/%s.safetensors", folder, stem);
    char *index = path_format("%s.index.json", single);
    const bool sharded = !path_exists(single) && path_exists(index);
    struct weights *const opened = *weights = calloc(1, sizeof **weights);
    if (!opened) {
        free(index);
        free(single);
        return error_memory(error, folder, sizeof *opened, NULL);
    }
    opened->path = sharded ? index : single;
    free(sharded ? single : index);
    if (sharded ? open_index(opened, folder, stem, error) : open_single(opened, folder, stem, error))
        return true;
    weights_close(opened);
    *weights = NULL;
    return false;
}

void weights_close(struct weights *weights)
{
    if (!weights)
        return;
    for (int64_t shard = 0; shard < weights->shard_count; shard++)
        safetensors_close(weights->shards[shard].file);
    document_close(&weights->index);
    free(weights->shards);
    free(weights->path);
    free(weights);
}

int64_t weights_count(const struct weights *weights)
{
    return weights->count;
}

int64_t weights_shards(const struct weights *weights)
{
    return weights->shard_count;
}

const struct safetensors_entry *weights_at(const struct weights *weights, int64_t index)
{
    const struct shard *shard = weights->shards;
    for (; index >= safetensors_count(shard->file); shard++)
        index -= safetensors_count(shard->file);
    return safetensors_at(shard->file, index);
}

static const struct safetensors *file_of(const struct weights *weights, const char *name)
{
    const char *shard = json_string_value(json_object_get(weights->map, name));
    return shard ? find_shard(weights, shard)->file : weights->shards[0].file;
}

const struct safetensors_entry *weights_find(const struct weights *weights, const char *name)
{
    return safetensors_find(file_of(weights, name), name);
}

const char *weights_path(const struct weights *weights)
{
    return weights->path;
}

bool weights_check(const struct weights *weights, const char *name, const struct tensor *tensor,
                   struct error *error)
{
    return safetensors_check(file_of(weights, name), name, tensor, error);
}

bool weights_read(const struct weights *weights, const char *name, struct backend *backend,
                  struct tensor *tensor, struct error *error)
{
    return safetensors_read(file_of(weights, name), name, backend, tensor, error);
}
