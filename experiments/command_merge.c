#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/command.h"
#include "experiments/language_folder.h"
#include "models/language/merge.h"

static bool read_type(const char **type, const char *name, struct error *error)
{
    static const char *const names[][2] = {{"f32", "F32"}, {"bf16", "BF16"}, {"f16", "F16"}};
    *type = NULL;
    for (int index = 0; name && index < 3; index++)
        if (strcmp(name, names[index][0]) == 0)
            *type = names[index][1];
    return !name || *type ||
           error_set(error, ERROR_USAGE, "--dtype=%.60s: f32, bf16 or f16 is expected", name);
}

/* Without slashes at its end: names beside it are made from it. */
static char *folder_name(const char *word)
{
    size_t length = strlen(word);
    while (length > 1 && word[length - 1] == '/')
        length--;
    return path_format("%.*s", (int)length, word);
}

static bool merge_folder(const struct language_folder *folder, struct merge_settings *settings,
                         struct error *error)
{
    struct merge_result result;
    if (!folder->adapter)
        return error_set(error, ERROR_USAGE, "%s: has no adapter%s; name one: idrec merge BASE ADAPTER OUT",
                         folder->run ? folder->run : folder->base,
                         folder->run ? " (its fine-tuned model is whole)" : "");
    settings->base = folder->base;
    settings->adapter = folder->adapter;
    if (!merge_adapter(&result, settings, error))
        return false;
    printf("%s: %lld tensors, %lld of them merged with the adapter's; ", settings->folder,
           (long long)result.tensors, (long long)result.merged);
    if (result.added_tokens > 0)
        printf("%lld new tokens; ", (long long)result.added_tokens);
    printf("%.1f MB of weights in %lld file%s\n", (double)result.bytes * 1e-6, (long long)result.shards,
           result.shards == 1 ? "" : "s");
    return true;
}

bool command_merge(const struct invocation *invocation, struct error *error)
{
    const bool named = invocation->word_count == 3;
    struct merge_settings settings = {.shard_bytes = 5000000000};
    struct language_folder folder = {.base = NULL};
    if (!read_type(&settings.type, invocation->option[0], error) ||
        !option_integer(invocation, 1, 1, &settings.shard_bytes, error))
        return false;
    char *out = folder_name(invocation->words[named ? 2 : 1]);
    settings.folder = out;
    const bool merged =
        language_folder_open(&folder, invocation->words[0], named ? invocation->words[1] : NULL, error) &&
        merge_folder(&folder, &settings, error);
    language_folder_close(&folder);
    free(out);
    return merged;
}
