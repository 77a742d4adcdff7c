/* plan_language.c: what the stages of the language model will take. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/ensemble.h"
#include "experiments/generation.h"
#include "experiments/language_base.h"
#include "experiments/plan.h"
#include "experiments/plan_fit.h"
#include "experiments/plan_text.h"
#include "experiments/plan_work.h"
#include "experiments/stages.h"
#include "models/language/checkpoint_config.h"
#include "models/language/start.h"

/* What is counted is done for so many batches, and users, of an epoch at most; the rest is taken to be alike. */
enum { COUNTED_BATCHES = 200, COUNTED_USERS = 512, COUNTED_VALIDATED = 2000 };
/* Users whose scores of a validation the host holds at a time. */
#define SCORED_USERS 256.0
/* The host goes through the scores of those who are validated. */
#define COUNTED_SCORES 20000000
/* A model is measured whole up to so many values, else one layer of it; a batch up to so many operations. */
#define WHOLE_VALUES 2e7
#define DRAWN_VALUES 1e7
#define BATCH_OPERATIONS_CPU 1.5e11
#define BATCH_OPERATIONS_GPU 5e13
#define LOOK_USERS 32
#define MEASURED_STEPS 4

struct language_plan {
    struct plan *plan;
    bool text;
    bool estimated; /* text without its tokenizer: lengths are by tokens_per_item */
    struct language_prompts prompts;
    enum precision precision;
};

/* ---- the model and its prompts ------------------------------------------------------------------------ */

/* Prompts as long as those of a tokenizer that is not at hand. */
static bool estimate_prompts(struct language_plan *language, struct error *error)
{
    const struct plan *const plan = language->plan;
    struct language_prompts *const prompts = &language->prompts;
    if (!plan_text_layout(&prompts->layout, &plan->dataset, plan->options.tokens_per_item, error))
        return false;
    prompts->settings =
        (struct prompt_settings){.layout = &prompts->layout,
                                 .shuffle = config_boolean(plan->run.config, "prompts.shuffle"),
                                 .length_maximum = config_integer(plan->run.config, "prompts.length")};
    prompts->settings.length_maximum = prompt_length_longest(&prompts->settings, &plan->dataset.train);
    return true;
}

static bool open_prompts(struct language_plan *language, struct error *error)
{
    const struct plan *const plan = language->plan;
    language->text = language_is_text(plan->run.config);
    char *path = language_tokenizer_path(plan->run.config);
    language->estimated = language->text && !path_exists(path);
    free(path);
    return language->estimated
               ? estimate_prompts(language, error)
               : language_prompts_open(&language->prompts, &plan->run, &plan->dataset, false, error);
}

static bool read_settings(struct transformer_settings *settings, const struct language_plan *language,
                          struct error *error)
{
    const struct config *const config = language->plan->run.config;
    char *folder = config_file_path(config, "language_model.checkpoint");
    if (!folder && !language->estimated) {
        *settings = language_base_settings(config, &language->prompts, language->precision);
        return true;
    }
    const bool done =
        folder
            ? checkpoint_config_read(settings, folder, error)
            : config_complain(config, "language_model.checkpoint", error,
                              "is missing; name the checkpoint's folder, or one with its config.json alone, "
                              "as in configs/shapes");
    free(folder);
    settings->precision = language->precision;
    return done;
}

/* The tokens of items that a checkpoint does not have; of items' codes none where there is no tokenizer to begin behind. */
static int64_t new_tokens(const struct language_plan *language, int64_t vocabulary)
{
    const struct config *const config = language->plan->run.config;
    const int64_t tokens = language->prompts.tokens;
    if (!language_tokens_are_added(config))
        return 0;
    if (language->estimated)
        return language_items_have_codes(config) ? 0 : language->plan->dataset.train.columns;
    return tokens > vocabulary ? tokens - vocabulary : 0;
}

static bool is_method(const struct plan *plan, const char *method)
{
    return strcmp(config_string(plan->run.config, "finetune.method"), method) == 0;
}

static void use_vocabulary(struct language_shape *shape)
{
    const struct vocabulary vocabulary = {.items = shape->settings.vocabulary - CONTROL_TOKEN_COUNT};
    shape->vocabulary = shape->ranker.vocabulary = shape->sampler.vocabulary = vocabulary;
}

/* Lists are drawn token by token over the whole vocabulary; a ranking costs about what a list for each context does. */
static void find_lists_of_text(struct language_shape *shape, const struct language_plan *language)
{
    const int32_t typical = (int32_t)(language->plan->train.columns / 2);
    if (shape->ranking)
        shape->sampler.samples = shape->sampler.contexts;
    shape->ranking = false;
    shape->sampler.constrained = false;
    const int64_t cost = prompt_layout_item_cost(&language->prompts.layout, typical);
    const int64_t tokens = config_integer(language->plan->run.config, "generate.max_tokens");
    const int64_t wanted = shape->sampler.items_maximum * cost;
    shape->sampler.items_maximum = tokens > 0 && tokens < wanted ? tokens : wanted;
    shape->item_tokens = cost;
    use_vocabulary(shape);
}

