#include "experiments/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool recipe_is_there(const struct config *config)
{
    return config_length(config, "recipe.expected") > 0;
}

/* Whether `text` is a metric at one of the study's cuts. */
static bool is_metric(const struct study *study, const char *text)
{
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int cut = 0; cut < study->cut_count; cut++) {
            char label[METRIC_NAME_SIZE];
            metric_label(label, (enum metric)metric, study->cuts[cut]);
            if (strcmp(label, text) == 0)
                return true;
        }
    return false;
}

static double number_or_nan(const struct config *config, const char *path)
{
    return config_is_null(config, "%s", path) ? NAN : config_number(config, "%s", path);
}

static bool read_figure(struct published_figure *figure, const struct config *config,
                        const struct study *study, int index, struct error *error)
{
    char metric[64], value[64], measured[64];
    snprintf(metric, sizeof metric, "recipe.expected[%d].metric", index);
    snprintf(value, sizeof value, "recipe.expected[%d].value", index);
    snprintf(measured, sizeof measured, "recipe.expected[%d].measured", index);
    const char *name = config_string(config, "%s", metric);
    if (!name)
        return config_complain(config, "recipe.expected", error, "entry %d has no `metric`; write one",
                               index);
    if (!is_metric(study, name))
        return config_complain(
            config, metric, error,
            "'%.40s' is not a metric at a cut of evaluate.k; write recall, ndcg, precision, "
            "hit, mrr or map, @ and a cut, such as ndcg@%lld",
            name, (long long)study->cuts[0]);
    if (config_is_null(config, "%s", value) || config_number(config, "%s", value) <= 0)
        return config_complain(config, metric, error, "has no `value` above 0 beside it; write the figure");
    snprintf(figure->metric, sizeof figure->metric, "%s", name);
    figure->value = config_number(config, "%s", value);
    figure->tolerance = config_number(config, "recipe.expected[%d].tolerance", index);
    figure->measured = number_or_nan(config, measured);
    return true;
}

static bool read_figures(struct recipe *recipe, const struct config *config, const struct study *study,
                         struct error *error)
{
    const int64_t count = config_length(config, "recipe.expected");
    if (count > RECIPE_FIGURES_MAXIMUM)
        return config_complain(config, "recipe.expected", error, "holds %lld figures; %d are possible",
                               (long long)count, RECIPE_FIGURES_MAXIMUM);
    recipe->figure_count = (int)count;
    for (int i = 0; i < recipe->figure_count; i++)
        if (!read_figure(&recipe->figures[i], config, study, i, error))
            return false;
    return true;
}

static bool read_recommender(struct recipe *recipe, const struct config *config, const struct study *study,
                             struct error *error)
{
    const char *wanted = config_string(config, "recipe.recommender");
    if (!wanted && study->contestant_count > 1)
        return config_complain(config, "recipe.recommender", error,
                               "is missing; name one of the %d recommenders", study->contestant_count);
    for (int i = 0; i < study->contestant_count; i++)
        if (!wanted || strcmp(study->contestants[i].label, wanted) == 0) {
            snprintf(recipe->recommender, sizeof recipe->recommender, "%s", study->contestants[i].label);
            return true;
        }
    return config_complain(config, "recipe.recommender", error,
                           "'%.60s' is not among `recommenders`; the first is %s", wanted,
                           study->contestants[0].label);
}

bool recipe_read(struct recipe *recipe, const struct config *config, struct error *error)
{
    if (!recipe_is_there(config))
        return config_complain(config, "recipe.expected", error,
                               "there is no figure to compare with: write a section `recipe`; see "
                               "docs/reproduction.md");
    struct study study;
    *recipe = (struct recipe){.source = config_string(config, "recipe.source"),
                              .published_protocol = config_string(config, "recipe.published_protocol"),
                              .machine = config_string(config, "recipe.machine"),
                              .minutes = number_or_nan(config, "recipe.minutes")};
    const bool done = study_settings_read(&study, config, error) &&
                      read_recommender(recipe, config, &study, error) &&
                      read_figures(recipe, config, &study, error);
    study_close(&study);
    return done;
}

enum figure_state figure_judge(const struct published_figure *figure, double reached)
{
    if (!(reached >= figure->value * (1.0 - figure->tolerance)))
        return FIGURE_MISSED;
    return reached > figure->value * (1.0 + figure->tolerance) ? FIGURE_EXCEEDED : FIGURE_REACHED;
}

const char *figure_state_name(enum figure_state state)
{
    static const char *const names[] = {"missed", "reached", "exceeded"};
    return names[state];
}
