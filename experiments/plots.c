#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/file.h"
#include "core/statistics.h"
#include "experiments/arms.h"
#include "experiments/plot.h"
#include "experiments/report.h"

static bool draw_arms(const struct report *report, const char *recommender, bool *found, struct error *error)
{
    const char *arms[ARM_COUNT];
    int arm_count = report_arm_names(report, recommender, arms);
    double low = INFINITY, high = -INFINITY;
    struct plot plot;
    if (arm_count < 2)
        return true;
    if (!plot_begin(&plot, report->run->folder, path_format("arms-%s", recommender), 120 + 36 * arm_count,
                    error))
        return false;
    fprintf(plot.stream,
            "unset key\nset title '%s'\nset xlabel '%s on test'\nset yrange [%d.5:-0.5]\nset ytics (",
            recommender, report->metric, arm_count - 1);
    for (int a = 0; a < arm_count; a++)
        fprintf(plot.stream, "%s'%s' %d", a > 0 ? ", " : "", arms[a], a);
    fputs(")\n$arms << END\n", plot.stream);
    for (int a = 0; a < arm_count; a++) {
        double values[REPORT_SEEDS_MAXIMUM];
        int count = report_values(report, recommender, arms[a], report->metric, values, REPORT_SEEDS_MAXIMUM);
        double half = count > 1 ? student_quantile_two_sided(0.05, count - 1) *
                                      standard_deviation(values, count) / sqrt(count)
                                : 0;
        fprintf(plot.stream, "%.9g %d %.9g\n", mean(values, count), a, half);
        low = fmin(low, mean(values, count) - half);
        high = fmax(high, mean(values, count) + half);
    }
    fputs("END\n", plot.stream);
    plot_write_steps(plot.stream, low, high);
    fputs("plot $arms using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'\n", plot.stream);
    return plot_end(&plot, found, error);
}

/* The last record of each epoch: a fit that was resumed has written some epochs twice. */
static json_t *load_curve(const struct report *report, const char *recommender, const char *arm,
                          const char *metric)
{
    char *path = run_path(report->run, "recommenders/%s/%s/seed-%lld/metrics.jsonl", recommender, arm,
                          (long long)config_integer(report->run->config, "seed"));
    FILE *stream = fopen(path, "re");
    json_t *curve = json_object(), *record;
    free(path);
    while (stream != NULL && (record = json_loadf(stream, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        char epoch[32];
        snprintf(epoch, sizeof epoch, "%012lld",
                 (long long)json_integer_value(json_object_get(record, "step")));
        if (json_is_number(json_object_get(record, metric)))
            json_object_set(curve, epoch, json_object_get(record, metric));
        json_decref(record);
    }
    if (stream != NULL)
        fclose(stream);
    return curve;
}

static void write_curve(FILE *stream, const char *arm, const json_t *curve)
{
    char *text = json_dumps(curve, JSON_SORT_KEYS);
    json_t *sorted = text != NULL ? json_loads(text, 0, NULL) : NULL;
    const char *epoch;
    json_t *value;
    fprintf(stream, "\"%s\"\n", arm);
    json_object_foreach(sorted, epoch, value)
        fprintf(stream, "%lld %.9g\n", strtoll(epoch, NULL, 10), json_number_value(value));
    fputs("\n\n", stream);
    json_decref(sorted);
    free(text);
}

static bool draw_learning(const struct report *report, const char *recommender, bool *found,
                          struct error *error)
{
    const struct config *config = report->run->config;
    const char *arms[ARM_COUNT], *metric = config_string(config, "augment.select_metric");
    int arm_count = report_arm_names(report, recommender, arms), curves = 0;
    struct plot plot;
    if (!plot_begin(&plot, report->run->folder, path_format("learning-%s", recommender), 380, error))
        return false;
    fputs("$curves << END\n", plot.stream);
    for (int a = 0; a < arm_count; a++) {
        json_t *curve = load_curve(report, recommender, arms[a], metric);
        if (json_object_size(curve) > 1) {
            write_curve(plot.stream, arms[a], curve);
            curves++;
        }
        json_decref(curve);
    }
    fprintf(plot.stream, "END\nset title '%s'\nset xlabel 'epoch'\nset ylabel '%s@%lld, watched'\n",
            recommender, metric, (long long)config_integer(config, "augment.select_k"));
    if (curves > 0) {
        fprintf(plot.stream,
                "plot for [i=0:%d] $curves index i using 1:2 with lines lw 1.5 title columnheader(1)\n",
                curves - 1);
        return plot_end(&plot, found, error);
    }
    plot_discard(&plot);
    return true;
}

static bool draw_popularity(const struct report *report, bool *found, struct error *error)
{
    const json_t *popularity = json_object_get(report->results, "popularity"), *entry;
    size_t index, count = json_array_size(popularity);
    struct plot plot;
    if (count == 0)
        return true;
    if (!plot_begin(&plot, report->run->folder, path_format("popularity"), 360, error))
        return false;
    fputs("$shares << END\n\"tenth\"", plot.stream);
    json_array_foreach(popularity, index, entry) fprintf(plot.stream, " \"%s\"", json_text_at(entry, "rows"));
    for (size_t decile = 0; decile < 10; decile++) {
        fprintf(plot.stream, "\n%zu", decile + 1);
        json_array_foreach(popularity, index, entry)
            fprintf(plot.stream, " %.6f",
                    json_number_value(json_array_get(json_object_get(entry, "deciles"), decile)));
    }
    fprintf(
        plot.stream,
        "\nEND\nset style data histograms\nset style fill solid 0.8 noborder\n"
        "set xlabel 'tenth of the items, most popular first'\nset ylabel 'share of rows'\nset yrange [0:]\n"
        "plot for [i=2:%zu] $shares using i:xtic(1) title columnheader(i)\n",
        count + 1);
    return plot_end(&plot, found, error);
}

bool plots_draw(const struct report *report, bool *plotted, struct error *error)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    *plotted = true;
    bool done = draw_popularity(report, plotted, error);
    for (int i = 0; done && *plotted && i < count; i++)
        done = draw_arms(report, names[i], plotted, error) &&
               draw_learning(report, names[i], plotted, error) &&
               plots_draw_amount(report, names[i], plotted, error) &&
               plots_draw_audit(report, names[i], plotted, error);
    if (done && !*plotted)
        log_line(report->run->log, "report: gnuplot is not installed: plots are left out");
    return done;
}