/* The model as the stage opens it. */
static bool find_shape(struct language_shape *shape, const struct language_plan *language, const char *stage,
                       struct error *error)
{
    const struct plan *const plan = language->plan;
    const bool pretraining = strcmp(stage, "pretrain") == 0, training = strcmp(stage, "generate") != 0;
    const bool adapter = !pretraining && is_method(plan, "lora");
    *shape = (struct language_shape){.train = &plan->dataset.train,
                                     .train_sorted = &plan->train,
                                     .validation = &plan->validation,
                                     .vocabulary = language->prompts.vocabulary,
                                     .dropout = config_number(plan->run.config, "language_model.dropout"),
                                     .mode = !training ? TRAIN_NOTHING
                                             : adapter ? TRAIN_LORA
                                                       : TRAIN_ALL};
    if (!read_settings(&shape->settings, language, error) ||
        !transformer_settings_grow(&shape->settings, new_tokens(language, shape->settings.vocabulary), error))
        return false;
    if (!adapter || !language_base_is_given(plan->run.config))
        shape->settings.added = 0;
    if (adapter) {
        shape->settings.shard_base = training && config_boolean(plan->run.config, "finetune.shard_base");
        shape->lora = language_adapter_settings(plan->run.config);
        shape->settings.frozen = language_frozen_storage(&plan->run);
    }
    if (training) {
        shape->packing = language_packing_settings(&plan->run, stage, &language->prompts.settings);
        shape->settings.recompute = config_boolean(plan->run.config, "%s.recompute", stage);
        return true;
    }
    shape->ranking = strcmp(config_string(plan->run.config, "generate.method"), "ranking") == 0;
    shape->ranker = language_ranker_settings(&plan->run, &language->prompts);
    shape->sampler = language_sampler_settings(&plan->run, &language->prompts);
    if (language->text)
        find_lists_of_text(shape, language);
    return true;
}

/* ---- what is measured --------------------------------------------------------------------------------- */

static double values_of(const struct transformer_settings *settings, bool one_layer)
{
    const double width = (double)settings->width, head = (double)settings->head_width;
    const double layer = 2 * width * head * (double)(settings->query_heads + settings->key_heads) +
                         3 * width * (double)settings->hidden;
    return (one_layer ? 1 : (double)settings->layers) * layer +
           (settings->tied ? 1 : 2) * width * (double)settings->vocabulary;
}

/* The model that is measured in place of a large one: a layer of it, with a part of the vocabulary where tokens mean
 * nothing, on batches that take about a second. */
static struct language_shape shape_to_measure(const struct language_shape *shape, const struct plan *plan,
                                              bool estimated)
{
    struct language_shape part = *shape;
    const bool whole = values_of(&shape->settings, false) <= WHOLE_VALUES;
    if (!whole)
        part.settings.layers = 1;
    if (!whole && estimated && part.settings.vocabulary > 4096) {
        part.settings.vocabulary = 4096;
        part.settings.classes = 0;
        if (part.settings.added > part.settings.vocabulary / 2)
            part.settings.added = part.settings.vocabulary / 2;
        use_vocabulary(&part);
    }
    part.values = values_of(&part.settings, false) <= DRAWN_VALUES;
    const double most = plan->device->device == DEVICE_CPU ? BATCH_OPERATIONS_CPU : BATCH_OPERATIONS_GPU;
    const double token = 6 * values_of(&part.settings, false);
    const int64_t fitting = (int64_t)(most / token);
    const int64_t least = shape->packing.prompt.layout
                              ? prompt_length_minimum(shape->packing.prompt.layout, shape->train->rows)
                              : 0;
    if (fitting < part.packing.batch_tokens)
        part.packing.batch_tokens = fitting > least ? fitting : least;
    if (part.packing.prompt.length_maximum > part.packing.batch_tokens)
        part.packing.prompt.length_maximum = part.packing.batch_tokens;
    return part;
}

static void say_rate(struct plan_stage *stage, const struct work_done *done,
                     const struct language_shape *shape, const struct language_shape *part,
                     const char *pieces)
{
    char share[64] = "the whole model";
    if (part->settings.layers != shape->settings.layers)
        snprintf(share, sizeof share, "one of %lld layers", (long long)shape->settings.layers);
    snprintf(stage->rate, sizeof stage->rate, "measured: %.3g GFLOP/s over %lld %s of %s",
             done->work.floating_point_operations / done->seconds / 1e9, (long long)done->pieces, pieces,
             share);
}

static void say_assumed(struct plan_stage *stage, const struct plan *plan)
{
    snprintf(stage->rate, sizeof stage->rate, "assumed: %.3g TFLOP/s at an efficiency of %.2g",
             plan->options.operations_per_second / 1e12, plan->options.efficiency);
}

/* ---- training ----------------------------------------------------------------------------------------- */

/* An epoch, a step and the validation of a user: how much of each, and how long it takes. */
struct training_estimate {
    int64_t sequences, epoch_tokens, epoch_batches, epoch_steps, shortened;
    struct work_done epoch, step, user;
    double trained_bytes; /* of the values that are trained */
    double file_bytes;    /* of what is kept */
    double start_seconds;
    struct plan_exchange exchange;
    struct plan_range epochs, validations, steps;
};

static void scale(struct work_done *done, double factor)
{
    done->work.floating_point_operations *= factor;
    done->work.gemm_operations *= factor;
    done->work.bytes *= factor;
    done->seconds *= factor;
}

