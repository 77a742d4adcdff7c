#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/plot.h"
#include "experiments/sweep_plots.h"
#include "models/recommenders/settings.h"

/* More lines than these cannot be told apart. */
enum { LINES_MAXIMUM = 6, LABEL_SIZE = 48 };

struct setting_plot {
    const struct sweep_report *report;
    const char *recommender, *key;
    const int *trials; /* [count]: those with a gain */
    int count;
    char **
        defaults; /* [report->sweep->key_count]: what the study says where a trial does not set the key; NULL: nothing */
    int *line;        /* [count]: the first trial, as a place in `trials`, that is equal in all else */
    double low, high; /* of the values */
    int line_count;   /* that have different values */
};

/* ---- values ---------------------------------------------------------------------------------------------- */

static void keep_default(void *context, const char *path, const char *value)
{
    const struct setting_plot *plot = context;
    for (int i = 0; i < plot->report->sweep->key_count; i++)
        if (strcmp(plot->report->sweep->keys[i], path) == 0 && !plot->defaults[i])
            plot->defaults[i] = path_format("%s", value);
}

/* As YAML; NULL: not known. */
static const char *value_of(const struct setting_plot *plot, int trial, int key)
{
    const struct sweep *sweep = plot->report->sweep;
    const char *set = sweep_setting(&sweep->trials[trial], sweep->keys[key]);
    return set ? set : plot->defaults[key];
}

/* A number, or the only one of a list; NaN: none. */
static double number_of(const char *value)
{
    char *end;
    if (!value)
        return NAN;
    const bool list = *value == '[';
    const double number = strtod(value + list, &end);
    return end > value + list && strcmp(end, list ? "]" : "") == 0 ? number : NAN;
}

static bool is_same_value(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0 || number_of(a) == number_of(b);
}

static int key_number(const struct setting_plot *plot)
{
    int key = 0;
    while (strcmp(plot->report->sweep->keys[key], plot->key) != 0)
        key++;
    return key;
}

static double x_of(const struct setting_plot *plot, int place)
{
    return number_of(value_of(plot, plot->trials[place], key_number(plot)));
}

/* ---- lines ----------------------------------------------------------------------------------------------- */

static bool is_same_else(const struct setting_plot *plot, int a, int b)
{
    for (int key = 0; key < plot->report->sweep->key_count; key++)
        if (strcmp(plot->report->sweep->keys[key], plot->key) != 0 &&
            !is_same_value(value_of(plot, plot->trials[a], key), value_of(plot, plot->trials[b], key)))
            return false;
    return true;
}

static bool has_line(const struct setting_plot *plot, int first)
{
    if (plot->line[first] != first)
        return false;
    for (int i = first + 1; i < plot->count; i++)
        if (plot->line[i] == first && x_of(plot, i) != x_of(plot, first))
            return true;
    return false;
}

/* Trials without a number are on no line. */
static void find_lines(struct setting_plot *plot)
{
    plot->low = INFINITY;
    plot->high = -INFINITY;
    for (int i = 0; i < plot->count; i++) {
        plot->line[i] = -1;
        for (int j = 0; j <= i && plot->line[i] < 0 && !isnan(x_of(plot, i)); j++)
            if (j == i || (plot->line[j] == j && is_same_else(plot, j, i)))
                plot->line[i] = j;
    }
    for (int i = 0; i < plot->count; i++)
        plot->line_count += has_line(plot, i);
    for (int i = 0; i < plot->count; i++)
        if (plot->line[i] >= 0 && has_line(plot, plot->line[i])) {
            plot->low = fmin(plot->low, x_of(plot, i));
            plot->high = fmax(plot->high, x_of(plot, i));
        }
}

/* "contexts=4, width=64": what all trials of a line set, but for the key. */
static void label_line(char label[LABEL_SIZE], const struct setting_plot *plot, int first)
{
    const struct sweep_trial *trial = &plot->report->sweep->trials[plot->trials[first]];
    size_t length = 0;
    snprintf(label, LABEL_SIZE, "as configured");
    for (int i = 0; i < trial->setting_count && length + 1 < LABEL_SIZE; i++) {
        const char *key = trial->settings[i].path, *dot = strrchr(key, '.');
        if (strcmp(key, plot->key) == 0)
            continue;
        snprintf(label + length, LABEL_SIZE - length, "%s%.24s=%.16s", length > 0 ? ", " : "",
                 dot ? dot + 1 : key, trial->settings[i].value);
        length = strlen(label);
    }
}

