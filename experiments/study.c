#include "experiments/study.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/augmented.h"
#include "experiments/ensemble.h"
#include "experiments/language_rankings.h"
#include "models/recommenders/settings.h"

const char tuning_fits_folder[] = "tune_candidates";

static bool empty_lists(struct ranked_lists *lists, const struct csr *train, struct error *error)
{
    const size_t starts = (size_t)train->rows + 1;
    *lists = (struct ranked_lists){.items = {.rows = train->rows, .columns = train->columns}};
    lists->items.starts = calloc(starts, sizeof *lists->items.starts);
    lists->items.indices = malloc(sizeof *lists->items.indices);
    return (lists->items.starts && lists->items.indices) ||
           error_memory(error, "lists of synthetic rows", starts * sizeof *lists->items.starts, NULL);
}

/* An experiment with nothing but the original arm has no synthetic rows. */
static bool load_lists(struct study *study, struct error *error)
{
    if (study->arm_count == 1)
        return empty_lists(&study->lists, &study->train, error);
    char *path = run_path(study->run, "augmented.h5");
    const bool done = augmented_load(&study->lists, path, &study->train, error) &&
                      (!study_has_arm(study, ARM_ENSEMBLE) ||
                       augmented_load_ensemble(&study->ensemble_rows, path, &study->train, error));
    free(path);
    return done;
}

static bool load_dataset(struct study *study, struct error *error)
{
    char *path = run_path(study->run, "dataset.h5");
    const bool done =
        dataset_load(&study->dataset, path, error) &&
        csr_sorted(&study->train, &study->dataset.train, error) &&
        csr_sorted(&study->validation, &study->dataset.validation, error) &&
        users_with_truth(&study->validation_users, &study->validation_count, &study->validation, error);
    free(path);
    return done;
}

static bool load_data(struct study *study, struct error *error)
{
    bool done = load_dataset(study, error) && csr_sorted(&study->test, &study->dataset.test, error) &&
                csr_union(&study->known, &study->train, &study->validation, error) &&
                csr_append(&study->history, &study->dataset.train, &study->dataset.validation, error) &&
                users_with_truth(&study->test_users, &study->test_count, &study->test, error) &&
                load_lists(study, error);
    if (done && ((study->validation_count == 0 && study_needs_validation(study)) || study->test_count == 0))
        return config_complain(
            study->config, "data.split.ratios", error,
            "validation and test must hold interactions (now %lld and %lld users have any); "
            "raise their ratios",
            (long long)study->validation_count, (long long)study->test_count);
    return done;
}

/* The settings that a model reads, beside its name; malloc'ed. */
static char *settings_read_by(const char *model)
{
    char *list = path_format("%s", "");
    const char *name;
    for (int place = 0; (name = recommender_setting_name(place)) != NULL; place++) {
        if (strcmp(name, "model") == 0 || !recommender_reads_setting(model, name))
            continue;
        char *longer = path_format("%s%s%s", list, *list ? ", " : "", name);
        free(list);
        list = longer;
    }
    return list;
}

/* A setting without effect would leave whoever wrote it with figures of other settings. */
static bool check_written(const char *model, const struct config *config, int index, struct error *error)
{
    const char *name;
    for (int place = 0; (name = recommender_setting_name(place)) != NULL; place++) {
        char path[64];
        snprintf(path, sizeof path, "recommenders[%d].%s", index, name);
        if (recommender_reads_setting(model, name) || !config_is_written(config, "%s", path))
            continue;
        char *list = settings_read_by(model);
        config_complain(config, path, error, "%s does not read %s; it reads %s", model, name,
                        *list ? list : "no setting");
        free(list);
        return false;
    }
    return true;
}

/* Before anything is trained, with the place in the configuration. */
static bool check_contestant(const struct recommender_settings *settings, const struct config *config,
                             int place, struct error *error)
{
    char path[32];
    struct error reason = ERROR_INITIALIZER;
    snprintf(path, sizeof path, "recommenders[%d].model", place);
    return recommender_settings_check(settings, &reason) ||
           config_complain(config, path, error, "%s", reason.message);
}

