/* plot.h: one drawing of a report. */
#ifndef IDREC_EXPERIMENTS_PLOT_H
#define IDREC_EXPERIMENTS_PLOT_H

#include "experiments/report.h"

/* A gnuplot script, its data inline, that draws plots/NAME.svg; kept beside the drawing as NAME.gnuplot. */
struct plot {
    const struct report *report;
    char *name, *script;
    size_t length;
    FILE *stream;
};

/* Takes `name` over. ids in the drawing begin with it, so that several can stand in one page. */
bool plot_begin(struct plot *plot, const struct report *report, char *name, int height, struct error *error);
/* Draws and frees the plot. *found: false where there is no gnuplot. */
bool plot_end(struct plot *plot, bool *found, struct error *error);
/* Frees it without drawing. */
void plot_discard(struct plot *plot);

#endif
