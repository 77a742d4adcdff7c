#include "experiments/sweep_report.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/report_comparison.h"

/* ---- what is looked up ---------------------------------------------------------------------------------- */

const json_t *sweep_report_entry(const struct sweep_report *report, int trial, const char *recommender,
                                 const char *arm)
{
    const json_t *record = json_array_get(json_object_get(report->results, "trials"), (size_t)trial), *entry;
    size_t index;
    json_array_foreach(json_object_get(record, "recommenders"), index, entry)
    {
        if (strcmp(json_text_at(entry, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(entry, "arm"), arm) == 0)
            return entry;
    }
    return NULL;
}

enum { KEY_SIZE = 640 };

/* No name has a line break. */
static void write_key(char key[KEY_SIZE], const char *trial, const char *recommender, const char *arm,
                      const char *against, const char *against_trial)
{
    snprintf(key, KEY_SIZE, "%s\n%s\n%s\n%s\n%s", trial, recommender, arm, against, against_trial);
}

/* The comparisons of the leading metric by what they compare. */
static bool index_comparisons(struct sweep_report *report, struct error *error)
{
    const json_t *comparison;
    size_t index;
    report->comparisons = json_object();
    json_array_foreach(json_object_get(report->results, "comparisons"), index, comparison)
    {
        char key[KEY_SIZE];
        if (strcmp(json_text_at(comparison, "metric"), report->metric) != 0)
            continue;
        write_key(key, json_text_at(comparison, "trial"), json_text_at(comparison, "recommender"),
                  json_text_at(comparison, "arm"), json_text_at(comparison, "against"),
                  json_text_at(comparison, "against_trial"));
        json_object_set(report->comparisons, key, (json_t *)comparison);
    }
    return report->comparisons || error_memory(error, "the comparisons of a study", 0, NULL);
}

const json_t *sweep_report_comparison(const struct sweep_report *report, int trial, const char *recommender,
                                      const char *arm, const char *against, const char *against_trial)
{
    const char *name = report->sweep->trials[trial].name;
    char key[KEY_SIZE];
    write_key(key, name, recommender, arm, against, against_trial ? against_trial : name);
    return json_object_get(report->comparisons, key);
}

int sweep_report_family(const struct sweep_report *report, enum question question)
{
    const json_t *family;
    size_t index;
    json_array_foreach(json_object_get(report->results, "families"), index, family)
    {
        if (strcmp(json_text_at(family, "metric"), report->metric) == 0 &&
            strcmp(json_text_at(family, "question"), question_name(question)) == 0)
            return (int)json_number_at(family, "size");
    }
    return 0;
}

const char *sweep_report_control(const char *arm)
{
    static const char prefix[] = "control.";
    return strncmp(arm, prefix, strlen(prefix)) == 0 ? arm + strlen(prefix) : arm;
}

const json_t *sweep_report_strongest_control(const struct sweep_report *report, int trial,
                                             const char *recommender)
{
    const json_t *strongest = NULL;
    for (int arm = ARM_AUGMENTED + 1; arm < ARM_COUNT; arm++) {
        const json_t *comparison =
            sweep_report_comparison(report, trial, recommender, "augmented", arm_name((enum arm)arm), NULL);
        if (comparison && (!strongest || json_number_at(comparison, "against_mean") >
                                             json_number_at(strongest, "against_mean")))
            strongest = comparison;
    }
    return strongest;
}

const char *sweep_report_adopted(const struct sweep_report *report, int trial, const char *recommender)
{
    const json_t *selection;
    size_t index;
    if (!report->trials)
        return NULL;
    json_array_foreach(json_object_get(report->trials[trial], "selection"), index, selection)
    {
        if (strcmp(json_text_at(selection, "recommender"), recommender) == 0 &&
            strcmp(json_text_at(selection, "select"), "validation") == 0)
            return json_text_at(selection, "chosen");
    }
    return NULL;
}

bool sweep_report_is_augmented(const struct sweep_report *report)
{
    for (int trial = 0; trial < report->sweep->trial_count; trial++)
        for (int i = 0; i < report->recommender_count; i++)
            if (sweep_report_comparison(report, trial, report->recommenders[i], "augmented", "original",
                                        NULL))
                return true;
    return false;
}

/* Every recommender of any trial, once. */
static void find_recommenders(struct sweep_report *report)
{
    const json_t *trial, *entry;
    size_t index, number;
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            const char *name = json_text_at(entry, "recommender");
            int place = 0;
            while (place < report->recommender_count && strcmp(report->recommenders[place], name) != 0)
                place++;
            if (place == report->recommender_count && place < REPORT_NAMES_MAXIMUM)
                report->recommenders[report->recommender_count++] = name;
        }
    }
}

