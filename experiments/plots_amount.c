#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/plot.h"
#include "experiments/report.h"

/* Whether a candidate is one of the line: of this use, and of rows a user or of shares of the history. */
static bool is_of_line(const json_t *candidate, const char *use, bool proportional)
{
    return strcmp(json_text_at(candidate, "use"), use) == 0 &&
           json_is_true(json_object_get(candidate, "proportional")) == proportional &&
           json_number_at(candidate, "threshold_quantile") == 0;
}

/* The candidates of one line; returns their number. */
static int write_line(FILE *stream, const json_t *candidates, const char *use, bool proportional)
{
    const json_t *candidate;
    size_t index;
    int count = 0;
    json_array_foreach(candidates, index, candidate)
    {
        if (!is_of_line(candidate, use, proportional))
            continue;
        if (count++ == 0)
            fprintf(stream, "\"%s\"\n", use);
        fprintf(stream, "%.9g %.9g %.9g\n", json_number_at(candidate, "amount"),
                json_number_at(candidate, "gain"), json_number_at(candidate, "standard_error"));
    }
    if (count > 0)
        fputs("\n\n", stream);
    return count;
}

static bool draw(const struct report *report, const json_t *selection, bool proportional, bool *found,
                 struct error *error)
{
    const json_t *candidates = json_object_get(selection, "candidates");
    const char *recommender = json_text_at(selection, "recommender");
    struct plot plot;
    int lines = 0, longest = 0;
    if (!plot_begin(&plot, report->run->folder,
                    path_format(proportional ? "amount-proportional-%s" : "amount-%s", recommender), 340,
                    error))
        return false;
    fputs("$gains << END\n", plot.stream);
    for (int use = USE_NONE + 1; use < USE_COUNT; use++) {
        const int count =
            write_line(plot.stream, candidates, use_name((enum augmentation_use)use), proportional);
        lines += count > 0;
        longest = count > longest ? count : longest;
    }
    if (longest < 2) {
        plot_discard(&plot);
        return true;
    }
    fprintf(plot.stream,
            "END\nset key maxcols 1\nset title '%s'\nset xlabel '%s'\nset ylabel 'gain in %s on "
            "validation'\n"
            "set offsets graph 0.05, graph 0.05, graph 0.05, graph 0.05\n"
            "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#444444'\n"
            "plot for [i=0:%d] $gains index i using 1:2:3:xtic(1) with yerrorlines pt 7 ps 0.6 lw 1.5 title "
            "columnheader(1)\n",
            recommender, proportional ? "synthetic rows a row of the history" : "synthetic rows a user",
            json_text_at(selection, "metric"), lines - 1);
    return plot_end(&plot, found, error);
}

bool plots_draw_amount(const struct report *report, const char *recommender, bool *found, struct error *error)
{
    const json_t *selection = report_selection_of(report, recommender);
    return selection == NULL || (draw(report, selection, false, found, error) &&
                                 (!*found || draw(report, selection, true, found, error)));
}