static bool read_contestants(struct study *study, struct error *error)
{
    const struct config *config = study->config;
    study->contestant_count = (int)config_length(config, "recommenders");
    if (study->contestant_count == 0)
        return config_complain(config, "recommenders", error, "the list is empty; name at least one model");
    study->contestants = calloc((size_t)study->contestant_count, sizeof *study->contestants);
    if (study->contestants == NULL)
        return error_memory(error, "recommenders", sizeof *study->contestants, NULL);
    for (int i = 0; i < study->contestant_count; i++) {
        struct contestant *contestant = &study->contestants[i];
        if (!recommender_settings_read(&contestant->settings, config, i, error) ||
            !check_written(contestant->settings.model, config, i, error) ||
            !check_contestant(&contestant->settings, config, i, error))
            return false;
        for (int arm = 0; arm < ARM_COUNT; arm++)
            contestant->arm_settings[arm] = contestant->settings;
        int place = 1;
        for (int before = 0; before < i; before++)
            place += strcmp(study->contestants[before].settings.model, contestant->settings.model) == 0;
        if (place == 1)
            snprintf(contestant->label, sizeof contestant->label, "%s", contestant->settings.model);
        else
            snprintf(contestant->label, sizeof contestant->label, "%s-%d", contestant->settings.model, place);
    }
    return true;
}

bool study_needs_validation(const struct study *study)
{
    return !study->test_selected || (study->select && study->arm_count > 1) ||
           (study_has_arm(study, ARM_FUSION) && study->fusion.weight_count > 1) ||
           (study->arm_count > 1 && ensemble_chooses(study->config));
}

bool study_tries_none(const struct study *study)
{
    return study->test_selected || study->candidates_only;
}

bool study_has_arm(const struct study *study, enum arm arm)
{
    for (int i = 0; i < study->arm_count; i++)
        if (study->arms[i] == arm)
            return true;
    return false;
}

static void read_arms(struct study *study)
{
    const struct config *config = study->config;
    study->arms[study->arm_count++] = ARM_ORIGINAL;
    for (int i = 0; i < (int)config_length(config, "experiment.arms"); i++) {
        enum arm arm = arm_from_name(config_string(config, "experiment.arms[%d]", i));
        if (!study_has_arm(study, arm))
            study->arms[study->arm_count++] = arm;
    }
    study->first_seed = (uint64_t)config_integer(config, "seed");
    study->seeds = config_integer(config, "experiment.seeds");
}

static int64_t longest_list(const struct study *study)
{
    return study->largest_cut > study->select_cut ? study->largest_cut : study->select_cut;
}

static bool read_evaluation(struct study *study, struct error *error)
{
    const struct config *config = study->config;
    int64_t count = config_length(config, "evaluate.k");
    if (count < 1 || count > CUTS_MAXIMUM)
        return config_complain(config, "evaluate.k", error, "give 1 to %d cuts", CUTS_MAXIMUM);
    study->cut_count = (int)count;
    for (int i = 0; i < study->cut_count; i++) {
        study->cuts[i] = config_integer(config, "evaluate.k[%d]", i);
        for (int before = 0; before < i; before++)
            if (study->cuts[before] == study->cuts[i])
                return config_complain(config, "evaluate.k", error, "%lld is given twice",
                                       (long long)study->cuts[i]);
        if (study->cuts[i] > study->largest_cut)
            study->largest_cut = study->cuts[i];
    }
    study->test_selected = strcmp(config_string(config, "evaluate.protocol"), "test_selected") == 0;
    study->mask_augmented = strcmp(config_string(config, "evaluate.mask"), "augmented") == 0;
    return true;
}

static bool read_fusion(struct study *study, struct error *error)
{
    const struct config *config = study->config;
    const int64_t count = config_length(config, "experiment.fusion.weights");
    if (count < 1 || count > FUSION_WEIGHTS_MAXIMUM)
        return config_complain(config, "experiment.fusion.weights", error, "give 1 to %d weights",
                               FUSION_WEIGHTS_MAXIMUM);
    study->fusion.weight_count = (int)count;
    for (int i = 0; i < study->fusion.weight_count; i++)
        study->fusion.weights[i] = config_number(config, "experiment.fusion.weights[%d]", i);
    study->fusion.constant = config_number(config, "experiment.fusion.constant");
    study->fusion.depth = config_integer(config, "experiment.fusion.depth");
    if (study_has_arm(study, ARM_FUSION) && study->fusion.depth < longest_list(study))
        return config_complain(config, "experiment.fusion.depth", error,
                               "is %lld, but lists are cut at %lld (evaluate.k, augment.select_k); raise it",
                               (long long)study->fusion.depth, (long long)longest_list(study));
    return true;
}

