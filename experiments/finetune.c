/* The base model made fit for prompts: by low-rank adapters on a frozen base, or in all its weights. */
#include <stdlib.h>
#include <string.h>

#include "experiments/language_base.h"
#include "experiments/language_model.h"
#include "models/language/checkpoint.h"

struct lora_settings language_adapter_settings(const struct config *config)
{
    struct lora_settings lora = {.rank = config_integer(config, "finetune.rank"),
                                 .alpha = config_number(config, "finetune.alpha"),
                                 .dropout = config_number(config, "finetune.dropout"),
                                 .rank_stabilized = config_boolean(config, "finetune.rslora")};

    for (int64_t i = 0; i < config_length(config, "finetune.targets"); i++)
        for (int linear = 0; linear < LINEAR_COUNT; linear++)
            if (strcmp(linear_name((enum linear)linear),
                       config_string(config, "finetune.targets[%d]", (int)i)) == 0)
                lora.targets[linear] = true;
    return lora;
}

static const char *part_of(const struct run *run)
{
    return strcmp(config_string(run->config, "finetune.method"), "lora") == 0 ? "adapter" : "finetuned";
}

static bool open_model(struct transformer **model, const struct language_training *training,
                       const struct run *run, struct error *error)
{
    const bool adapter = strcmp(part_of(run), "adapter") == 0;
    const bool shard_base = config_boolean(run->config, "finetune.shard_base");
    const struct lora_settings lora = language_adapter_settings(run->config);
    char *base = language_base_folder(run, training->member);
    int64_t added;
    const bool done =
        language_added_tokens(&added, &training->prompts, base, error) &&
        checkpoint_load(model, run->backend, base, NULL, adapter ? &lora : NULL, added,
                        adapter ? TRAIN_LORA : TRAIN_ALL, config_boolean(run->config, "finetune.recompute"),
                        training->precision, training->frozen, shard_base, training->packing.batch_tokens,
                        training->sequences_maximum, training->packing.seed, error);
    free(base);
    return done;
}

static bool save(const struct language_training *training, struct run *run, struct transformer *model,
                 struct error *error)
{
    const char *part = part_of(run);
    char *folder = language_member_folder(run, part, training->member);
    const bool saved = strcmp(part, "adapter") == 0 ? checkpoint_save_adapter(model, folder, error)
                                                    : checkpoint_save_base(model, folder, error);
    free(folder);
    return saved;
}

static bool train_member(const struct language_training *training, struct run *run, struct stage_cost *cost,
                         struct error *error)
{
    struct transformer *model = NULL;
    const bool done = open_model(&model, training, run, error) &&
                      language_training_run(training, run, model, cost, error) &&
                      (!run_leads(run) || save(training, run, model, error));
    transformer_free(model);
    return done;
}

bool stage_finetune(struct run *run, struct stage_cost *cost, struct error *error)
{
    struct language_training training;
    if (strcmp(config_string(run->config, "finetune.method"), "none") == 0)
        return true;
    if (!language_training_open(&training, run, "finetune", error))
        return false;
    const bool done = language_training_run_members(&training, run, part_of(run), train_member, cost, error);
    language_training_close(&training);
    return done;
}
