#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/plot.h"
#include "experiments/report_comparison.h"
#include "experiments/report_files.h"
#include "experiments/sweep_plots.h"

enum { ROW_HEIGHT = 24, LABEL_LENGTH = 28 };

static const char colour[] = "#1f5fa8", pale[] = "#8a8a8a", other_colour[] = "#b4510f";

const json_t *sweep_plot_gain(const struct sweep_report *report, int trial, const char *recommender)
{
    const json_t *comparison =
        sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL);
    return json_has(comparison, "relative_gain") ? comparison : NULL;
}

/* The trials of which there is a gain, in their order; malloc'ed. */
static int *list_trials(const struct sweep_report *report, const char *recommender, int *count)
{
    int *trials = malloc((size_t)report->sweep->trial_count * sizeof *trials);
    *count = 0;
    for (int i = 0; trials && i < report->sweep->trial_count; i++)
        if (sweep_plot_gain(report, i, recommender))
            trials[(*count)++] = i;
    return trials;
}

/* A label of the vertical axis for each trial, the first on top. */
static void write_rows(FILE *stream, const struct sweep_report *report, const int *trials, int count)
{
    size_t longest = 0;
    fprintf(stream, "set yrange [%d.5:-0.5]\nset ytics (", count - 1);
    for (int row = 0; row < count; row++) {
        const char *name = report->sweep->trials[trials[row]].name;
        char label[LABEL_LENGTH + 8];
        snprintf(label, sizeof label, "%.*s%s", LABEL_LENGTH, name, strlen(name) > LABEL_LENGTH ? "…" : "");
        longest = strlen(label) > longest ? strlen(label) : longest;
        fputs(row > 0 ? ", " : "", stream);
        plot_write_text(stream, label);
        fprintf(stream, " %d", row);
    }
    fprintf(stream,
            ") noenhanced\nset lmargin at screen %.3f\nset rmargin at screen 0.95\nset grid noytics\n",
            (14.0 + 7.0 * (double)longest) / PLOT_WIDTH);
}

/* A drawing that has a row for each trial and is `height` higher than those. */
static bool begin_rows(struct plot *plot, const struct sweep_report *report, const char *kind,
                       const char *recommender, const int *trials, int count, int height, struct error *error)
{
    if (!plot_begin(plot, report->sweep->folder, path_format("%s-%s", kind, recommender),
                    height + ROW_HEIGHT * count, error))
        return false;
    fputs("set title ", plot->stream);
    plot_write_text(plot->stream, recommender);
    fputc('\n', plot->stream);
    write_rows(plot->stream, report, trials, count);
    return true;
}

bool sweep_plot_read_gain(double values[3], const json_t *comparison)
{
    double interval[2];
    const bool known = comparison_interval(interval, comparison, "ci95");
    values[0] = 100 * json_number_at(comparison, "relative_gain");
    for (int i = 0; i < 2; i++)
        values[i + 1] = known ? 100 * interval[i] : values[0];
    return known;
}

/* ---- gain by trial -------------------------------------------------------------------------------------- */

/* Clear differences, others, and those without an interval. */
static void write_gains(FILE *stream, const struct sweep_report *report, const char *recommender,
                        const int *trials, int count)
{
    double low = 0, high = 0;
    static const char *const blocks[] = {"clear", "open", "bare"};
    for (int block = 0; block < 3; block++) {
        fprintf(stream, "$%s << END\n", blocks[block]);
        for (int row = 0; row < count; row++) {
            const json_t *comparison = sweep_plot_gain(report, trials[row], recommender);
            double values[3];
            const bool known = sweep_plot_read_gain(values, comparison);
            low = fmin(low, values[1]);
            high = fmax(high, values[2]);
            if ((!known ? 2 : comparison_verdict(comparison) != 0 ? 0 : 1) == block)
                fprintf(stream, "%.6g %d %.6g %.6g\n", values[0], row, values[1], values[2]);
        }
        fputs("NaN NaN NaN NaN\nEND\n", stream);
    }
    plot_write_steps(stream, low, high);
}