static bool prepare(struct sweep_report *report, struct error *error)
{
    report_leading_metric(report->metric, report->sweep->config);
    report->cut = report_cut_of(report->sweep->config);
    find_recommenders(report);
    return index_comparisons(report, error);
}

static const char *reference_of(const struct sweep_report *report)
{
    return report->sweep->trials[report->sweep->reference].name;
}

/* ---- the means of every trial ---------------------------------------------------------------------------- */

static double validation_of(const struct sweep_report *report, const json_t *entry)
{
    const json_t *value = json_object_get(json_object_get(entry, "validation"), report->metric);
    return value ? json_number_value(value) : -1.0;
}

/* Whether no trial of the recommender in this arm is better on validation. */
static bool is_best(const struct sweep_report *report, const json_t *entry)
{
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *other =
            sweep_report_entry(report, i, json_text_at(entry, "recommender"), json_text_at(entry, "arm"));
        if (validation_of(report, other) > validation_of(report, entry))
            return false;
    }
    return validation_of(report, entry) >= 0.0;
}

static void add_metric(struct table *table, const struct sweep_report *report, const json_t *entry,
                       const char *name)
{
    char metric[32];
    snprintf(metric, sizeof metric, "%.16s@%lld", name, (long long)report->cut);
    const json_t *test = json_object_get(entry, "test"),
                 *deviation = json_object_get(entry, "test_deviation");
    if (!json_has(test, metric))
        table_cell(table, " ");
    else if (json_has(deviation, metric))
        table_cell(table, "%.4f ± %.4f", json_number_at(test, metric), json_number_at(deviation, metric));
    else
        table_cell(table, "%.4f", json_number_at(test, metric));
}

/* Most trials set it; others are told by the trials' names, as all are in LaTeX, whose pages are narrow. */
static bool is_shown_key(const struct sweep_report *report, const struct document *document, int key)
{
    int set = 0;
    for (int i = 0; i < report->sweep->trial_count; i++)
        set += sweep_setting(&report->sweep->trials[i], report->sweep->keys[key]) != NULL;
    return document->format != DOCUMENT_LATEX && 2 * set > report->sweep->trial_count;
}

static void add_row(struct table *table, const struct sweep_report *report, const struct document *document,
                    const struct sweep_trial *trial, const json_t *entry)
{
    const struct config *config = report->sweep->config;
    table_cell(table, "%s", trial->name);
    for (int i = 0; i < report->sweep->key_count; i++) {
        const char *value = sweep_setting(trial, report->sweep->keys[i]);
        if (is_shown_key(report, document, i))
            table_cell(table, "%s", value ? value : " ");
    }
    table_cell(table, "%s", json_text_at(entry, "arm"));
    table_cell(table, "%.0f", json_number_at(entry, "seeds"));
    if (validation_of(report, entry) >= 0.0)
        table_cell(table, "%.4f%s", validation_of(report, entry), is_best(report, entry) ? " best" : "");
    else
        table_cell(table, " ");
    for (int i = 0; i < (int)config_length(config, "evaluate.metrics"); i++)
        add_metric(table, report, entry, config_string(config, "evaluate.metrics[%d]", i));
}

static void write_means(const struct sweep_report *report, const struct document *document,
                        const char *recommender)
{
    const struct config *config = report->sweep->config;
    const int metrics = (int)config_length(config, "evaluate.metrics");
    char name[96];
    snprintf(name, sizeof name, "trials-%s", recommender);
    struct table table = {.name = name, .columns = 4 + metrics};
    table_cell(&table, "%s", recommender);
    for (int i = 0; i < report->sweep->key_count; i++)
        if (is_shown_key(report, document, i)) {
            table_cell(&table, "%s", report->sweep->keys[i]);
            table.columns++;
        }
    table_cell(&table, "arm");
    table_cell(&table, "seeds");
    table_cell(&table, "validation %s", report->metric);
    for (int i = 0; i < metrics; i++)
        table_cell(&table, "test %s@%lld", config_string(config, "evaluate.metrics[%d]", i),
                   (long long)report->cut);
    const json_t *trial, *entry;
    size_t index, number;
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        json_array_foreach(json_object_get(trial, "recommenders"), number, entry)
        {
            if (strcmp(json_text_at(entry, "recommender"), recommender) == 0)
                add_row(&table, report, document, &report->sweep->trials[index], entry);
        }
    }
    document_table(document, &table);
}

