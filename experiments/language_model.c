#include "experiments/language_model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "experiments/language_base.h"
#include "experiments/language_length.h"
#include "models/language/checkpoint.h"

bool language_precision(enum precision *precision, const struct run *run, struct error *error)
{
    const bool bf16 = strcmp(config_string(run->config, "language_model.precision"), "bf16") == 0;
    *precision = bf16 ? PRECISION_BF16 : PRECISION_F32;
    return !bf16 || run->backend->device != DEVICE_CPU ||
           config_complain(run->config, "language_model.precision", error,
                           "is bf16, which is only for GPUs, and the device is the CPU; use f32 or auto");
}

enum frozen_storage language_frozen_storage(const struct run *run)
{
    const char *chosen = config_string(run->config, "finetune.base");
    enum frozen_storage frozen = FROZEN_NF4;
    while (frozen > FROZEN_PRECISION && strcmp(chosen, frozen_storage_name(frozen)) != 0)
        frozen--;
    return frozen;
}

bool language_model_open(struct transformer **model, const struct run *run, int64_t member,
                         int64_t tokens_maximum, int64_t sequences_maximum, struct error *error)
{
    const char *method = config_string(run->config, "finetune.method");
    enum precision precision;
    if (!language_precision(&precision, run, error))
        return false;
    char *base = strcmp(method, "full") == 0 ? language_member_folder(run, "finetuned", member)
                                             : language_base_folder(run, member);
    char *adapter = strcmp(method, "lora") == 0 ? language_member_folder(run, "adapter", member) : NULL;
    const bool opened =
        checkpoint_load(model, run->backend, base, adapter, NULL, 0, TRAIN_NOTHING, false, precision,
                        language_frozen_storage(run), false, tokens_maximum, sequences_maximum, 0, error);

    free(base);
    free(adapter);
    return opened;
}

/* ---- fingerprints ------------------------------------------------------------------------------------- */

static bool hash_file(XXH3_state_t *state, const struct run *run, const char *name, struct error *error)
{
    char *path = run_path(run, "%s", name), digits[33] = "absent";
    const bool fine = !path_exists(path) || file_hash(path, digits, error);
    XXH3_64bits_update(state, digits, strlen(digits) + 1);
    free(path);
    return fine;
}

bool language_fingerprint(uint64_t *hash, const struct run *run, const char *text,
                          const char *const *sections, const char *const *files, struct error *error)
{
    char digits[33];
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return error_memory(error, "a hash", sizeof *hash, NULL);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, text, strlen(text) + 1);
    bool fine = language_files_hash(digits, run->config, error);
    if (fine)
        XXH3_64bits_update(state, digits, strlen(digits) + 1);
    if (run->backend->fast)
        XXH3_64bits_update(state, "fast", sizeof "fast");
    for (; *sections; sections++) {
        char *settings = config_canonical(run->config, *sections);
        XXH3_64bits_update(state, settings, strlen(settings) + 1);
        free(settings);
    }
    for (; fine && *files; files++)
        fine = hash_file(state, run, *files, error);
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return fine;
}

/* ---- the settings of a training ----------------------------------------------------------------------- */

static uint64_t training_seed(const struct run *run, const char *stage)
{
    const uint64_t seed = (uint64_t)config_integer(run->config, "seed");
    return XXH3_64bits_withSeed(stage, strlen(stage), seed);
}

/* auto: a set where an item is one token. */
static enum objective objective(const struct config *config, const char *stage)
{
    const char *chosen = config_string(config, "%s.objective", stage);
    const bool set =
        strcmp(chosen, "auto") == 0 ? language_items_are_tokens(config) : strcmp(chosen, "set") == 0;
    return set ? OBJECTIVE_SET : OBJECTIVE_NEXT;
}

bool language_end_is_trained(const struct config *config)
{
    const bool finetuned = strcmp(config_string(config, "finetune.method"), "none") != 0;
    return objective(config, finetuned ? "finetune" : "pretrain") == OBJECTIVE_NEXT;
}

struct packing_settings language_packing_settings(const struct run *run, const char *stage,
                                                  const struct prompt_settings *prompt)
{
    const struct config *config = run->config;
    const bool pretraining = strcmp(stage, "pretrain") == 0;
    struct packing_settings packing = {
        .prompt = *prompt,
        .objective = objective(config, stage),
        .answer_only = strcmp(config_string(config, "%s.loss_on", stage), "answer") == 0,
        .context_weight = config_number(config, "%s.context_weight", stage),
        .full = !pretraining && config_boolean(config, "prompts.full"),
        .random_cuts = pretraining ? 1 : config_integer(config, "prompts.random_cuts"),
        .batch_tokens = config_integer(config, "%s.tokens_per_batch", stage),
        .batch_sequences = config_integer(config, "%s.sequences_per_batch", stage),
        .seed = training_seed(run, stage),
    };
    if (packing.batch_tokens < packing.prompt.length_maximum)
        packing.batch_tokens = packing.prompt.length_maximum;
    return packing;
}