static bool draw_gains(const struct sweep_report *report, const char *recommender, const int *trials,
                       int count, bool *found, struct error *error)
{
    struct plot plot;
    if (!begin_rows(&plot, report, "gains", recommender, trials, count, 130, error))
        return false;
    write_gains(plot.stream, report, recommender, trials, count);
    fprintf(plot.stream,
            "set xlabel 'gain in %s on test, per cent'\nset arrow from 0, graph 0 to 0, graph 1 nohead lc "
            "rgb '#444444'\n"
            "plot $clear using 1:2:3:4 with xerrorbars pt 7 ps 0.8 lw 2 lc rgb '%s' title 'clear', "
            "$open using 1:2:3:4 with xerrorbars pt 7 ps 0.8 lw 2 lc rgb '%s' title 'not clear', "
            "$bare using 1:2 with points pt 6 ps 0.8 lw 1.5 lc rgb '%s' notitle\n",
            report->metric, colour, pale, pale);
    return plot_end(&plot, found, error);
}

/* ---- groups and popularity ------------------------------------------------------------------------------- */

static double write_group_gains(FILE *stream, const struct sweep_report *report, const char *recommender,
                                const int *trials, int count, const json_t *groups)
{
    double largest = 0;
    fputs("$gains << END\n", stream);
    for (int row = 0; row < count; row++) {
        if (!json_equal(sweep_report_groups(report, trials[row]), groups))
            fprintf(stream, "%.9g %d NaN \"(other groups)\"\n", ((double)json_array_size(groups) - 1) / 2,
                    row);
        for (size_t group = 0; group < json_array_size(groups); group++) {
            const double gain = json_equal(sweep_report_groups(report, trials[row]), groups)
                                    ? 100 * sweep_report_group_gain(report, trials[row], recommender, group)
                                    : NAN;
            if (isnan(gain))
                continue;
            fprintf(stream, "%zu %d %.6g \"%+.1f\"\n", group, row, gain, gain);
            largest = fmax(largest, fabs(gain));
        }
    }
    fputs("END\n", stream);
    return largest;
}

/* A field for each trial and group: blue where it gains, orange where it loses. */
static bool draw_groups(const struct sweep_report *report, const char *recommender, const int *trials,
                        int count, bool *found, struct error *error)
{
    const json_t *groups = sweep_report_groups(report, trials[0]), *group;
    size_t index;
    struct plot plot;
    if (json_array_size(groups) == 0)
        return true;
    if (!begin_rows(&plot, report, "groups", recommender, trials, count, 120, error))
        return false;
    const double largest = write_group_gains(plot.stream, report, recommender, trials, count, groups);
    if (largest == 0) {
        plot_discard(&plot);
        return true;
    }
    fprintf(plot.stream, "set xrange [-0.5:%zu.5]\nset xtics (", json_array_size(groups) - 1);
    json_array_foreach(groups, index, group)
    {
        fputs(index > 0 ? ", " : "", plot.stream);
        plot_write_text(plot.stream, json_text_at(group, "name"));
        fprintf(plot.stream, " %zu", index);
    }
    fprintf(plot.stream,
            ")\nset xlabel 'train interactions of the user'\nunset key\nunset grid\nunset colorbox\n"
            "set cbrange [-%g:%g]\nset palette defined (-1 '#e08a4a', 0 '#ffffff', 1 '#6fa3dc')\n"
            "plot $gains using 1:2:(0.5):(0.5):3 with boxxyerror fs solid noborder fc palette title '', "
            "'' using 1:2:4 with labels title ''\n",
            largest, largest);
    return plot_end(&plot, found, error);
}

/* Lines "ORIGINAL ROW AUGMENTED" and the steps of the axis; false: nothing is known. */
static bool write_exposure(FILE *stream, const struct sweep_report *report, const char *recommender,
                           const int *trials, int count, const char *measure)
{
    static const char *const arms[] = {"original", "augmented"};
    double low = INFINITY, high = -INFINITY;
    fputs("$arms << END\n", stream);
    for (int row = 0; row < count; row++) {
        double values[2];
        for (int i = 0; i < 2; i++) {
            const json_t *exposure =
                json_object_get(sweep_report_audit(report, trials[row], recommender, arms[i]), "exposure");
            const json_t *value = json_object_get(json_object_get(exposure, measure), "mean");
            values[i] = json_is_number(value) ? json_number_value(value) : NAN;
        }
        if (isnan(values[0] + values[1]))
            continue;
        fprintf(stream, "%.9g %d %.9g\n", values[0], row, values[1]);
        low = fmin(low, fmin(values[0], values[1]));
        high = fmax(high, fmax(values[0], values[1]));
    }
    fputs("END\n", stream);
    plot_write_steps(stream, low, high);
    return low <= high;
}

