#include "experiments/language_prompts.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/language_base.h"
#include "models/language/checkpoint_config.h"
#include "models/language/names.h"

static enum indexing_kind indexing_kind(const struct config *config)
{
    return indexing_kind_of(config_string(config, "language_model.indexing"), language_is_text(config));
}

bool language_items_are_tokens(const struct config *config)
{
    return !language_is_text(config) && indexing_kind(config) == INDEXING_IDS;
}

bool language_items_have_codes(const struct config *config)
{
    const enum indexing_kind kind = indexing_kind(config);
    return kind == INDEXING_COLLABORATIVE || kind == INDEXING_COLLABORATIVE_IDS;
}

bool language_tokens_are_added(const struct config *config)
{
    return !config_is_null(config, "language_model.checkpoint") && indexing_kind(config) != INDEXING_TEXT;
}

bool language_added_tokens(int64_t *added, const struct language_prompts *prompts, const char *base,
                           struct error *error)
{
    struct transformer_settings settings;
    if (!checkpoint_config_read(&settings, base, error))
        return false;
    *added = prompts->tokens > settings.vocabulary ? prompts->tokens - settings.vocabulary : 0;
    return true;
}

/* ---- what stands for items ---------------------------------------------------------------------------- */

static bool create_indexing(struct language_prompts *prompts, const struct run *run, const struct csr *train,
                            int64_t first_token, struct error *error)
{
    const struct config *config = run->config;
    const struct indexing_settings settings = {
        .kind = prompts->kind,
        .first_token = (int32_t)first_token,
        .codes = {.clusters = config_integer(config, "language_model.clusters"),
                  .cluster_size = config_integer(config, "language_model.cluster_size"),
                  .seed = (uint64_t)config_integer(config, "seed"),
                  .threads = run->backend->threads}};
    return indexing_create(&prompts->indexing, train, &settings, error);
}

static bool index_items(struct language_prompts *prompts, const struct run *run, const struct csr *train,
                        int64_t first_token, bool keep_codes, struct error *error)
{
    if (!language_items_have_codes(run->config))
        return create_indexing(prompts, run, train, first_token, error);
    char *path = run_path(run, "language_model/indexing.h5"), *folder = run_path(run, "language_model");
    const bool done = path_exists(path)
                          ? indexing_load(&prompts->indexing, path, train->columns, error)
                          : create_indexing(prompts, run, train, first_token, error) &&
                                (!keep_codes || (folder_create(folder, error) &&
                                                 indexing_save(&prompts->indexing, path, error)));
    free(folder);
    free(path);
    return done;
}

/* ---- ids ---------------------------------------------------------------------------------------------- */

static bool open_ids(struct language_prompts *prompts, const struct run *run, const struct dataset *dataset,
                     bool keep_codes, struct error *error)
{
    const bool separator = strcmp(config_string(run->config, "prompts.template"), "default") == 0;
    if (!index_items(prompts, run, &dataset->train, CONTROL_TOKEN_COUNT, keep_codes, error))
        return false;
    prompts->vocabulary = (struct vocabulary){
        .items = prompts->indexing.own_tokens,
        .users = dataset->train.rows,
        .user_tokens = config_boolean(run->config, "language_model.user_tokens"),
        .codes = prompts->indexing.code_tokens,
    };
    prompts->tokens = prompts->first_added = vocabulary_size(&prompts->vocabulary);
    prompts->classes = vocabulary_classes(&prompts->vocabulary);
    prompts->begin = TOKEN_BEGIN;
    return prompt_layout_of_codes(&prompts->layout, &prompts->vocabulary, &prompts->indexing.tokens.first,
                                  separator, error);
}

/* ---- text --------------------------------------------------------------------------------------------- */

static const char *string_or(const struct config *config, const char *path, const char *otherwise)
{
    return config_is_null(config, "%s", path) ? otherwise : config_string(config, "%s", path);
}

static struct prompt_template read_template(const struct config *config)
{
    const bool named = indexing_kind(config) == INDEXING_TEXT;
    struct prompt_template template = {
        .context = config_string(config, "prompts.text.context"),
        .answer = config_string(config, "prompts.text.answer"),
        .item = string_or(config, "prompts.text.item", named ? "i{item}" : "{item}"),
        .separator = string_or(config, "prompts.text.separator", named ? "," : ""),
        .answer_apart = config_boolean(config, "prompts.text.answer_apart"),
    };
    if (!chat_format_find(&template.chat, config_string(config, "prompts.text.chat")))
        abort(); /* the schema has just these */
    return template;
}

static struct template_names template_names(const struct language_prompts *prompts)
{
    return (struct template_names){
        .users = &prompts->user_names,
        .items = &prompts->item_names,
        .item_codes = prompts->kind == INDEXING_TEXT ? NULL : &prompts->indexing.tokens.first};
}

static bool name_all(struct language_prompts *prompts, const struct run *run, const struct dataset *dataset,
                     struct error *error)
{
    const enum name_kind kind = name_kind_of(config_string(run->config, "language_model.names"));
    const uint64_t seed = (uint64_t)config_integer(run->config, "seed");
    return names_create(&prompts->user_names, kind, NAMED_USERS, &dataset->user_ids, seed, error) &&
           names_create(&prompts->item_names, kind, NAMED_ITEMS, &dataset->item_ids, seed, error);
}

