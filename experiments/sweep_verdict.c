#include <stdlib.h>
#include <string.h>

#include "experiments/report_comparison.h"
#include "experiments/sweep_report.h"

/* How sure a comparison is, and in which direction. */
enum finding {
    CLEARLY_BETTER,
    CLEARLY_WORSE,
    RATHER_BETTER,
    RATHER_WORSE,
    NO_DIFFERENCE,
    SAME_RESULTS,
    UNTESTED,
    FINDING_COUNT
};

static const char *const finding_names[FINDING_COUNT] = {"Clearly better:",
                                                         "Clearly worse:",
                                                         "Better by the interval alone:",
                                                         "Worse by the interval alone:",
                                                         "No difference was shown:",
                                                         "The very same results:",
                                                         "Nothing can be said:"};

static enum finding finding_of(const json_t *comparison)
{
    const json_t *interval = json_object_get(comparison, "ci95");
    const int verdict = comparison_verdict(comparison);
    if (verdict != 0)
        return verdict > 0 ? CLEARLY_BETTER : CLEARLY_WORSE;
    if (comparison_is_same(comparison))
        return SAME_RESULTS;
    if (json_array_size(interval) != 2)
        return UNTESTED;
    if (json_number_value(json_array_get(interval, 0)) > 0)
        return RATHER_BETTER;
    return json_number_value(json_array_get(interval, 1)) < 0 ? RATHER_WORSE : NO_DIFFERENCE;
}

/* Of more names than these, and one, the number is told. */
enum { NAMED = 6, NAME_SIZE = 640 };

/* Ends a list of `count` names, the first NAMED of which were written; `next` is the one behind them. */
static void end_list(FILE *stream, int count, const char *next)
{
    if (count == NAMED + 1)
        fprintf(stream, ", %s", next);
    else if (count > NAMED)
        fprintf(stream, " and %d more", count - NAMED);
}

/* "NAME (+1.23 %), NAME (+0.50 %) and 3 others" of each finding. */
struct lists {
    FILE *streams[FINDING_COUNT];
    char *texts[FINDING_COUNT];
    size_t lengths[FINDING_COUNT];
    int counts[FINDING_COUNT];
    char next[FINDING_COUNT][NAME_SIZE]; /* behind the first NAMED */
};

static bool lists_open(struct lists *lists)
{
    bool done = true;
    *lists = (struct lists){0};
    for (int i = 0; i < FINDING_COUNT; i++) {
        lists->streams[i] = open_memstream(&lists->texts[i], &lists->lengths[i]);
        done = done && lists->streams[i];
    }
    return done;
}

static void lists_add(struct lists *lists, const char *name, const json_t *comparison)
{
    const enum finding finding = finding_of(comparison);
    const int before = lists->counts[finding]++;
    char gain[32] = "";
    if (finding != UNTESTED && finding != SAME_RESULTS)
        snprintf(gain, sizeof gain, " (%+.2f %%)", 100 * json_number_at(comparison, "relative_gain"));
    if (before < NAMED)
        fprintf(lists->streams[finding], "%s%s%s", before > 0 ? ", " : "", name, gain);
    else if (before == NAMED)
        snprintf(lists->next[finding], NAME_SIZE, "%.500s%s", name, gain);
}

/* Writes the subject and an item for each finding that there is, and closes the lists. */
static void lists_write(struct lists *lists, const struct document *document, const char *subject)
{
    bool any = false;
    for (int i = 0; i < FINDING_COUNT; i++) {
        if (lists->streams[i])
            end_list(lists->streams[i], lists->counts[i], lists->next[i]);
        if (lists->streams[i] && fclose(lists->streams[i]) != 0)
            *document->incomplete = true;
        any = any || lists->counts[i] > 0;
    }
    if (any) {
        document_paragraph(document, "%s", subject);
        document_list_begin(document);
    }
    for (int i = 0; i < FINDING_COUNT; i++) {
        if (lists->counts[i] > 0)
            document_list_item(document, finding_names[i], lists->texts[i]);
        free(lists->texts[i]);
    }
    if (any)
        document_list_end(document);
}

