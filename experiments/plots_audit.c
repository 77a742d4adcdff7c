#include <stdlib.h>

#include "core/file.h"
#include "experiments/arms.h"
#include "experiments/plot.h"
#include "experiments/report.h"

/* The arms that the recommender is trained in; returns their number. */
static int find_arms(const char *arms[ARM_COUNT], const struct report *report, const char *recommender)
{
    const int all = report_names(report, "arm", arms, ARM_COUNT);
    int count = 0;
    for (int a = 0; a < all; a++)
        if (report_audit_fit(report, recommender, arms[a]) != NULL)
            arms[count++] = arms[a];
    return count;
}

/* A line of `$table` for each group and a column for each arm; the first line names the arms. */
static void write_table(FILE *stream, const struct report *report, const char *recommender, const char *by,
                        const char *measure)
{
    const json_t *groups = report_audit_groups(report, by), *group;
    const char *arms[ARM_COUNT];
    const int arm_count = find_arms(arms, report, recommender);
    size_t index;
    fputs("$table << END\n\"group\"", stream);
    for (int a = 0; a < arm_count; a++)
        fprintf(stream, " \"%s\"", arms[a]);
    json_array_foreach(groups, index, group)
    {
        fprintf(stream, "\n\"%s\"", json_text_at(group, "name"));
        for (int a = 0; a < arm_count; a++) {
            const json_t *values = json_object_get(
                report_audit_entry(report_audit_fit(report, recommender, arms[a]), by), measure);
            const json_t *value = json_array_get(values, index);
            if (json_is_number(value))
                fprintf(stream, " %.9g", json_number_value(value));
            else
                fputs(" NaN", stream);
        }
    }
    fputs("\nEND\nset yrange [0:]\n", stream);
}

static bool draw_history(const struct report *report, const char *recommender, int arm_count, bool *found,
                         struct error *error)
{
    struct plot plot;
    if (!plot_begin(&plot, report->run->folder, path_format("groups-%s", recommender), 340, error))
        return false;
    write_table(plot.stream, report, recommender, "history", "recall");
    fprintf(plot.stream,
            "set title '%s'\nset style data histograms\nset style fill solid 0.8 noborder\n"
            "set xlabel 'train interactions of the user'\nset ylabel 'recall@%lld'\n"
            "plot for [i=2:%d] $table using i:xtic(1) title columnheader(i)\n",
            recommender, (long long)report_largest_cut(report), arm_count + 1);
    return plot_end(&plot, found, error);
}

static bool draw_exposure(const struct report *report, const char *recommender, int arm_count, bool *found,
                          struct error *error)
{
    struct plot plot;
    if (!plot_begin(&plot, report->run->folder, path_format("exposure-%s", recommender), 340, error))
        return false;
    write_table(plot.stream, report, recommender, "popularity", "exposure");
    fprintf(plot.stream,
            "set title '%s'\nset xlabel 'tenth of the items, most popular first'\n"
            "set ylabel 'share of the places of lists'\n"
            "plot for [i=2:%d] $table using i:xtic(1) with linespoints pt 7 ps 0.5 lw 1.5 title "
            "columnheader(i)\n",
            recommender, arm_count + 1);
    return plot_end(&plot, found, error);
}

bool plots_draw_audit(const struct report *report, const char *recommender, bool *found, struct error *error)
{
    const char *arms[ARM_COUNT];
    const int arm_count = find_arms(arms, report, recommender);
    if (!json_has(report->results, "audit"))
        return true;
    return draw_history(report, recommender, arm_count, found, error) &&
           draw_exposure(report, recommender, arm_count, found, error);
}
