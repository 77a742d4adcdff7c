#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "experiments/command.h"
#include "experiments/info_hdf5.h"
#include "experiments/study_folder.h"
#include "experiments/trained.h"
#include "models/language/checkpoint_weights.h"

static void add_tensor(json_t *tensors, const struct safetensors_entry *entry)
{
    json_t *shape = json_array();
    for (int d = 0; d < entry->rank; d++)
        json_array_append_new(shape, json_integer(entry->shape[d]));
    json_object_set_new(tensors, entry->name, json_pack("{s:s, s:o}", "type", entry->type, "shape", shape));
}

static json_t *describe_safetensors(const char *path, struct error *error)
{
    struct safetensors *file;
    if (!safetensors_open(&file, path, error))
        return NULL;
    json_t *tensors = json_object();
    json_int_t values = 0;
    for (int64_t i = 0; i < safetensors_count(file); i++) {
        add_tensor(tensors, safetensors_at(file, i));
        values += safetensors_at(file, i)->count;
    }
    safetensors_close(file);
    return json_pack("{s:s, s:I, s:o}", "kind", "safetensors file", "parameters", values, "tensors", tensors);
}

/* The tensors of a folder, in one file or in shards. */
static json_t *describe_weights(const char *folder, const char *stem, struct error *error)
{
    struct weights *weights;
    if (!weights_open(&weights, folder, stem, error))
        return NULL;
    json_t *tensors = json_object();
    json_int_t values = 0;
    for (int64_t i = 0; i < weights_count(weights); i++) {
        add_tensor(tensors, weights_at(weights, i));
        values += weights_at(weights, i)->count;
    }
    const char *kind = weights_shards(weights) > 1 ? "safetensors files" : "safetensors file";
    json_t *result = json_pack("{s:s, s:I, s:I, s:o}", "kind", kind, "files",
                               (json_int_t)weights_shards(weights), "parameters", values, "tensors", tensors);
    weights_close(weights);
    return result;
}

static json_t *load_json(const char *folder, const char *name, struct error *error)
{
    char *path = path_format("%s/%s", folder, name);
    json_error_t problem;
    json_t *value = json_load_file(path, 0, &problem);
    if (!value)
        error_at(error, ERROR_RUN, path, problem.line > 0 ? problem.line : 0,
                 "is damaged (%s); make it again", problem.text);
    free(path);
    return value;
}

static json_t *describe_checkpoint(const char *folder, const char *settings_name, const char *stem,
                                   struct error *error)
{
    json_t *settings = load_json(folder, settings_name, error);
    char *marker = path_format("%s/DONE", folder);
    json_t *weights = settings ? describe_weights(folder, stem, error) : NULL;
    json_t *result = weights ? json_pack("{s:s, s:b, s:O, s:O}", "kind", "checkpoint", "complete",
                                         path_exists(marker), "settings", settings, "weights", weights)
                             : NULL;
    json_decref(settings);
    json_decref(weights);
    free(marker);
    return result;
}

/* The manifest without the long list of outputs, and the trained models: arms and seeds of each recommender. */
static json_t *describe_run(const char *folder, struct error *error)
{
    json_t *manifest = load_json(folder, "manifest.json", error);
    if (!manifest)
        return NULL;
    const char *name;
    json_t *record, *stages = json_object();
    json_object_foreach(json_object_get(manifest, "stages"), name, record)
    {
        const json_t *cost = json_object_get(record, "cost");
        json_object_set_new(
            stages, name,
            json_pack("{s:b, s:f, s:I, s:I}", "complete", json_is_true(json_object_get(record, "complete")),
                      "seconds", json_number_value(json_object_get(cost, "seconds")), "outputs",
                      (json_int_t)json_array_size(json_object_get(record, "outputs")), "peak_memory_bytes",
                      json_integer_value(json_object_get(cost, "peak_memory_bytes"))));
    }
    json_object_set_new(manifest, "stages", stages);
    json_object_set_new(manifest, "kind", json_string("run"));
    json_object_set_new(manifest, "recommenders", trained_models(folder));
    json_t *trial = folder_trial_json(folder);
    if (trial)
        json_object_set_new(manifest, "trial", trial);
    return manifest;
}

static json_t *describe_folder(const char *path, struct error *error)
{
    static const struct {
        const char *settings, *stem;
    } checkpoints[] = {{"config.json", "model"}, {"adapter_config.json", "adapter_model"}};
    char *probe = path_format("%s/manifest.json", path);
    json_t *result = NULL;
    bool known = path_exists(probe);
    free(probe);
    if (known)
        return describe_run(path, error);
    if (folder_is_study(path))
        return folder_study_json(path);
    for (int i = 0; !known && i < 2; i++) {
        probe = path_format("%s/%s", path, checkpoints[i].settings);
        known = path_exists(probe);
        if (known)
            result = describe_checkpoint(path, checkpoints[i].settings, checkpoints[i].stem, error);
        free(probe);
    }
    if (!known)
        error_at(error, ERROR_RUN, path, 0,
                 "is neither a run's folder (manifest.json), nor a study's (trials/), nor a checkpoint "
                 "(config.json, adapter_config.json)");
    return result;
}

static json_t *describe_path(const char *path, struct error *error)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        error_system(error, path, "cannot open this", NULL);
        return NULL;
    }
    if (S_ISDIR(status.st_mode))
        return describe_folder(path, error);
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".safetensors") == 0)
        return describe_safetensors(path, error);
    return describe_hdf5(path, error);
}

static void print_scalar(const json_t *value)
{
    if (json_is_string(value)) {
        printf("%s", json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    printf("%s", text ? text : "");
    free(text);
}

/* A mapping is flat when none of its values is a mapping: it fits on a line. */
static bool is_flat(const json_t *value)
{
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)value, key, child)
    {
        if (json_is_object(child))
            return false;
    }
    return json_object_size(value) <= 4;
}

static void print_line(const json_t *mapping)
{
    const char *key, *separator = " ";
    json_t *value;
    json_object_foreach((json_t *)mapping, key, value)
    {
        printf("%s%s ", separator, key);
        print_scalar(value);
        separator = ", ";
    }
}

static void print_tree(const json_t *tree, int indent)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)tree, key, value)
    {
        printf("%*s%s:", indent, "", key);
        if (json_is_object(value) && !is_flat(value)) {
            putchar('\n');
            print_tree(value, indent + 2);
            continue;
        }
        if (json_is_object(value)) {
            print_line(value);
        } else {
            putchar(' ');
            print_scalar(value);
        }
        putchar('\n');
    }
}

bool command_info(const struct invocation *invocation, struct error *error)
{
    json_t *description = describe_path(invocation->words[0], error);
    if (!description)
        return error_memory(error, "the description", 0, NULL);
    if (invocation->option[0]) {
        json_dumpf(description, stdout, JSON_INDENT(1));
        putchar('\n');
    } else {
        print_tree(description, 0);
    }
    json_decref(description);
    return true;
}
