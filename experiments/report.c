#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/report.h"
#include "experiments/tensorboard.h"

static void write_subject(const struct report *report, const struct document *document)
{
    const struct config *config = report->run->config;
    const long long seeds = config_integer(config, "experiment.seeds");
    if (json_has(report->results, "generation"))
        document_paragraph(
            document,
            "Interactions made up by a language model (vocabulary: %s, generate.method: %s) are added to the "
            "training data of "
            "recommenders and compared with the original data and with controls that add as many rows. "
            "%lld seed%s, full ranking, means over all users with test items.",
            config_string(config, "language_model.vocabulary"), config_string(config, "generate.method"),
            seeds, seeds == 1 ? "" : "s");
    else
        document_paragraph(
            document,
            "Recommenders trained on the original data alone. %lld seed%s, full ranking, means "
            "over all users with test items.",
            seeds, seeds == 1 ? "" : "s");
}

static void write_what_was_run(const struct report *report, const struct document *document)
{
    const json_t *dataset = json_object_get(report->results, "dataset");
    write_subject(report, document);
    if (strcmp(json_text_at(report->results, "protocol"), "clean") != 0)
        document_paragraph(document,
                           "Protocol test_selected: the best epoch was chosen on TEST. These figures are too "
                           "high and only comparable with tables made the same way.");
    if (strcmp(json_text_at(report->results, "mask"), "original") != 0)
        document_paragraph(
            document, "Mask augmented: synthetic rows are hidden from the rankings as well, which differs "
                      "between the arms.");
    struct table table = {.name = "data", .columns = 7};
    static const char *const keys[] = {"name", "users", "items", "train", "validation", "test", "test_users"};
    enum { KEYS = sizeof keys / sizeof *keys };
    for (int i = 0; i < KEYS; i++)
        table_cell(&table, "%s", keys[i]);
    table_cell(&table, "%s", json_text_at(dataset, keys[0]));
    for (int i = 1; i < KEYS; i++)
        table_cell(&table, "%.0f", json_number_at(dataset, keys[i]));
    document_table(document, &table);
}

static void write_figure(const struct document *document, const char *kind, const char *recommender,
                         const char *caption)
{
    char *path = path_format("plots/%s-%s.svg", kind, recommender);
    document_figure(document, path, caption);
    free(path);
}

static void write_arms(const struct report *report, const struct document *document,
                       const char *const *recommenders, int count)
{
    document_heading(document, 2, "Verdict");
    report_trial_verdict(report, document);
    for (int i = 0; i < count; i++)
        report_verdict(report, document, recommenders[i]);
    document_heading(document, 2, "Arms");
    for (int i = 0; i < count; i++) {
        report_arms(report, document, recommenders[i]);
        report_all_cuts(report, document, recommenders[i]);
        write_figure(document, "arms", recommenders[i],
                     "Test metric by arm: mean and 95 % interval over the seeds.");
    }
}

static void write_recommenders(const struct report *report, const struct document *document)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    if (report_is_plain(report)) {
        document_heading(document, 2, "Recommenders");
        report_recommenders(report, document);
    } else {
        write_arms(report, document, names, count);
    }
    report_limits(report, document);
    for (int i = 0; i < count; i++)
        write_figure(document, "learning", names[i],
                     "Metric that chooses the epoch, while training, first seed.");
    if (!report->plotted)
        document_paragraph(document, "Plots were left out: gnuplot is not installed.");
}

static void write_reading_help(const struct document *document)
{
    document_heading(document, 2, "How to read this");
    document_paragraph(
        document,
        "Means ± standard deviations are over seeds. The gain is relative to the original arm, and its "
        "95 %% interval is for other seeds and other users: what a paired bootstrap over both or "
        "Student's interval over the seeds holds. p is the larger of a paired t-test over the seeds and "
        "a randomisation test over the users, corrected by Holm's method for all comparisons of the "
        "metric. The effect size is Cohen's d of the users' differences. Detectable is the gain that "
        "would have been found with 80 %% chance: that a smaller one was not found says little. The "
        "controls add as many rows for each user, used in the same way: a gain that they have too is "
        "none of the language model's. control.generator and control.fusion add none: the one lists the "
        "language model's own ranking, the other fuses it with that of the recommender of the original "
        "arm. An arm beats another only where there are at least five seeds, the whole interval lies "
        "above zero, and the corrected p is below 0.05.");
}

static void write_report(const void *subject, const struct document *document)
{
    const struct report *report = subject;
    report_title(report, document);
    report_trial(report, document);
    write_what_was_run(report, document);
    write_recommenders(report, document);
    report_settings(report, document);
    report_tuning(report, document);
    report_selection(report, document);
    report_fusion(report, document);
    report_generation(report, document);
    report_quality(report, document);
    report_audit(report, document);
    report_cost(report, document);
    if (json_has(report->results, "generation"))
        write_reading_help(document);
    document_end(document);
}

bool stage_report(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    struct report report;
    bool done =
        report_open(&report, run, error) && report_find_study(&report, error) &&
        plots_draw(&report, &report.plotted, error) && audit_tables_write(&report, error) &&
        report_tables_write(&report, error) &&
        document_save(run->folder, "report.md", DOCUMENT_MARKDOWN, write_report, &report, error) &&
        document_save(run->folder, "tables/*.tex", DOCUMENT_LATEX, write_report, &report, error) &&
        document_save(run->folder, "report.html", DOCUMENT_HTML, write_report, &report, error) &&
        (!config_boolean(run->config, "report.tensorboard") || tensorboard_write(run->folder, NULL, error));
    report_close(&report);
    return done;
}

bool report_print_table(const struct run *run, FILE *stream, struct error *error)
{
    struct report report;
    if (!report_open(&report, run, error))
        return false;
    bool incomplete = false;
    struct document document = {
        .stream = stream, .format = DOCUMENT_TEXT, .folder = run->folder, .incomplete = &incomplete};
    const char *names[REPORT_NAMES_MAXIMUM];
    int count = report_names(&report, "recommender", names, REPORT_NAMES_MAXIMUM);
    if (report_is_plain(&report))
        report_recommenders(&report, &document);
    for (int i = 0; i < count && !report_is_plain(&report); i++)
        report_arms(&report, &document, names[i]);
    report_limits(&report, &document);
    fprintf(stream, "report: %s/report.html\n", run->folder);
    report_close(&report);
    if (incomplete)
        return error_memory(error, "the table of arms", 0, NULL);
    return ferror(stream) == 0 || error_system(error, "standard output", "cannot be written", NULL);
}
