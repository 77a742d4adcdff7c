#include "experiments/check.h"

#include <math.h>
#include <string.h>

#include "experiments/check_language.h"
#include "experiments/ensemble.h"
#include "experiments/filter_settings.h"
#include "experiments/generator.h"
#include "experiments/grouping.h"
#include "experiments/recipe.h"
#include "experiments/tune_settings.h"

static bool is(const struct config *config, const char *path, const char *choice)
{
    return strcmp(config_string(config, "%s", path), choice) == 0;
}

static bool check_name(const struct config *config, struct error *error)
{
    const char *name = config_string(config, "name");
    const bool safe =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name);
    return (safe && name[0] != '.' && strlen(name) < 200) ||
           config_complain(config, "name", error,
                           "names a folder; use letters, digits, '-', '_' and '.', not first");
}

static bool check_split(const struct config *config, struct error *error)
{
    if (is(config, "data.split.method", "provided")) {
        if (config_is_null(config, "data.split.train"))
            return config_complain(config, "data.split.train", error, "is needed by the method `provided`");
        return !config_is_null(config, "data.split.test") ||
               config_complain(config, "data.split.test", error, "is needed by the method `provided`");
    }
    if (config_is_null(config, "data.path"))
        return config_complain(config, "data.path", error, "is missing; name the file with the interactions");
    if (config_length(config, "data.split.ratios") != 3)
        return config_complain(config, "data.split.ratios", error,
                               "three shares are needed: train, validation, test");
    double sum = 0.0;
    for (int i = 0; i < 3; i++)
        sum += config_number(config, "data.split.ratios[%d]", i);
    if (fabs(sum - 1.0) > 1e-6)
        return config_complain(config, "data.split.ratios", error,
                               "the shares add up to %g; they must add up to 1", sum);
    return config_number(config, "data.split.ratios[0]") > 0.0 ||
           config_complain(config, "data.split.ratios", error, "nothing is left for training");
}

/* A list that must hold something. */
static bool check_list(const struct config *config, const char *path, int64_t most, struct error *error)
{
    const int64_t length = config_length(config, "%s", path);
    if (length == 0 || length > most)
        return config_complain(config, path, error, "needs 1 to %lld values", (long long)most);
    return true;
}

static bool check_lists(const struct config *config, struct error *error)
{
    return check_list(config, "evaluate.k", 8, error) && check_list(config, "evaluate.metrics", 6, error) &&
           check_list(config, "recommenders", 64, error) &&
           check_list(config, "experiment.arms", ARM_COUNT, error) &&
           check_list(config, "augment.use", 4, error) &&
           (!is(config, "finetune.method", "lora") || check_list(config, "finetune.targets", 7, error));
}

/* Whether nothing can be in validation, whatever the data are. */
static bool leaves_no_validation(const struct config *config, const struct study *study)
{
    if (is(config, "data.split.method", "provided"))
        return config_is_null(config, "data.split.validation") &&
               (study->test_selected || config_number(config, "data.split.validation_ratio") == 0.0);
    return !is(config, "data.split.method", "leave_one_out") &&
           config_number(config, "data.split.ratios[1]") == 0.0;
}

static bool check_validation(const struct config *config, const struct study *study, struct error *error)
{
    if (!study_needs_validation(study) || !leaves_no_validation(config, study))
        return true;
    if (study->test_selected && !study->select && study->arm_count > 1 && ensemble_chooses(config))
        return config_complain(config, "augment.ensemble_select", error,
                               "nothing is left for validation with evaluate.protocol test_selected; set it "
                               "to all, or give data.split.validation");
    if (study->test_selected && !study->select)
        return config_complain(
            config, "experiment.fusion.weights", error,
            "nothing is left for validation with evaluate.protocol test_selected, on which "
            "control.fusion chooses among weights; give one, or data.split.validation");
    if (study->test_selected)
        return config_complain(config, "augment.select", error,
                               "nothing is left for validation with evaluate.protocol test_selected; set it "
                               "to fixed, or give data.split.validation");
    return config_complain(config, "data.split.ratios", error,
                           "nothing is left for validation, on which epochs are chosen; raise its share (of "
                           "a provided split: data.split.validation_ratio)");
}

static bool check_study(const struct config *config, struct error *error)
{
    struct filter filters[FILTERS_MAXIMUM];
    int filter_count;
    struct study study;
    if (!filter_settings_read(filters, &filter_count, config, error))
        return false;
    struct tune_settings tune;
    const bool done = study_settings_read(&study, config, error) && check_validation(config, &study, error) &&
                      tune_settings_read(&tune, &study, error);
    study_close(&study);
    return done;
}

static bool check_cut(const struct config *config, const char *path, int64_t items, struct error *error)
{
    const int64_t cut = config_integer(config, "%s", path);
    return cut <= items ||
           config_complain(config, path, error, "the cut %lld is above the %lld items of the data; lower it",
                           (long long)cut, (long long)items);
}

bool check_cuts(const struct config *config, int64_t items, struct error *error)
{
    bool done = check_cut(config, "augment.select_k", items, error);
    for (int i = 0; done && i < (int)config_length(config, "evaluate.k"); i++) {
        char path[32];
        snprintf(path, sizeof path, "evaluate.k[%d]", i);
        done = check_cut(config, path, items, error);
    }
    return done;
}

bool check_config(const struct config *config, struct error *error)
{
    return check_name(config, error) && check_split(config, error) && check_language(config, error) &&
           check_lists(config, error) && check_study(config, error) && groupings_check(config, error) &&
           (!recipe_is_there(config) || recipe_read(&(struct recipe){0}, config, error));
}