/* Puts the place in the configuration before what is wrong with a template, a name or the length of prompts, where the
 * message begins with a key or tells of the words. */
static bool complain_of_prompts(const struct config *config, struct error *error)
{
    const struct error told = *error;
    const char *what = told.message;
    char path[64] = "prompts.text";
    const size_t key = strspn(what, "abcdefghijklmnopqrstuvwxyz._");
    if (told.kind != ERROR_USAGE)
        return false;
    if (strncmp(what, "prompts.", strlen("prompts.")) == 0 && key < sizeof path) {
        snprintf(path, sizeof path, "%.*s", (int)key, what);
        what += key + strspn(what + key, ": ");
    }
    *error = ERROR_INITIALIZER;
    return config_complain(config, path, error, "%s", what);
}

static bool open_text(struct language_prompts *prompts, const struct run *run, const struct dataset *dataset,
                      bool keep_codes, struct error *error)
{
    char *path = language_tokenizer_path(run->config);
    const bool loaded = tokenizer_load(&prompts->tokenizer, path, error);
    int32_t end;
    free(path);
    if (!loaded || !language_end_token(&end, run->config, prompts->tokenizer, error) ||
        !language_table_size(&prompts->first_added, run->config, prompts->tokenizer, error) ||
        !name_all(prompts, run, dataset, error) ||
        (prompts->kind != INDEXING_TEXT &&
         !index_items(prompts, run, &dataset->train, prompts->first_added, keep_codes, error)))
        return false;
    prompts->tokens = prompts->classes =
        prompts->first_added + prompts->indexing.own_tokens + prompts->indexing.code_tokens;
    prompts->begin = language_begin_token(prompts->tokenizer);
    prompts->template = read_template(run->config);
    const struct template_names names = template_names(prompts);
    return (answer_text_open(&prompts->answer, &prompts->template, prompts->tokenizer, &prompts->item_names,
                             error) &&
            template_layout(&prompts->layout, &prompts->template, prompts->tokenizer, &names, end, error)) ||
           complain_of_prompts(run->config, error);
}

/* ---- both --------------------------------------------------------------------------------------------- */

bool language_prompts_choose_length(struct language_prompts *prompts, const struct run *run,
                                    const struct csr *train, struct error *error)
{
    prompts->settings = (struct prompt_settings){
        .layout = &prompts->layout,
        .shuffle = config_boolean(run->config, "prompts.shuffle"),
        .length_maximum = config_integer(run->config, "prompts.length"),
    };
    if (!prompt_check(&prompts->settings, train->rows, error))
        return complain_of_prompts(run->config, error);
    prompts->settings.length_maximum = prompt_length_longest(&prompts->settings, train);
    return true;
}

bool language_prompts_open(struct language_prompts *prompts, const struct run *run,
                           const struct dataset *dataset, bool keep_codes, struct error *error)
{
    *prompts = (struct language_prompts){.kind = indexing_kind(run->config)};
    const bool written = language_is_text(run->config) ? open_text(prompts, run, dataset, keep_codes, error)
                                                       : open_ids(prompts, run, dataset, keep_codes, error);
    prompts->single = written && !prompts->tokenizer && prompts->kind == INDEXING_IDS;
    if (written && language_prompts_choose_length(prompts, run, &dataset->train, error))
        return true;
    language_prompts_close(prompts);
    return false;
}

void language_prompts_close(struct language_prompts *prompts)
{
    prompt_layout_free(&prompts->layout);
    indexing_free(&prompts->indexing);
    answer_text_close(&prompts->answer);
    id_map_free(&prompts->user_names);
    id_map_free(&prompts->item_names);
    tokenizer_free(prompts->tokenizer);
    *prompts = (struct language_prompts){0};
}

static double tokens_per_item(const struct token_rows *rows)
{
    return rows->count > 0 ? (double)rows->starts[rows->count] / (double)rows->count : 0;
}

bool language_prompts_tell(const struct language_prompts *prompts, const struct run *run,
                           const struct dataset *dataset, struct error *error)
{
    enum { SAMPLE = 1000 };
    if (prompts->indexing.groups > 0)
        log_line(run->log,
                 "items: %lld groups of at most %lld by co-occurrence, %lld levels, %.1f tokens each",
                 (long long)prompts->indexing.groups, (long long)prompts->indexing.largest_group,
                 (long long)prompts->indexing.levels, tokens_per_item(&prompts->layout.answer.next));
    if (!prompts->tokenizer || prompts->kind != INDEXING_TEXT)
        return true;
    const struct template_names names = template_names(prompts);
    struct template_agreement agreement;
    if (!template_agreement(&agreement, &prompts->template, prompts->tokenizer, &names, &prompts->settings,
                            &dataset->train, SAMPLE, (uint64_t)config_integer(run->config, "seed"), error))
        return false;
    log_line(run->log,
             "text: %.1f tokens an item; %lld of %lld prompts have the tokens of the text as a whole",
             tokens_per_item(&prompts->layout.answer.next), (long long)agreement.equal,
             (long long)agreement.prompts);
    return true;
}
