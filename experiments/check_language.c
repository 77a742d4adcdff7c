#include "experiments/check_language.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/generator.h"
#include "experiments/language_base.h"
#include "experiments/language_prompts.h"
#include "models/recommenders/recommender.h"

static bool is(const struct config *config, const char *path, const char *choice)
{
    return strcmp(config_string(config, "%s", path), choice) == 0;
}

static bool check_shape(const struct config *config, struct error *error)
{
    const int64_t width = config_integer(config, "language_model.width");
    const int64_t heads = config_integer(config, "language_model.heads");
    const int64_t key_heads = config_integer(config, "language_model.key_heads");
    const int64_t head_width = config_integer(config, "language_model.head_width");
    if (head_width == 0 && width % heads != 0)
        return config_complain(config, "language_model.heads", error,
                               "does not divide the width %lld; change one of them", (long long)width);
    if (key_heads > 0 && heads % key_heads != 0)
        return config_complain(config, "language_model.key_heads", error, "does not divide the %lld heads",
                               (long long)heads);
    if (config_boolean(config, "language_model.positions") &&
        (head_width > 0 ? head_width : width / heads) % 2 != 0)
        return config_complain(config, "language_model.positions", error, "need heads of an even width");
    return true;
}

/* A checkpoint has its own shape, and a default that suits a small model from scratch harms it. */
static bool check_checkpoint(const struct config *config, struct error *error)
{
    static const char *const from_config_json[] = {
        "layers",    "width",      "heads", "key_heads",      "head_width",  "hidden",
        "positions", "rope_theta", "tied",  "attention_bias", "norm_epsilon"};
    for (size_t i = 0; i < sizeof from_config_json / sizeof *from_config_json; i++)
        if (config_is_written(config, "language_model.%s", from_config_json[i])) {
            char path[64];
            snprintf(path, sizeof path, "language_model.%s", from_config_json[i]);
            return config_complain(config, path, error,
                                   "is read from the config.json of language_model.checkpoint; leave it out");
        }
    if (!config_is_written(config, "pretrain.enabled"))
        return config_complain(
            config, "pretrain.enabled", error,
            "must be written with a checkpoint: false takes it as it is, true trains all of its "
            "weights on the prompts before fine-tuning");
    return config_is_written(config, "language_model.dropout") ||
           config_complain(config, "language_model.dropout", error,
                           "must be written with a checkpoint; most were trained without any: 0");
}

/* Tokens without trained rows mean nothing. */
static bool check_new_tokens(const struct config *config, struct error *error)
{
    const bool trained = config_boolean(config, "pretrain.enabled") || !is(config, "finetune.method", "none");
    return !language_tokens_are_added(config) || trained ||
           config_complain(
               config, "finetune.method", error,
               "is none, but the items' tokens are new to the checkpoint and have to be trained; use "
               "lora or full, or pretrain.enabled: true");
}

static bool check_from_scratch(const struct config *config, struct error *error)
{
    if (config_is_null(config, "language_model.tokenizer"))
        return config_complain(
            config, "language_model.vocabulary", error,
            "text needs language_model.checkpoint, or language_model.tokenizer for a model from "
            "scratch");
    return config_boolean(config, "language_model.positions") ||
           config_complain(config, "language_model.positions", error,
                           "is false, but the order of a text's tokens matters; set it to true");
}

static bool check_text(const struct config *config, struct error *error)
{
    if (config_boolean(config, "language_model.user_tokens"))
        return config_complain(
            config, "language_model.user_tokens", error,
            "is only for the vocabulary `ids`; a text names the user in prompts.text.context");
    if (!is(config, "prompts.template", "default"))
        return config_complain(config, "prompts.template", error,
                               "is only for the vocabulary `ids`; a text has prompts.text.context");
    return config_is_null(config, "language_model.checkpoint")
               ? check_from_scratch(config, error)
               : check_checkpoint(config, error) && check_new_tokens(config, error);
}

static bool check_ids(const struct config *config, struct error *error)
{
    if (is(config, "language_model.indexing", "text"))
        return config_complain(config, "language_model.indexing", error,
                               "is text, for which the vocabulary must be text too; use auto");
    if (!is(config, "language_model.names", "index"))
        return config_complain(config, "language_model.names", error,
                               "is only read with the vocabulary `text`");
    static const char *const of_text[] = {"language_model.checkpoint", "language_model.tokenizer"};
    for (size_t i = 0; i < sizeof of_text / sizeof *of_text; i++)
        if (!config_is_null(config, "%s", of_text[i]))
            return config_complain(config, of_text[i], error, "is only read with the vocabulary `text`");
    return true;
}

