#include "experiments/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"
#include "experiments/ensemble.h"
#include "experiments/language_base.h"
#include "experiments/language_rankings.h"
#include "experiments/manifest.h"
#include "experiments/truth.h"

enum { PREPARE, PRETRAIN, FINETUNE, GENERATE, AUGMENT, TUNE, TRAIN, EVALUATE, REPORT };

#define READS(stage) (1U << (stage))

const char artefact_version[] = "1";

const char *const input_files[INPUT_FILES] = {
    "data.path",       "data.split.train",          "data.split.validation",
    "data.split.test", "language_model.checkpoint", "language_model.tokenizer"};

const struct stage stages[STAGE_COUNT] = {
    [PREPARE] = {.name = "prepare",
                 .work = stage_prepare,
                 .shared = true,
                 .settings = {"name", "seed", "data", "evaluate.protocol"},
                 .outputs = {"dataset.h5"}},
    [PRETRAIN] = {.name = "pretrain",
                  .work = stage_pretrain,
                  .shared = true,
                  .synthetic = true,
                  .by_device = true,
                  .by_ranks = true,
                  .reads = READS(PREPARE),
                  .settings = {"seed", "language_model", "prompts", "pretrain"},
                  .outputs = {"language_model/base", "language_model/base_members",
                              "language_model/indexing.h5"},
                  .state = {"language_model/pretrain_state"}},
    [FINETUNE] = {.name = "finetune",
                  .work = stage_finetune,
                  .shared = true,
                  .synthetic = true,
                  .by_device = true,
                  .by_ranks = true,
                  .reads = READS(PREPARE) | READS(PRETRAIN),
                  .settings = {"seed", "language_model", "prompts", "finetune"},
                  .outputs = {"language_model/adapter", "language_model/adapter_members",
                              "language_model/finetuned", "language_model/finetuned_members"},
                  .state = {"language_model/finetune_state"}},
    [GENERATE] = {.name = "generate",
                  .work = stage_generate,
                  .shared = true,
                  .synthetic = true,
                  .by_device = true,
                  .by_ranks = true,
                  .reads = READS(PREPARE) | READS(PRETRAIN) | READS(FINETUNE),
                  .settings = {"seed", "language_model", "prompts", "finetune.method", "finetune.base",
                               "generate"},
                  .outputs = {"generated.h5"},
                  .state = {"generated_parts"}},
    [AUGMENT] = {.name = "augment",
                 .work = stage_augment,
                 .shared = true,
                 .synthetic = true,
                 .reads = READS(PREPARE) | READS(GENERATE),
                 .by_device = true,
                 .settings = {"language_model.vocabulary", "generate", "augment.filters", "augment.weight",
                              "augment.ensemble"},
                 .outputs = {"augmented.h5"}},
    [TUNE] = {.name = "tune",
              .work = stage_tune,
              .shared = true,
              .by_device = true,
              .by_ranks = true,
              .reads = READS(PREPARE) | READS(AUGMENT),
              .settings = {"seed", "augment", "recommenders", "experiment.arms", "evaluate", "tune.space",
                           "tune.method", "tune.trials", "tune.reduction", "tune.first_epochs",
                           "tune.arms"}, /* not tune.use */
              .outputs = {"tune", "tune_candidates"},
              .keeps_outputs = true,
              .rules = 1},
    [TRAIN] = {.name = "train",
               .work = stage_train,
               .by_device = true,
               .by_ranks = true,
               .reads = READS(PREPARE) | READS(AUGMENT) | READS(TUNE),
               .settings = {"seed", "augment", "recommenders", "experiment", "evaluate"},
               .outputs = {"recommenders"},
               .keeps_outputs = true,
               .rules = 1},
    [EVALUATE] = {.name = "evaluate",
                  .work = stage_evaluate,
                  .reads = READS(PREPARE) | READS(GENERATE) | READS(AUGMENT) | READS(TUNE) | READS(TRAIN),
                  .settings = {"seed", "augment", "recommenders", "experiment", "evaluate"},
                  .outputs = {"results.json"}},
    [REPORT] = {.name = "report",
                .work = stage_report,
                .reads = READS(PREPARE) | READS(GENERATE) | READS(AUGMENT) | READS(TUNE) | READS(TRAIN) |
                         READS(EVALUATE),
                .settings = {"name", "augment", "recommenders", "experiment", "evaluate", "report"},
                .outputs = {"report.md", "report.html", "plots", "tables", "tensorboard"}},
};