/* ---- the gains ------------------------------------------------------------------------------------------- */

const char *sweep_report_state(const struct sweep_report *report, int trial)
{
    return json_text_at(json_array_get(json_object_get(report->results, "trials"), (size_t)trial), "state");
}

/* A table, unless it has nothing but its head. */
static void write_table(const struct document *document, struct table *table)
{
    if (table->count > table->columns)
        document_table(document, table);
    else
        table_discard(table);
}

/* Columns of a comparison; in LaTeX, whose pages are narrow, the short ones. */
static int comparison_columns(const struct document *document)
{
    return document->format == DOCUMENT_LATEX ? COMPARISON_SHORT_CELLS : COMPARISON_CELLS;
}

static void add_heads(struct table *table, const struct document *document, const char *metric)
{
    char head[64];
    snprintf(head, sizeof head, "gain, %s", metric);
    if (document->format == DOCUMENT_LATEX)
        comparison_add_short_heads(table, head);
    else
        comparison_add_heads(table, metric);
}

static void add_cells(struct table *table, const struct document *document, const json_t *comparison)
{
    (document->format == DOCUMENT_LATEX ? comparison_add_short_cells : comparison_add_cells)(table,
                                                                                             comparison);
}

static void add_strongest(struct table *table, const json_t *strongest)
{
    table_cell(table, "%s", strongest ? sweep_report_control(json_text_at(strongest, "against")) : " ");
    comparison_add_short_cells(table, strongest);
}

static bool has_controls(const struct sweep_report *report, const char *recommender)
{
    for (int i = 0; i < report->sweep->trial_count; i++)
        if (sweep_report_strongest_control(report, i, recommender))
            return true;
    return false;
}

/* Columns of the strongest control beside those of the gain; LaTeX, whose pages are narrow, has a table of its own for it. */
static int control_columns(const struct sweep_report *report, const struct document *document,
                           const char *recommender)
{
    const bool wide = document->format == DOCUMENT_HTML || document->format == DOCUMENT_MARKDOWN;
    return wide && has_controls(report, recommender) ? 1 + COMPARISON_SHORT_CELLS : 0;
}

static void add_strongest_heads(struct table *table)
{
    table_cell(table, "strongest control");
    comparison_add_short_heads(table, "gain over it");
}

static void write_strongest_controls(const struct sweep_report *report, const struct document *document,
                                     const char *recommender)
{
    char name[96];
    snprintf(name, sizeof name, "controls-%s", recommender);
    struct table table = {.name = name, .columns = 2 + COMPARISON_SHORT_CELLS};
    table_cell(&table, "%s, %s", recommender, report->metric);
    add_strongest_heads(&table);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *strongest = sweep_report_strongest_control(report, i, recommender);
        if (strongest == NULL)
            continue;
        table_cell(&table, "%s", report->sweep->trials[i].name);
        add_strongest(&table, strongest);
    }
    write_table(document, &table);
}

/* What the p of the table are corrected for. */
static void write_families(const struct sweep_report *report, const struct document *document, bool controls)
{
    char text[256] = "";
    if (controls)
        snprintf(text, sizeof text, "; from a control for %d with controls",
                 sweep_report_family(report, QUESTION_CONTROLS));
    document_paragraph(document,
                       "Corrected together are all comparisons of the study that ask the same: p of the gain "
                       "for %d of %s with original arms%s.",
                       sweep_report_family(report, QUESTION_ORIGINAL), report->metric, text);
}