/* The augmented arm of every trial against its own original one. */
static void judge_augmentation(const struct sweep_report *report, const struct document *document,
                               const char *recommender)
{
    struct lists lists;
    if (!lists_open(&lists))
        *document->incomplete = true;
    else
        for (int i = 0; i < report->sweep->trial_count; i++) {
            const json_t *comparison =
                sweep_report_comparison(report, i, recommender, "augmented", "original", NULL);
            if (comparison)
                lists_add(&lists, report->sweep->trials[i].name, comparison);
        }
    lists_write(&lists, document, "The augmented arm against the original data of the same trial:");
}

/* What the trials' differences do to one arm. */
static void judge_ablations(const struct sweep_report *report, const struct document *document,
                            const char *recommender, const char *arm)
{
    const char *reference = report->sweep->trials[report->sweep->reference].name;
    char subject[256];
    struct lists lists;
    if (!lists_open(&lists))
        *document->incomplete = true;
    else
        for (int i = 0; i < report->sweep->trial_count; i++) {
            const json_t *comparison =
                i == report->sweep->reference
                    ? NULL
                    : sweep_report_comparison(report, i, recommender, arm, arm, reference);
            if (comparison)
                lists_add(&lists, report->sweep->trials[i].name, comparison);
        }
    snprintf(subject, sizeof subject, "The %s arm against that of the reference trial, %s:", arm, reference);
    lists_write(&lists, document, subject);
}

/* The controls that a trial's augmented arm doesn't clearly beat; their number. */
static int list_unbeaten(FILE *stream, const struct sweep_report *report, int trial, const char *recommender,
                         int *controls)
{
    int count = 0;
    *controls = 0;
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        const char *name = arm_name((enum arm)arm);
        const json_t *comparison =
            sweep_report_comparison(report, trial, recommender, "augmented", name, NULL);
        if (comparison == NULL || arm == ARM_ORIGINAL)
            continue;
        ++*controls;
        if (comparison_verdict(comparison) <= 0)
            fprintf(stream, "%s%s", count++ > 0 ? ", " : "",
                    strncmp(name, "control.", 8) == 0 ? name + 8 : name);
    }
    return count;
}

/* "NAME", or "NAME (CONTROLS)", of at most NAMED. */
struct names {
    FILE *stream;
    char *text;
    size_t length;
    int count;
    char next[NAME_SIZE]; /* behind the first NAMED */
};

static void names_add(struct names *names, const char *name, const char *controls)
{
    char text[NAME_SIZE];
    const int before = names->count++;
    snprintf(text, sizeof text, "%.250s%s%.300s%s", name, controls ? " (" : "", controls ? controls : "",
             controls ? ")" : "");
    if (before < NAMED && names->stream)
        fprintf(names->stream, "%s%s", before > 0 ? ", " : "", text);
    else if (before == NAMED)
        memcpy(names->next, text, sizeof text);
}

static void names_write(struct names *names, const struct document *document, const char *head)
{
    if (names->stream)
        end_list(names->stream, names->count, names->next);
    if (!names->stream || fclose(names->stream) != 0)
        *document->incomplete = true;
    else if (names->count > 0)
        document_list_item(document, head, names->text);
    free(names->text);
}

/* Puts a trial among those that clearly beat all, some, or none of the controls. */
static void judge_trial(struct names groups[3], const struct sweep_report *report, int trial,
                        const char *recommender)
{
    char *text = NULL;
    size_t length = 0;
    int controls = 0;
    FILE *stream = open_memstream(&text, &length);
    const int unbeaten = stream ? list_unbeaten(stream, report, trial, recommender, &controls) : 0;
    if (stream)
        fclose(stream);
    const int group = unbeaten == 0 ? 0 : unbeaten < controls ? 1 : 2;
    if (controls > 0)
        names_add(&groups[group], report->sweep->trials[trial].name, group == 1 ? text : NULL);
    free(text);
}

