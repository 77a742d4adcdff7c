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
    NOTHING_ADOPTED,
    SAME_RESULTS,
    UNTESTED,
    FINDING_COUNT
};

static const char *const finding_names[FINDING_COUNT] = {"Clearly better:",
                                                         "Clearly worse:",
                                                         "Better by the interval alone:",
                                                         "Worse by the interval alone:",
                                                         "No difference was shown:",
                                                         ("Nothing was adopted on validation, so that "
                                                          "augmented equals original:"),
                                                         "The very same results:",
                                                         "Nothing can be said:"};

static enum finding finding_of(const json_t *comparison)
{
    double interval[2];
    const int verdict = comparison_verdict(comparison);
    if (verdict != 0)
        return verdict > 0 ? CLEARLY_BETTER : CLEARLY_WORSE;
    if (comparison_is_same(comparison))
        return SAME_RESULTS;
    if (!comparison_interval(interval, comparison, "ci95"))
        return UNTESTED;
    if (interval[0] > 0)
        return RATHER_BETTER;
    return interval[1] < 0 ? RATHER_WORSE : NO_DIFFERENCE;
}

/* Of more names than these, and one, the number is told. */
enum { NAMED = 6, NAME_SIZE = 640 };

/* Ends a list of `count` names of which so many were written; `next` is another one. */
static void end_list(FILE *stream, int count, int named, const char *next)
{
    if (count == named + 1)
        fprintf(stream, ", %s", next);
    else if (count > named)
        fprintf(stream, " and %d more", count - named);
}

