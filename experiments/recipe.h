/*
 * recipe.h: the section `recipe` of a configuration: figures that someone published and that the experiment is to reach.
 */
#ifndef IDREC_EXPERIMENTS_RECIPE_H
#define IDREC_EXPERIMENTS_RECIPE_H

#include "core/config.h"
#include "experiments/fits.h"

struct published_figure {
    char metric[METRIC_NAME_SIZE]; /* a key of `metrics` in results.json */
    double value, tolerance;       /* the tolerance is relative */
    double measured;               /* NaN: not measured */
};

enum { RECIPE_FIGURES_MAXIMUM = 16 };

/* Strings belong to the configuration and are NULL where it gives none. */
struct recipe {
    char recommender[48]; /* a label of the study */
    int figure_count;
    struct published_figure figures[RECIPE_FIGURES_MAXIMUM];
    const char *source, *published_protocol, *machine;
    double minutes; /* NaN: not given */
};

bool recipe_is_there(const struct config *config);
/* A missing section, an unknown recommender or metric and a missing value are ERROR_USAGE with file and line. */
bool recipe_read(struct recipe *recipe, const struct config *config, struct error *error);

/* What became of a figure. Above the tolerance counts as reached too, but is told apart: a figure much higher than the
 * published one may come from another protocol. */
enum figure_state { FIGURE_MISSED, FIGURE_REACHED, FIGURE_EXCEEDED };
enum figure_state figure_judge(const struct published_figure *figure, double reached);
const char *figure_state_name(enum figure_state state);

#endif
