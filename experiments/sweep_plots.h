/* sweep_plots.h: what the plots of a study have in common. */
#ifndef IDREC_EXPERIMENTS_SWEEP_PLOTS_H
#define IDREC_EXPERIMENTS_SWEEP_PLOTS_H

#include "experiments/sweep_report.h"

/* The gain of the augmented arm of a trial; NULL: there is none. */
const json_t *sweep_plot_gain(const struct sweep_report *report, int trial, const char *recommender);
/* Gain and the ends of its interval, in per cent; the gain twice, and false, where there is no interval. */
bool sweep_plot_read_gain(double values[3], const json_t *comparison);

/* sweep_plots_setting.c: the gain by the value of a swept key, as lines of trials that are equal in all else; nothing where no
 * two such trials have different numbers. `trials`: [count], those with a gain. */
bool sweep_plots_draw_setting(const struct sweep_report *report, const char *recommender, const int *trials,
                              int count, int key, bool *found, struct error *error);

#endif