/* Gain of the augmented arm over the own original arm, and over the strongest control. */
static void write_gains(const struct sweep_report *report, const struct document *document,
                        const char *recommender)
{
    char name[96];
    const int controls = control_columns(report, document, recommender);
    snprintf(name, sizeof name, "gains-%s", recommender);
    struct table table = {.name = name, .columns = 1 + comparison_columns(document) + controls};
    table_cell(&table, "%s", recommender);
    add_heads(&table, document, report->metric);
    if (controls > 0)
        add_strongest_heads(&table);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *gain = sweep_report_comparison(report, i, recommender, "augmented", "original", NULL);
        if (gain == NULL)
            continue;
        table_cell(&table, "%s%s", report->sweep->trials[i].name,
                   i == report->sweep->reference ? " (reference)" : "");
        add_cells(&table, document, gain);
        if (controls > 0)
            add_strongest(&table, sweep_report_strongest_control(report, i, recommender));
    }
    const bool any = table.count > table.columns;
    write_table(document, &table);
    if (any && document->format != DOCUMENT_TEXT)
        write_families(report, document, controls > 0);
    if (document->format == DOCUMENT_LATEX)
        write_strongest_controls(report, document, recommender);
}

/* The difference of the augmented arm from that of the reference. */
static void write_differences(const struct sweep_report *report, const struct document *document,
                              const char *recommender)
{
    char name[96];
    snprintf(name, sizeof name, "differences-%s", recommender);
    struct table table = {.name = name, .columns = 1 + comparison_columns(document)};
    table_cell(&table, "%s, from the reference", recommender);
    add_heads(&table, document, report->metric);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *difference =
            sweep_report_comparison(report, i, recommender, "augmented", "augmented", reference_of(report));
        if (difference == NULL || i == report->sweep->reference)
            continue;
        table_cell(&table, "%s", report->sweep->trials[i].name);
        add_cells(&table, document, difference);
    }
    if (table.count > table.columns)
        document_paragraph(
            document,
            "The augmented arm against that of the reference trial, %s; p is corrected for the %d "
            "comparisons of %s with the reference:",
            reference_of(report), sweep_report_family(report, QUESTION_REFERENCE), report->metric);
    write_table(document, &table);
}

/* Where the original arm is another in other trials. */
static void write_originals(const struct sweep_report *report, const struct document *document,
                            const char *recommender)
{
    char name[96];
    snprintf(name, sizeof name, "originals-%s", recommender);
    struct table table = {.name = name, .columns = 1 + comparison_columns(document)};
    table_cell(&table, "%s, original arm", recommender);
    add_heads(&table, document, report->metric);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *difference =
            sweep_report_comparison(report, i, recommender, "original", "original", reference_of(report));
        if (difference == NULL || i == report->sweep->reference)
            continue;
        table_cell(&table, "%s", report->sweep->trials[i].name);
        add_cells(&table, document, difference);
    }
    if (table.count > table.columns)
        document_paragraph(document,
                           "The original arm%s against that of the reference, %s; p is corrected for the "
                           "%d comparisons of %s with the reference:",
                           sweep_report_is_augmented(report) ? ", which is another in these trials," : "",
                           reference_of(report), sweep_report_family(report, QUESTION_REFERENCE),
                           report->metric);
    write_table(document, &table);
}

static void write_figure(const struct document *document, const char *kind, const char *recommender,
                         const char *caption)
{
    char path[160], text[512];
    snprintf(path, sizeof path, "plots/%s-%s.svg", kind, recommender);
    snprintf(text, sizeof text, "%s: %s", recommender, caption);
    document_figure(document, path, text);
}

static void write_recommender_gains(const struct sweep_report *report, const struct document *document,
                                    const char *recommender)
{
    write_figure(document, "gains", recommender,
                 "gain of the augmented arm over the original arm of the same trial, on test, with its 95 % "
                 "interval; hollow: nothing was adopted, or no interval is known.");
    write_gains(report, document, recommender);
    write_differences(report, document, recommender);
    write_originals(report, document, recommender);
    sweep_report_notes(report, document, recommender);
    for (int key = 0; key < report->sweep->key_count; key++) {
        char kind[32], caption[256];
        snprintf(kind, sizeof kind, "setting-%d", key + 1);
        snprintf(caption, sizeof caption,
                 "the gain by %.120s, with its 95 %% interval; lines join trials that are equal in all else.",
                 report->sweep->keys[key]);
        write_figure(document, kind, recommender, caption);
    }
}

static void write_all_gains(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "%s",
                     sweep_report_is_augmented(report) ? "Gains" : "Against the reference");
    for (int i = 0; i < report->recommender_count; i++) {
        document_heading(document, 3, "%s", report->recommenders[i]);
        write_recommender_gains(report, document, report->recommenders[i]);
    }
}

