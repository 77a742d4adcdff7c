#include "experiments/language_base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"
#include "models/language/checkpoint_config.h"
#include "models/language/tokenizer.h"

bool language_is_text(const struct config *config)
{
    return strcmp(config_string(config, "language_model.vocabulary"), "text") == 0;
}

bool language_base_is_given(const struct config *config)
{
    return !config_is_null(config, "language_model.checkpoint") &&
           !config_boolean(config, "pretrain.enabled");
}

int64_t language_members(const struct config *config)
{
    return config_integer(config, "language_model.members");
}

uint64_t language_member_seed(uint64_t seed, int64_t member)
{
    return member == 0 ? seed : XXH3_64bits_withSeed(&member, sizeof member, seed);
}

char *language_member_place(const char *part, int64_t member)
{
    return member == 0 ? path_format("language_model/%s", part)
                       : path_format("language_model/%s_members/%lld", part, (long long)member + 1);
}

char *language_member_folder(const struct run *run, const char *part, int64_t member)
{
    char *place = language_member_place(part, member), *folder = run_path(run, "%s", place);
    free(place);
    return folder;
}

char *language_base_folder(const struct run *run, int64_t member)
{
    return language_base_is_given(run->config) ? config_file_path(run->config, "language_model.checkpoint")
                                               : language_member_folder(run, "base", member);
}

char *language_tokenizer_path(const struct config *config)
{
    char *path = config_file_path(config, "language_model.tokenizer");
    if (path)
        return path;
    char *folder = config_file_path(config, "language_model.checkpoint");
    path = path_format("%s/tokenizer.json", folder ? folder : "");
    free(folder);
    return path;
}

/* ---- the end of a text -------------------------------------------------------------------------------- */

static bool end_of_checkpoint(int32_t *token, const char *folder, struct error *error)
{
    struct transformer_settings settings;
    if (!checkpoint_config_read(&settings, folder, error))
        return false;
    *token = settings.end;
    return settings.end >= 0 || error_set(error, ERROR_RUN,
                                          "%s/config.json: eos_token_id is missing or no token; write the id "
                                          "of the token that ends a text "
                                          "there",
                                          folder);
}

bool language_end_token(int32_t *token, const struct config *config, const struct tokenizer *tokenizer,
                        struct error *error)
{
    static const char *const names[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "<eos>"};
    char *folder = config_file_path(config, "language_model.checkpoint");
    if (folder) {
        const bool found = end_of_checkpoint(token, folder, error);
        free(folder);
        return found;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((*token = tokenizer_find(tokenizer, names[i])) >= 0)
            return true;
    return config_complain(
        config, "language_model.tokenizer", error,
        "has no token that ends a text; </s>, <|end_of_text|>, <|endoftext|>, <|im_end|> and <eos> "
        "are looked for");
}

int32_t language_begin_token(const struct tokenizer *tokenizer)
{
    struct token_list tokens = {0};
    struct error ignored = ERROR_INITIALIZER;
    const bool encoded =
        tokenizer_encode(tokenizer, "", 0, (struct encoding_options){.special = true}, &tokens, &ignored);
    const int32_t begin = encoded && tokens.count > 0 ? tokens.token[0] : -1;
    token_list_free(&tokens);
    return begin;
}

bool language_table_size(int64_t *rows, const struct config *config, const struct tokenizer *tokenizer,
                         struct error *error)
{
    *rows = tokenizer_size(tokenizer);
    char *folder = config_file_path(config, "language_model.checkpoint");
    if (!folder)
        return true;
    struct transformer_settings settings;
    const bool read = checkpoint_config_read(&settings, folder, error);
    free(folder);
    if (!read)
        return false;
    if (settings.vocabulary < *rows)
        return config_complain(
            config, "language_model.checkpoint", error,
            "has %lld tokens, but its tokenizer has %lld; they do not belong together: take the "
            "checkpoint's own tokenizer.json, without tokens that were added to it later",
            (long long)settings.vocabulary, (long long)*rows);
    *rows = settings.vocabulary;
    return true;
}

/* ---- the hash of the files ---------------------------------------------------------------------------- */

static const off_t whole_bytes = (off_t)64 << 20;
enum { END_BYTES = 1 << 20 };

/* The first and the last MiB. */
static bool add_ends(XXH3_state_t *state, const char *path, off_t size)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = malloc(END_BYTES);
    bool read_both = descriptor >= 0 && bytes;
    for (int end = 0; read_both && end < 2; end++) {
        const ssize_t got = pread(descriptor, bytes, END_BYTES, end == 0 ? 0 : size - END_BYTES);
        read_both = got == END_BYTES;
        if (read_both)
            XXH3_128bits_update(state, bytes, END_BYTES);
    }
    free(bytes);
    if (descriptor >= 0)
        close(descriptor);
    return read_both;
}

static bool add_file(XXH3_state_t *state, const char *path, struct error *error)
{
    struct stat status;
    char digits[33];
    if (stat(path, &status) != 0)
        return error_at(error, ERROR_RUN, path, 0, "cannot be read (%s); it is part of the language model",
                        strerror(errno));
    const char *name = strrchr(path, '/') ? strrchr(path, '/') : path;
    XXH3_128bits_update(state, name, strlen(name) + 1);
    if (status.st_size <= whole_bytes) {
        if (!file_hash(path, digits, error))
            return false;
        XXH3_128bits_update(state, digits, sizeof digits);
        return true;
    }
    XXH3_128bits_update(state, &status.st_size, sizeof status.st_size);
    XXH3_128bits_update(state, &status.st_mtim, sizeof status.st_mtim);
    return add_ends(state, path, status.st_size) ||
           error_at(error, ERROR_RUN, path, 0, "cannot be read (%s)", strerror(errno));
}

/* What a model is made of. */
static int is_part(const struct dirent *entry)
{
    const char *suffix = strrchr(entry->d_name, '.');
    return suffix && (strcmp(suffix, ".json") == 0 || strcmp(suffix, ".safetensors") == 0);
}

static bool add_folder(XXH3_state_t *state, const char *folder, struct error *error)
{
    struct dirent **entries;
    const int count = scandir(folder, &entries, is_part, alphasort);
    if (count < 0)
        return error_at(
            error, ERROR_RUN, folder, 0,
            "cannot be read (%s); language_model.checkpoint is to be a folder with config.json and "
            "*.safetensors",
            strerror(errno));
    bool done = true;
    for (int i = 0; i < count; i++) {
        char *path = path_format("%s/%s", folder, entries[i]->d_name);
        done = done && add_file(state, path, error);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return done;
}

bool language_files_hash(char digits[33], const struct config *config, struct error *error)
{
    snprintf(digits, 33, "none");
    if (!language_is_text(config))
        return true;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return error_memory(error, "a hash", 0, NULL);
    XXH3_128bits_reset(state);
    char *folder = config_file_path(config, "language_model.checkpoint");
    char *tokenizer = language_tokenizer_path(config);
    const bool done = (!folder || add_folder(state, folder, error)) && add_file(state, tokenizer, error);
    hash_digits(digits, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    free(tokenizer);
    free(folder);
    return done;
}