static void take_arenas(struct plan_stage *stage, const struct transformer *model)
{
    const struct arena *arena;
    for (int i = 0; (arena = transformer_arena(model, i)) != NULL; i++)
        plan_add_memory(stage, arena->name, (double)arena->capacity);
}

static struct plan_range times(struct plan_range range, int64_t count)
{
    return (struct plan_range){range.low * (double)count, range.high * (double)count};
}

/* What was found for one of the models that are averaged is done for each. */
static void repeat_for_members(struct plan_stage *stage, const struct plan *plan)
{
    const int64_t members = language_members(plan->run.config);
    const size_t length = strlen(stage->work);
    if (members == 1)
        return;
    stage->seconds = times(stage->seconds, members);
    stage->tokens = times(stage->tokens, members);
    stage->operations = times(stage->operations, members);
    stage->moved = times(stage->moved, members);
    snprintf(stage->work + length, sizeof stage->work - length, "; %lld models", (long long)members);
}

static void take_values(struct training_estimate *estimate, struct transformer *model, bool adapter)
{
    int64_t count;
    const struct parameter *const parameters = transformer_parameters(model, &count);
    for (int64_t i = 0; i < count; i++) {
        const double bytes = (double)tensor_count(&parameters[i].value) * sizeof(float);
        estimate->trained_bytes += parameters[i].trained ? bytes : 0;
        estimate->file_bytes += !adapter || parameter_is_adapter(&parameters[i]) ? bytes : 0;
    }
}

static bool count_batches(struct training_estimate *estimate, const struct language_shape *shape,
                          struct transformer *model, struct packer *packer, struct error *error)
{
    const int64_t batches = packer_batch_count(packer);
    struct work_done *const epoch = &estimate->epoch, *const step = &estimate->step;
    if (!work_train(epoch, step, shape, model, packer, (batches + COUNTED_BATCHES - 1) / COUNTED_BATCHES, 0,
                    INFINITY, error))
        return false;
    if (epoch->tokens > 0)
        scale(epoch, (double)packer_epoch_tokens(packer) / (double)epoch->tokens);
    if (step->pieces > 0)
        scale(step, 1.0 / (double)step->pieces);
    if (csr_count(shape->validation) == 0)
        return true;
    const int64_t fitting = COUNTED_SCORES / shape->validation->columns + 1;
    const int64_t users = fitting < COUNTED_VALIDATED ? fitting : COUNTED_VALIDATED;
    if (!work_validate(&estimate->user, shape, model, users, error))
        return false;
    scale(&estimate->user, 1.0 / (double)(estimate->user.pieces > 0 ? estimate->user.pieces : 1));
    return true;
}

/* As the trainer ends: by steps, by epochs, or by patience. */
static void bound_epochs(struct training_estimate *estimate, const struct trainer_settings *settings,
                         bool validated)
{
    const double most = settings->steps_maximum > 0
                            ? ceil((double)settings->steps_maximum / (double)estimate->epoch_steps)
                            : (double)settings->epochs;
    const double every = (double)settings->validate_every;
    double least = most;
    if (validated && settings->patience > 0 && !settings->select_last)
        least = fmin(most, every * (double)(settings->patience + (settings->validate_first ? 0 : 1)));
    const double first = settings->validate_first ? 1 : 0;
    estimate->epochs = (struct plan_range){least, most};
    estimate->steps =
        (struct plan_range){least * (double)estimate->epoch_steps, most * (double)estimate->epoch_steps};
    if (settings->steps_maximum > 0) {
        estimate->steps.high = (double)settings->steps_maximum;
        estimate->steps.low = fmin(estimate->steps.low, estimate->steps.high);
    }
    if (validated)
        estimate->validations = (struct plan_range){first + ceil(least / every), first + ceil(most / every)};
}

static bool count_training(struct training_estimate *estimate, struct plan_stage *stage,
                           const struct language_plan *language, const struct language_shape *shape,
                           struct error *error)
{
    const struct plan *const plan = language->plan;
    const bool validated = csr_count(shape->validation) > 0;
    struct transformer *model = NULL;
    struct packer *packer = NULL;
    bool done = shape_create(&model, shape, plan->run.backend, true, error) &&
                packer_create(&packer, &shape->packing, shape->train, NULL, error);
    if (done) {
        packer_begin_epoch(packer, 0);
        const struct trainer_settings settings = language_trainer_settings(&plan->run, stage->name, packer);
        estimate->sequences = packer_sequence_count(packer);
        estimate->epoch_tokens = packer_epoch_tokens(packer);
        estimate->epoch_batches = packer_batch_count(packer);
        estimate->epoch_steps = (estimate->epoch_batches + settings.accumulation - 1) / settings.accumulation;
        estimate->shortened = packer_shortened(packer);
        take_arenas(stage, model);
        take_values(estimate, model, shape->mode == TRAIN_LORA);
        plan_add_memory(stage, "weight copies",
                        ((settings.average > 0) + (validated ? 1 : 0)) * estimate->trained_bytes /
                            (double)plan->options.ranks);
        plan_exchange_count(&estimate->exchange, model, packer, settings.accumulation, plan->options.link);
        bound_epochs(estimate, &settings, validated);
        done = count_batches(estimate, shape, model, packer, error);
        scale(&estimate->step, (double)plan->options.ranks); /* each makes its part of it */
        if (settings.average > 0)
            estimate->step.work.floating_point_operations += 3 * estimate->trained_bytes / sizeof(float);
    }
    packer_free(packer);
    transformer_free(model);
    return done;
}

