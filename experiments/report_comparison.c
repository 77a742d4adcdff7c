#include "experiments/report_comparison.h"

#include <math.h>
#include <string.h>

#include "experiments/report.h"

bool comparison_interval(double interval[2], const json_t *comparison, const char *key)
{
    const json_t *pair = json_object_get(comparison, key);
    for (size_t i = 0; i < 2; i++)
        interval[i] = json_number_value(json_array_get(pair, i));
    return json_array_size(pair) == 2;
}

bool comparison_is_same(const json_t *comparison)
{
    return json_is_true(json_object_get(comparison, "same_results"));
}

static bool has_one_seed(const json_t *comparison)
{
    return json_has(comparison, "seeds") && json_number_at(comparison, "seeds") < 2;
}

static void add_gain(struct table *table, const json_t *comparison)
{
    double interval[2];
    if (json_has(comparison, "relative_gain"))
        table_cell(table, "%+.2f %%", 100 * json_number_at(comparison, "relative_gain"));
    else
        table_cell(table, " ");
    if (comparison_interval(interval, comparison, "ci95"))
        table_cell(table, "[%+.2f, %+.2f] %%", 100 * interval[0], 100 * interval[1]);
    else
        table_cell(table, "%s",
                   comparison_is_same(comparison) ? "same results"
                   : has_one_seed(comparison)     ? "one seed"
                                                  : " ");
}

static void add_effect_size(struct table *table, const json_t *comparison)
{
    double interval[2];
    if (!json_has(comparison, "effect_size"))
        table_cell(table, " ");
    else if (comparison_interval(interval, comparison, "effect_size_ci95"))
        table_cell(table, "%+.3f [%+.3f, %+.3f]", json_number_at(comparison, "effect_size"), interval[0],
                   interval[1]);
    else
        table_cell(table, "%+.3f", json_number_at(comparison, "effect_size"));
}

static void add_p(struct table *table, const json_t *comparison)
{
    if (!json_has(comparison, "p_holm"))
        table_cell(table, " ");
    else if (json_number_at(comparison, "p_holm") < 0.001)
        table_cell(table, "< 0.001");
    else
        table_cell(table, "%.3f", json_number_at(comparison, "p_holm"));
}

static void add_detectable(struct table *table, const json_t *comparison)
{
    if (json_has(comparison, "detectable_relative_gain"))
        table_cell(table, "%.2f %%", 100 * json_number_at(comparison, "detectable_relative_gain"));
    else
        table_cell(table, " ");
}

void comparison_add_heads(struct table *table, const char *metric)
{
    table_cell(table, "gain%s%s", metric ? ", " : "", metric ? metric : "");
    table_cell(table, "95 %% interval");
    table_cell(table, "effect size");
    table_cell(table, "p (Holm)");
    table_cell(table, "detectable");
}

void comparison_add_cells(struct table *table, const json_t *comparison)
{
    add_gain(table, comparison);
    add_effect_size(table, comparison);
    add_p(table, comparison);
    add_detectable(table, comparison);
}

void comparison_add_short_heads(struct table *table, const char *what)
{
    table_cell(table, "%s", what);
    table_cell(table, "95 %% interval");
    table_cell(table, "p (Holm)");
}

void comparison_add_short_cells(struct table *table, const json_t *comparison)
{
    add_gain(table, comparison);
    add_p(table, comparison);
}

enum { FEWEST_SEEDS = 5 };

int comparison_verdict(const json_t *comparison)
{
    double interval[2];
    if (!comparison_interval(interval, comparison, "ci95") ||
        json_number_at(comparison, "seeds") < FEWEST_SEEDS || !json_has(comparison, "p_holm") ||
        !(json_number_at(comparison, "p_holm") < 0.05))
        return 0;
    return interval[0] > 0 ? 1 : interval[1] < 0 ? -1 : 0;
}

const char *comparison_verb(const json_t *comparison)
{
    double interval[2];
    const bool known = comparison_interval(interval, comparison, "ci95"), worse = known && interval[1] < 0;
    const int verdict = comparison_verdict(comparison);
    if (comparison_is_same(comparison))
        return "is the same as";
    if (json_number_at(comparison, "seeds") < FEWEST_SEEDS)
        return worse ? "seems to do worse than (too few seeds to be sure)"
                     : "cannot be said to beat (too few seeds)";
    if (!known)
        return "cannot be said to beat (no interval)";
    if (!json_has(comparison, "p_holm"))
        return worse ? "does worse, over users, than (no test over seeds)"
                     : "cannot be said to beat (no test over seeds)";
    return verdict > 0 ? "beats" : verdict < 0 ? "does worse than" : "does not beat";
}

/* What is stated only where there is a test. */
static void describe_test(FILE *stream, const json_t *comparison)
{
    double interval[2];
    if (comparison_interval(interval, comparison, "ci95"))
        fprintf(stream, ", 95 %% interval %+.2f to %+.2f %%", 100 * interval[0], 100 * interval[1]);
    if (comparison_interval(interval, comparison, "effect_size_ci95"))
        fprintf(stream, ", effect size %+.3f [%+.3f, %+.3f]", json_number_at(comparison, "effect_size"),
                interval[0], interval[1]);
    if (json_has(comparison, "p_holm"))
        fprintf(stream, ", p %.3g corrected for %.0f comparison%s", json_number_at(comparison, "p_holm"),
                json_number_at(comparison, "family"), json_number_at(comparison, "family") == 1 ? "" : "s");
    if (json_has(comparison, "detectable_relative_gain"))
        fprintf(stream, "; a difference of %.2f %% would have been found with 80 %% chance",
                100 * json_number_at(comparison, "detectable_relative_gain"));
}

void comparison_describe(char text[COMPARISON_TEXT_SIZE], const json_t *comparison)
{
    *text = '\0';
    FILE *stream = fmemopen(text, COMPARISON_TEXT_SIZE, "w");
    if (stream == NULL)
        return;
    fprintf(stream, "%.4f against %.4f", json_number_at(comparison, "mean"),
            json_number_at(comparison, "against_mean"));
    if (json_has(comparison, "relative_gain"))
        fprintf(stream, ", %+.2f %%", 100 * json_number_at(comparison, "relative_gain"));
    describe_test(stream, comparison);
    if (json_has(comparison, "note"))
        fprintf(stream, "; %s", json_text_at(comparison, "note"));
    fclose(stream);
}