/* What only a token for each item can have. */
static bool check_single_tokens(const struct config *config, struct error *error)
{
    static const char *const trainings[] = {"pretrain", "finetune"};
    if (is(config, "language_model.initial", "spectral") && !language_items_are_tokens(config))
        return config_complain(
            config, "language_model.initial", error,
            "spectral needs the vocabulary `ids` with a token for each item; use auto or random");
    for (size_t i = 0; i < sizeof trainings / sizeof *trainings && !language_items_are_tokens(config); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s.objective", trainings[i]);
        if (is(config, path, "set"))
            return config_complain(config, path, error,
                                   "set needs a token for each item, and language_model.indexing gives items "
                                   "several; use auto or next");
        snprintf(path, sizeof path, "%s.select", trainings[i]);
        if (is(config, path, "ndcg"))
            return config_complain(
                config, path, error,
                "ndcg needs a token for each item, and language_model.indexing gives items "
                "several; use likelihood");
    }
    return true;
}

/* What is trained is neither quantised nor sharded. */
static bool check_base(const struct config *config, struct error *error)
{
    if (config_boolean(config, "finetune.shard_base") && is(config, "finetune.method", "full"))
        return config_complain(
            config, "finetune.shard_base", error,
            "is true, but finetune.method: full trains every weight, which all ranks hold; set "
            "finetune.shard_base: false, or finetune.method: lora");
    return !is(config, "finetune.method", "full") || is(config, "finetune.base", "precision") ||
           config_complain(config, "finetune.base", error,
                           "is %s, but finetune.method: full trains every weight; set finetune.base: "
                           "precision, or finetune.method: lora",
                           config_string(config, "finetune.base"));
}

static bool check_prompts(const struct config *config, struct error *error)
{
    return config_boolean(config, "prompts.full") || config_integer(config, "prompts.random_cuts") > 0 ||
           config_complain(config, "prompts.random_cuts", error,
                           "is 0 and `full` is false: no prompt is left");
}

static bool is_beam_ranking(const struct config *config, int recommender)
{
    return recommender_is_given(config_string(config, "recommenders[%d].model", recommender)) &&
           strcmp(config_string(config, "recommenders[%d].ranking", recommender), "beam") == 0;
}

/* Their probabilities of all items are averaged, which only exact rankings have. */
static bool check_members(const struct config *config, struct error *error)
{
    static const char key[] = "language_model.members";
    const long long members = (long long)language_members(config);
    if (members == 1)
        return true;
    if (!language_items_are_tokens(config))
        return config_complain(
            config, key, error,
            "is %lld, but only models with a token for each item are averaged; set it to 1", members);
    if (!is(config, "generate.method", "ranking"))
        return config_complain(config, key, error,
                               "is %lld, but only generate.method: ranking averages models; set it to 1",
                               members);
    for (int i = 0; i < (int)config_length(config, "recommenders"); i++)
        if (is_beam_ranking(config, i))
            return config_complain(
                config, key, error,
                "is %lld, but recommenders[%d] searches by beams, which averages no models; "
                "set it to 1, or ranking: exact there",
                members, i);
    return true;
}

bool check_language(const struct config *config, struct error *error)
{
    return (language_is_text(config) ? check_text(config, error) : check_ids(config, error)) &&
           check_shape(config, error) && check_single_tokens(config, error) && check_base(config, error) &&
           check_prompts(config, error) && check_members(config, error) && generator_check(config, error);
}

/* ---- files -------------------------------------------------------------------------------------------- */

static bool holds(const char *folder, const char *name)
{
    char *path = path_format("%s/%s", folder, name);
    const bool there = path_exists(path);
    free(path);
    return there;
}

static bool check_checkpoint_folder(const struct config *config, struct error *error)
{
    static const char key[] = "language_model.checkpoint";
    char *folder = config_file_path(config, key);
    const bool found = !folder || holds(folder, "config.json");
    if (!found && holds(folder, "language_model/base/config.json"))
        config_complain(config, key, error, "%s is a run's folder; take %s/language_model/base", folder,
                        folder);
    else if (!found && holds(folder, "adapter_config.json"))
        config_complain(config, key, error,
                        "%s is an adapter; `idrec merge BASE %s OUT` makes a checkpoint of it and its base",
                        folder, folder);
    else if (!found)
        config_complain(config, key, error, "%s/config.json is not there; name a Hugging Face folder",
                        folder);
    free(folder);
    return found;
}

bool check_language_files(const struct config *config, struct error *error)
{
    static const char key[] = "language_model.tokenizer";
    if (!check_checkpoint_folder(config, error))
        return false;
    char *path = config_file_path(config, key);
    const bool found = !path || path_exists(path) ||
                       config_complain(config, key, error, "%s is not there; name a tokenizer.json", path);
    free(path);
    return found;
}