/* A measure of exposure in the original and the augmented arm of every trial. */
static bool draw_exposure(const struct sweep_report *report, const char *recommender, const int *trials,
                          int count, const char *measure, const char *label, bool *found, struct error *error)
{
    struct plot plot;
    if (!begin_rows(&plot, report, measure, recommender, trials, count, 130, error))
        return false;
    if (!write_exposure(plot.stream, report, recommender, trials, count, measure)) {
        plot_discard(&plot);
        return true;
    }
    fprintf(plot.stream,
            "set xlabel '%s'\n"
            "plot $arms using 1:2:($3-$1):(0) with vectors nohead lw 2 lc rgb '#bbbbbb' notitle, "
            "'' using 1:2 with points pt 6 ps 0.9 lw 1.5 lc rgb '%s' title 'original', "
            "'' using 3:2 with points pt 7 ps 0.9 lc rgb '%s' title 'augmented'\n",
            label, other_colour, colour);
    return plot_end(&plot, found, error);
}

/* ---- cost ------------------------------------------------------------------------------------------------ */

static bool draw_cost(const struct sweep_report *report, bool *found, struct error *error)
{
    struct plot plot;
    int series = 0;
    if (!plot_begin(&plot, report->sweep->folder, path_format("cost"), 400, error))
        return false;
    fputs("$cost << END\n", plot.stream);
    for (int i = 0; i < report->recommender_count; i++) {
        const char *recommender = report->recommenders[i];
        bool any = false;
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const json_t *gain = sweep_plot_gain(report, trial, recommender);
            if (gain == NULL || isnan(sweep_report_seconds(report, trial, recommender)))
                continue;
            if (!any)
                fprintf(plot.stream, "%s\"%s\"\n", series++ > 0 ? "\n\n" : "", recommender);
            any = true;
            fprintf(plot.stream, "%.6g %.6g %d\n", sweep_report_seconds(report, trial, recommender),
                    100 * json_number_at(gain, "relative_gain"), trial + 1);
        }
    }
    fprintf(plot.stream,
            "END\nset xlabel 'seconds that augmentation took'\nset ylabel 'gain in %s, per cent'\n"
            "set offsets graph 0.05, graph 0.08, graph 0.05, graph 0.05\n"
            "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#444444'\n"
            "plot for [i=0:%d] $cost index i using 1:2 with points pt 7 ps 0.7 title columnheader(1), "
            "for [i=0:%d] $cost index i using 1:2:3 with labels offset 1,0.3 font ',12' notitle\n",
            report->metric, series - 1, series - 1);
    if (series > 0)
        return plot_end(&plot, found, error);
    plot_discard(&plot);
    return true;
}

/* ---- all ------------------------------------------------------------------------------------------------- */

static bool draw_recommender(const struct sweep_report *report, const char *recommender, bool *found,
                             struct error *error)
{
    int count;
    int *trials = list_trials(report, recommender, &count);
    bool done = trials || error_memory(error, "the plots of a study", 0, NULL);
    if (done && count > 0) {
        done = draw_gains(report, recommender, trials, count, found, error) &&
               (!*found || (draw_groups(report, recommender, trials, count, found, error) &&
                            draw_exposure(report, recommender, trials, count, "gini",
                                          "Gini coefficient of exposure", found, error) &&
                            draw_exposure(report, recommender, trials, count, "arp",
                                          "mean popularity of items shown", found, error)));
        for (int key = 0; done && *found && key < report->sweep->key_count; key++)
            done = sweep_plots_draw_setting(report, recommender, trials, count, key, found, error);
    }
    free(trials);
    return done;
}

bool sweep_plots_draw(const struct sweep_report *report, bool *plotted, struct error *error)
{
    *plotted = true;
    bool done = report_files_remove_plots(report->sweep->folder, error);
    for (int i = 0; done && *plotted && i < report->recommender_count; i++)
        done = draw_recommender(report, report->recommenders[i], plotted, error);
    return done && (!*plotted || draw_cost(report, plotted, error));
}