/* Rank 0 first: it may write the items' codes, which the others then read. */
static bool open_prompts(struct language_training *training, const struct run *run, struct error *error)
{
    struct communicator *communicator = training->communicator;
    if (!communicator)
        return language_prompts_open(&training->prompts, run, &training->dataset, true, error);
    if (communicator->rank == 0)
        return language_prompts_open(&training->prompts, run, &training->dataset, true, error) &&
               comm_barrier(communicator, error);
    communicator->patient = true;
    const bool written = comm_barrier(communicator, error);
    communicator->patient = false;
    return written && language_prompts_open(&training->prompts, run, &training->dataset, false, error);
}

bool language_training_open(struct language_training *training, const struct run *run, const char *stage,
                            struct error *error)
{
    char *path = run_path(run, "dataset.h5");
    bool fine;

    *training = (struct language_training){.stage = stage, .communicator = run->communicator};
    if (!language_precision(&training->precision, run, error))
        return false;
    training->frozen = language_frozen_storage(run);
    fine = dataset_load(&training->dataset, path, error) &&
           csr_sorted(&training->train_sorted, &training->dataset.train, error) &&
           csr_sorted(&training->validation_sorted, &training->dataset.validation, error) &&
           csr_sorted(&training->test_sorted, &training->dataset.test, error) &&
           open_prompts(training, run, error) &&
           language_length_check(run->config, &training->prompts.settings, error);
    free(path);
    if (!fine) {
        language_training_close(training);
        return false;
    }
    training->packing = language_packing_settings(run, stage, &training->prompts.settings);
    training->sequences_maximum = packer_sequences_maximum(&training->packing, &training->dataset.train);
    if (training->sequences_maximum > 0)
        return true;
    language_training_close(training);
    return config_complain(run->config, "prompts.random_cuts", error,
                           "no prompts: prompts.full is false and prompts.random_cuts is 0; set one of them");
}

void language_training_close(struct language_training *training)
{
    dataset_free(&training->dataset);
    csr_free(&training->train_sorted);
    csr_free(&training->validation_sorted);
    csr_free(&training->test_sorted);
    language_prompts_close(&training->prompts);
}

static char *state_folder(const struct language_training *training, const struct run *run)
{
    return run_path(run, "language_model/%s_state", training->stage);
}

/* Once the model is saved. */
static bool discard_state(const struct language_training *training, const struct run *run,
                          struct error *error)
{
    char *folder = state_folder(training, run);
    const bool removed = checkpoint_remove(folder, error);

    free(folder);
    return removed;
}

/* Of everything that a training depends on. */
static bool training_fingerprint(uint64_t *hash, const struct language_training *training,
                                 const struct run *run, struct error *error)
{
    const bool pretraining = strcmp(training->stage, "pretrain") == 0;
    const char *const sections[] = {"language_model", "prompts", training->stage, NULL};
    char *place = language_member_place("base", training->member);
    char *base = path_format("%s/model.safetensors", place);
    const char *const files[] = {"dataset.h5", "language_model/indexing.h5", pretraining ? NULL : base, NULL};
    char *text = path_format("seed %" PRIu64, training->packing.seed);
    const bool fine = language_fingerprint(hash, run, text, sections, files, error);
    free(text);
    free(base);
    free(place);
    return fine;
}

/* `warmup_steps` as a share of all steps, or else `warmup`. */
static double warm_up_share(const struct run *run, const char *stage, const struct packer *packer)
{
    const int64_t warm_up = config_integer(run->config, "%s.warmup_steps", stage);
    const int64_t accumulate = config_integer(run->config, "%s.accumulate", stage);
    const int64_t epoch_steps = (packer_batch_count(packer) + accumulate - 1) / accumulate;
    int64_t steps = config_integer(run->config, "%s.steps", stage);

    if (warm_up == 0)
        return config_number(run->config, "%s.warmup", stage);
    if (steps == 0)
        steps = config_integer(run->config, "%s.epochs", stage) * epoch_steps;
    return warm_up < steps ? (double)warm_up / (double)steps : 1;
}