/* Sets the seconds of what was counted. */
static void assume_training(struct training_estimate *estimate, struct plan_stage *stage,
                            const struct plan *plan)
{
    struct work_done *const parts[] = {&estimate->epoch, &estimate->step, &estimate->user};
    for (int i = 0; i < 3; i++)
        parts[i]->seconds = plan_assumed_seconds(plan, &parts[i]->work);
    say_assumed(stage, plan);
}

static void time_part(struct work_done *part, const struct work_done *measured)
{
    if (measured->work.floating_point_operations > 0)
        part->seconds = part->work.floating_point_operations * measured->seconds /
                        measured->work.floating_point_operations;
}

/* Whether embeddings start from the interactions. */
static bool starts_spectral(const struct language_plan *language, const struct language_shape *shape)
{
    return shape->mode == TRAIN_ALL && !language->text &&
           strcmp(config_string(language->plan->run.config, "language_model.initial"), "spectral") == 0;
}

/* Rows with their weights, read both ways; the vectors of users and items in doubles; the result. */
static double spectral_bytes(const struct csr *train, int64_t width)
{
    return 20.0 * (double)csr_count(train) + 8.0 * (double)((train->rows + train->columns) * width) +
           4.0 * (double)(train->columns * width);
}

static bool measure_start(double *seconds, const struct language_plan *language,
                          const struct language_shape *shape, struct transformer *model, struct error *error)
{
    if (!starts_spectral(language, shape) || !language->plan->data->has_data)
        return true;
    const double begun = clock_seconds();
    if (!start_from_interactions(model, shape->train, 1, error))
        return false;
    *seconds = clock_seconds() - begun;
    return true;
}

/* What was measured of a model that trains. */
struct training_rate {
    struct work_done batches, steps, users;
    double start_seconds;
};

/* Models of the same key go at the same rate: more or shorter training, and an adapter of another rank, change what there is
 * to do, which is counted. */
static void key_of_rate(char key[PLAN_KEY_SIZE], const struct language_plan *language,
                        const struct language_shape *part, const char *what)
{
    const struct config *const config = language->plan->run.config;
    char data[PLAN_KEY_SIZE];
    char *model = config_canonical(config, "language_model"), *prompts = config_canonical(config, "prompts"),
         *base = config_canonical(config, "finetune.base");
    stage_settings_hash(config, stage_number("prepare"), data);
    plan_key_of_text(key, "rate %s %s %s %s %s %d %d %lld %d %lld %lld", what, data, model, prompts, base,
                     (int)part->mode, part->settings.recompute, (long long)part->packing.batch_tokens,
                     part->ranking, (long long)part->ranker.batch, (long long)part->sampler.batch);
    free(model);
    free(prompts);
    free(base);
}

static bool measure_rate(struct training_rate *rate, const struct language_plan *language, const char *stage,
                         const struct language_shape *part, struct error *error)
{
    const struct plan *const plan = language->plan;
    struct transformer *model = NULL;
    struct packer *packer = NULL;
    bool done = shape_create(&model, part, plan->device, true, error) &&
                (strcmp(stage, "pretrain") != 0 ||
                 measure_start(&rate->start_seconds, language, part, model, error)) &&
                packer_create(&packer, &part->packing, part->train, NULL, error);
    if (done) {
        packer_begin_epoch(packer, 0);
        done =
            work_train(&rate->batches, &rate->steps, part, model, packer, 1, 1,
                       plan_memo_seconds(plan->memo, plan->options.seconds), error) &&
            (csr_count(part->validation) == 0 || work_validate(&rate->users, part, model, LOOK_USERS, error));
    }
    packer_free(packer);
    transformer_free(model);
    return done;
}

static bool measure_training(struct training_estimate *estimate, struct plan_stage *stage,
                             const struct language_plan *language, const struct language_shape *shape,
                             struct error *error)
{
    struct plan_memo *const memo = language->plan->memo;
    const struct language_shape part = shape_to_measure(shape, language->plan, language->estimated);
    char key[PLAN_KEY_SIZE];
    key_of_rate(key, language, &part, stage->name);
    struct training_rate *rate = plan_memo_find(memo, key);
    if (!rate) {
        const double begun = clock_seconds();
        rate = plan_memo_keep(memo, key, NULL, sizeof *rate);
        if (!rate)
            return error_memory(error, "a rate", sizeof *rate, NULL);
        if (!measure_rate(rate, language, stage->name, &part, error))
            return false;
        plan_memo_spend(memo, clock_seconds() - begun);
    }
    estimate->start_seconds = rate->start_seconds;
    time_part(&estimate->epoch, &rate->batches);
    time_part(&estimate->step, &rate->steps);
    time_part(&estimate->user, &rate->users);
    say_rate(stage, &rate->batches, shape, &part, rate->batches.pieces == 1 ? "batch" : "batches");
    return true;
}

