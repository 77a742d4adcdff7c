#include "experiments/tune_settings.h"

#include <string.h>

static struct tunable tunable_of(const struct study *study, int contestant)
{
    return (struct tunable){.label = study->contestants[contestant].label,
                            .model = study->contestants[contestant].settings.model};
}

bool tune_has_arm(const struct tune_settings *settings, enum arm arm)
{
    for (int i = 0; i < settings->arm_count; i++)
        if (settings->arms[i] == arm)
            return true;
    return false;
}

static bool read_arms(struct tune_settings *settings, const struct study *study, struct error *error)
{
    const struct config *config = study->config;
    settings->arms[settings->arm_count++] = ARM_ORIGINAL;
    for (int i = 0; i < (int)config_length(config, "tune.arms"); i++) {
        const char *name = config_string(config, "tune.arms[%d]", i);
        const enum arm arm = arm_from_name(name);
        if (!study_has_arm(study, arm))
            return config_complain(config, "tune.arms", error,
                                   "%s is not among experiment.arms, so nothing would train with what is "
                                   "found for it; add it there, or leave it out here",
                                   name);
        if (!tune_has_arm(settings, arm))
            settings->arms[settings->arm_count++] = arm;
    }
    return true;
}

static bool read_space(struct tune_settings *settings, const struct study *study, struct error *error)
{
    enum { CONTESTANTS_MAXIMUM = 64 };
    struct tunable recommenders[CONTESTANTS_MAXIMUM];
    int count = study->contestant_count;
    if (count > CONTESTANTS_MAXIMUM)
        count = CONTESTANTS_MAXIMUM;
    for (int i = 0; i < count; i++)
        recommenders[i] = tunable_of(study, i);
    if (!search_space_read(&settings->space, study->config, recommenders, count, error))
        return false;
    return !settings->use || settings->space.count > 0 ||
           config_complain(study->config, "tune.use", error,
                           "is true, but tune.space is empty; say what is to be tuned");
}

bool tune_settings_read(struct tune_settings *settings, const struct study *study, struct error *error)
{
    const struct config *config = study->config;
    *settings = (struct tune_settings){
        .use = config_boolean(config, "tune.use"),
        .halving = strcmp(config_string(config, "tune.method"), "halving") == 0,
        .trials = (int)config_integer(config, "tune.trials"),
        .reduction = (int)config_integer(config, "tune.reduction"),
        .first_epochs = config_integer(config, "tune.first_epochs"),
    };
    return read_arms(settings, study, error) && read_space(settings, study, error);
}

struct search_space tune_space(const struct tune_settings *settings, const struct study *study,
                               int contestant)
{
    const struct tunable recommender = tunable_of(study, contestant);
    return search_space_of(&settings->space, &recommender);
}

int tune_rungs(int64_t pauses[RUNGS_MAXIMUM], const struct tune_settings *settings,
               const struct recommender_settings *recommender)
{
    const int64_t every = recommender->evaluate_every;
    int count = 0;
    if (settings->halving && recommender_has_epochs(recommender))
        for (int64_t epochs = settings->first_epochs; count < RUNGS_MAXIMUM - 1;
             epochs *= settings->reduction) {
            const int64_t pause = (epochs + every - 1) / every * every;
            if (pause >= recommender->epochs)
                break;
            pauses[count++] = pause;
        }
    pauses[count++] = 0;
    return count;
}