struct trainer_settings language_trainer_settings(const struct run *run, const char *stage,
                                                  const struct packer *packer)
{
    const struct config *config = run->config;
    const int64_t steps = config_integer(config, "%s.steps", stage);

    return (struct trainer_settings){
        .stage = stage,
        .epochs = steps > 0 ? INT64_MAX : config_integer(config, "%s.epochs", stage),
        .steps_maximum = steps,
        .accumulation = config_integer(config, "%s.accumulate", stage),
        .schedule = {.course = schedule_course_from_name(config_string(config, "%s.schedule", stage)),
                     .learning_rate = config_number(config, "%s.learning_rate", stage),
                     .warm_up = warm_up_share(run, stage, packer)},
        .weight_decay = config_number(config, "%s.weight_decay", stage),
        .beta1 = config_number(config, "%s.beta1", stage),
        .beta2 = config_number(config, "%s.beta2", stage),
        .epsilon = 1e-8,
        .clip_norm = config_number(config, "%s.clip", stage),
        .dropout = config_number(config, "language_model.dropout"),
        .average = config_number(config, "%s.average", stage),
        .validate_every = config_integer(config, "%s.evaluate_every", stage),
        .validate_first = strcmp(stage, "finetune") == 0,
        .select_ndcg = strcmp(config_string(config, "%s.select", stage), "ndcg") == 0,
        .select_last = strcmp(config_string(config, "%s.select", stage), "last") == 0,
        .patience = config_integer(config, "%s.patience", stage),
        .checkpoint_seconds = 60,
        .communicator = run->communicator,
        .seed = training_seed(run, stage),
    };
}

static struct validator make_validator(const struct language_training *training)
{
    return (struct validator){
        .prompt = training->packing.prompt,
        .train = &training->dataset.train,
        .train_sorted = &training->train_sorted,
        .truth = &training->validation_sorted,
        .batch_tokens = training->packing.batch_tokens,
        .batch_sequences = training->sequences_maximum,
        .users_maximum = 10000,
        .k = 20,
        .seed = training->packing.seed,
        .communicator = training->communicator,
    };
}

/* ---- the training ------------------------------------------------------------------------------------- */

static void report(const struct language_training *training, struct run *run,
                   const struct trainer_result *result)
{
    if (result->best_epoch >= 0 && result->best.ndcg < 0)
        log_line(run->log, "%s: kept epoch %lld of %lld: validation loss %.4f (%lld users)", training->stage,
                 (long long)result->best_epoch, (long long)result->epochs, result->best.loss,
                 (long long)result->best.users);
    else if (result->best_epoch >= 0)
        log_line(
            run->log,
            "%s: kept epoch %lld of %lld: validation loss %.4f, ndcg@20 %.4f, recall@20 %.4f (%lld users)",
            training->stage, (long long)result->best_epoch, (long long)result->epochs, result->best.loss,
            result->best.ndcg, result->best.recall, (long long)result->best.users);
    else
        log_line(run->log, "%s: %lld epoch%s, loss %.4f; no validation data, the last weights are kept",
                 training->stage, (long long)result->epochs, result->epochs == 1 ? "" : "s",
                 result->train_loss);
}

/* What rank 0 has sent since the start. */
static void tell_volume(const struct language_training *training, const struct run *run,
                        const struct trainer_result *result)
{
    if (!training->communicator || training->communicator->size == 1)
        return;
    char *volume = comm_describe_volume(training->communicator);
    log_line(run->log, "%s: rank 0 has sent %.0f bytes a step; the model of docs/scaling.md says %.0f",
             training->stage, result->step_bytes, result->step_bytes_expected);
    log_line(run->log, "%s: %d ranks, %lld steps; rank 0 has sent %s", training->stage,
             training->communicator->size, (long long)result->steps, volume);
    free(volume);
}

/* Of the users who have any. */
static int64_t mean_items(const struct csr *train)
{
    int64_t users = 0;
    for (int64_t user = 0; user < train->rows; user++)
        users += csr_row_length(train, user) > 0;
    return users > 0 ? csr_count(train) / users : 0;
}

/* By what lines about its steps call it: the stage, and from the second member on its number, "pretrain-2". */
static char *title_of(const struct language_training *training)
{
    return training->member == 0 ? path_format("%s", training->stage)
                                 : path_format("%s-%lld", training->stage, (long long)training->member + 1);
}

static bool train_packed(const struct language_training *training, struct run *run, struct transformer *model,
                         struct packer *packer, struct stage_cost *cost, struct error *error)
{
    const double operations = run->backend->counters.floating_point_operations;
    const bool validated = csr_count(&training->dataset.validation) > 0;
    const struct validator validator = make_validator(training);
    struct trainer_result result;

