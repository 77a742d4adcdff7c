/*
 * sweep_report.h: the report of a study, from its results.json and those of its trials: report.md, report.html, plots/ and
 * tables/ in its folder.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_REPORT_H
#define IDREC_EXPERIMENTS_SWEEP_REPORT_H

#include <stdio.h>

#include "experiments/report.h"
#include "experiments/sweep.h"
#include "experiments/sweep_compare.h"

struct sweep_report {
    const struct sweep *sweep;
    json_t *results;               /* of the study */
    json_t **trials;               /* [sweep->trial_count]: results.json of each; NULL: it is not done */
    json_t *comparisons;           /* of the leading metric, by what they compare */
    char metric[METRIC_NAME_SIZE]; /* that leads */
    int64_t cut;                   /* the largest */
    bool plotted;
    const char *recommenders[REPORT_NAMES_MAXIMUM]; /* of any trial */
    int recommender_count;
};

/* Of a report with its sweep, results and trials. */
bool sweep_report_write(struct sweep_report *report, struct error *error);
/* plots/KIND-RECOMMENDER.svg, where there is one. */
void sweep_report_figure(const struct document *document, const char *kind, const char *recommender,
                         const char *caption);
/* sweep_print.c: the table of gains, within 120 columns, and the path of the report; needs no trials. */
bool sweep_report_print(struct sweep_report *report, FILE *stream, struct error *error);

/* sweep_lookup.c: fills what follows from the sweep and the results; report->comparisons is the caller's to release. */
bool sweep_report_prepare(struct sweep_report *report, struct error *error);
/* The entry of a trial's recommender in an arm in results.json, and a comparison of the leading metric; NULL: there is none.
 * `against_trial` NULL: the trial itself. */
const json_t *sweep_report_entry(const struct sweep_report *report, int trial, const char *recommender,
                                 const char *arm);
const json_t *sweep_report_comparison(const struct sweep_report *report, int trial, const char *recommender,
                                      const char *arm, const char *against, const char *against_trial);

/* How many comparisons of the leading metric are corrected together. */
int sweep_report_family(const struct sweep_report *report, enum question question);
/* The comparison of a trial's augmented arm with the control that has the highest mean; NULL: there is none. */
const json_t *sweep_report_strongest_control(const struct sweep_report *report, int trial,
                                             const char *recommender);
/* "popularity" of "control.popularity". */
const char *sweep_report_control(const char *arm);
/* What a trial adopted on validation, "none" for nothing; NULL: it did not choose on validation. */
const char *sweep_report_adopted(const struct sweep_report *report, int trial, const char *recommender);
/* Whether any trial has an augmented arm. */
bool sweep_report_is_augmented(const struct sweep_report *report);

/* "done", "failed" or "missing". */
const char *sweep_report_state(const struct sweep_report *report, int trial);

/* sweep_verdict.c: what the comparisons say, in words. */
void sweep_report_verdict(const struct sweep_report *report, const struct document *document);
/* sweep_gains.c: gains over the own original arm and the strongest control, and differences from the reference. */
void sweep_report_write_gains(const struct sweep_report *report, const struct document *document);
/* sweep_means.c: the trials' reports, and the means of every trial and arm; an entry's mean on validation as a cell, with "best"
 * where no other trial's is higher. */
void sweep_report_write_trials(const struct sweep_report *report, const struct document *document);
void sweep_report_add_validation(struct table *table, const struct sweep_report *report, const json_t *entry);
/* sweep_missing.c: trials that failed, and what could not be held against the reference. */
void sweep_report_write_failures(const struct sweep_report *report, const struct document *document);
void sweep_report_write_not_compared(const struct sweep_report *report, const struct document *document);
/* sweep_settings.c: the study, its trials, what they set, and their reports. */
void sweep_report_settings(const struct sweep_report *report, const struct document *document);
void sweep_report_links(const struct sweep_report *report, const struct document *document);
/* sweep_notes.c: what has to be known of a recommender's comparisons, each note once with the trials that it is about. */
void sweep_report_notes(const struct sweep_report *report, const struct document *document,
                        const char *recommender);
/* sweep_plots.c: draws plots/ *.svg; *plotted: false where there is no gnuplot, which is no error. */
bool sweep_plots_draw(const struct sweep_report *report, bool *plotted, struct error *error);
/* sweep_groups.c: the record of the audit of a trial's arm, the groups of users by history, the metric of which groups' gains
 * are told, and the gain of the augmented arm in a group, a share; NaN: not known. */
const json_t *sweep_report_audit(const struct sweep_report *report, int trial, const char *recommender,
                                 const char *arm);
const json_t *sweep_report_groups(const struct sweep_report *report, int trial);
const char *sweep_report_group_metric(const struct sweep_report *report);
double sweep_report_group_gain(const struct sweep_report *report, int trial, const char *recommender,
                               size_t group);
void sweep_report_write_groups(const struct sweep_report *report, const struct document *document);
/* sweep_tables.c: tables/ *.csv, the trials' own tables joined. */
bool sweep_tables_write(const struct sweep_report *report, struct error *error);
/* sweep_cost.c: what the gain of each trial cost, as a table; the seconds of a trial's augmentation (efficiency.h), NaN where
 * they are not known. */
void sweep_report_cost(const struct sweep_report *report, const struct document *document);
double sweep_report_seconds(const struct sweep_report *report, int trial, const char *recommender);

#endif
