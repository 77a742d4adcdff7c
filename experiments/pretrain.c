/* The base model: trained from scratch on the train interactions. */
#include <stdlib.h>
#include <string.h>

#include "experiments/language_model.h"
#include "models/language/checkpoint.h"
#include "models/language/start.h"

static int64_t rounded_up(int64_t value, int64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

struct transformer_settings language_base_settings(const struct config *config,
                                                   const struct vocabulary *vocabulary,
                                                   enum precision precision)
{
    const int64_t width = config_integer(config, "language_model.width");
    const int64_t heads = config_integer(config, "language_model.heads");
    const int64_t key_heads = config_integer(config, "language_model.key_heads");
    const int64_t head_width = config_integer(config, "language_model.head_width");
    const int64_t hidden = config_integer(config, "language_model.hidden");

    return (struct transformer_settings){
        .vocabulary = vocabulary_size(vocabulary),
        .width = width,
        .layers = config_integer(config, "language_model.layers"),
        .query_heads = heads,
        .key_heads = key_heads > 0 ? key_heads : heads,
        .head_width = head_width > 0 ? head_width : width / heads,
        .hidden = hidden > 0 ? hidden : rounded_up((8 * width + 2) / 3, 16),
        .classes = vocabulary_classes(vocabulary),
        .norm_epsilon = (float)config_number(config, "language_model.norm_epsilon"),
        .rope_theta = (float)config_number(config, "language_model.rope_theta"),
        .positions = config_boolean(config, "language_model.positions"),
        .tied = config_boolean(config, "language_model.tied"),
        .attention_bias = config_boolean(config, "language_model.attention_bias"),
        .recompute = config_boolean(config, "pretrain.recompute"),
        .precision = precision,
    };
}

static bool train_and_save(const struct language_training *training, struct run *run,
                           struct transformer *model, struct stage_cost *cost, struct error *error)
{
    if (config_boolean(run->config, "pretrain.enabled") &&
        !language_training_run(training, run, model, cost, error))
        return false;
    char *folder = run_path(run, "language_model/base");
    const bool saved = checkpoint_save_base(model, folder, error);
    free(folder);
    return saved && language_training_discard_state(training, run, error);
}

bool stage_pretrain(struct run *run, struct stage_cost *cost, struct error *error)
{
    struct language_training training;
    struct transformer *model = NULL;

    if (!language_training_open(&training, run, "pretrain", error))
        return false;
    const struct transformer_settings settings =
        language_base_settings(run->config, &training.vocabulary, training.precision);
    const bool spectral = strcmp(config_string(run->config, "language_model.initial"), "spectral") == 0;
    const bool done = transformer_create(&model, run->backend, &settings, NULL, TRAIN_ALL,
                                         training.packing.batch_tokens, training.sequences_maximum,
                                         (uint64_t)config_integer(run->config, "seed"), error) &&
                      (!spectral || start_from_interactions(model, &training.dataset.train,
                                                            training.packing.seed, error)) &&
                      train_and_save(&training, run, model, cost, error);
    transformer_free(model);
    language_training_close(&training);
    return done;
}
