/* plot.h: one drawing of a report. */
#ifndef IDREC_EXPERIMENTS_PLOT_H
#define IDREC_EXPERIMENTS_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#include "core/error.h"

/* A gnuplot script, its data inline, that draws plots/NAME.svg; kept beside the drawing as NAME.gnuplot. */
struct plot {
    const char *folder; /* of the run or the study */
    char *name, *script;
    size_t length;
    FILE *stream;
};

/* Begins folder/plots/NAME; takes `name` over. ids in the drawing begin with it, so that several can stand in one page. It is
 * PLOT_WIDTH wide, of which little is lost on a phone. */
enum { PLOT_WIDTH = 480 };
bool plot_begin(struct plot *plot, const char *folder, char *name, int height, struct error *error);
/* A text of gnuplot in single quotes. */
void plot_write_text(FILE *stream, const char *text);
/* Marks the horizontal axis, whose values go from low to high, so seldom that the numbers do not touch. */
void plot_write_steps(FILE *stream, double low, double high);
/* Draws and frees the plot. *found: false where there is no gnuplot. */
bool plot_end(struct plot *plot, bool *found, struct error *error);
/* Frees it without drawing. */
void plot_discard(struct plot *plot);

#endif