/* Sums the parts of a training up, for the fewest epochs and for the most. */
static struct plan_range sum_training(const struct training_estimate *estimate, double per_batch_epoch,
                                      double per_step, double per_validation)
{
    const double batches = per_batch_epoch / (double)estimate->epoch_steps; /* a step's share of an epoch */
    return (struct plan_range){
        estimate->steps.low * (batches + per_step) + estimate->validations.low * per_validation,
        estimate->steps.high * (batches + per_step) + estimate->validations.high * per_validation};
}

static int64_t validated_users(const struct csr *validation)
{
    enum { USERS_MAXIMUM = 10000 };
    int64_t users = 0;
    for (int64_t user = 0; user < validation->rows; user++)
        users += csr_row_length(validation, user) > 0;
    return users < USERS_MAXIMUM ? users : USERS_MAXIMUM;
}

static void say_training(struct plan_stage *stage, const struct training_estimate *estimate)
{
    char epochs[64];
    if (estimate->epochs.low < estimate->epochs.high)
        snprintf(epochs, sizeof epochs, "%.0f to %.0f epochs", estimate->epochs.low, estimate->epochs.high);
    else
        snprintf(epochs, sizeof epochs, "%.0f epoch%s", estimate->epochs.high,
                 estimate->epochs.high == 1 ? "" : "s");
    snprintf(stage->work, sizeof stage->work,
             "%lld sequences, %lld tokens, %lld batches an epoch; %s, %.0f steps; %lld users have more items "
             "than fit",
             (long long)estimate->sequences, (long long)estimate->epoch_tokens,
             (long long)estimate->epoch_batches, epochs, estimate->steps.high,
             (long long)estimate->shortened);
}

/* Ranks share what there is to compute. Contexts of validated users are taken to be as long as sequences. */
static struct plan_range time_training(struct training_estimate *estimate, const struct plan *plan,
                                       double users, double batch_tokens)
{
    const double ranks = (double)plan->options.ranks, steps = (double)estimate->epoch_steps;
    struct plan_exchange *const exchange = &estimate->exchange;
    if (exchange->ranks == 0)
        return sum_training(estimate, estimate->epoch.seconds, estimate->step.seconds,
                            users * estimate->user.seconds);
    const double length = (double)estimate->epoch_tokens / (double)estimate->sequences;
    plan_exchange_step(exchange, (estimate->epoch.seconds / steps + estimate->step.seconds) / ranks);
    return sum_training(estimate, exchange->seconds * steps, 0,
                        plan_exchange_validation(exchange, users * estimate->user.seconds / ranks,
                                                 ceil(users * length / ranks / batch_tokens)));
}

/* Three times the trained values are a state: value, moments; and the copies. */
static void fill_training(struct plan_stage *stage, struct training_estimate *estimate,
                          const struct plan *plan, const struct language_shape *shape)
{
    const bool adapter = shape->mode == TRAIN_LORA;
    const int64_t vocabulary = shape->settings.vocabulary;
    const double users = (double)validated_users(&plan->validation);
    const double tokens = (double)estimate->epoch_tokens / (double)estimate->epoch_steps;
    stage->tokens = (struct plan_range){estimate->steps.low * tokens, estimate->steps.high * tokens};
    stage->operations = sum_training(estimate, estimate->epoch.work.floating_point_operations,
                                     estimate->step.work.floating_point_operations,
                                     users * estimate->user.work.floating_point_operations);
    stage->seconds = time_training(estimate, plan, users, (double)shape->packing.batch_tokens);
    stage->exchange = estimate->exchange;
    stage->seconds.low += estimate->start_seconds;
    stage->seconds.high += estimate->start_seconds;
    plan_add_file(stage, adapter ? "language_model/adapter" : "language_model/base",
                  (double)language_members(plan->run.config) * (estimate->file_bytes + 2e3));
    stage->passing_bytes = 5 * estimate->trained_bytes;
    plan_add_memory(stage, "the data set", 4 * plan_csr_bytes(&plan->train));
    if (users > 0)
        plan_add_memory(stage, "scores of validated users",
                        SCORED_USERS * sizeof(float) * (double)(vocabulary + plan->train.columns));
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    stage->lower = adapter && !shape->settings.shard_base && plan->options.ranks > 1
                       ? "set finetune.shard_base: true, lower its tokens_per_batch, or set recompute: true"
                       : "lower its tokens_per_batch, set recompute: true, or lower language_model.width or "
                         "layers";
    say_training(stage, estimate);
    repeat_for_members(stage, plan);
}

static bool plan_training(struct language_plan *language, const char *name, struct error *error)
{
    struct plan *const plan = language->plan;
    if (plan_take_stage(plan, name))
        return true;
    struct plan_stage *const stage = plan_add_stage(plan, name, false);
    struct training_estimate estimate = {.sequences = 0};
    struct language_shape shape;
    if (!find_shape(&shape, language, name, error) ||
        !count_training(&estimate, stage, language, &shape, error))
        return false;
    if (!plan->device)
        assume_training(&estimate, stage, plan);
    else if (!measure_training(&estimate, stage, language, &shape, error))
        return false;
    fill_training(stage, &estimate, plan, &shape);
    if (strcmp(name, "pretrain") == 0 && starts_spectral(language, &shape))
        plan_add_memory(stage, "the start of the embeddings",
                        spectral_bytes(shape.train, shape.settings.width));
    return plan_offer_stage(plan, stage, error);
}