    packer_begin_epoch(packer, 0);
    struct trainer_settings settings = language_trainer_settings(run, training->stage, packer);
    settings.seed = training->packing.seed;
    log_line(run->log,
             "%s: %lld sequences, %lld tokens, %lld batches an epoch; %lld users have more items than fit, "
             "and %lld items are left out",
             training->stage, (long long)packer_sequence_count(packer),
             (long long)packer_epoch_tokens(packer), (long long)packer_batch_count(packer),
             (long long)packer_shortened(packer), (long long)packer_left_out(packer));
    if (2 * packer_left_out(packer) > packer_sequence_count(packer) * mean_items(&training->dataset.train))
        log_line(run->log,
                 "%s: more than half of all items do not fit into their prompts; raise prompts.length",
                 training->stage);
    if (run_leads(run))
        transformer_print_memory(model, stderr);
    if (!language_prompts_tell(&training->prompts, run, &training->dataset, error) ||
        !training_fingerprint(&settings.fingerprint, training, run, error))
        return false;
    char *place = run_path(run, "language_model"), *folder = state_folder(training, run);
    char *title = title_of(training);
    settings.state_folder = folder;
    settings.stage = title;
    const bool trained =
        (!run_leads(run) || folder_create(place, error)) &&
        trainer_run(&result, model, packer, validated ? &validator : NULL, &settings, run->log, error);
    free(title);
    free(folder);
    free(place);
    cost->floating_point_operations += run->backend->counters.floating_point_operations - operations;
    if (!trained)
        return false;
    const double own = run->backend->counters.floating_point_operations - operations;
    double done = own;
    if (training->communicator && !comm_sum_numbers(training->communicator, &done, 1, error))
        return false;
    cost->tokens += result.tokens;
    cost->floating_point_operations += done - own; /* of the other ranks */
    report(training, run, &result);
    tell_volume(training, run, &result);
    return true;
}

/* Says which pair leaks in the ids of the input, in place of the packer's message by index. */
static bool name_leak(const struct language_training *training, const struct leaked_pair *leak,
                      struct error *error)
{
    *error = ERROR_INITIALIZER;
    return error_set(error, ERROR_RUN,
                     "%s: leak: user '%s' and item '%s' are a pair of %s and stand in a training prompt as "
                     "well; remove dataset.h5 from the run's folder, so that it is made again",
                     training->stage, id_map_name(&training->dataset.user_ids, leak->user),
                     id_map_name(&training->dataset.item_ids, leak->item),
                     leak->in_test ? "test" : "validation");
}

bool language_training_run(const struct language_training *training, struct run *run,
                           struct transformer *model, struct stage_cost *cost, struct error *error)
{
    const struct csr *const withheld[2] = {&training->validation_sorted, &training->test_sorted};
    struct packer *packer = NULL;

    if (!packer_create(&packer, &training->packing, &training->dataset.train, withheld, error))
        return false;
    const bool trained = train_packed(training, run, model, packer, cost, error);
    if (!trained && packer_leak(packer))
        name_leak(training, packer_leak(packer), error);
    packer_free(packer);
    return trained;
}

/* ---- the members --------------------------------------------------------------------------------------- */

/* Rank 0 looks, and the others do as it says. */
static bool find_finished(bool *finished, const struct run *run, const char *part, int64_t member,
                          struct error *error)
{
    char *folder = language_member_folder(run, part, member);
    int64_t complete = run_leads(run) && checkpoint_complete(folder);
    const bool told = !run->communicator || comm_broadcast_integer(run->communicator, &complete, 0, error);
    *finished = complete != 0;
    free(folder);
    return told;
}

static bool train_member(struct language_training *training, struct run *run, const char *part,
                         train_member_function *train, struct stage_cost *cost, struct error *error)
{
    const int64_t members = language_members(run->config);
    bool finished;
    if (!find_finished(&finished, run, part, training->member, error))
        return false;
    if (members > 1)
        log_line(run->log, "%s: model %lld of %lld%s", training->stage, (long long)training->member + 1,
                 (long long)members, finished ? " is there already" : "");
    return (finished || train(training, run, cost, error)) &&
           (!run_leads(run) || discard_state(training, run, error));
}

bool language_training_run_members(struct language_training *training, struct run *run, const char *part,
                                   train_member_function *train, struct stage_cost *cost, struct error *error)
{
    const uint64_t seed = training->packing.seed;
    for (int64_t member = 0; member < language_members(run->config); member++) {
        training->member = member;
        training->packing.seed = language_member_seed(seed, member);
        if (!train_member(training, run, part, train, cost, error))
            return false;
    }
    return true;
}