int stage_number(const char *name)
{
    for (int i = 0; i < STAGE_COUNT; i++)
        if (strcmp(stages[i].name, name) == 0)
            return i;
    return -1;
}

/* Whether a list of arms holds nothing but the original one. */
static bool is_original_alone(const struct config *config, const char *list)
{
    for (int i = 0; i < (int)config_length(config, "%s", list); i++)
        if (strcmp(config_string(config, "%s[%d]", list, i), "original") != 0)
            return false;
    return true;
}

/* A language model that is a recommender itself serves more than the synthetic rows. */
static bool is_ranking(const struct config *config, int number)
{
    return (number == PRETRAIN || number == FINETUNE) && language_rankings_wanted(config);
}

bool stage_is_left_out(const struct config *config, int number)
{
    return (stages[number].synthetic && is_original_alone(config, "experiment.arms") &&
            !is_ranking(config, number)) ||
           (number == TUNE && !config_boolean(config, "tune.use"));
}

unsigned stage_reads(const struct config *config, int number)
{
    unsigned reads = stages[number].reads;
    if (number == TRAIN && language_rankings_wanted(config))
        reads |= READS(PRETRAIN) | READS(FINETUNE);
    for (int i = 0; i < STAGE_COUNT; i++)
        if (!stages[number].synthetic && stage_is_left_out(config, i))
            reads &= ~READS(i);
    if (number == TUNE && is_original_alone(config, "tune.arms"))
        reads &= ~READS(AUGMENT);
    return reads;
}

int stage_last_shared(const struct config *config)
{
    return stage_is_left_out(config, AUGMENT) ? PREPARE : AUGMENT;
}

/* ---- hashes -------------------------------------------------------------------------------------------- */

static void add_text(XXH3_state_t *state, const char *text)
{
    if (text)
        XXH3_128bits_update(state, text, strlen(text) + 1);
}

static void add_setting(XXH3_state_t *state, const struct config *config, const char *path)
{
    char *canonical = config_canonical(config, path);
    add_text(state, canonical);
    free(canonical);
}

/* The settings that `recommenders:` gives a member of an ensemble: of the first of its model. */
static void add_member(XXH3_state_t *state, const struct config *config, const char *model)
{
    for (int i = 0; i < (int)config_length(config, "recommenders"); i++) {
        char path[48];
        snprintf(path, sizeof path, "recommenders[%d]", i);
        if (strcmp(config_string(config, "recommenders[%d].model", i), model) == 0) {
            add_setting(state, config, path);
            return;
        }
    }
}