struct contestant *study_given(const struct study *study, int place)
{
    struct contestant *contestant =
        place < study->contestant_count ? &study->contestants[place] : (struct contestant *)&study->generator;
    return *contestant->label && recommender_is_given(contestant->settings.model) ? contestant : NULL;
}

const struct contestant *study_generator(const struct study *study)
{
    for (int i = 0; i < study->contestant_count; i++)
        if (study_given(study, i))
            return study_given(study, i);
    return &study->generator;
}

/* By default, but with the contexts of generation and as many items as are cut. */
static bool read_generator(struct study *study, struct error *error)
{
    struct recommender_settings *const settings = &study->generator.settings;
    const int64_t longest = longest_list(study);
    if (!recommender_settings_default(settings, "language_model", error))
        return false;
    snprintf(study->generator.label, sizeof study->generator.label, "%s", settings->model);
    settings->contexts = config_integer(study->config, "generate.contexts");
    if (settings->ranked_items < longest)
        settings->ranked_items = longest;
    return true;
}

/* Arms that are rankings have the same settings with every recommender. */
static bool give_rankings(struct study *study, struct error *error)
{
    if (!study_has_arm(study, ARM_GENERATOR) && !study_has_arm(study, ARM_FUSION))
        return true;
    if (study_generator(study) == &study->generator && !read_generator(study, error))
        return false;
    for (int i = 0; i < study->contestant_count; i++)
        for (int arm = 0; arm < ARM_COUNT; arm++)
            if (arm_is_ranking((enum arm)arm))
                study->contestants[i].arm_settings[arm] = study_generator(study)->settings;
    return true;
}

/* control.ensemble is what the ensemble adds without the language model. */
static bool check_ensemble(const struct study *study, struct error *error)
{
    struct ensemble ensemble;
    return ensemble_read(&ensemble, study->config, error) &&
           (ensemble.count > 0 || !study_has_arm(study, ARM_ENSEMBLE) ||
            config_complain(
                study->config, "experiment.arms", error,
                "control.ensemble needs rankers; name some in augment.ensemble, such as [ease], or leave "
                "the arm out"));
}

/* A ranking that ends before a cut would be judged as if the rest had missed. */
static bool check_rankings(const struct study *study, struct error *error)
{
    const int64_t cut = longest_list(study);
    for (int i = 0; i < study->contestant_count; i++) {
        const struct recommender_settings *settings = &study->contestants[i].settings;
        char path[48];
        snprintf(path, sizeof path, "recommenders[%d].ranked_items", i);
        if (recommender_is_given(settings->model) && settings->ranked_items < cut)
            return config_complain(
                study->config, path, error,
                "is %lld, but lists are cut at %lld (evaluate.k, augment.select_k); raise it",
                (long long)settings->ranked_items, (long long)cut);
    }
    return true;
}

/* Adds the combinations of one use with every amount and threshold. */
static void add_choices(struct study *study, enum augmentation_use use)
{
    const struct config *config = study->config;
    int64_t fixed = config_length(config, "augment.per_user");
    int64_t amounts = fixed + config_length(config, "augment.proportional");
    int64_t thresholds = config_length(config, "augment.thresholds");
    for (int a = 0; a < (int)amounts; a++)
        for (int t = 0; t < (int)thresholds || t == 0; t++)
            study->choices[study->choice_count++] = (struct choice){
                .use = use,
                .proportional = a >= fixed,
                .amount = a < fixed ? (double)config_integer(config, "augment.per_user[%d]", a)
                                    : config_number(config, "augment.proportional[%d]", a - (int)fixed),
                .quantile = t < (int)thresholds ? config_number(config, "augment.thresholds[%d]", t) : 0,
            };
}