/* ---- what is missing ------------------------------------------------------------------------------------- */

static void write_not_compared(const struct sweep_report *report, const struct document *document)
{
    const json_t *reasons = json_object_get(report->results, "not_compared"), *entry;
    size_t index;
    struct table table = {.columns = 3};
    if (json_array_size(reasons) == 0)
        return;
    document_heading(document, 2, "Not compared with the reference");
    table_cell(&table, "trial");
    table_cell(&table, "recommender");
    table_cell(&table, "reason");
    json_array_foreach(reasons, index, entry)
    {
        table_cell(&table, "%s", json_text_at(entry, "trial"));
        table_cell(&table, "%s", json_text_at(entry, "recommender"));
        table_cell(&table, "%s", json_text_at(entry, "reason"));
    }
    document_table(document, &table);
}

static void write_failures(const struct sweep_report *report, const struct document *document)
{
    const json_t *trial;
    size_t index;
    struct table table = {.columns = 2};
    table_cell(&table, "trial");
    table_cell(&table, "reason");
    json_array_foreach(json_object_get(report->results, "trials"), index, trial)
    {
        if (strcmp(json_text_at(trial, "state"), "done") == 0)
            continue;
        table_cell(&table, "%s", json_text_at(trial, "trial"));
        table_cell(&table, "%s", json_has(trial, "reason") ? json_text_at(trial, "reason") : "did not end");
    }
    if (table.count == table.columns) {
        table_discard(&table);
        return;
    }
    document_heading(document, 2, "Failed");
    document_table(document, &table);
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static int count_test_selected(const struct sweep *sweep)
{
    static const char key[] = "evaluate.protocol";
    int count = 0;
    for (int i = 0; i < sweep->trial_count; i++) {
        const char *set = sweep_setting(&sweep->trials[i], key);
        count += strcmp(set ? set : config_string(sweep->config, "%s", key), "clean") != 0;
    }
    return count;
}

static void write_introduction(const struct sweep_report *report, const struct document *document)
{
    document_paragraph(document,
                       "A study of %d trials. Each is a run of its own, whose report stands in the list of "
                       "trials; figures are on test, means over all users with test items and over the "
                       "seeds.",
                       report->sweep->trial_count);
    const int test_selected = count_test_selected(report->sweep);
    if (test_selected > 0)
        document_paragraph(
            document,
            "Protocol test_selected, in %d of %d trials: the best epoch was chosen on TEST. Their figures "
            "are too high and only comparable with tables made the same way.",
            test_selected, report->sweep->trial_count);
}

static void write_reading_help(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "How to read this");
    document_paragraph(
        document,
        "%s Its 95 %% interval is for other seeds and other users: what a paired bootstrap over both or "
        "Student's interval over the seeds holds. p is the larger of a paired t-test over the seeds and a "
        "randomisation test over the users, corrected by Holm's method for all comparisons of the metric in "
        "the study that ask the same question: whether augmented arms are better than their original ones, "
        "than controls, or than the reference trial. Comparisons of the same fits count once. The effect "
        "size is Cohen's d of the users' paired differences. Detectable is the smallest gain that so many "
        "seeds and users would have shown: a smaller one can be there and not be seen. A difference is "
        "called clear only where there are at least five seeds, the whole interval lies on one side of zero, "
        "and the corrected p is below 0.05. Seeds are those of the recommenders: the synthetic rows of a "
        "trial are those of one language model, and another training of it would have given others.",
        sweep_report_is_augmented(report)
            ? "The gain is that of the augmented arm over the original arm of the same trial."
            : "The gain is that over the original arm of the reference trial.");
}

static void write_trials(const struct sweep_report *report, const struct document *document)
{
    for (int i = 0; i < report->recommender_count; i++)
        write_means(report, document, report->recommenders[i]);
}

static void write_all_trials(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "Trials");
    document_paragraph(document, "Means ± standard deviations over the seeds of a trial; a column for each "
                                 "key that most trials set. Where "
                                 "it is left empty, the trial has what the configuration of the study says. "
                                 "\"best\" marks the trial that is best on validation, for each "
                                 "arm: what is chosen by a look at test is better there than it is.");
    sweep_report_links(report, document);
    document_fold_begin(document, "Means of every trial and arm");
    write_trials(report, document);
    document_fold_end(document);
}

