#include "experiments/sweep_report.h"

#include <string.h>

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

static void write_report(const void *subject, const struct document *document)
{
    const struct sweep_report *report = subject;
    document_begin(document, config_string(report->sweep->config, "name"));
    write_introduction(report, document);
    sweep_report_verdict(report, document);
    document_heading(document, 2, "What was run");
    sweep_report_settings(report, document);
    sweep_report_write_failures(report, document);
    if (json_object_size(report->comparisons) > 0)
        sweep_report_write_gains(report, document);
    if (sweep_report_is_augmented(report)) {
        sweep_report_write_groups(report, document);
        sweep_report_cost(report, document);
    }
    sweep_report_write_trials(report, document);
    sweep_report_write_not_compared(report, document);
    if (!report->plotted)
        document_paragraph(document, "Plots were left out: gnuplot is not installed.");
    write_reading_help(report, document);
    document_end(document);
}

void sweep_report_figure(const struct document *document, const char *kind, const char *recommender,
                         const char *caption)
{
    char path[160], text[512];
    snprintf(path, sizeof path, "plots/%s-%s.svg", kind, recommender);
    snprintf(text, sizeof text, "%s: %s", recommender, caption);
    document_figure(document, path, text);
}

bool sweep_report_write(struct sweep_report *report, struct error *error)
{
    const char *folder = report->sweep->folder;
    const bool done = sweep_report_prepare(report, error) &&
                      sweep_plots_draw(report, &report->plotted, error) &&
                      sweep_tables_write(report, error) &&
                      document_save(folder, "report.md", DOCUMENT_MARKDOWN, write_report, report, error) &&
                      document_save(folder, "tables/*.tex", DOCUMENT_LATEX, write_report, report, error) &&
                      document_save(folder, "report.html", DOCUMENT_HTML, write_report, report, error);
    json_decref(report->comparisons);
    return done;
}
