#include "experiments/report_comparison.h"
#include "experiments/sweep_report.h"

static const char *reference_of(const struct sweep_report *report)
{
    return report->sweep->trials[report->sweep->reference].name;
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
    return document->format != DOCUMENT_LATEX && has_controls(report, recommender)
               ? 1 + COMPARISON_SHORT_CELLS
               : 0;
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
    document_table_if_any(document, &table);
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
    const bool any = !table_is_empty(&table);
    document_table_if_any(document, &table);
    if (any)
        write_families(report, document, controls > 0);
    if (document->format == DOCUMENT_LATEX)
        write_strongest_controls(report, document, recommender);
}

/* An arm of every other trial against the reference's; `subject`: what is told of it above. */
static void write_differences(const struct sweep_report *report, const struct document *document,
                              struct table table, const char *recommender, const char *arm,
                              const char *subject)
{
    add_heads(&table, document, report->metric);
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *difference =
            sweep_report_comparison(report, i, recommender, arm, arm, reference_of(report));
        if (difference == NULL || i == report->sweep->reference)
            continue;
        table_cell(&table, "%s", report->sweep->trials[i].name);
        add_cells(&table, document, difference);
    }
    if (!table_is_empty(&table))
        document_paragraph(
            document,
            "%s against that of the reference trial, %s; p is corrected for the %d comparisons "
            "of %s with the reference:",
            subject, reference_of(report), sweep_report_family(report, QUESTION_REFERENCE), report->metric);
    document_table_if_any(document, &table);
}

static void write_augmented(const struct sweep_report *report, const struct document *document,
                            const char *recommender)
{
    char name[96];
    snprintf(name, sizeof name, "differences-%s", recommender);
    struct table table = {.name = name, .columns = 1 + comparison_columns(document)};
    table_cell(&table, "%s, from the reference", recommender);
    write_differences(report, document, table, recommender, "augmented", "The augmented arm");
}

/* Where the original arm is another in other trials. */
static void write_originals(const struct sweep_report *report, const struct document *document,
                            const char *recommender)
{
    char name[96];
    snprintf(name, sizeof name, "originals-%s", recommender);
    struct table table = {.name = name, .columns = 1 + comparison_columns(document)};
    table_cell(&table, "%s, original arm", recommender);
    write_differences(report, document, table, recommender, "original",
                      sweep_report_is_augmented(report)
                          ? "The original arm, which is another in these trials,"
                          : "The original arm");
}

static void write_recommender_gains(const struct sweep_report *report, const struct document *document,
                                    const char *recommender)
{
    sweep_report_figure(
        document, "gains", recommender,
        "gain of the augmented arm over the original arm of the same trial, on test, with its 95 % "
        "interval; hollow: nothing was adopted, or no interval is known.");
    write_gains(report, document, recommender);
    write_augmented(report, document, recommender);
    write_originals(report, document, recommender);
    sweep_report_notes(report, document, recommender);
    for (int key = 0; key < report->sweep->key_count; key++) {
        char kind[32], caption[256];
        snprintf(kind, sizeof kind, "setting-%d", key + 1);
        snprintf(caption, sizeof caption,
                 "the gain by %.120s, with its 95 %% interval; lines join trials that are equal in all else.",
                 report->sweep->keys[key]);
        sweep_report_figure(document, kind, recommender, caption);
    }
}

void sweep_report_write_gains(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "%s",
                     sweep_report_is_augmented(report) ? "Gains" : "Against the reference");
    for (int i = 0; i < report->recommender_count; i++) {
        document_heading(document, 3, "%s", report->recommenders[i]);
        write_recommender_gains(report, document, report->recommenders[i]);
    }
}