static bool read_choices(struct study *study, struct error *error)
{
    const struct config *config = study->config;
    int64_t uses = config_length(config, "augment.use");
    int64_t amounts =
        config_length(config, "augment.per_user") + config_length(config, "augment.proportional");
    int64_t thresholds = config_length(config, "augment.thresholds");
    if (uses == 0)
        return config_complain(config, "augment.use", error,
                               "the list is empty; none switches augmentation off");
    size_t most = (size_t)(1 + uses * amounts * (thresholds > 0 ? thresholds : 1));
    study->choices = calloc(most, sizeof *study->choices);
    if (study->choices == NULL)
        return error_memory(error, "choices of augmentation", most * sizeof *study->choices, NULL);
    bool given[USE_COUNT] = {false};
    study->select = strcmp(config_string(config, "augment.select"), "validation") == 0;
    given[USE_NONE] = study->select;
    if (study->select)
        study->choices[study->choice_count++] = (struct choice){.use = USE_NONE};
    for (int i = 0; i < (int)uses; i++) {
        enum augmentation_use use = use_from_name(config_string(config, "augment.use[%d]", i));
        if (given[use])
            continue;
        given[use] = true;
        if (use == USE_NONE)
            study->choices[study->choice_count++] = (struct choice){.use = USE_NONE};
        else if (amounts == 0)
            return config_complain(
                config, "augment.per_user", error,
                "augment.use: %s needs an amount in augment.per_user or augment.proportional", use_name(use));
        else
            add_choices(study, use);
    }
    return true;
}

static void read_selection(struct study *study)
{
    const struct config *config = study->config;
    study->select_seeds = config_integer(config, "augment.select_seeds");
    study->select_cut = config_integer(config, "augment.select_k");
    study->select_metric = metric_from_name(config_string(config, "augment.select_metric"));
    study->margin = config_number(config, "augment.margin");
    study->weight = config_number(config, "augment.weight");
}

bool study_settings_read(struct study *study, const struct config *config, struct error *error)
{
    *study = (struct study){.config = config, .fits_folder = "recommenders"};
    read_arms(study);
    read_selection(study);
    if (!read_contestants(study, error) || !read_evaluation(study, error) || !check_rankings(study, error) ||
        !read_fusion(study, error) || !read_choices(study, error) ||
        !recommender_settings_find(&study->neighbors, config, "item_knn", error) ||
        !check_ensemble(study, error))
        return false;
    return give_rankings(study, error);
}

bool study_open(struct study *study, const struct run *run, struct error *error)
{
    bool done = study_settings_read(study, run->config, error);
    study->run = run;
    return done && load_data(study, error);
}

/* What is not there cannot decide anything. */
static void drop_test(struct study *study)
{
    csr_free(&study->dataset.test);
    study->dataset.test = (struct csr){0};
}

bool study_open_for_tuning(struct study *study, const struct run *run, bool synthetic, struct error *error)
{
    bool done = study_settings_read(study, run->config, error);
    study->run = run;
    study->candidates_only = true;
    study->fits_folder = tuning_fits_folder;
    done = done && load_dataset(study, error);
    drop_test(study);
    if (done && study->validation_count == 0)
        return config_complain(
            study->config, "data.split.ratios", error,
            "validation holds no interactions, on which trials are judged; raise its ratio");
    return done && (synthetic ? load_lists(study, error) : empty_lists(&study->lists, &study->train, error));
}

void study_close(struct study *study)
{
    csr_free(&study->train);
    csr_free(&study->validation);
    csr_free(&study->test);
    csr_free(&study->known);
    csr_free(&study->history);
    dataset_free(&study->dataset);
    ranked_lists_free(&study->lists);
    csr_free(&study->ensemble_rows);
    free(study->validation_users);
    free(study->test_users);
    for (int i = 0; study->contestants && i < study->contestant_count; i++)
        language_rankings_free(study->contestants[i].rankings);
    language_rankings_free(study->generator.rankings);
    free(study->contestants);
    free(study->choices);
}

char *study_fit_folder(const struct study *study, int contestant, const char *arm, uint64_t seed)
{
    return run_path(study->run, "%s/%s/%s/seed-%llu", study->fits_folder,
                    study->contestants[contestant].label, arm, (unsigned long long)seed);
}

int study_find_contestant(const struct study *study, const char *label)
{
    for (int i = 0; i < study->contestant_count; i++)
        if (strcmp(study->contestants[i].label, label) == 0)
            return i;
    return -1;
}

bool study_has_fit(const struct study *study, int contestant, enum arm arm)
{
    return arm == ARM_ORIGINAL || !recommender_is_given(study->contestants[contestant].settings.model);
}

bool contestant_is_changed(const struct contestant *contestant, const struct choice *choice)
{
    return choice->use != USE_NONE &&
           (choice->use != USE_EXCLUDE_FROM_NEGATIVES || recommender_has_negatives(&contestant->settings));
}

bool contestant_is_deterministic(const struct contestant *contestant)
{
    return recommender_is_deterministic(&contestant->settings);
}