/* A base that is not trained here is made and saved, or, of text, read where it is. */
static bool plan_untrained_base(struct language_plan *language, struct error *error)
{
    if (plan_take_stage(language->plan, "pretrain"))
        return true;
    struct plan_stage *const stage = plan_add_stage(language->plan, "pretrain", false);
    struct language_shape shape;
    struct transformer *model = NULL;
    struct training_estimate estimate = {.sequences = 0};
    if (!find_shape(&shape, language, "generate", error))
        return false;
    shape.lora.rank = 0;
    if (!shape_create(&model, &shape, language->plan->run.backend, false, error))
        return false;
    take_values(&estimate, model, false);
    if (!language->text)
        take_arenas(stage, model);
    transformer_free(model);
    snprintf(stage->work, sizeof stage->work, "pretrain.enabled is false: the base stays as it is");
    snprintf(stage->rate, sizeof stage->rate, "nothing is trained");
    if (!language->text)
        plan_add_file(stage, "language_model/base",
                      (double)language_members(language->plan->run.config) * estimate.file_bytes);
    stage->lower = "lower language_model.width or layers";
    return plan_offer_stage(language->plan, stage, error);
}

/* ---- generation --------------------------------------------------------------------------------------- */

static bool count_generation(struct work_done *done, struct plan_stage *stage, struct plan *plan,
                             struct language_shape *shape, struct error *error)
{
    struct backend *const backend = plan->run.backend;
    const int64_t users = shape->train->rows < 4 * COUNTED_USERS ? shape->train->rows : COUNTED_USERS;
    struct transformer *model = NULL;
    if (!shape_create(&model, shape, backend, false, error))
        return false;
    take_arenas(stage, model);
    const size_t before = backend->memory.bytes;
    backend->memory.peak = before;
    const bool fine =
        shape_choose_slots(shape, model, error) && work_generate(done, shape, model, users, INFINITY, error);
    plan_add_memory(stage, "attention cache and ranking", (double)(backend->memory.peak - before));
    if (language_members(plan->run.config) > 1)
        plan_add_memory(stage, "further models",
                        (double)(language_members(plan->run.config) - 1) * (double)before);
    transformer_free(model);
    return fine;
}

static bool measure_generation(struct work_done *done, const struct language_shape *part,
                               const struct plan *plan, struct error *error)
{
    struct transformer *model = NULL;
    if (!shape_create(&model, part, plan->device, false, error))
        return false;
    const bool fine = work_generate(done, part, model, part->train->rows,
                                    plan_memo_seconds(plan->memo, plan->options.seconds), error);
    transformer_free(model);
    return fine;
}

/* As it was measured, here or for an earlier trial. */
static bool find_generation_rate(struct work_done *done, const struct language_plan *language,
                                 const struct language_shape *part, struct error *error)
{
    struct plan_memo *const memo = language->plan->memo;
    char key[PLAN_KEY_SIZE];
    key_of_rate(key, language, part, "generate");
    const struct work_done *const found = plan_memo_find(memo, key);
    if (found) {
        *done = *found;
        return true;
    }
    const double begun = clock_seconds();
    if (!measure_generation(done, part, language->plan, error))
        return false;
    plan_memo_spend(memo, clock_seconds() - begun);
    return plan_memo_keep(memo, key, done, sizeof *done) || error_memory(error, "a rate", sizeof *done, NULL);
}

/* Shorter contexts for a model that is measured in part. */
static void shorten_contexts(struct language_shape *part, const struct plan *plan)
{
    const double most = plan->device->device == DEVICE_CPU ? BATCH_OPERATIONS_CPU : BATCH_OPERATIONS_GPU;
    const int64_t tokens = (int64_t)(most / (2 * values_of(&part->settings, false)));
    const int64_t least = prompt_length_minimum(part->ranker.prompt.layout, part->train->rows);
    const int64_t rows = tokens / (part->ranker.prompt.length_maximum + 1) + 1;
    int64_t length = tokens > least ? tokens : least;
    if (length > part->ranker.prompt.length_maximum)
        length = part->ranker.prompt.length_maximum;
    part->ranker.prompt.length_maximum = part->sampler.prompt.length_maximum = length;
    if (part->ranker.batch > rows)
        part->ranker.batch = part->sampler.batch = rows;
    if (part->sampler.items_maximum > MEASURED_STEPS)
        part->sampler.items_maximum = MEASURED_STEPS;
}

