/* The base model: trained on the train interactions, from scratch or on from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/language_base.h"
#include "experiments/language_model.h"
#include "models/language/checkpoint.h"
#include "models/language/start.h"

static int64_t rounded_up(int64_t value, int64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

struct transformer_settings language_base_settings(const struct config *config,
                                                   const struct language_prompts *prompts,
                                                   enum precision precision)
{
    const int64_t width = config_integer(config, "language_model.width");
    const int64_t heads = config_integer(config, "language_model.heads");
    const int64_t key_heads = config_integer(config, "language_model.key_heads");
    const int64_t head_width = config_integer(config, "language_model.head_width");
    const int64_t hidden = config_integer(config, "language_model.hidden");

    return (struct transformer_settings){
        .vocabulary = prompts->tokens,
        .width = width,
        .layers = config_integer(config, "language_model.layers"),
        .query_heads = heads,
        .key_heads = key_heads > 0 ? key_heads : heads,
        .head_width = head_width > 0 ? head_width : width / heads,
        .hidden = hidden > 0 ? hidden : rounded_up((8 * width + 2) / 3, 16),
        .classes = prompts->classes,
        .norm_epsilon = (float)config_number(config, "language_model.norm_epsilon"),
        .rope_theta = (float)config_number(config, "language_model.rope_theta"),
        .positions = config_boolean(config, "language_model.positions"),
        .tied = config_boolean(config, "language_model.tied"),
        .attention_bias = config_boolean(config, "language_model.attention_bias"),
        .recompute = config_boolean(config, "pretrain.recompute"),
        .precision = precision,
        .begin = prompts->begin,
        .end = prompts->layout.end,
    };
}

/* A new model, or that of the checkpoint. */
static bool open_model(struct transformer **model, const struct language_training *training,
                       const struct run *run, struct error *error)
{
    const struct config *config = run->config;
    const char *initial = config_string(config, "language_model.initial");
    char *checkpoint = config_file_path(config, "language_model.checkpoint");
    int64_t added;
    bool done;
    if (checkpoint) {
        done = language_added_tokens(&added, &training->prompts, checkpoint, error) &&
               checkpoint_load(model, run->backend, checkpoint, NULL, NULL, added, TRAIN_ALL,
                               config_boolean(config, "pretrain.recompute"), training->precision,
                               FROZEN_PRECISION, false, training->packing.batch_tokens,
                               training->sequences_maximum, training->packing.seed, error);
        free(checkpoint);
        return done;
    }
    const struct transformer_settings settings =
        language_base_settings(config, &training->prompts, training->precision);
    const bool spectral = strcmp(initial, "spectral") == 0 ||
                          (strcmp(initial, "auto") == 0 && language_items_are_tokens(config));
    return transformer_create(
               model, run->backend, &settings, NULL, TRAIN_ALL, training->packing.batch_tokens,
               training->sequences_maximum,
               language_member_seed((uint64_t)config_integer(config, "seed"), training->member), error) &&
           (!spectral ||
            start_from_interactions(*model, &training->dataset.train, training->packing.seed, error));
}

/* So that the folder is whole for other programs too. */
static bool copy_tokenizer(const struct run *run, int64_t member, struct error *error)
{
    char *folder = language_member_folder(run, "base", member);
    char *from = language_tokenizer_path(run->config), *to = path_format("%s/tokenizer.json", folder);
    char *bytes = NULL;
    size_t length;
    const bool done = file_read(from, &bytes, &length, error) && file_write(to, bytes, length, error);
    free(bytes);
    free(to);
    free(from);
    free(folder);
    return done;
}

static bool copy_tokenizers(const struct run *run, struct error *error)
{
    bool done = true;
    for (int64_t member = 0; done && language_is_text(run->config) && member < language_members(run->config);
         member++)
        done = copy_tokenizer(run, member, error);
    return done;
}

static bool save(const struct language_training *training, struct run *run, struct transformer *model,
                 struct error *error)
{
    char *folder = language_member_folder(run, "base", training->member);
    const bool saved = checkpoint_save_base(model, folder, error);
    free(folder);
    return saved;
}

static bool train_member(const struct language_training *training, struct run *run, struct stage_cost *cost,
                         struct error *error)
{
    struct transformer *model = NULL;
    const bool trained = open_model(&model, training, run, error) &&
                         (!config_boolean(run->config, "pretrain.enabled") ||
                          language_training_run(training, run, model, cost, error));
    const bool done = trained && (!run_leads(run) || save(training, run, model, error));
    transformer_free(model);
    return done;
}

/* With a given base nothing is left to do but the items' codes. */
static bool index_once(const struct run *run, struct error *error)
{
    struct dataset dataset;
    struct language_prompts prompts;
    if (!language_items_have_codes(run->config))
        return true;
    char *path = run_path(run, "dataset.h5");
    bool done = dataset_load(&dataset, path, error);
    free(path);
    if (!done)
        return false;
    done = language_prompts_open(&prompts, run, &dataset, true, error);
    if (done)
        language_prompts_close(&prompts);
    dataset_free(&dataset);
    return done;
}

/* What comes last is to be predicted, and the model is not to know what came before what. */
static void tell_hidden_order(const struct run *run)
{
    const char *split = config_string(run->config, "data.split.method");
    if (config_boolean(run->config, "prompts.shuffle") &&
        (strcmp(split, "leave_one_out") == 0 || strcmp(split, "temporal") == 0))
        log_line(
            run->log,
            "pretrain: the split follows time, and prompts.shuffle: true hides the order of histories "
            "from the language model; it ranks far better with it: docs/method.md, \"In order of time\"");
}

bool stage_pretrain(struct run *run, struct stage_cost *cost, struct error *error)
{
    struct language_training training;

    if (language_base_is_given(run->config))
        return !run_leads(run) || index_once(run, error);
    if (!language_training_open(&training, run, "pretrain", error))
        return false;
    tell_hidden_order(run);
    const bool done = language_training_run_members(&training, run, "base", train_member, cost, error) &&
                      (!run_leads(run) || copy_tokenizers(run, error));
    language_training_close(&training);
    return done;
}