/* "NAME (+1.23 %), NAME (+0.50 %) and 3 others" of each finding. */
struct lists {
    FILE *streams[FINDING_COUNT];
    char *texts[FINDING_COUNT];
    size_t lengths[FINDING_COUNT];
    int counts[FINDING_COUNT], named[FINDING_COUNT];
    char next[FINDING_COUNT][NAME_SIZE]; /* one that is not */
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

/* `remark`: what else is to be known of it, or ""; always: it is named whatever their number. */
static void lists_add(struct lists *lists, enum finding finding, const char *name, const json_t *comparison,
                      const char *remark, bool always)
{
    const bool told = finding != UNTESTED && finding != SAME_RESULTS && finding != NOTHING_ADOPTED;
    char text[NAME_SIZE], gain[32] = "";
    if (told)
        snprintf(gain, sizeof gain, "%+.2f %%", 100 * json_number_at(comparison, "relative_gain"));
    snprintf(text, sizeof text, "%.160s%s%s%s%.256s%s", name, *gain || *remark ? " (" : "", gain,
             *gain && *remark ? "; " : "", remark, *gain || *remark ? ")" : "");
    lists->counts[finding]++;
    if (lists->named[finding] < NAMED || always)
        fprintf(lists->streams[finding], "%s%s", lists->named[finding]++ > 0 ? ", " : "", text);
    else
        memcpy(lists->next[finding], text, sizeof text);
}

/* Writes the subject and an item for each finding that there is, and closes the lists. */
static void lists_write(struct lists *lists, const struct document *document, const char *subject)
{
    bool any = false;
    for (int i = 0; i < FINDING_COUNT; i++) {
        if (lists->streams[i])
            end_list(lists->streams[i], lists->counts[i], lists->named[i], lists->next[i]);
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

/* How a trial's original arm is worse than the reference's; NULL: it is not, or is the same. */
static const json_t *broken_original(const struct sweep_report *report, int trial, const char *recommender)
{
    const char *reference = report->sweep->trials[report->sweep->reference].name;
    const json_t *comparison =
        trial == report->sweep->reference
            ? NULL
            : sweep_report_comparison(report, trial, recommender, "original", "original", reference);
    const enum finding finding = comparison ? finding_of(comparison) : NO_DIFFERENCE;
    return finding == CLEARLY_WORSE || finding == RATHER_WORSE ? comparison : NULL;
}

enum { REMARK_SIZE = 256 };

/* What was adopted, and over what. */
static void write_remark(char remark[REMARK_SIZE], const char *adopted, const json_t *broken)
{
    int length = 0;
    remark[0] = '\0';
    if (adopted && strcmp(adopted, "none") != 0)
        length = snprintf(remark, REMARK_SIZE, "%s adopted", adopted);
    if (broken)
        snprintf(remark + length, (size_t)(REMARK_SIZE - length),
                 "%sWARNING: its original arm is %s than the reference's, by %.2f %%", length > 0 ? "; " : "",
                 finding_of(broken) == CLEARLY_WORSE ? "clearly worse" : "worse by the interval alone",
                 -100 * json_number_at(broken, "relative_gain"));
}

/* The augmented arm of every trial against its own original one. */
static void judge_augmentation(const struct sweep_report *report, const struct document *document,
                               const char *recommender)
{
    struct lists lists;
    const bool opened = lists_open(&lists);
    *document->incomplete = *document->incomplete || !opened;
    for (int i = 0; opened && i < report->sweep->trial_count; i++) {
        char remark[REMARK_SIZE];
        const json_t *comparison =
            sweep_report_comparison(report, i, recommender, "augmented", "original", NULL);
        if (comparison == NULL)
            continue;
        const char *adopted = sweep_report_adopted(report, i, recommender);
        enum finding finding = finding_of(comparison);
        if (finding == SAME_RESULTS && adopted && strcmp(adopted, "none") == 0)
            finding = NOTHING_ADOPTED;
        const bool gains = json_number_at(comparison, "relative_gain") > 0;
        const json_t *broken = gains ? broken_original(report, i, recommender) : NULL;
        write_remark(remark, adopted, broken);
        lists_add(&lists, finding, report->sweep->trials[i].name, comparison, remark, broken != NULL);
    }
    lists_write(&lists, document, "The augmented arm against the original data of the same trial:");
}

/* What the trials' differences do to one arm; where their figures do not mean the same, that is said with each. */
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
            const char *rules = json_text_at(comparison, "rules");
            if (comparison)
                lists_add(&lists, finding_of(comparison), report->sweep->trials[i].name, comparison, rules,
                          *rules != '\0');
        }
    snprintf(subject, sizeof subject, "The %s arm against that of the reference trial, %s:", arm, reference);
    lists_write(&lists, document, subject);
}

/* ---- controls -------------------------------------------------------------------------------------------- */

enum against_control {
    CONTROL_CLEARLY_BEATEN,
    CONTROL_RATHER_BEATEN,
    CONTROL_BEHIND,
    CONTROL_AHEAD,
    CONTROL_RATHER_BETTER,
    CONTROL_CLEARLY_BETTER,
    CONTROL_SAME,
    CONTROL_UNTESTED,
    AGAINST_CONTROL_COUNT
};

static const char *const control_heads[AGAINST_CONTROL_COUNT] = {
    "Clearly better than the control:",
    "Better by the interval alone:",
    "No difference was shown, and the control is not ahead:",
    "A control is AHEAD, but no difference was shown:",
    "Worse than the control by the interval alone:",
    "Clearly worse than the control:",
    "The very same results:",
    "Nothing can be said:"};

static enum against_control against_control(const json_t *comparison)
{
    switch (finding_of(comparison)) {
    case CLEARLY_BETTER:
        return CONTROL_CLEARLY_BEATEN;
    case CLEARLY_WORSE:
        return CONTROL_CLEARLY_BETTER;
    case RATHER_BETTER:
        return CONTROL_RATHER_BEATEN;
    case RATHER_WORSE:
        return CONTROL_RATHER_BETTER;
    case NO_DIFFERENCE:
        return json_number_at(comparison, "difference") < 0 ? CONTROL_AHEAD : CONTROL_BEHIND;
    case NOTHING_ADOPTED:
    case SAME_RESULTS:
        return CONTROL_SAME;
    case UNTESTED:
    case FINDING_COUNT:
        break;
    }
    return CONTROL_UNTESTED;
}

/* "item_knn: NAME (-1.20 %), NAME (-0.30 %) and 2 more": the trials with a finding against one control; their number. */
static int list_trials_against(FILE *stream, const struct sweep_report *report, const char *recommender,
                               enum arm control, enum against_control finding, const char *separator)
{
    int count = 0;
    for (int i = 0; i < report->sweep->trial_count; i++) {
        const json_t *comparison =
            sweep_report_comparison(report, i, recommender, "augmented", arm_name(control), NULL);
        if (comparison == NULL || against_control(comparison) != finding || count++ >= NAMED)
            continue;
        if (count == 1)
            fprintf(stream, "%s%s: ", separator, sweep_report_control(arm_name(control)));
        fprintf(stream, "%s%s", count > 1 ? ", " : "", report->sweep->trials[i].name);
        if (finding != CONTROL_SAME && finding != CONTROL_UNTESTED)
            fprintf(stream, " (%+.2f %%)", 100 * json_number_at(comparison, "relative_gain"));
    }
    if (count > NAMED)
        fprintf(stream, " and %d more", count - NAMED);
    return count;
}

/* An item of the findings of one kind, of each control; *began: the list was begun. */
static void judge_finding(const struct sweep_report *report, const struct document *document,
                          const char *recommender, enum against_control finding, bool *began)
{
    char *text = NULL;
    size_t length = 0;
    int count = 0;
    FILE *stream = open_memstream(&text, &length);
    for (int arm = ARM_AUGMENTED + 1; stream && arm < ARM_COUNT; arm++)
        count +=
            list_trials_against(stream, report, recommender, (enum arm)arm, finding, count > 0 ? "; " : "");
    if (!stream || fclose(stream) != 0) {
        *document->incomplete = true;
    } else if (count > 0) {
        if (!*began) {
            document_paragraph(document, "The augmented arm against the controls, which add as many rows of "
                                         "another source:");
            document_list_begin(document);
        }
        *began = true;
        document_list_item(document, control_heads[finding], text);
    }
    free(text);
}

static void judge_controls(const struct sweep_report *report, const struct document *document,
                           const char *recommender)
{
    bool began = false;
    for (int i = 0; i < AGAINST_CONTROL_COUNT; i++)
        judge_finding(report, document, recommender, (enum against_control)i, &began);
    if (began)
        document_list_end(document);
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

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

/* Cases of a trial and a recommender against its controls. */
struct control_tally {
    int count, all_beaten, ahead, better; /* a control is ahead; is better by the whole interval */
    bool controls[ARM_COUNT];
};

static void tally_controls(struct control_tally *tally, const struct sweep_report *report, int trial,
                           const char *recommender)
{
    struct tally one = {0};
    bool ahead = false, better = false;
    for (int arm = ARM_AUGMENTED + 1; arm < ARM_COUNT; arm++) {
        const json_t *comparison =
            sweep_report_comparison(report, trial, recommender, "augmented", arm_name((enum arm)arm), NULL);
        if (comparison == NULL)
            continue;
        const enum against_control finding = against_control(comparison);
        tally_add(&one, comparison);
        tally->controls[arm] = true;
        ahead = ahead || json_number_at(comparison, "difference") < 0;
        better = better || finding == CONTROL_RATHER_BETTER || finding == CONTROL_CLEARLY_BETTER;
    }
    tally->count += one.count > 0;
    tally->all_beaten += one.count > 0 && one.better == one.count;
    tally->ahead += ahead;
    tally->better += better;
}

static void write_controls_summary(const struct control_tally *tally, const struct document *document)
{
    char names[256] = "";
    int length = 0;
    if (tally->count == 0)
        return;
    for (int arm = 0; arm < ARM_COUNT && length < (int)sizeof names - 32; arm++)
        if (tally->controls[arm])
            length += snprintf(names + length, sizeof names - (size_t)length, "%s%s", length > 0 ? ", " : "",
                               sweep_report_control(arm_name((enum arm)arm)));
    document_paragraph(document,
                       "They clearly beat every control (%s) in %d of %d cases; in %d a control is ahead of "
                       "them, in %d of these by its whole interval. Where a control is not clearly beaten, a "
                       "gain, if there is one, is not shown to be the language model's.",
                       names, tally->all_beaten, tally->count, tally->ahead, tally->better);
}

static void write_gains_summary(const struct sweep_report *report, const struct document *document)
{
    struct tally gains = {0};
    int broken = 0;
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const char *recommender = report->recommenders[i];
            const json_t *gain =
                sweep_report_comparison(report, trial, recommender, "augmented", "original", NULL);
            tally_add(&gains, gain);
            broken += comparison_verdict(gain) > 0 && broken_original(report, trial, recommender) != NULL;
        }
    document_paragraph(
        document,
        "By %s on test, a case being a recommender in a trial: synthetic rows are clearly better than none "
        "in %d of %d cases and clearly worse in %d.",
        report->metric, gains.better, gains.count, gains.worse);
    if (broken > 0)
        document_paragraph(
            document,
            "WARNING: in %d of the %d where they are better the trial's original arm is itself "
            "worse than the reference's: a gain over a broken original shows little.",
            broken, gains.better);
}

static void write_ablations_summary(const struct sweep_report *report, const struct document *document,
                                    const char *arm)
{
    const char *reference = report->sweep->trials[report->sweep->reference].name;
    struct tally tally = {0};
    int other_rules = 0;
    for (int i = 0; i < report->recommender_count; i++)
        for (int trial = 0; trial < report->sweep->trial_count; trial++) {
            const json_t *comparison =
                trial == report->sweep->reference
                    ? NULL
                    : sweep_report_comparison(report, trial, report->recommenders[i], arm, arm, reference);
            tally_add(&tally, comparison);
            other_rules += comparison_verdict(comparison) != 0 && json_has(comparison, "rules");
        }
    if (tally.count > 0)
        document_paragraph(document,
                           "Against the reference trial, %s, the %s arm is clearly better in %d of %d cases "
                           "and clearly worse in %d, by %s.",
                           reference, arm, tally.better, tally.count, tally.worse, report->metric);
    if (other_rules > 0)
        document_paragraph(
            document,
            "WARNING: %d of these have another protocol, mask or train part than the reference, "
            "so that their figures do not mean the same; each says so below.",
            other_rules);
}

static void write_summary(const struct sweep_report *report, const struct document *document)
{
    if (sweep_report_is_augmented(report)) {
        struct control_tally controls = {0};
        for (int i = 0; i < report->recommender_count; i++)
            for (int trial = 0; trial < report->sweep->trial_count; trial++)
                tally_controls(&controls, report, trial, report->recommenders[i]);
        write_gains_summary(report, document);
        write_controls_summary(&controls, document);
        write_ablations_summary(report, document, "augmented");
    }
    write_ablations_summary(report, document, "original");
}

static void write_unreadable(const struct sweep_report *report, const struct document *document)
{
    const json_t *entry;
    size_t index;
    int count = 0;
    json_array_foreach(json_object_get(report->results, "not_compared"), index, entry)
    {
        count += json_is_true(json_object_get(entry, "failed"));
    }
    if (count > 0)
        document_paragraph(document,
                           "WARNING: files of %d case%s are missing or damaged, so that comparisons with the "
                           "reference are left out; they are listed below as not compared.",
                           count, count == 1 ? "" : "s");
}

void sweep_report_verdict(const struct sweep_report *report, const struct document *document)
{
    document_heading(document, 2, "Verdict");
    write_unreadable(report, document);
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
