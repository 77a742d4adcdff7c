/*
 * audit.h: groups and fairness of every recommender in every arm, before and after augmentation, and of the synthetic rows
 * themselves. The measures are those of core/exposure.h and core/groups.h; docs/metrics.md has their formulas.
 */
#ifndef IDREC_EXPERIMENTS_AUDIT_H
#define IDREC_EXPERIMENTS_AUDIT_H

#include "core/exposure.h"
#include "experiments/grouping.h"
#include "experiments/study.h"

/* What the lists of a study are held against; groupings[0] is the length of users' histories, [1] the popularity of items
 * in tenths, the others are those of evaluate.attributes. */
struct audit {
    const struct study *study;
    int64_t *popularity; /* [items], real train rows */
    bool *tail;          /* [items] */
    int64_t tail_items;
    int grouping_count;
    struct grouping groupings[GROUPINGS_MAXIMUM];
};
bool audit_open(struct audit *audit, const struct study *study, struct error *error);
void audit_close(struct audit *audit);

/* The member `audit` of results.json: {"head_share", "tail_items", "groupings", "fits", "rows"}; the layout is in
 * docs/data-formats.md. New reference. */
bool audit_json(json_t **record, const struct study *study, const json_t *selections, struct error *error);

/* Its parts (audit_fits.c, audit_rows.c); new references. */
bool audit_fits_json(json_t **fits, const struct audit *audit, struct error *error);
bool audit_rows_json(json_t **rows, const struct audit *audit, const json_t *selections, struct error *error);
/* [v, ...], null for what is not a finite number. */
json_t *audit_numbers(const double *values, int count);
json_t *audit_number(double value);

/* What a measure means, for readers: the report prints it beside the figures. */
struct audit_term {
    const char *label;  /* of a column */
    const char *better; /* "lower", "higher" or "near 0" */
    const char *meaning;
};
struct audit_term audit_term(enum exposure_metric metric);

#endif