static void fill_generation(struct plan_stage *stage, const struct language_shape *shape,
                            const struct work_done *done, const struct plan *plan)
{
    const double users = (double)shape->train->rows;
    const double lists = users * (double)shape->sampler.samples * (double)shape->sampler.items_maximum;
    const double cost = shape->item_tokens > 0 ? (double)shape->item_tokens : 1;
    const double rows = shape->ranking ? users * (double)shape->ranker.items_maximum : lists / cost;
    const double contexts = (double)shape_context_tokens(shape);
    stage->tokens =
        (struct plan_range){contexts + (shape->ranking ? 0 : lists), contexts + (shape->ranking ? 0 : lists)};
    const double times = users / (double)(done->pieces > 0 ? done->pieces : 1);
    const double operations = done->work.floating_point_operations * times, moved = done->work.bytes * times;
    /* A list whose end the model has learned ends before it must. */
    const double least = !shape->ranking && shape->sampler.end_trained ? 0.25 : 1;
    stage->operations = (struct plan_range){operations * least, operations};
    stage->moved = (struct plan_range){moved * least, moved};
    plan_add_memory(stage, "the data set", 2 * plan_csr_bytes(&plan->train));
    plan_add_memory(stage, "what was generated", 48 * rows);
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    plan_add_file(stage, "generated.h5", 4.2 * rows + 2e4);
    snprintf(stage->work, sizeof stage->work,
             "%s for %.0f users, %lld context%s each; %lld sequence%s decoded together",
             shape->ranking ? "rankings" : "lists", users, (long long)shape->ranker.contexts,
             shape->ranker.contexts == 1 ? "" : "s", (long long)shape->slots, shape->slots == 1 ? "" : "s");
    stage->lower = "lower generate.memory, generate.batch or prompts.length";
}

static bool find_generation_time(struct plan_stage *stage, const struct language_plan *language,
                                 const struct language_shape *shape, struct error *error)
{
    const struct plan *const plan = language->plan;
    if (!plan->device) {
        const struct operation_counters low = {.floating_point_operations = stage->operations.low,
                                               .bytes = stage->moved.low};
        const struct operation_counters high = {.floating_point_operations = stage->operations.high,
                                                .bytes = stage->moved.high};
        stage->seconds =
            (struct plan_range){plan_assumed_seconds(plan, &low), plan_assumed_seconds(plan, &high)};
        say_assumed(stage, plan);
        return true;
    }
    struct language_shape part = shape_to_measure(shape, plan, language->estimated);
    struct work_done done;
    if (shape->slots < part.ranker.batch)
        part.ranker.batch = part.sampler.batch = shape->slots;
    if (part.settings.layers != shape->settings.layers)
        shorten_contexts(&part, plan);
    if (!find_generation_rate(&done, language, &part, error))
        return false;
    const double second = done.seconds / done.work.floating_point_operations;
    stage->seconds = (struct plan_range){stage->operations.low * second, stage->operations.high * second};
    say_rate(stage, &done, shape, &part, "users");
    return true;
}

/* Ranks take users in parts. */
static bool time_generation(struct plan_stage *stage, const struct language_plan *language,
                            const struct language_shape *shape, struct error *error)
{
    const double parts = ceil((double)shape->train->rows / GENERATION_PART_USERS);
    const double ranks = fmin((double)language->plan->options.ranks, parts);
    if (!find_generation_time(stage, language, shape, error))
        return false;
    stage->seconds.low /= ranks;
    stage->seconds.high /= ranks;
    return true;
}

static bool plan_generation(struct language_plan *language, struct error *error)
{
    struct plan *const plan = language->plan;
    if (plan_take_stage(plan, "generate"))
        return true;
    struct plan_stage *const stage = plan_add_stage(plan, "generate", false);
    struct language_shape shape;
    struct work_done done;
    if (!find_shape(&shape, language, "generate", error) ||
        !count_generation(&done, stage, plan, &shape, error))
        return false;
    fill_generation(stage, &shape, &done, plan);
    if (!time_generation(stage, language, &shape, error))
        return false;
    repeat_for_members(stage, plan);
    return plan_offer_stage(plan, stage, error);
}

/* Where items are several tokens, beam search decodes its beams at each of them, and an exact ranking every inner node of
 * the trie of items, of which there are about a quarter as many as items. */
static void ask_for_rankings(struct language_shape *shape, const struct language_plan *language,
                             const struct recommender_settings *settings)
{
    const int64_t items = language->plan->train.columns, cost = shape->item_tokens;
    const bool beam = strcmp(settings->ranking, "beam") == 0;
    shape->ranker.batch = shape->sampler.batch = settings->batch;
    shape->ranker.contexts = shape->sampler.contexts = shape->sampler.samples = settings->contexts;
    shape->ranker.items_maximum = settings->ranked_items < items ? settings->ranked_items : items;
    shape->sampler.items_maximum = beam ? settings->beams * cost : items / 4 + 1;
    shape->sampler.end_trained = false;
    shape->ranking = !language->text;
}