static void add_ensemble(XXH3_state_t *state, const struct config *config)
{
    for (int i = 0; i < (int)config_length(config, "augment.ensemble"); i++)
        add_member(state, config, config_string(config, "augment.ensemble[%d]", i));
    if (!ensemble_validates(config))
        return;
    static const char *const settings[] = {"augment.ensemble_select", "augment.select_metric",
                                           "augment.select_k"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        add_setting(state, config, settings[i]);
}

/* The name of a stage, and the settings that it reads. */
static void add_stage(XXH3_state_t *state, const struct config *config, int number)
{
    const struct stage *stage = &stages[number];
    add_text(state, stage->name);
    if (stage->rules > 0)
        XXH3_128bits_update(state, &stage->rules, sizeof stage->rules);
    for (int i = 0; stage->settings[i]; i++)
        add_setting(state, config, stage->settings[i]);
    if (number == AUGMENT)
        add_ensemble(state, config);
}

void stage_settings_hash(const struct config *config, int number, char digits[33])
{
    const unsigned of_language_model = READS(PRETRAIN) | READS(FINETUNE) | READS(GENERATE);
    unsigned needed = READS(number);
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        abort();
    XXH3_128bits_reset(state);
    for (int i = number; i >= 0; i--) {
        if (!(needed & READS(i)))
            continue;
        needed |= stage_reads(config, i);
        add_stage(state, config, i);
    }
    for (int i = 0; i < (needed & of_language_model ? INPUT_FILES : DATA_FILES); i++) {
        char *path = config_data_path(config, input_files[i]);
        add_text(state, path ? path : "");
        free(path);
    }
    hash_digits(digits, XXH3_128bits_digest(state));
    XXH3_freeState(state);
}

/* The bytes of the data files, so that an edited file is read again. */
static bool add_data_files(XXH3_state_t *state, const struct config *config, struct error *error)
{
    bool done = true;
    for (int i = 0; done && i < DATA_FILES; i++) {
        char digits[33], *path = config_data_path(config, input_files[i]);
        struct error reason = ERROR_INITIALIZER;
        if (path && !file_hash(path, digits, &reason))
            done =
                error_set(error, ERROR_RUN,
                          "%s; it is %s of the configuration; scripts/get-data fetches public sets, "
                          "`idrec synthesize` writes an artificial one, IDREC_DATA names a folder to look in",
                          reason.message, input_files[i]);
        else
            add_text(state, path ? digits : "none");
        free(path);
    }
    return done;
}

/* What is known of artificial data, which `evaluate` compares with. */
static bool add_truth(XXH3_state_t *state, const struct config *config, struct error *error)
{
    char digits[33], *path = truth_path(config);
    const bool done = path == NULL || file_hash(path, digits, error);
    if (done)
        add_text(state, path ? digits : "none");
    free(path);
    return done;
}

/* The bytes of the files of attributes, by which `evaluate` groups. */
static bool add_attributes(XXH3_state_t *state, const struct config *config, struct error *error)
{
    bool done = true;
    for (int i = 0; done && i < (int)config_length(config, "evaluate.attributes"); i++) {
        char digits[33], key[64];
        snprintf(key, sizeof key, "evaluate.attributes[%d].path", i);
        char *path = config_data_path(config, key);
        done = file_hash(path, digits, error);
        if (done)
            add_text(state, digits);
        free(path);
    }
    return done;
}

/* What rankings depend on beside the model. */
static void add_language_settings(XXH3_state_t *state, const struct config *config)
{
    static const char *const parts[] = {"language_model", "prompts", "finetune.method", "finetune.base",
                                        "generate.contexts"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add_setting(state, config, parts[i]);
}

/* The checkpoint and the tokenizer. */
static bool add_language_files(XXH3_state_t *state, const struct config *config, struct error *error)
{
    char digits[33];
    const bool done = language_files_hash(digits, config, error);
    if (done && language_is_text(config))
        add_text(state, digits);
    return done;
}

bool stage_inputs_hash(const struct run *run, int number, char digits[33], struct error *error)
{
    const unsigned reads = stage_reads(run->config, number);
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return error_memory(error, "a hash", 0, NULL);
    XXH3_128bits_reset(state);
    add_text(state, artefact_version);
    add_stage(state, run->config, number);
    if (number == TRAIN && language_rankings_wanted(run->config))
        add_language_settings(state, run->config);
    if (stages[number].by_device && config_boolean(run->config, "fast"))
        add_text(state, "fast");
    for (int i = 0; i < number; i++)
        if (reads & READS(i))
            add_text(state, manifest_outputs_hash(run->manifest, stages[i].name));
    const bool done = (number != PREPARE || add_data_files(state, run->config, error)) &&
                      ((number != PRETRAIN && number != FINETUNE && number != GENERATE &&
                        !(number == TRAIN && language_rankings_wanted(run->config))) ||
                       add_language_files(state, run->config, error)) &&
                      (number != EVALUATE ||
                       (add_truth(state, run->config, error) && add_attributes(state, run->config, error)));
    hash_digits(digits, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return done;
}