static int by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* The points of a line from left to right: value, gain and the ends of its interval. */
static void write_line(FILE *stream, const struct setting_plot *plot, int first, double (*points)[4])
{
    char label[LABEL_SIZE];
    int count = 0;
    for (int i = first; i < plot->count; i++) {
        if (plot->line[i] != first)
            continue;
        double *point = points[count++];
        point[0] = x_of(plot, i);
        sweep_plot_read_gain(point + 1, sweep_plot_gain(plot->report, plot->trials[i], plot->recommender));
    }
    qsort(points, (size_t)count, sizeof *points, by_value);
    label_line(label, plot, first);
    fprintf(stream, "\"%s\"\n", label);
    for (int i = 0; i < count; i++)
        fprintf(stream, "%.9g %.6g %.6g %.6g\n", points[i][0], points[i][1], points[i][2], points[i][3]);
    fputs("\n\n", stream);
}

/* ---- drawing --------------------------------------------------------------------------------------------- */

static void write_script(FILE *stream, const struct setting_plot *plot)
{
    const int drawn = plot->line_count < LINES_MAXIMUM ? plot->line_count : LINES_MAXIMUM;
    fputs("END\nset title ", stream);
    char title[160];
    snprintf(title, sizeof title, drawn < plot->line_count ? "%.80s (%d of %d lines)" : "%.80s",
             plot->recommender, drawn, plot->line_count);
    plot_write_text(stream, title);
    fputs(drawn == 1 ? "\nunset key" : "\nset key outside bottom center maxcols 1", stream);
    fputs("\nset xlabel ", stream);
    plot_write_text(stream, plot->key);
    fprintf(stream,
            "\nset ylabel 'gain in %s, per cent'\n%sset offsets graph 0.08, graph 0.08, 0, 0\n"
            "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#444444'\n"
            "plot for [i=0:%d] $gains index i using 1:2:3:4:xtic(1) with yerrorlines pt 7 ps 0.7 lw 1.5 "
            "title columnheader(1)\n",
            plot->report->metric, plot->low > 0 && plot->high / plot->low > 8 ? "set logscale x\n" : "",
            drawn - 1);
}

static bool draw_lines(const struct setting_plot *setting, char *name, bool *found, struct error *error)
{
    enum { HEIGHT = 320, LINE_HEIGHT = 18 };
    const int drawn = setting->line_count < LINES_MAXIMUM ? setting->line_count : LINES_MAXIMUM;
    double(*points)[4] = malloc((size_t)setting->count * sizeof *points);
    struct plot plot;
    if (!points) {
        free(name);
        return error_memory(error, "the plots of a study", 0, NULL);
    }
    bool done = plot_begin(&plot, setting->report->sweep->folder, name,
                           HEIGHT + (drawn > 1 ? LINE_HEIGHT * drawn : 0), error);
    if (done) {
        int line = 0;
        fputs("$gains << END\n", plot.stream);
        for (int i = 0; i < setting->count && line < drawn; i++)
            if (has_line(setting, i)) {
                write_line(plot.stream, setting, i, points);
                line++;
            }
        write_script(plot.stream, setting);
        done = plot_end(&plot, found, error);
    }
    free(points);
    return done;
}

bool sweep_plots_draw_setting(const struct sweep_report *report, const char *recommender, const int *trials,
                              int count, int key, bool *found, struct error *error)
{
    const int keys = report->sweep->key_count;
    struct setting_plot plot = {.report = report,
                                .recommender = recommender,
                                .key = report->sweep->keys[key],
                                .trials = trials,
                                .count = count,
                                .defaults = calloc((size_t)keys, sizeof *plot.defaults),
                                .line = calloc((size_t)count, sizeof *plot.line)};
    bool done = (plot.defaults && plot.line) || error_memory(error, "the plots of a study", 0, NULL);
    if (done) {
        config_visit(report->sweep->config, recommender_reads_setting, keep_default, &plot);
        find_lines(&plot);
        done = plot.line_count == 0 ||
               draw_lines(&plot, path_format("setting-%d-%s", key + 1, recommender), found, error);
    }
    for (int i = 0; plot.defaults && i < keys; i++)
        free(plot.defaults[i]);
    free(plot.defaults);
    free(plot.line);
    return done;
}