/* What a recommender is given, by the stage train. */
static bool plan_rankings(struct language_plan *language, int contestant, struct error *error)
{
    struct plan *const plan = language->plan;
    const bool own = contestant < plan->study.contestant_count;
    const struct contestant *const given = study_given(&plan->study, contestant);
    struct plan_stage *const stage = &plan->rankings[contestant];
    const int64_t items = plan->train.columns;
    struct language_shape shape;
    struct work_done done;
    if (!find_shape(&shape, language, "generate", error))
        return false;
    ask_for_rankings(&shape, language, &given->settings);
    if (!count_generation(&done, stage, plan, &shape, error))
        return false;
    fill_generation(stage, &shape, &done, plan);
    const double rows = (double)plan->train.rows *
                        (double)(given->settings.ranked_items < items ? given->settings.ranked_items : items);
    const double rankings = config_boolean(plan->run.config, "prompts.shuffle") ? 1 : 2;
    snprintf(stage->work, sizeof stage->work, "%s rankings for %lld users, %lld context%s each",
             given->settings.ranking, (long long)plan->train.rows, (long long)given->settings.contexts,
             given->settings.contexts == 1 ? "" : "s");
    stage->file_count = 0;
    plan_add_file(stage, "rankings", rankings * 4.2 * rows);
    const int models =
        own + (given == study_generator(&plan->study) && study_has_arm(&plan->study, ARM_GENERATOR));
    plan_add_file(stage, "models", models * rankings * 5 * rows);
    stage->lower = "lower recommenders[].batch or ranked_items";
    stage->tokens = (struct plan_range){rankings * stage->tokens.low, rankings * stage->tokens.high};
    stage->operations =
        (struct plan_range){rankings * stage->operations.low, rankings * stage->operations.high};
    stage->moved = (struct plan_range){rankings * stage->moved.low, rankings * stage->moved.high};
    if (!time_generation(stage, language, &shape, error))
        return false;
    repeat_for_members(stage, plan);
    return true;
}

static bool plan_all_rankings(struct language_plan *language, struct error *error)
{
    const struct study *const study = &language->plan->study;
    for (int i = 0; i <= study->contestant_count; i++)
        if (study_given(study, i) && !plan_rankings(language, i, error))
            return false;
    return true;
}

/* The other rankers of an ensemble: each is fitted, and lists items for every user. */
static bool add_ensemble(struct plan *plan, struct plan_stage *stage, struct error *error)
{
    struct ensemble ensemble;
    const char *model = NULL; /* one at a time: the one that takes the most memory */
    double largest = 0;
    int64_t judged = 0;
    for (int64_t user = 0; user < plan->validation.rows; user++)
        judged += csr_row_length(&plan->validation, user) > 0;
    if (!ensemble_read(&ensemble, plan->run.config, error))
        return false;
    for (int i = 0; i < ensemble.count; i++) {
        struct fit_speed speed;
        if (!fit_speed_find(&speed, plan, &ensemble.members[i], 1, error))
            return false;
        const double passes = judged > 0 ? (double)plan->train.rows / (double)judged : 1;
        const struct plan_range epochs = plan_fit_epochs(&ensemble.members[i], judged > 0);
        const double lists = passes * speed.rate.judge_seconds;
        stage->seconds.low += plan_fit_seconds(&ensemble.members[i], &speed.rate, epochs.low) + lists;
        stage->seconds.high += plan_fit_seconds(&ensemble.members[i], &speed.rate, epochs.high) + lists;
        const double bytes = recommender_has_epochs(&ensemble.members[i])
                                 ? speed.count.memory
                                 : plan_memory_at_once(&ensemble.members[i], &plan->train);
        if (bytes > largest) {
            largest = bytes;
            model = ensemble.members[i].model;
        }
    }
    if (!model)
        return true;
    plan_add_memory(stage, model, largest);
    snprintf(stage->work + strlen(stage->work), sizeof stage->work - strlen(stage->work),
             "; %d ranker%s fitted", ensemble.count, ensemble.count > 1 ? "s" : "");
    snprintf(stage->rate, sizeof stage->rate, "a microsecond a row, and the rankers' fits");
    stage->lower = "leave the largest ranker out of augment.ensemble, or lower generate.max_items";
    return true;
}

/* Filters pass over what was generated: a small part of a second for a million rows. */
static bool plan_augment(struct plan *plan, struct error *error)
{
    if (plan_take_stage(plan, "augment"))
        return true;
    struct plan_stage *const stage = plan_add_stage(plan, "augment", false);
    const double rows =
        (double)plan->train.rows * (double)config_integer(plan->run.config, "generate.max_items");
    const double train = (double)csr_count(&plan->train);
    const double seconds = 0.05 + 1e-6 * (rows + train);
    stage->seconds = (struct plan_range){seconds, seconds};
    snprintf(stage->work, sizeof stage->work, "filters over %.0f rows", rows);
    snprintf(stage->rate, sizeof stage->rate, "a microsecond a row");
    plan_add_memory(stage, "rows", 64 * rows + 2 * plan_csr_bytes(&plan->train));
    plan_add_memory(stage, "the program", PROGRAM_BYTES);
    plan_add_file(stage, "augmented.h5", plan_csr_file_bytes(&plan->train) + 5 * rows);
    stage->lower = "lower generate.max_items";
    return add_ensemble(plan, stage, error) && plan_offer_stage(plan, stage, error);
}

bool plan_language(struct plan *plan, struct error *error)
{
    struct language_plan language = {.plan = plan};
    if (!plan->has_language_model)
        return true;
    bool done = language_precision(&language.precision, &plan->run, error) && open_prompts(&language, error);
    if (done && (config_boolean(plan->run.config, "pretrain.enabled")))
        done = plan_training(&language, "pretrain", error);
    else if (done)
        done = plan_untrained_base(&language, error);
    if (done && !is_method(plan, "none"))
        done = plan_training(&language, "finetune", error);
    const bool generates = !stage_is_left_out(plan->run.config, stage_number("generate"));
    done = done && (!generates || (plan_generation(&language, error) && plan_augment(plan, error)));
    done = done && plan_all_rankings(&language, error);
    language_prompts_close(&language.prompts);
    return done;
}
