/*
 * report.h: report.md, report.html and plots/ from results.json, and the table of arms on the terminal.
 */
#ifndef IDREC_EXPERIMENTS_REPORT_H
#define IDREC_EXPERIMENTS_REPORT_H

#include "experiments/arms.h"
#include "experiments/document.h"
#include "experiments/fits.h"
#include "experiments/run.h"
#include "experiments/sweep.h"

/* results.json, and which metric leads: augment.select_metric at select_k where it was evaluated, else the
 * first of evaluate.metrics at the largest cut. */
struct report {
    const struct run *run;
    json_t *results;
    char metric[METRIC_NAME_SIZE];
    bool plotted;
    struct sweep *study; /* whose trial the run is; NULL: of none */
    int trial;
};
/* The metric that leads. */
void report_leading_metric(char metric[METRIC_NAME_SIZE], const struct config *config);
int64_t report_cut_of(const struct config *config);
bool report_open(struct report *report, const struct run *run, struct error *error);
void report_close(struct report *report);

/* Prints the table of arms of every recommender and the path of the report. */
bool report_print_table(const struct run *run, FILE *stream, struct error *error);

/* report_study.c: finds the study of a run in STUDY/trials/NAME; the title of its report; which trial it is and what that sets;
 * and that the study's verdict stands above its own. Nothing where it is of no study. */
bool report_find_study(struct report *report, struct error *error);
void report_title(const struct report *report, const struct document *document);
void report_trial(const struct report *report, const struct document *document);
void report_trial_verdict(const struct report *report, const struct document *document);
/* What the configuration of a study says for trials that set nothing else: {"finetune.rank": "8", ...}; a new reference. */
json_t *report_settings_of_study(const struct sweep *study);

/* Parts of the report (report_*.c). */
void report_arms(const struct report *report, const struct document *document, const char *recommender);
/* Means of every metric at every cut, where there is more than one cut. */
void report_all_cuts(const struct report *report, const struct document *document, const char *recommender);
/* The table of all recommenders of a run with nothing but the original arm, the best first. */
void report_recommenders(const struct report *report, const struct document *document);
/* A line for each recommender that more epochs might improve. */
void report_limits(const struct report *report, const struct document *document);
void report_settings(const struct report *report, const struct document *document);
void report_verdict(const struct report *report, const struct document *document, const char *recommender);
void report_selection(const struct report *report, const struct document *document);
/* The weight that each fit of control.fusion chose on validation, where there is that arm. */
void report_fusion(const struct report *report, const struct document *document);
void report_tuning(const struct report *report, const struct document *document);
void report_generation(const struct report *report, const struct document *document);
/* Groups, exposure and fairness of every arm, and the quality of the generated rows (report_audit.c, report_quality.c). */
void report_audit(const struct report *report, const struct document *document);
void report_quality(const struct report *report, const struct document *document);
void report_cost(const struct report *report, const struct document *document);

/* plots.c: draws plots/ *.svg with gnuplot. *plotted: false where there is no gnuplot, which is no error. */
bool plots_draw(const struct report *report, bool *plotted, struct error *error);

/* The gain on validation by the amount of synthetic rows. */
bool plots_draw_amount(const struct report *report, const char *recommender, bool *found,
                       struct error *error);
bool plots_draw_audit(const struct report *report, const char *recommender, bool *found, struct error *error);

/* audit_tables.c: tables/audit.csv and tables/synthetic.csv, all values of the audit, one a line. */
bool audit_tables_write(const struct report *report, struct error *error);
/* report_csv.c: tables/runs.csv, comparisons.csv, selection.csv and cost.csv: results.json as tables. */
bool report_tables_write(const struct report *report, struct error *error);
/* The candidates of every recommender's choice on validation, with {"recommender", "metric", "chosen"}; a new reference. */
json_t *report_candidates(const json_t *results);
/* The groups of a way of grouping, [{"name", ...}]; the record of an arm at the largest cut; its entry of a way of grouping
 * (that of a set of rows likewise). NULL where there are none. */
const json_t *report_audit_groups(const struct report *report, const char *by);
const json_t *report_audit_fit(const struct report *report, const char *recommender, const char *arm);
const json_t *report_audit_entry(const json_t *fit, const char *by);

/* For the title of a table of figures that others cannot be compared with: ", protocol test_selected, mask
 * original"; empty under the usual protocol and mask. */
enum { REPORT_RULES_SIZE = 96 };
void report_rules(const struct report *report, char rules[REPORT_RULES_SIZE]);

/* Values over the seeds of one arm; at most `size`. Returns their number. */
int report_values(const struct report *report, const char *recommender, const char *arm, const char *metric,
                  double *values, int size);
/* A cell with their mean, and the deviation over the seeds where these make a difference. */
void report_add_mean(struct table *table, const struct report *report, const char *recommender,
                     const char *arm, const char *metric);
/* Whether the recommender is the same whatever the seed. */
bool report_is_deterministic(const struct report *report, const char *recommender);
/* Whether the run has nothing but the original arm. */
bool report_is_plain(const struct report *report);
/* The largest of evaluate.k. */
int64_t report_largest_cut(const struct report *report);
/* "learning_rate 0.02, width 64"; at most `size` bytes. */
void report_describe_settings(char *text, size_t size, const json_t *settings);
/* The comparison of two arms on a metric; NULL when there is none. */
const json_t *report_comparison(const struct report *report, const char *recommender, const char *arm,
                                const char *against, const char *metric);
/* The selection of a recommender; NULL when nothing was selected. */
const json_t *report_selection_of(const struct report *report, const char *recommender);
/* Recommenders and arms in the order of their first run; returns their number, at most `size`. */
int report_names(const struct report *report, const char *key, const char **names, int size);

/* The arms that a recommender has: of one that is given rankings there is only the original one. */
int report_arm_names(const struct report *report, const char *recommender, const char *arms[ARM_COUNT]);

enum { REPORT_NAMES_MAXIMUM = 64, REPORT_SEEDS_MAXIMUM = 10000 };

/* Fields of a JSON object; 0 or "" where they are missing or null, `has` says which. */
double json_number_at(const json_t *object, const char *key);
const char *json_text_at(const json_t *object, const char *key);
bool json_has(const json_t *object, const char *key);

#endif