static void write_report(const void *subject, const struct document *document)
{
    const struct sweep_report *report = subject;
    document_begin(document, config_string(report->sweep->config, "name"));
    write_introduction(report, document);
    sweep_report_verdict(report, document);
    document_heading(document, 2, "What was run");
    sweep_report_settings(report, document);
    write_failures(report, document);
    if (json_object_size(report->comparisons) > 0)
        write_all_gains(report, document);
    if (sweep_report_is_augmented(report)) {
        sweep_report_write_groups(report, document);
        sweep_report_cost(report, document);
    }
    write_all_trials(report, document);
    write_not_compared(report, document);
    if (!report->plotted)
        document_paragraph(document, "Plots were left out: gnuplot is not installed.");
    write_reading_help(report, document);
    document_end(document);
}

bool sweep_report_write(struct sweep_report *report, struct error *error)
{
    const char *folder = report->sweep->folder;
    const bool done = prepare(report, error) && sweep_plots_draw(report, &report->plotted, error) &&
                      sweep_tables_write(report, error) &&
                      document_save(folder, "report.md", DOCUMENT_MARKDOWN, write_report, report, error) &&
                      document_save(folder, "tables/*.tex", DOCUMENT_LATEX, write_report, report, error) &&
                      document_save(folder, "report.html", DOCUMENT_HTML, write_report, report, error);
    json_decref(report->comparisons);
    return done;
}

/* ---- what a terminal gets ---------------------------------------------------------------------------------- */

enum { PRINTED_NAME = 48, PRINTED_RECOMMENDER = 24 };

static void add_names(struct table *table, const struct sweep_report *report, int trial,
                      const char *recommender)
{
    const char *name = report->sweep->trials[trial].name;
    table_cell(table, "%.*s%s", PRINTED_NAME, name, strlen(name) > PRINTED_NAME ? "…" : "");
    table_cell(table, "%.*s%s", PRINTED_RECOMMENDER, recommender,
               strlen(recommender) > PRINTED_RECOMMENDER ? "…" : "");
}

/* Trial, recommender, gain, interval and p: within 120 columns. */
static bool print_gains(const struct sweep_report *report, const struct document *document)
{
    char head[64];
    struct table table = {.columns = 2 + COMPARISON_SHORT_CELLS};
    table_cell(&table, "trial");
    table_cell(&table, "recommender");
    snprintf(head, sizeof head, "gain, %s", report->metric);
    comparison_add_short_heads(&table, head);
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const char *recommender = report->recommenders[i];
            const json_t *gain =
                sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL);
            if (gain == NULL)
                continue;
            add_names(&table, report, trial, recommender);
            comparison_add_short_cells(&table, gain);
        }
    const bool any = table.count > table.columns;
    write_table(document, &table);
    return any;
}

/* Of a study without augmented arms. */
static void print_means(const struct sweep_report *report, const struct document *document)
{
    struct table table = {.columns = 4};
    table_cell(&table, "trial");
    table_cell(&table, "recommender");
    table_cell(&table, "validation %s", report->metric);
    table_cell(&table, "test");
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const json_t *entry = sweep_report_entry(report, trial, report->recommenders[i], "original");
            if (entry == NULL)
                continue;
            add_names(&table, report, trial, report->recommenders[i]);
            if (validation_of(report, entry) >= 0.0)
                table_cell(&table, "%.4f%s", validation_of(report, entry),
                           is_best(report, entry) ? " best" : "");
            else
                table_cell(&table, " ");
            table_cell(&table, "%.4f", json_number_at(json_object_get(entry, "test"), report->metric));
        }
    write_table(document, &table);
}

bool sweep_report_print(struct sweep_report *report, FILE *stream, struct error *error)
{
    bool incomplete = false;
    struct document document = {.stream = stream,
                                .format = DOCUMENT_TEXT,
                                .folder = report->sweep->folder,
                                .incomplete = &incomplete};
    if (!prepare(report, error))
        return false;
    if (!print_gains(report, &document))
        print_means(report, &document);
    fprintf(stream, "report: %s/report.html\n", report->sweep->folder);
    json_decref(report->comparisons);
    return !incomplete || error_memory(error, "the table of trials", 0, NULL);
}
