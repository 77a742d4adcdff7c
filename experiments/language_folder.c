#include "experiments/language_folder.h"

#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "experiments/language_base.h"
#include "experiments/run.h"

/* A path below a folder, or NULL where nothing is there. */
static char *existing(const char *folder, const char *name)
{
    char *path = path_format("%s/%s", folder, name);
    if (path_exists(path))
        return path;
    free(path);
    return NULL;
}

static void describe_run(struct language_folder *folder, struct config *config)
{
    const struct run run = {.folder = folder->run, .config = config};
    const char *method = config_string(config, "finetune.method");
    folder->base = strcmp(method, "full") == 0 ? run_path(&run, "language_model/finetuned")
                                               : language_base_folder(&run, 0);
    if (strcmp(method, "lora") == 0)
        folder->adapter = run_path(&run, "language_model/adapter");
    char *tokenizer = language_is_text(config) ? language_tokenizer_path(config) : NULL;
    if (tokenizer && path_exists(tokenizer))
        folder->tokenizer = tokenizer;
    else
        free(tokenizer);
}

/* A command asks one model. */
static bool check_members(const struct config *config, const char *path, struct error *error)
{
    const bool adapted = strcmp(config_string(config, "finetune.method"), "lora") == 0;
    return language_members(config) == 1 ||
           error_set(
               error, ERROR_USAGE,
               "%s has %lld language models; name one of them, as %s/language_model/base_members/2%s%s%s",
               path, (long long)language_members(config), path, adapted ? " with the adapter " : "",
               adapted ? path : "", adapted ? "/language_model/adapter_members/2" : "");
}

static bool open_run(struct language_folder *folder, const char *path, struct error *error)
{
    struct config *config = NULL;
    char *file = path_format("%s/config.yaml", path);
    const bool opened =
        run_check_stage(path, "finetune", error) && config_load(&config, file, 0, NULL, error);
    free(file);
    if (!opened || !check_members(config, path, error)) {
        config_free(config);
        return false;
    }
    folder->run = path_format("%s", path);
    describe_run(folder, config);
    config_free(config);
    return true;
}

bool language_folder_open(struct language_folder *folder, const char *path, const char *adapter,
                          struct error *error)
{
    char *manifest = existing(path, "manifest.json");
    const bool is_run = manifest != NULL;
    *folder = (struct language_folder){.base = NULL};
    free(manifest);
    if (is_run && !open_run(folder, path, error))
        return false;
    if (!is_run) {
        folder->base = path_format("%s", path);
        folder->tokenizer = existing(path, "tokenizer.json");
    }
    if (adapter) {
        free(folder->adapter);
        folder->adapter = path_format("%s", adapter);
    }
    return true;
}

void language_folder_close(struct language_folder *folder)
{
    free(folder->base);
    free(folder->adapter);
    free(folder->tokenizer);
    free(folder->run);
}