static void judge_controls(const struct sweep_report *report, const struct document *document,
                           const char *recommender)
{
    static const char *const heads[] = {
        "All are clearly beaten:", "Not clearly beaten (which):", "None is clearly beaten:"};
    struct names groups[3] = {0};
    for (int i = 0; i < 3; i++)
        groups[i].stream = open_memstream(&groups[i].text, &groups[i].length);
    for (int i = 0; i < report->sweep->trial_count; i++)
        judge_trial(groups, report, i, recommender);
    const bool any = groups[0].count + groups[1].count + groups[2].count > 0;
    if (any) {
        document_paragraph(
            document, "The augmented arm against the controls, which add as many rows of another source:");
        document_list_begin(document);
    }
    for (int i = 0; i < 3; i++)
        names_write(&groups[i], document, heads[i]);
    if (any)
        document_list_end(document);
}

static void write_seeds(const struct sweep_report *report, const struct document *document)
{
    const long long seeds = config_integer(report->sweep->config, "experiment.seeds");
    if (seeds < 2)
        document_paragraph(document,
                           "One seed an arm: no comparison can be stated. Give experiment.seeds at least 5.");
    else if (seeds < 5)
        document_paragraph(
            document,
            "%lld seeds an arm are too few to call any difference clear; give experiment.seeds at "
            "least 5. What an interval alone says is told below.",
            seeds);
}

/* How many comparisons there are, and are clear in each direction. */
struct tally {
    int count, better, worse;
};

static void tally_add(struct tally *tally, const json_t *comparison)
{
    const int verdict = comparison_verdict(comparison);
    tally->count += comparison != NULL;
    tally->better += verdict > 0;
    tally->worse += verdict < 0;
}

/* A trial counts as beating the controls when it beats each of them. */
static void tally_controls(struct tally *tally, const struct sweep_report *report, int trial,
                           const char *recommender)
{
    struct tally one = {0};
    for (int arm = 0; arm < ARM_COUNT; arm++)
        if (arm != ARM_ORIGINAL)
            tally_add(&one, sweep_report_comparison(report, trial, recommender, "augmented",
                                                    arm_name((enum arm)arm), NULL));
    tally->count += one.count > 0;
    tally->better += one.count > 0 && one.better == one.count;
}

static void write_summary(const struct sweep_report *report, const struct document *document)
{
    const char *reference = report->sweep->trials[report->sweep->reference].name;
    struct tally gains = {0}, controls = {0}, ablations = {0};
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const char *recommender = report->recommenders[i];
            tally_add(&gains,
                      sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL));
            tally_controls(&controls, report, trial, recommender);
            if (trial != report->sweep->reference)
                tally_add(&ablations, sweep_report_comparison(report, trial, recommender, "augmented",
                                                              "augmented", reference));
        }
    document_paragraph(
        document,
        "By %s on test, a case being a recommender in a trial: synthetic rows are clearly better than none "
        "in %d of %d cases and clearly worse in %d.",
        report->metric, gains.better, gains.count, gains.worse);
    if (controls.count > 0)
        document_paragraph(document,
                           "They clearly beat every control in %d of %d cases: elsewhere a gain, if there is "
                           "one, is not shown to be the language model's.",
                           controls.better, controls.count);
    if (ablations.count > 0)
        document_paragraph(
            document,
            "Against the reference trial, %s, what the trials change is clearly better in %d of %d cases "
            "and clearly worse in %d.",
            reference, ablations.better, ablations.count, ablations.worse);
}

void sweep_report_verdict(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "Verdict");
    if (json_object_size(report->comparisons) == 0) {
        document_paragraph(
            document, "There is nothing to compare: no trial that is done has an augmented arm, or another "
                      "original one.");
        return;
    }
    write_summary(report, document);
    write_seeds(report, document);
    for (int i = 0; i < report->recommender_count; i++) {
        document_heading(document, 3, "%s", report->recommenders[i]);
        judge_augmentation(report, document, report->recommenders[i]);
        judge_controls(report, document, report->recommenders[i]);
        judge_ablations(report, document, report->recommenders[i], "augmented");
        judge_ablations(report, document, report->recommenders[i], "original");
    }
}
